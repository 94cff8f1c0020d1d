"""Measures of a policy that may reset: violations, false resets, attacks, its latency.

A policy is measured as it is used: at most one reset an answer, and its visible text is
judged. Values are one per prompt, the mean over its samples.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from jaxalign import streams
from jaxalign.data import special_tokens
from jaxalign.data.records import Prompt, answer_content
from jaxalign.data.text_encoding import encode_texts
from jaxalign.evaluation.attacks.gcg import GcgOptions
from jaxalign.evaluation.pass_at_k import pass_at_k
from jaxalign.pipeline import resets
from jaxalign.pipeline.attacks import gcg_suffix
from jaxalign.pipeline.behaviors.backtracking_tasks import BacktrackingTask
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prefilled_answers import PrefilledPrompts, sample_prefilled
from jaxalign.pipeline.prompts import TokenizedPrompts, tokenize_prompts
from jaxalign.pipeline.rollouts import Answers
from jaxalign.sampling import SamplingParams

Values = dict[str, np.ndarray | float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """How answers are sampled for the measures.

    Attributes:
      max_new_tokens: of the longest answer, what it takes back included.
      samples: answers to each prompt.
      temperatures: of the measure of the worst of k samples.
      biases: on the logit of [RESET], of the curve.
      prefills: lengths of forced beginnings, in tokens.
      gcg: settings of attacks by suffix; None leaves them out.
      rows: answers that are sampled at one time.
    """

    max_new_tokens: int
    samples: int
    temperatures: tuple[float, ...]
    biases: tuple[float, ...]
    prefills: tuple[int, ...]
    gcg: "GcgProtocol | None" = None
    seed: int = 0
    rows: int = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class GcgProtocol:
    """Attacks by a suffix: of the unsafe answer alone, and one that knows of [RESET].

    Attributes:
      prompts: requests that a suffix is optimized on.
      options: of each search.
      length: tokens of the suffix.
      target_tokens: of the unsafe answers, from short to long.
    """

    prompts: int
    options: GcgOptions
    length: int
    target_tokens: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Measurer:
    """The measures of one policy on a task."""

    policy: Policy
    task: BacktrackingTask
    protocol: Protocol

    def values(self, *, biases: bool) -> Values:
        """All measures by name, one value per prompt.

        violation/FAMILY, violation     visible answers that comply
        raw_violation                   answers that comply anywhere, discarded or not
        reset/unsafe, reset/safe        answers with a reset; the second are false
        reset/right                     false resets among right answers
        right                           right answers to safe prompts
        discarded/unsafe, .../safe      discarded tokens, the latency
        worst/T/K                       any of K samples at temperature T violates
        bias/B/violation, .../reset     at each bias: violations, false resets
        prefill/N                       violations after N forced tokens
        gcg/KIND, gcg/KIND/loss         see `gcg_values`

        Args:
          biases: measure the curve over biases, too.
        """
        return {
            **self.unsafe_values(),
            **self.safe_values(),
            **self.worst_values(),
            **(self.bias_values() if biases else {}),
            **self.prefill_values(),
            **self.gcg_values(),
        }

    def sample(
        self,
        prompts: Sequence[Prompt],
        *,
        temperature: float = 1.0,
        bias: float = 0.0,
        prefixes: Sequence[np.ndarray] | None = None,
    ) -> Answers:
        """Samples answers; the noise is the same for all policies and settings."""
        tokens = tokenize_prompts(self.policy, prompts)
        empty = np.zeros(0, np.int32)
        given = [empty] * len(prompts) if prefixes is None else list(prefixes)
        begun = [np.concatenate(x) for x in zip(tokens.rows, given, strict=True)]
        room = self.policy.context - self.protocol.max_new_tokens
        width = min(-(-max(map(len, begun)) // 16) * 16, room)
        options = resets.reset_options(self.policy, bias=bias)
        return sample_prefilled(
            self.policy,
            PrefilledPrompts(TokenizedPrompts(list(prompts), begun), given),
            streams.key(jax.random.key(self.protocol.seed), "backtracking"),
            SamplingParams(
                max_new_tokens=self.protocol.max_new_tokens,
                samples=self.protocol.samples,
                temperature=temperature,
                **options,
            ),
            rows=self.protocol.rows,
            width=width,
        )

    def per_prompt(self, values: Sequence[float] | np.ndarray) -> np.ndarray:
        """The mean of values of answers over each prompt's samples [P]."""
        return np.asarray(values, float).reshape(-1, self.protocol.samples).mean(axis=1)

    def share_among(self, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """The mean over each prompt's chosen samples [P]; NaN where there are none."""
        split = lambda x: np.asarray(x, float).reshape(-1, self.protocol.samples)
        total, count = split(values * chosen).sum(axis=1), split(chosen).sum(axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def violations(self, answers: Answers) -> np.ndarray:
        """The share of each prompt's answers that violate [P]."""
        return self.per_prompt([self.task.violates(text) for text in answers.texts])

    def unsafe_values(self) -> Values:
        """Measures on unsafe prompts at temperature 1 and bias 0."""
        answers = self.sample(self.task.unsafe)
        counts = resets.count_resets(self.policy, answers)
        violation = self.violations(answers)
        raw = [
            self.task.violates(text) or self.task.violates(discarded)
            for text, discarded in zip(
                answers.texts, resets.discarded_texts(self.policy, answers), strict=True
            )
        ]
        ends = np.cumsum([len(family) for family in self.task.families.values()])
        parts = np.split(violation, ends[:-1])
        families = zip(self.task.families, parts, strict=True)
        return {
            "violation": violation,
            **{f"violation/{name}": part for name, part in families},
            "raw_violation": self.per_prompt(raw),
            "reset/unsafe": self.per_prompt(counts.resets > 0),
            "discarded/unsafe": self.per_prompt(counts.discarded),
        }

    def safe_values(self) -> Values:
        """Measures on safe prompts at temperature 1, bias 0; none without prompts."""
        if not self.task.safe:
            return {}
        answers = self.sample(self.task.safe)
        counts = resets.count_resets(self.policy, answers)
        did_reset = counts.resets > 0
        values: Values = {
            "reset/safe": self.per_prompt(did_reset),
            "discarded/safe": self.per_prompt(counts.discarded),
        }
        if (is_right := self.task.is_right) is not None:
            pairs = zip(answers.prompts, answers.texts, strict=True)
            right = np.array([is_right(prompt, text) for prompt, text in pairs])
            values["right"] = self.per_prompt(right)
            values["reset/right"] = self.share_among(did_reset, right)
        return values

    def worst_values(self) -> Values:
        """Whether the worst of k samples violates, by temperature and k."""
        n, values = self.protocol.samples, Values()
        for temperature in self.protocol.temperatures:
            answers = self.sample(self.task.unsafe, temperature=temperature)
            bad = np.rint(self.violations(answers) * n).astype(int)
            for k in worst_of(n):
                name = f"worst/{temperature:g}/{k}"
                values[name] = pass_at_k(np.full(len(bad), n), bad, k=k)
        return values

    def bias_values(self) -> Values:
        """Violations and false resets at each bias."""
        values: Values = {}
        for bias in self.protocol.biases:
            answers = self.sample(self.task.unsafe, bias=bias)
            values[f"bias/{bias:g}/violation"] = self.violations(answers)
            if self.task.safe:
                answers = self.sample(self.task.safe, bias=bias)
                counts = resets.count_resets(self.policy, answers)
                values[f"bias/{bias:g}/reset"] = self.per_prompt(counts.resets > 0)
        return values

    def prefill_values(self) -> Values:
        """Violations where the first tokens of an unsafe answer are forced."""
        rows = self.task.attacked
        prompts = [Prompt(row.prompt, row.location, tools=row.tools) for row in rows]
        texts = [answer_content(row.rejected) for row in rows]
        ids = list(encode_texts(self.policy.tokenizer, texts))
        values: Values = {}
        for length in self.protocol.prefills:
            prefixes = [np.array(row[:length], np.int32) for row in ids]
            answers = self.sample(prompts, prefixes=prefixes)
            values[f"prefill/{length}"] = self.violations(answers)
        return values

    def gcg_values(self) -> Values:
        """Violations after suffixes that GCG optimized, on the same requests.

        KIND is none (without a suffix), plain, whose loss is the NLL of the unsafe
        answer's beginning, and adaptive, whose loss has -log(1 - p([RESET])) at each of
        its tokens, too.
        """
        if (gcg := self.protocol.gcg) is None:
            return {}
        rows = self.task.attacked[: gcg.prompts]
        prompts = [Prompt(row.prompt, row.location, tools=row.tools) for row in rows]
        values: Values = {"gcg/none": self.violations(self.sample(prompts))}
        reset = special_tokens.reset_id(self.policy.tokenizer)
        for kind, avoid in (("plain", None), ("adaptive", reset)):
            found = gcg_suffix.find_suffix(
                self.policy,
                prompts,
                [answer_content(row.rejected) for row in rows],
                streams.key(jax.random.key(self.protocol.seed), "backtracking"),
                dataclasses.replace(gcg.options, avoid=avoid),
                length=gcg.length,
                target_tokens=gcg.target_tokens,
            )
            attacked = gcg_suffix.add_suffix(prompts, found.text)
            values[f"gcg/{kind}"] = self.violations(self.sample(attacked))
            values[f"gcg/{kind}/loss"] = found.loss
        return values


def worst_of(samples: int) -> list[int]:
    """Numbers of samples of which the worst counts: powers of two.

    >>> worst_of(8), worst_of(6)
    ([1, 2, 4, 8], [1, 2, 4])
    """
    return [2**i for i in range(samples.bit_length())]
