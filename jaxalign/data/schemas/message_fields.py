"""Fields of a message besides its text: the loss mask, and fields that are refused."""

import functools
import re
from collections.abc import Mapping
from typing import Any

from jaxalign.data.row_errors import UnsupportedField
from jaxalign.data.schemas.checks import is_empty, parse_bool, preview

REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "thought")
TRAIN_MASK_FIELDS = ("weight", "loss_weight", "train", "training", "mask", "loss")
TEXT_FIELDS = {"role", "from", "content", "value"}
KNOWN_FIELDS = {
    *TEXT_FIELDS,
    *REASONING_FIELDS,
    *TRAIN_MASK_FIELDS,
    *("tool_calls", "function_call", "tool_call_id"),
}
# unknown fields with such names change what is trained; a loss mask does even if false
MASK_NAME = re.compile(
    "(?<![a-z])(un)?(train|loss|mask|weight|supervis|ignore)|Train|Loss|Mask|Weight"
)
CONTENT_NAME = re.compile(
    r"think|thought|rationale|tool|function|refus|attach|media|image|video|audio|"
    r"(?<!finish_)(?<!stop_)reason"
)


def refuse_unknown_fields(message: Mapping[str, Any], prefix: str) -> None:
    """Refuse unknown fields whose names suggest content or a loss mask.

    Args:
      prefix: name of the message, which begins the error message.

    Raises:
      UnsupportedField: names the field.
    """
    for name, value in message.items():
        if name in KNOWN_FIELDS or value is None:
            continue
        is_mask, is_content = classify_field_name(name)
        if is_mask or is_content and value is not False and not is_empty(value):
            raise UnsupportedField(
                name, f"{prefix} {name!r} is not a supported field of a message"
            )


@functools.lru_cache(4096)
def classify_field_name(name: str) -> tuple[bool, bool]:
    """Whether a name suggests a loss mask, and whether it suggests content.

    Content is reasoning, a tool call, media or a refusal.
    """
    return MASK_NAME.search(name) is not None, CONTENT_NAME.search(name) is not None


def is_trained(message: Mapping[str, Any], prefix: str, role: str) -> bool:
    """Whether the loss counts a message; True for all but the assistant's.

    Raises:
      UnsupportedField: a weight that is neither 0 nor 1, two different weights, or a
        weight of 1 on a message of another role.
    """
    flags = {}
    for name in TRAIN_MASK_FIELDS:
        if message.get(name) is not None:
            flags[name] = parse_bool(message[name])
            if flags[name] is None:
                raise UnsupportedField(
                    name,
                    f"{prefix} {name!r} is {preview(message[name])}; expected 0 or 1",
                )
    if not flags:
        return True
    name, trained = next(iter(flags.items()))
    if len(set(flags.values())) > 1:
        raise UnsupportedField(
            name, f"{prefix} {' and '.join(map(repr, flags))} differ"
        )
    if role != "assistant":
        if trained:
            raise UnsupportedField(
                name,
                f"{prefix} {name!r} is 1; only assistant messages can be trained on",
            )
        return True
    return bool(trained)
