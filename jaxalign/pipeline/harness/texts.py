"""Texts -> tokens as the evaluation harness does it for its `hf` model."""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from transformers import PreTrainedTokenizerFast

from jaxalign.data import templates


def prefix_token(tokenizer: PreTrainedTokenizerFast) -> int:
    """The id of the token that stands for an empty context.

    It begins sequences or, of tokenizers without such a token, ends them.
    """
    begin = tokenizer.bos_token_id
    return cast(int, tokenizer.eos_token_id if begin is None else begin)


def encode(
    tokenizer: PreTrainedTokenizerFast, text: str, special: bool | None = None
) -> tuple[int, ...]:
    """Token ids of a text, neither cut nor padded.

    Args:
      special: whether the tokenizer adds its special tokens. By default it does, but
        for texts that begin with the prefix token, as those of chat templates do.
    """
    if special is None:
        prefix = str(tokenizer.decode([prefix_token(tokenizer)]))
        special = not text.startswith(prefix)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return tuple(backend.encode(text, add_special_tokens=special).ids)


def check_continuations(pairs: Iterable[tuple[str, str]]) -> None:
    """Refuse empty continuations, which have no log-prob.

    Args:
      pairs: (context, continuation).

    Raises:
      ValueError: one is empty; names its context.
    """
    for context, continuation in pairs:
        if not continuation:
            raise ValueError(
                f"the continuation of {context[-60:]!r} is empty, so it has no log-prob"
            )


def check_tokens(
    requests: Iterable[tuple[tuple[str, str], Sequence[int], Sequence[int]]],
    longest: int,
) -> None:
    """Refuse continuations that merge with their context, or do not fit in a model's.

    Args:
      requests: ((context, continuation), context ids, continuation ids).
      longest: tokens of the longest continuation.

    Raises:
      ValueError: one has no token of its own, or too many; shows it.
    """
    for (context, continuation), _, tokens in requests:
        if not len(tokens):
            raise ValueError(
                f"the continuation {continuation[:60]!r} has no token of its own after "
                f"{context[-60:]!r}: begin it with a space (target_delimiter)"
            )
        if len(tokens) > longest:
            raise ValueError(
                f"the continuation {continuation[:60]!r} ... has {len(tokens)} tokens, "
                f"and the model's context {longest}"
            )


def check_chat_template(tokenizer: PreTrainedTokenizerFast) -> None:
    """Refuse a tokenizer that cannot render conversations.

    Raises:
      ValueError: it has no chat template.
    """
    if tokenizer.chat_template is None:
        raise ValueError(
            "the model's tokenizer has no chat template: leave --apply-chat-template "
            "out"
        )


def render_chat(
    tokenizer: PreTrainedTokenizerFast,
    messages: Sequence[Mapping[str, str]],
    *,
    prompt: bool,
) -> str:
    """Messages as text by the chat template, in its sandbox and with its date.

    Where the template refuses the messages, those of the system are left out.

    Args:
      prompt: end with the header of the assistant's turn; else the text ends with the
        last message, which the model is to continue.

    Raises:
      ValueError: there is no template, or it fails on the messages.
    """
    check_chat_template(tokenizer)
    try:
        text = render(tokenizer, messages, prompt=prompt)
    except ValueError:
        others = [message for message in messages if message["role"] != "system"]
        if len(others) == len(messages):
            raise
        text = render(tokenizer, others, prompt=prompt)
    if prompt:
        return text
    last = messages[-1]["content"].strip()
    return text[: text.rindex(last) + len(last)]


def render(
    tokenizer: PreTrainedTokenizerFast,
    messages: Sequence[Mapping[str, str]],
    *,
    prompt: bool,
) -> str:
    """Messages as text, as they are."""
    conversation = templates.Conversation(messages)
    (one,) = templates.render_conversations(tokenizer, [conversation], prompt=prompt)
    return one.text
