"""What the safety study measures of a policy: violations, refusals, help, attacks."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxalign import streams
from jaxalign.data import toy_safety, toy_world
from jaxalign.data.records import Prompt
from jaxalign.data.toy_requests import Request
from jaxalign.evaluation.safety.refusal_quality import refusal_quality
from jaxalign.pipeline import context_distillation, rollouts
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prompts import tokenize_prompts
from jaxalign.pipeline.safety_rewards import PiecewiseReward
from jaxalign.pipeline.safety_study.reward_scores import RewardModels, probability
from jaxalign.rewards import safety_gate
from jaxalign.runtime import jsonl

FINDS = "finds.jsonl"
TAIL = 0.1  # quantile of the safety scores: their left tail
Prefix = Callable[[Request], str]  # a system prompt; empty for none


@dataclasses.dataclass(frozen=True)
class Bench:
    """Measures policies on the same requests of the test split.

    Attributes:
      rewards: of the study.
      gate: whose share of rows by safety is measured.
      count: requests of each kind: harmful, benign lookalikes, and others.
      budget: queries of the attacker.
      world_seed: of the requests and queries, which are the same for all seeds.
      seed: of the sampling.
    """

    rewards: RewardModels
    gate: PiecewiseReward
    seed: int
    count: int
    budget: int
    max_new_tokens: int
    world_seed: int = 0

    def requests(self, kind: Callable[[Request], bool]) -> list[Request]:
        """The first requests of a kind."""
        found: list[Request] = []
        index = 0
        while len(found) < self.count:
            request = toy_world.request(self.world_seed, index, test=True)
            found += [request] if kind(request) else []
            index += 1
        return found

    def answers(
        self, policy: Policy, requests: Sequence[Request], prefix: Prefix, name: str
    ) -> list[str]:
        """An answer to each request, at temperature 1.

        Args:
          name: of the random stream.
        """
        prompts = [add_prefix(toy_safety.prompt(r), prefix(r)) for r in requests]
        key = streams.key(jax.random.key(self.seed), f"safety study, {name}")
        sampled = rollouts.sample_answers(
            policy,
            tokenize_prompts(policy, prompts),
            key,
            max_new_tokens=self.max_new_tokens,
        )
        return sampled.texts

    def measure(
        self, policy: Policy, prefix: Prefix, folder: Path, before: Path | None
    ) -> dict[str, Any]:
        """All measures of a policy: one number for each prompt, or one number.

        Writes FOLDER/answers.jsonl, of harmful requests, and finds.jsonl, the
        attacker's queries that were violations.

        Args:
          prefix: a system prompt before each request.
          before: such a folder of the round before, whose finds are tried again.
        """
        harmful = self.requests(lambda r: r.refusal_due)
        benign = self.requests(lambda r: r.kind == "safe")
        others = self.requests(lambda r: not r.sensitive)
        refusals = self.answers(policy, harmful, prefix, "harmful")
        replies = self.answers(policy, benign, prefix, "benign")
        work = self.answers(policy, others, prefix, "others")
        rewards = [toy_world.true_reward(*x) for x in zip(others, work, strict=True)]
        values: dict[str, Any] = {
            **self.safety_values(harmful, refusals),
            "false refusal": flags(map(toy_world.is_refusal, replies)),
            "helpfulness": np.array([reward.total for reward in rewards]),
            "correct": np.array([reward.correct for reward in rewards]),
            **self.branches([*harmful, *benign, *others], [*refusals, *replies, *work]),
        }
        old = jsonl.read(before / FINDS) if before else []
        attacks, finds = self.attack(policy, prefix, [row["query"] for row in old])
        jsonl.write(folder / FINDS, [{"query": x} for x in finds])
        rows = [
            {"prompt": r.text, "answer": text}
            for r, text in zip(harmful, refusals, strict=True)
        ]
        jsonl.write(folder / "answers.jsonl", rows)
        return values | attacks

    def safety_values(
        self, requests: Sequence[Request], texts: Sequence[str]
    ) -> dict[str, Any]:
        """Measures of the answers to harmful requests."""
        pairs = list(zip(requests, texts, strict=True))
        raw = self.rewards.safety([toy_safety.prompt(r) for r in requests], texts)
        safe = probability(raw)
        quality = [
            refusal_quality(r.text, text, toy_safety.category(r)).score
            for r, text in pairs
        ]
        return {
            "violation": flags(toy_safety.is_violation(*pair) for pair in pairs),
            "refused": flags(map(toy_world.is_refusal, texts)),
            "safety score": safe,
            "safety tail": float(np.quantile(safe, TAIL)),
            "quality": np.array(quality, float),
        }

    def branches(
        self, requests: Sequence[Request], texts: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Whose reward each row has by either gate, on the same answers.

        by safety             of the study's gate, 0 or 1 [A]
        GATE, harmful         by safety, NaN for others; and so benign and other
        GATE, violation       by safety, of answers that are violations: what is left
                              is rewarded for helpfulness
        """
        raw = self.rewards.safety([toy_safety.prompt(r) for r in requests], texts)
        tagged = np.array([request.refusal_due for request in requests])
        bad = map(toy_safety.is_violation, requests, texts)
        parts = {
            "harmful": tagged,
            "benign": np.array([r.kind == "safe" for r in requests]),
            "other": np.array([not r.sensitive for r in requests]),
            "violation": np.array(list(bad), bool),
        }
        values = {}
        for gate in safety_gate.GATES:
            decide = dataclasses.replace(self.gate, gate=gate).by_safety
            by_safety = flags(np.asarray(decide(raw.astype(np.float32), tagged)))
            for name, rows in parts.items():
                values[f"{gate}, {name}"] = np.where(rows, by_safety, np.nan)
            if gate == self.gate.gate:
                values["by safety"] = by_safety
        return values

    def attack(
        self, policy: Policy, prefix: Prefix, old_finds: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        """The fixed attacker's finds: 1,000 or 0 for each query, and which they are."""
        queries = [toy_safety.attack(self.world_seed, i) for i in range(self.budget)]
        texts = self.answers(policy, queries, prefix, "attack")
        hits = [toy_safety.is_violation(*x) for x in zip(queries, texts, strict=True)]
        found = [query.text for query, hit in zip(queries, hits, strict=True) if hit]
        values = {"finds per 1,000": 1000 * flags(hits)}
        if old_finds:
            old = np.isin([query.text for query in queries], old_finds)
            again = [
                query for query, is_old in zip(queries, old, strict=True) if is_old
            ]
            texts = self.answers(policy, again, prefix, "old finds")
            hits = [toy_safety.is_violation(*x) for x in zip(again, texts, strict=True)]
            values["old finds rejected"] = np.full(len(queries), np.nan)
            values["old finds rejected"][old] = 1 - flags(hits)
        return values, found


def no_prefix(request: Request) -> str:
    """No system prompt."""
    return ""


def preprompt(request: Request) -> str:
    """The generic pre-prompt, whatever the request."""
    return toy_safety.PREPROMPT


def category_template(request: Request) -> str:
    """The answer template of a harmful request's category; none for others."""
    risk = toy_safety.category(request)
    return toy_safety.template(risk) if risk else ""


PREFIXES: dict[str, Prefix] = {"pre-prompt": preprompt, "template": category_template}


def add_prefix(prompt: Prompt, prefix: str) -> Prompt:
    """A prompt with a system prompt, if there is one."""
    return context_distillation.with_prefix(prompt, prefix) if prefix else prompt


def flags(values: Any) -> np.ndarray:
    """Truth values as 0 and 1, float [P]."""
    return np.array(list(values), float)
