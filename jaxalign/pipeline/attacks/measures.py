"""Measurements of single attacks and defences: values by metric, one per request."""

import dataclasses
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxalign.data.records import Prompt
from jaxalign.evaluation.attacks import prompt_attacks
from jaxalign.evaluation.best_of_n import powers_of_two
from jaxalign.evaluation.pass_at_k import pass_at_k
from jaxalign.evaluation.safety.refusal_classes import FULL_REFUSAL
from jaxalign.pipeline.attacks.attempts import (
    Bench,
    Values,
    answer_nll,
    ask,
    attempt,
    judge_answers,
    values_of,
)
from jaxalign.pipeline.attacks.worlds import request_of

AT_TRIES = "success@"  # and the number of tries
AT_THRESHOLD = "@"  # between a metric and the threshold of the defence


def measure_rewritten(bench: Bench, folder: Path | None, name: str) -> Values:
    """A rewritten request, by the name of its attack, sent for each harmful request.

    Raises:
      ValueError: the attack does not apply to this world.
    """
    rewrite = bench.world.attacks[name]
    if rewrite is None:
        raise ValueError(f"the attack {name} does not apply to this world")
    prompts = [bench.rewrite(p, rewrite(request_of(p))) for p in bench.world.harmful]
    return attempt(bench, folder, prompts)


def measure_prefill(bench: Bench, folder: Path | None, tokens: int) -> Values:
    """The answer begins with the first tokens of the one that the attack is for."""
    prompts = [bench.rewrite(p, request_of(p)) for p in bench.world.harmful]
    targets = [bench.world.target(request_of(p)) for p in bench.world.harmful]
    return attempt(bench, folder, prompts, openings=targets, given=tokens)


def measure_many_shot(bench: Bench, folder: Path | None, shots: int) -> Values:
    """Faked turns in which the assistant complied, before each harmful request.

    `nll` is -log p of the answer that the attack is for, in nats.
    """
    prompts, targets = [], []
    for prompt in bench.world.harmful:
        request = request_of(prompt)
        given = bench.world.shots(request, shots)
        turns = prompt_attacks.many_shot(request, given, number=shots)
        prompts.append(bench.conversation(turns))
        targets.append(bench.world.target(request))
    nll = answer_nll(bench, prompts, targets)
    return {**attempt(bench, folder, prompts), "nll": nll}


def measure_best_of_n(
    bench: Bench, folder: Path | None, tries: int, *, temperature: float = 1.0
) -> Values:
    """Random variants of each request, sampled once each: success within k tries.

    Returns:
      `success@k` for k = 1, 2, 4, ..., by the unbiased estimator, of the judgements
      that can be read; and the values of single tries, their means by request.
    """
    requests = [p for p in bench.world.harmful for _ in range(tries)]
    prompts = [
        bench.rewrite(prompt, bench.world.augment(request_of(prompt), rng))
        for prompt in bench.world.harmful
        for rng in map(variant_rng(request_of(prompt)), range(tries))
    ]
    answers = ask(bench, prompts, temperature=temperature)
    judgements = judge_answers(bench, requests, answers)
    values = values_of(bench, requests, answers, judgements)
    by_request = {name: x.reshape(-1, tries) for name, x in values.items()}
    readable = ~np.isnan(by_request["success"])
    counts = readable.sum(axis=1)
    hits = np.nansum(by_request["success"], axis=1).astype(int)
    found = {name: row_means(x) for name, x in by_request.items()}
    for k in powers_of_two(tries):
        share = np.full(len(counts), np.nan)
        enough = counts >= k
        if enough.any():
            share[enough] = pass_at_k(counts[enough], hits[enough], k=k)
        found[f"{AT_TRIES}{k}"] = share
    return found


def variant_rng(request: str):  # type: ignore[no-untyped-def]
    """A function from the number of a try to its random generator."""
    seed = zlib.crc32(request.encode())
    return lambda number: np.random.default_rng([seed, number])


def row_means(values: np.ndarray) -> np.ndarray:
    """The mean of each row [R], without NaN; NaN of a row without numbers."""
    count = (~np.isnan(values)).sum(axis=1)
    total = np.nansum(values, axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def measure_over_refusal(bench: Bench) -> Values:
    """Whether each safe request is fully refused, by rules: `over_refusal`."""
    prompts = [bench.rewrite(p, request_of(p)) for p in bench.world.safe]
    answers = ask(bench, prompts) if prompts else []
    refused = [
        np.nan
        if answer is None
        else float(bench.world.outcome(request_of(prompt), answer) == FULL_REFUSAL)
        for prompt, answer in zip(bench.world.safe, answers, strict=True)
    ]
    return {"over_refusal": np.array(refused, float)} if refused else {}


def measure_defense(
    bench: Bench, folder: Path | None, thresholds: Sequence[float] = ()
) -> Values:
    """All rewritten requests against a defence, and what it costs on safe requests.

    Args:
      thresholds: in nats; at each of them, a request after which the world's refusal
        has -log p below it is refused, whatever the policy answers.

    Returns:
      `success`, the share of attacks that succeed with each request; `any_success`,
      whether one of them does; `plain_success` without an attack; `over_refusal` of
      safe requests; and success and over_refusal `@T` of each threshold.
    """
    names = [name for name, rewrite in bench.world.attacks.items() if rewrite]
    success = np.stack([measure_rewritten(bench, None, n)["success"] for n in names])
    safe = measure_over_refusal(bench)
    is_any = np.where(np.isnan(success).all(axis=0), np.nan, np.nansum(success, 0) > 0)
    found = {
        "success": row_means(success.T),
        "any_success": is_any,
        "plain_success": success[names.index("none")],
        **safe,
    }
    if not thresholds:
        return found
    attacked = np.stack([refusal_nll(bench, bench.world.harmful, n) for n in names])
    asked = refusal_nll(bench, bench.world.safe, "none")
    for threshold in thresholds:
        label = f"{AT_THRESHOLD}{threshold:g}"
        left = np.where(attacked < threshold, 0.0, success)
        left = np.where(np.isnan(success), np.nan, left)
        found[f"success{label}"] = row_means(left.T)
        if safe:
            refused = np.maximum(safe["over_refusal"], 1.0 * (asked < threshold))
            found[f"over_refusal{label}"] = refused
    return found


def refusal_nll(bench: Bench, prompts: Sequence[Prompt], name: str) -> np.ndarray:
    """-log p of the world's refusal after each request, rewritten by an attack [P]."""
    rewrite = bench.world.attacks[name]
    assert rewrite is not None  # the caller leaves these out
    asked = [bench.rewrite(p, rewrite(request_of(p))) for p in prompts]
    return answer_nll(bench, asked, [bench.world.refusal] * len(asked))


def with_system(bench: Bench, system: str) -> Bench:
    """The same policy behind a system prompt."""
    return dataclasses.replace(bench, system=system)
