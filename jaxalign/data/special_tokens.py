"""Special tokens in texts: what must not stand there, and what a flag lets stand."""

import contextlib
from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerFast

from jaxalign.data import templates
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.templates import Conversation, render_conversations

# what begins or ends turns in some model, whichever this is
TURN_BOUNDARIES = frozenset(
    ("<s>", "</s>", "<bos>", "<eos>", "<pad>", "<|endoftext|>", "<|begin_of_text|>")
) | {"<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|im_start|>", "<|im_end|>"}


def forbidden_tokens(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """What a text must not hold, or a turn would begin or end in its middle.

    All special tokens; with `keep_special` of its `tokenizer.TokenizationOptions` those that begin
    or end turns, or that its template writes elsewhere than in the assistant's words.
    """
    special = tokenizers.special_token_texts(tokenizer)
    if not tokenizers.tokenization_options(tokenizer).keep_special:
        return special
    named = {*TURN_BOUNDARIES, *tokenizer.all_special_tokens} - {
        *tokenizer.extra_special_tokens
    }
    named |= {templates.end_of_turn(tokenizer)}
    around, own = template_texts(tokenizer)
    return [
        token
        for token in special
        if token in named
        or token in around
        or (token in own and not is_paired_tag(token, special))
    ]


def is_paired_tag(token: str, special: Sequence[str]) -> bool:
    """Whether a token opens or closes what another closes or opens: <a>, </a>."""
    other = token.replace("</", "<") if "</" in token else token.replace("<", "</", 1)
    return other != token and other in special


def decode_answers(
    tokenizer: PreTrainedTokenizerFast, rows: Sequence[np.ndarray]
) -> list[str]:
    """Answers as text; of special tokens it shows those that texts may hold.

    NUL, which no row of a file may hold, is U+FFFD, as bytes are that are not UTF-8.
    """
    return [text.replace("\0", "\ufffd") for text in decode_visible(tokenizer, rows)]


def decode_visible(
    tokenizer: PreTrainedTokenizerFast, rows: Sequence[np.ndarray]
) -> list[str]:
    """`decode_answers` with NUL."""
    if not tokenizers.tokenization_options(tokenizer).keep_special:
        return list(tokenizer.batch_decode(rows, skip_special_tokens=True))
    hidden = [tokenizers.token_id(tokenizer, t) for t in forbidden_tokens(tokenizer)]
    hidden += [tokenizer.unk_token_id] * (tokenizer.unk_token_id is not None)
    shown = [row[~np.isin(row, hidden)] for row in map(np.asarray, rows)]
    return list(tokenizer.batch_decode(shown, skip_special_tokens=False))


def template_texts(tokenizer: PreTrainedTokenizerFast) -> tuple[str, str]:
    """What a template writes around messages, and in the assistant's own words.

    The second is what else stands in its source: a literal may be of either.
    """
    asked = Conversation([{"role": "user", "content": "?"}])
    ruled = Conversation([{"role": "system", "content": "?"}, *asked.messages])
    around = ""
    for talk in (asked, ruled):
        with contextlib.suppress(ValueError):  # there may be no system
            around += render_conversations(tokenizer, [talk], prompt=False)[0].text
    (opened,) = render_conversations(tokenizer, [asked], prompt=True)
    return around, opened.text + str(tokenizer.chat_template)
