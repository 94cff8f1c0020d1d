"""Special tokens in texts: forbidden ones, and those that --keep-special-tokens allows.

A text that holds the token that ends a turn would end it in its middle.

A model whose tokenizer has the special token [RESET] may take back what it has begun to
say: the text of an answer is what follows its last [RESET]. `jaxalign.pipeline.resets`
counts what is discarded.
"""

import contextlib
from collections.abc import Sequence

import numpy as np

from jaxalign.data import templates
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.templates import Conversation, render_conversations
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast

# tokens that begin or end turns in some model, whichever this is
TURN_BOUNDARIES = frozenset(
    ("<s>", "</s>", "<bos>", "<eos>", "<pad>", "<|endoftext|>", "<|begin_of_text|>")
) | {"<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|im_start|>", "<|im_end|>"}

RESET = "[RESET]"


def reset_id(tokenizer: PreTrainedTokenizerFast) -> int | None:
    """The id of the special token [RESET]; None where the tokenizer has none."""
    token = tokenizer.convert_tokens_to_ids(RESET)
    if not isinstance(token, int) or token == tokenizer.unk_token_id:
        return None
    added = tokenizer.added_tokens_decoder.get(token)
    return token if added is not None and added.special else None


def discard_before_reset(tokens: np.ndarray, reset: int | None) -> np.ndarray:
    """The tokens of an answer after its last [RESET]; all of them without one.

    Args:
      reset: id of the token; None where there is none.

    >>> discard_before_reset(np.array([5, 9, 6, 7]), 9).tolist()
    [6, 7]
    """
    at = np.flatnonzero(np.asarray(tokens) == reset)
    return tokens[at[-1] + 1 :] if len(at) else tokens


def forbidden_tokens(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Texts of the special tokens that no message may contain.

    All special tokens; with `keep_special` (`tokenizer.TokenizationOptions`) those that
    begin or end turns, or that the template writes outside the assistant's words.
    """
    special = tokenizers.special_token_texts(tokenizer)
    if not tokenizers.tokenization_options(tokenizer).keep_special:
        return special
    boundaries = {*TURN_BOUNDARIES, *tokenizer.all_special_tokens} - {
        *tokenizer.extra_special_tokens
    }
    boundaries |= {templates.end_of_turn(tokenizer)}
    around, inside = template_texts(tokenizer)
    return [
        token
        for token in special
        if token in boundaries
        or token in around
        or (token in inside and not is_paired_tag(token, special))
    ]


def is_paired_tag(token: str, special: Sequence[str]) -> bool:
    """Whether a token opens or closes a pair of special tokens, as <a> and </a> do.

    >>> is_paired_tag("</a>", ["<a>", "</a>"]), is_paired_tag("<a>", ["<a>"])
    (True, False)
    """
    other = token.replace("</", "<") if "</" in token else token.replace("<", "</", 1)
    return other != token and other in special


def decode_answers(
    tokenizer: PreTrainedTokenizerFast, rows: Sequence[np.ndarray]
) -> list[str]:
    """Decodes answers to texts; of special tokens only allowed ones are shown.

    What precedes the last [RESET] is discarded; with `keep_special` it is shown, and
    the token, too.

    NUL, which no row of a file may hold, becomes U+FFFD, as bytes that are not UTF-8.

    Args:
      rows: token ids of each answer, int32 [T].
    """
    return [text.replace("\0", "\ufffd") for text in decode_visible(tokenizer, rows)]


def decode_visible(
    tokenizer: PreTrainedTokenizerFast, rows: Sequence[np.ndarray]
) -> list[str]:
    """`decode_answers` with NUL as it is."""
    if not tokenizers.tokenization_options(tokenizer).keep_special:
        reset = reset_id(tokenizer)
        if reset is not None:
            rows = [discard_before_reset(row, reset) for row in rows]
        return list(tokenizer.batch_decode(rows, skip_special_tokens=True))
    forbidden = forbidden_tokens(tokenizer)
    hidden = [tokenizers.token_id(tokenizer, token) for token in forbidden]
    hidden += [tokenizer.unk_token_id] * (tokenizer.unk_token_id is not None)
    visible = [row[~np.isin(row, hidden)] for row in map(np.asarray, rows)]
    return list(tokenizer.batch_decode(visible, skip_special_tokens=False))


def template_texts(tokenizer: PreTrainedTokenizerFast) -> tuple[str, str]:
    """The texts of a template around messages, and those that it may add to answers.

    Returns:
      The text of conversations without an answer, and the text of a prompt with the
      template's source: a literal in the source may be of either.
    """
    prompt = Conversation([{"role": "user", "content": "?"}])
    with_system = Conversation([{"role": "system", "content": "?"}, *prompt.messages])
    around = ""
    for conversation in (prompt, with_system):
        with contextlib.suppress(ValueError):  # there may be no system
            (whole,) = render_conversations(tokenizer, [conversation], prompt=False)
            around += whole.text
    (opened,) = render_conversations(tokenizer, [prompt], prompt=True)
    return around, opened.text + str(tokenizer.chat_template)
