"""Rows of tokens, and how the answers that they hold are laid out in them."""

import dataclasses
from typing import NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.types import Array, Bool, Int

pytree_dataclass = jax.tree_util.register_dataclass

# What each further answer adds to the segment of its prompt: the tokens of segment
# s + k * BRANCH_STRIDE attend to those of their own segment and of segment s.
BRANCH_STRIDE = 1 << 16


class BatchLayout(Protocol):
    """Rows of tokens, and the answers that they hold.

    Padded rows hold one answer each; packed rows hold prompts with several. A batch of
    pairs has both answers of a pair side by side, the chosen one first.
    """

    def rows(self) -> "TokenBatch":
        """The rows that go through the model [R T]."""

    def per_answer(self, x: Array) -> Array:
        """Numbers of each token [R T], answer by answer [A T]; 0 past an answer."""

    def answer_ends(self) -> Int[Array, "R K"]:
        """The column of the last token of each of a row's answers; 0 if there is none.

        Read row by row, they are in the order of `per_answer`.
        """


class Branches(NamedTuple):
    """The columns of rows that are a prompt, then answers to it, each a branch.

    Attributes:
      prompt: columns of the prompt.
      answers: number of answers; the other columns are divided evenly among them.
    """

    prompt: int
    answers: int

    @classmethod
    def of(cls, prompt: int, answers: int) -> Self | None:
        """The layout; None where prompts have no columns, and answers share nothing."""
        return cls(prompt, answers) if prompt else None


class PaddedLayout:
    """The `BatchLayout` of batches whose answers each have a row of their own."""

    def rows(self) -> "TokenBatch":
        """The rows that go through the model [R T]."""
        raise NotImplementedError

    def per_answer(self, x: Array) -> Array:
        """The numbers as they are: a row is an answer."""
        return x

    def answer_ends(self) -> Int[Array, "R 1"]:
        """The last column of each row that is not padding."""
        return jnp.maximum(self.rows().lengths - 1, 0)[:, None]


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class TokenBatch(PaddedLayout):
    """Token sequences, of which some tokens are trained on or scored.

    Attributes:
      tokens: token ids.
      positions: the position of each token in its sequence.
      segments: 0 on padding, else 1, 2, ... for the packed sequences of a row (and see
        `BRANCH_STRIDE`).
      loss_mask: True on the tokens that count: the answers, EOS included.
      first_scored: the first column that counts in any row, at least 1; log-probs of
        the columns before it are not computed.
      branches: the layout that all rows have, if they have one: models then skip
        attention between the answers of a row.
    """

    tokens: Int[Array, "R T"]
    positions: Int[Array, "R T"]
    segments: Int[Array, "R T"]
    loss_mask: Bool[Array, "R T"]
    first_scored: int = dataclasses.field(default=1, metadata={"static": True})
    branches: Branches | None = dataclasses.field(
        default=None, metadata={"static": True}
    )

    @property
    def lengths(self) -> Int[Array, "R"]:
        """The number of tokens of each row, padding excluded."""
        return (self.segments > 0).sum(axis=-1)

    def rows(self) -> "TokenBatch":
        """The batch itself: an answer a row."""
        return self


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class PromptBatch:
    """Right-padded prompts to answer.

    Attributes:
      lengths: tokens of each prompt.
      row: the index of each prompt in its dataset.
      valid: False on rows that only fill the batch up.
    """

    tokens: Int[Array, "B T"]
    lengths: Int[Array, "B"]
    row: Int[Array, "B"]
    valid: Bool[Array, "B"]


def interleave(first: TokenBatch, second: TokenBatch) -> TokenBatch:
    """Both batches as one [2B T], row b of each side by side: none changes its device.

    Undone by `deinterleave`.
    """
    return jax.tree.map(
        lambda a, b: jnp.stack([a, b], axis=1).reshape(-1, *a.shape[1:]), first, second
    )


def deinterleave(x: Array) -> tuple[Array, Array]:
    """The even entries of [2B ...], then the odd ones: chosen, rejected of pairs."""
    return x[0::2], x[1::2]


def from_lengths(tokens: Array, lengths: Array, prompt_lengths: Array) -> TokenBatch:
    """A batch of one right-padded sequence a row, trained on past its prompt.

    Works on numpy arrays (the loader) and on traced ones (rollouts).

    Args:
      tokens: token ids [R T].
      lengths: tokens of each row [R], prompt and answer together.
      prompt_lengths: tokens of each prompt [R].
    """
    xp = np if isinstance(tokens, np.ndarray) else jnp
    position = xp.broadcast_to(xp.arange(tokens.shape[1]), tokens.shape)
    real = position < lengths[:, None]
    answer = real & (position >= xp.maximum(prompt_lengths, 1)[:, None])
    return TokenBatch(
        tokens=tokens,
        positions=position.astype(xp.int32),
        segments=real.astype(xp.int32),
        loss_mask=answer,
    )
