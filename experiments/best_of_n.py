"""Best-of-n: what a reward is worth that chooses among a policy's answers.

Samples --samples answers to each held-out prompt, and reports for n = 1, 2, 4, ... what
the reward that chooses (the proxy) and the data set's programmed reward (the true one)
say of the best of n by the proxy: its mean over all subsets of n answers, so that one
set of samples serves every n (`jaxalign.evaluation.best_of_n`). Against

    KL(best of n || policy) = log n - (n - 1) / n

in nats, an upper bound where answers repeat. Where the proxy goes on rising and the
true reward turns down, the proxy is over-optimised (Gao et al. 2022, arXiv:2210.10760).

    python -m experiments.best_of_n --model runs/sft/policy --reward runs/reward/reward

Intervals are over prompts, of this one model; answers are at --temperature, which the
table's title says. Writes OUT/table.md and table.json, samples.md, and reward_kl.png,
where each reward is in standard deviations of the policy's own answers above their
mean. `best possible` is the best of n by the true reward itself.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np

from jaxalign import streams
from jaxalign.data import splits
from jaxalign.evaluation import plots, sample_metrics
from jaxalign.evaluation.best_of_n import (
    best_of_n_rewards,
    powers_of_two,
)
from jaxalign.evaluation.intervals import (
    Gain,
    Interval,
    Units,
    bootstrap,
    paired_difference,
)
from jaxalign.pipeline import (
    datasets,
    held_out,
    held_out_tables,
    policies,
    reward_functions,
    rollouts,
)
from jaxalign.pipeline.prompts import tokenize_prompts
from jaxalign.runtime import flags, tables
from jaxalign.runtime.cli import launch
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.run import Run

Curves = dict[
    str, np.ndarray
]  # by what is reported: the best of each n [powers_of_two P]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """The best of n answers, by a proxy and as the true reward has it."""

    RANGES: ClassVar = {"samples": flags.FROM_2}
    reward: str
    """What chooses, the proxy: a reward model's folder, programmed, or another of
    `jaxalign.pipeline.reward_functions`, such as length:40."""
    prompts: int = 128
    """Held-out prompts."""
    samples: int = 64
    """Answers to a prompt, the largest n."""
    temperature: float = 1.0
    """Of the sampling: that at which the policy will be used."""
    max_new_tokens: int | None = None
    """Longest answer; by default what the data set suggests."""


def main(config: Config) -> list[held_out_tables.Row]:
    """Samples, scores and reports; returns the rows of the table, one an n."""
    with Run(config, "best_of_n") as run:
        source = datasets.load(config)
        policy = policies.load(config, source, run.mesh)
        score = reward_functions.make_reward_function(
            config.reward, config.dtype, policy, source
        )
        room = config.max_new_tokens or source.max_new_tokens
        prompts = held_out.fitting_prompts(
            policy, source, config.prompts, room, run.note
        )
        run.describe_data(source.accounts())
        answers = rollouts.sample_answers(
            policy,
            tokenize_prompts(policy, prompts),
            streams.key(jax.random.key(config.seed), "best of n"),
            max_new_tokens=room,
            samples=config.samples,
            temperature=config.temperature,
        )
        proxy = reward_functions.score_answers(score, answers, mesh=run.mesh)
        values = {"proxy reward": proxy}
        if source.reward is not None:
            judged = source.reward(answers.prompts, answers.texts, answers.finished)
            values["true reward"] = judged["reward"]
        values = {k: r.reshape(-1, config.samples) for k, r in values.items()}
        ns = powers_of_two(config.samples)
        found = curves(values, ns)
        lengths = answers.lengths.reshape(-1, config.samples)
        units = splits.prompt_hashes(answers.prompts[:: config.samples])
        best_lengths = best_of_n_rewards(lengths, values["proxy reward"], ns)
        rows = table(found, best_lengths, ns, units)
        title = (
            f"{config.model} at temperature {config.temperature:g}, chosen by "
            f"{config.reward}; {len(lengths)} held-out prompts, 95 % intervals over "
            "them, of this one model"
        )
        tables.publish(run.folder, {title: rows})
        draw(run.folder, points(found, values, ns, units))
        write_best(run.folder, answers, values["proxy reward"])
        run.say(f"table, plot and answers are in {run.folder}")
        last = {k: v.mean for k, v in rows[-1].items() if isinstance(v, Interval)}
        run.finish({"n": config.samples, "temperature": config.temperature} | last)
        return rows


def curves(values: dict[str, np.ndarray], ns: Sequence[int]) -> Curves:
    """What each reward has the best of n by the proxy be worth; of values [P N]."""
    proxy = values["proxy reward"]
    found = {name: best_of_n_rewards(gold, proxy, ns) for name, gold in values.items()}
    if "true reward" in values:
        true = values["true reward"]
        found["best possible"] = best_of_n_rewards(true, true, ns)
    return found


def table(
    found: Curves, lengths: np.ndarray, ns: Sequence[int], units: Units
) -> list[held_out_tables.Row]:
    """One row an n; the gain is paired with n = 1, by prompt.

    Args:
      units: of the intervals, the unit of each prompt [P].
    """
    rows = []
    for i, n in enumerate(ns):
        row: held_out_tables.Row = {"n": n, "KL (nats)": sample_metrics.kl_best_of_n(n)}
        row |= {name: bootstrap(curve[i], units=units) for name, curve in found.items()}
        if "true reward" in found:
            true = found["true reward"]
            gain = paired_difference(true[i], true[0], units=units)
            row["true gain"] = Gain(*gain) if i else None
        row["length"] = bootstrap(lengths[i], units=units)
        rows.append(row)
    return rows


def points(
    found: Curves, values: dict[str, np.ndarray], ns: Sequence[int], units: Units
) -> dict[str, list[tuple[float, Interval]]]:
    """KL and gain of each curve, in its reward's standard deviations; [P N] values."""
    series = {}
    for name, curve in found.items():
        spread = values[name if name in values else "true reward"].std() or 1.0
        gains = (curve - curve[0]) / spread
        series[name] = [
            (sample_metrics.kl_best_of_n(n), bootstrap(gain, units=units))
            for n, gain in zip(ns, gains, strict=True)
        ]
    return series


def draw(out: Path, series: dict[str, list[tuple[float, Interval]]]) -> None:
    """Draws reward_kl.png."""
    plots.plot_reward_kl(
        out / "reward_kl.png",
        series,
        reward="gain in standard deviations",
        joined_by="larger n",
    )


def write_best(out: Path, answers: rollouts.Answers, proxy: np.ndarray) -> None:
    """Writes the first answer to some prompts, and the best by the proxy [P N]."""
    prompts, samples = proxy.shape
    first = np.arange(prompts) * samples
    said = {
        "the first": first,
        f"the best of {samples}": first + sample_metrics.best_index(proxy),
    }
    tables.write_answers(
        out,
        [prompt.messages for prompt in answers.prompts[::samples]],
        {name: [answers.texts[i] for i in at] for name, at in said.items()},
    )


if __name__ == "__main__":
    launch(main, Config)
