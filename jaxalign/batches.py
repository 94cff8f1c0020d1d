"""Batches: frozen arrays that travel from the data to the objectives.

Rows are right-padded. Everything per token is aligned with `tokens`: entry t of a
mask, log-prob, value, reward or advantage is about the token at t, given the tokens
before it. So entry 0 is about the first token, which nothing predicts: its mask is
False.
"""

import dataclasses
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.types import Array, Bool, Float, Int

batch = jax.tree_util.register_dataclass

# What each further answer adds to the segment of its prompt: the tokens of segment
# s + k * BRANCH see those of their own segment and those of segment s.
BRANCH_STRIDE = 1 << 16


class Branches(NamedTuple):
    """How rows are laid out that are a prompt and then answers to it, each a branch.

    Attributes:
      prompt: columns of the prompt.
      answers: how many; each has as many of the columns that are left.
    """

    prompt: int
    answers: int

    @classmethod
    def of(cls, prompt: int, answers: int) -> Self | None:
        """The layout; None where prompts have no columns, and answers share nothing."""
        return cls(prompt, answers) if prompt else None


@batch
@dataclasses.dataclass(frozen=True)
class TokenBatch:
    """Token sequences, of which some tokens are trained on or scored.

    Attributes:
      tokens: token ids.
      positions: the position of each token in its sequence.
      segments: 0 on padding, else 1, 2, ... for the packed sequences of a row (and see
        `BRANCH_STRIDE`).
      loss_mask: True on the tokens that count: the answers, EOS included.
      first_scored: so many first columns count in no row, as is known beforehand (one at
        least, which nothing predicts): nobody needs the log-probs of what is there.
      branches: where all rows are laid out so; models then skip what answers do not
        see of each other.
    """

    tokens: Int[Array, "B T"]
    positions: Int[Array, "B T"]
    segments: Int[Array, "B T"]
    loss_mask: Bool[Array, "B T"]
    first_scored: int = dataclasses.field(default=1, metadata={"static": True})
    branches: Branches | None = dataclasses.field(
        default=None, metadata={"static": True}
    )

    @property
    def lengths(self) -> Int[Array, "B"]:
        """How many tokens of each row are not padding."""
        return (self.segments > 0).sum(axis=-1)


@batch
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


@batch
@dataclasses.dataclass(frozen=True)
class PreferenceBatch:
    """Pairs of answers, one preferred.

    Attributes:
      chosen: prompt and preferred answer; `loss_mask` is True on the answer.
      rejected: prompt and other answer.
      margin: how much better, 0 where nobody said (Llama-2's m(r)).
      row: the stable index of the pair in its dataset, by which the reference's
        log-probs are kept.
      valid: False on rows that only fill the batch up.
    """

    chosen: TokenBatch
    rejected: TokenBatch
    margin: Float[Array, "B"]
    row: Int[Array, "B"]
    valid: Bool[Array, "B"]


@batch
@dataclasses.dataclass(frozen=True)
class RankingBatch:
    """K answers to each prompt, best first.

    Attributes:
      answers: the answers of prompt b in rows b * K to b * K + K - 1.
      mask: False where a prompt has fewer than K answers.
    """

    answers: TokenBatch
    mask: Bool[Array, "B K"]
    row: Int[Array, "B"]


@batch
@dataclasses.dataclass(frozen=True)
class AnswerBatch:
    """Prompts with up to K answers each, best first; each prompt is there once.

    A row holds up to M prompts with their answers, [prompt | answer | answer | ...].
    Prompt m of a row is segment m + 1 and its answers are branches of it, from 1 on;
    each begins with the prompt's last token, from which its first is predicted. So it
    is as if each answer stood in a row of its own, after its prompt.

    Attributes:
      sequences: R rows; `loss_mask` is True on the answers.
      mask: True where there is an answer; prompt m of row r is entry r * M + m.
      margin: how much better the best is, 0 where nobody said.
      row: the stable index of the prompt with its answers in its dataset.
    """

    sequences: TokenBatch
    mask: Bool[Array, "N K"]
    margin: Float[Array, "N"]
    row: Int[Array, "N"]

    @property
    def valid(self) -> Bool[Array, "N"]:
        """False on entries without a prompt."""
        return self.mask[:, 0]

    @property
    def own(self) -> Bool[Array, "R T M*K"]:
        """Which of the row's answers each token belongs to, at m * K + k."""
        segments = self.sequences.segments
        prompts, answers = len(self.mask) // len(segments), self.mask.shape[1]
        place = np.arange(prompts * answers)
        branch = (place // answers + 1) + (place % answers + 1) * BRANCH_STRIDE
        return segments[:, :, None] == branch[None, None, :]

    @property
    def ends(self) -> Int[Array, "R M*K"]:
        """Where in its row the last token of each answer is; 0 if there is none."""
        at = np.arange(self.sequences.segments.shape[1])
        return (self.own * at[None, :, None]).max(axis=1)


@batch
@dataclasses.dataclass(frozen=True)
class UnpairedBatch:
    """Single answers with a thumb up or down (KTO's data).

    Attributes:
      answers: prompt and answer.
      mismatched_answers: the same prompts, each with the answer to another prompt.
      desirable: thumb up.
    """

    answers: TokenBatch
    mismatched_answers: TokenBatch
    desirable: Bool[Array, "B"]
    row: Int[Array, "B"]
    valid: Bool[Array, "B"]


@batch
@dataclasses.dataclass(frozen=True)
class RolloutBatch:
    """Sampled answers with what PPO needs, all fixed while the policy trains on them.

    Attributes:
      sequences: prompt and answer; `loss_mask` is True on the answer, EOS included.
      old_logp: log-prob of each token under the policy that sampled it.
      old_value: value of the state before each token.
      advantage: estimated (and whitened) advantage of each token.
      returns: value target of each token.
    """

    sequences: TokenBatch
    old_logp: Float[Array, "B T"]
    old_value: Float[Array, "B T"]
    advantage: Float[Array, "B T"]
    returns: Float[Array, "B T"]


@batch
@dataclasses.dataclass(frozen=True)
class GroupBatch:
    """Sampled answers with what group methods need, fixed while the policy trains.

    Attributes:
      sequences: prompts and answers, one a row or several after their prompt;
        `loss_mask` is True on the answers, EOS included, and nowhere in those that do
        not count.
      old_logp: log-prob of each token under the policy that sampled it.
      ref_logp: the same under the reference.
      advantage: of each whole answer, A of them; or of its tokens, too, where they
        are in a row of their own (`scoring.answers`).
    """

    sequences: TokenBatch | AnswerBatch
    old_logp: Float[Array, "R T"]
    ref_logp: Float[Array, "R T"]
    advantage: Float[Array, "A *T"]


def from_lengths(tokens: Array, lengths: Array, prompt_lengths: Array) -> TokenBatch:
    """A batch of one right-padded sequence a row, trained on past its prompt.

    Works on numpy arrays (the loader) and on traced ones (rollouts).

    Args:
      tokens: [B T].
      lengths: [B], prompt and answer together.
      prompt_lengths: [B].
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
