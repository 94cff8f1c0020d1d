"""Answers as text while they are sampled: only text that no later token changes."""

import dataclasses
import os

import numpy as np

from jaxalign.data import special_tokens
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast

INCOMPLETE = "\ufffd"  # bytes that are no character, perhaps not yet


@dataclasses.dataclass(frozen=True)
class Retraction:
    """An event in a stream of text: all that was shown of this answer is taken back.

    Attributes:
      text: what was shown.
    """

    text: str


class TextStream:
    """The text of tokens that come one by one.

    A character of several tokens appears when its last one is there; white space
    appears with the text that follows it, since answers are stripped. A [RESET] takes
    back what was returned, see `jaxalign.data.special_tokens`.

    Attributes:
      tokens: the tokens so far.
      text: what was returned so far, since the last retraction.
      discarded: tokens up to the last [RESET], this included.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.tokens: list[int] = []
        self.text = ""
        self.discarded = 0
        keep = tokenizers.tokenization_options(tokenizer).keep_special
        self.reset = None if keep else special_tokens.reset_id(tokenizer)

    @property
    def full_text(self) -> str:
        """The text of all tokens, as `rollouts.texts` decodes them."""
        row = np.array(self.tokens, np.int32)
        return special_tokens.decode_answers(self.tokenizer, [row])[0].strip()

    def push(self, token: int) -> "str | Retraction":
        """Adds a token; returns the new text, which may be empty, or a retraction."""
        self.tokens.append(token)
        if token == self.reset:
            retraction = Retraction(self.text)
            self.text, self.discarded = "", len(self.tokens)
            return retraction
        return self.advance(self.full_text.rstrip(INCOMPLETE).rstrip())

    def finish(self) -> str:
        """The text that was held back, incomplete characters as U+FFFD."""
        return self.advance(self.full_text)

    def advance(self, text: str) -> str:
        """The part of a text that was not returned before.

        Where a tokenizer changes what was returned, as those do that clean up spaces,
        it is what follows the part that both share.
        """
        if self.text.startswith(text):
            return ""
        shared = len(os.path.commonprefix([self.text, text]))
        self.text = text
        return text[shared:]
