"""Fields of messages beside their texts: what is trained, and what nobody reads."""

import functools
import re
from collections.abc import Mapping
from typing import Any

from jaxalign.data.schemas.checks import UnsupportedField, is_empty, parse_bool, preview

REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "thought")
TRAIN_MASK_FIELDS = ("weight", "loss_weight", "train", "training", "mask", "loss")
TEXT_FIELDS = {"role", "from", "content", "value"}
KNOWN_FIELDS = {
    *TEXT_FIELDS,
    *REASONING_FIELDS,
    *TRAIN_MASK_FIELDS,
    "tool_calls",
    "function_call",
    "tool_call_id",
}
# what other names of fields speak of, and whether false says something, too
MASK_NAME = re.compile(
    "(?<![a-z])(un)?(train|loss|mask|weight|supervis|ignore)|Train|Loss|Mask|Weight"
)
CONTENT_NAME = re.compile(
    r"think|thought|rationale|tool|function|refus|attach|media|image|video|audio|"
    r"(?<!finish_)(?<!stop_)reason"
)


def refuse_unknown_fields(value: Mapping[str, Any], at: str) -> None:
    """Refuses fields whose names say that they would matter, and that nobody reads."""
    for name, inner in value.items():
        if name in KNOWN_FIELDS or inner is None:
            continue
        masking, telling = classify_field_name(name)
        if masking or telling and inner is not False and not is_empty(inner):
            raise UnsupportedField(
                name, f"{at} {name!r} of a message is not understood"
            )


@functools.lru_cache(4096)
def classify_field_name(name: str) -> tuple[bool, bool]:
    """Whether a field of this name may say what is trained, and whether it may hold a
    thought, a call, media or a refusal."""
    return MASK_NAME.search(name) is not None, CONTENT_NAME.search(name) is not None


def is_trained(value: Mapping[str, Any], at: str, role: str) -> bool:
    """Whether a message of the assistant may be trained on; True of all others.

    Raises:
      Refused: a weight that is neither 0 nor 1, two that differ, or a message of
        another role that is to be trained.
    """
    found = {}
    for name in TRAIN_MASK_FIELDS:
        if value.get(name) is not None:
            found[name] = parse_bool(value[name])
            if found[name] is None:
                told = preview(value[name])
                raise UnsupportedField(
                    name, f"{at} {name!r} should be 0 or 1, not {told}"
                )
    if not found:
        return True
    name, trained = next(iter(found.items()))
    if len(set(found.values())) > 1:
        raise UnsupportedField(name, f"{at} {' and '.join(map(repr, found))} differ")
    if role != "assistant":
        if trained:
            raise UnsupportedField(
                name, f"{at} {name!r} is 1, but only the assistant's are trained on"
            )
        return True
    return bool(trained)
