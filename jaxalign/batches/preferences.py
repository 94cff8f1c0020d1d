"""Batches of preference data: pairs, rankings, unpaired answers, and packed answers."""

import dataclasses
from typing import Self

import jax.numpy as jnp
import numpy as np

from jaxalign.batches.layout import (
    BRANCH_STRIDE,
    PaddedLayout,
    TokenBatch,
    interleave,
    pytree_dataclass,
)
from jaxalign.types import Array, Bool, Float, Int


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class PairReference:
    """The reference's log-probs of the answers of pairs, nats, sums over tokens.

    Attributes:
      chosen, rejected: over all answer tokens.
      chosen_shared, rejected_shared: over the first tokens only, as many as the shorter
        answer of the pair has (LD-DPO); None where they were not computed.
    """

    chosen: Float[Array, "B"]
    rejected: Float[Array, "B"]
    chosen_shared: Float[Array, "B"] | None = None
    rejected_shared: Float[Array, "B"] | None = None


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class UnpairedReference:
    """The reference's log-probs of unpaired answers, nats, sums over answer tokens.

    Attributes:
      answers: of the answers.
      mismatched_answers: of the answers to other prompts.
    """

    answers: Float[Array, "B"]
    mismatched_answers: Float[Array, "B"]


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class PreferenceBatch(PaddedLayout):
    """Pairs of answers, each answer in a row of its own after its prompt.

    Attributes:
      chosen: prompt and preferred answer; `loss_mask` is True on the answer.
      rejected: prompt and other answer.
      margin: rating margin of the pair, 0 where the data have none (Llama 2's m(r)).
      row: index of the pair in its dataset, the key of cached reference log-probs.
      valid: False on rows that only fill the batch up.
      label_prob: probability in [0, 1] that the chosen answer is the better one (a soft
        label); None: 1 for all pairs.
      reference: the reference's log-probs; None where they were not computed.
    """

    chosen: TokenBatch
    rejected: TokenBatch
    margin: Float[Array, "B"]
    row: Int[Array, "B"]
    valid: Bool[Array, "B"]
    label_prob: Float[Array, "B"] | None = None
    reference: PairReference | None = None

    def rows(self) -> TokenBatch:
        """Chosen and rejected rows in turns [2B T]."""
        return interleave(self.chosen, self.rejected)

    def with_reference(self, *sums: Array) -> Self:
        """The batch with the sums of a `PairReference`."""
        return dataclasses.replace(self, reference=PairReference(*sums))


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class RankingBatch(PaddedLayout):
    """K answers to each prompt, best first, each in a row of its own.

    Attributes:
      answers: the answers of prompt b in rows b * K to b * K + K - 1.
      mask: False where a prompt has fewer than K answers.
      row: index of the ranking in its dataset.
    """

    answers: TokenBatch
    mask: Bool[Array, "B K"]
    row: Int[Array, "B"]

    def rows(self) -> TokenBatch:
        """The answers [B*K T]."""
        return self.answers


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class AnswerBatch:
    """Pairs or rankings, packed: prompts with up to K answers each, best first.

    A row holds up to M prompts, each once, with its answers: [prompt | answer | answer
    | ...]. Prompt m of a row is segment m + 1 and its answers are branches of it, from
    1 on; each begins with the prompt's last token, from which its first is predicted.
    So it is as if each answer stood in a row of its own, after its prompt.

    Attributes:
      sequences: R rows; `loss_mask` is True on the answers.
      mask: True where there is an answer; prompt m of row r is entry r * M + m.
      margin: rating margin of the best answer, 0 where the data have none.
      row: index of the pair or ranking in its dataset.
      label_prob, reference: of pairs, as in `PreferenceBatch`.
    """

    sequences: TokenBatch
    mask: Bool[Array, "N K"]
    margin: Float[Array, "N"]
    row: Int[Array, "N"]
    label_prob: Float[Array, "N"] | None = None
    reference: PairReference | None = None

    @property
    def valid(self) -> Bool[Array, "N"]:
        """False on entries without a prompt."""
        return self.mask[:, 0]

    def rows(self) -> TokenBatch:
        """The packed rows [R T]."""
        return self.sequences

    def answer_tokens(self) -> Bool[Array, "R T M*K"]:
        """Which of the row's answers each token belongs to; answer k of prompt m is
        entry m * K + k."""
        segments = self.sequences.segments
        prompts, answers = len(self.mask) // len(segments), self.mask.shape[1]
        place = np.arange(prompts * answers)
        branch = (place // answers + 1) + (place % answers + 1) * BRANCH_STRIDE
        return segments[:, :, None] == branch[None, None, :]

    def per_answer(self, x: Array) -> Array:
        """Each answer in a row of its own [N*K T], from its first column on."""
        own, length = self.answer_tokens(), x.shape[1]
        column = jnp.argmax(own, axis=1)[:, :, None] + jnp.arange(length)[None, None, :]
        inside = column < (self.answer_ends() + jnp.any(own, axis=1))[:, :, None]
        column = jnp.minimum(column, length - 1)
        answers = jnp.take_along_axis(x[:, None], column, axis=2)
        answers = jnp.where(inside, answers, jnp.zeros((), x.dtype))
        return answers.reshape(-1, length)

    def answer_ends(self) -> Int[Array, "R M*K"]:
        """The column of each answer's last token in its row; 0 if there is none."""
        column = np.arange(self.sequences.segments.shape[1])
        return (self.answer_tokens() * column[None, :, None]).max(axis=1)

    def with_reference(self, *sums: Array) -> Self:
        """The batch with the sums of a `PairReference`."""
        return dataclasses.replace(self, reference=PairReference(*sums))


PairBatch = PreferenceBatch | AnswerBatch


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class UnpairedBatch(PaddedLayout):
    """Unpaired answers, each labelled desirable or undesirable (KTO's data).

    Attributes:
      answers: prompt and answer.
      mismatched_answers: the same prompts, each with the answer to another prompt.
      desirable: True where the answer is labelled good.
      row: index of the answer in its dataset.
      valid: False on rows that only fill the batch up.
      reference: the reference's log-probs; None where they were not computed.
    """

    answers: TokenBatch
    mismatched_answers: TokenBatch
    desirable: Bool[Array, "B"]
    row: Int[Array, "B"]
    valid: Bool[Array, "B"]
    reference: UnpairedReference | None = None

    def rows(self) -> TokenBatch:
        """Answers and mismatched answers in turns [2B T]."""
        return interleave(self.answers, self.mismatched_answers)

    def with_reference(self, *sums: Array) -> Self:
        """The batch with the sums of an `UnpairedReference`."""
        return dataclasses.replace(self, reference=UnpairedReference(*sums))
