"""Best-of-n: proxy and true reward of the best of n answers, against its KL.

Samples --samples answers to each held-out prompt. For n = 1, 2, 4, ... it reports two
rewards of the answer with the highest proxy reward among n: the proxy's own, and the
data set's rule-based one (the true reward). Each is a mean over all subsets of n
answers, so that one set of samples serves every n (`jaxalign.evaluation.best_of_n`),
beside

    KL(best of n || policy) = log n - (n - 1) / n

in nats, an upper bound where answers repeat. Where the proxy still rises and the true
reward falls, the proxy is over-optimized (Gao et al. 2022, arXiv:2210.10760).

    python -m experiments.best_of_n --model runs/sft/policy --reward runs/reward/reward

Intervals are over prompts, of this one model; answers are sampled at --temperature,
which the table's title states. Writes OUT/table.md and table.json, samples.md, and
reward_kl.png, with each reward in standard deviations of the policy's own answers above
their mean. `best possible` is the best of n by the true reward itself.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np

from jaxalign import streams
from jaxalign.data import splits
from jaxalign.evaluation import by_field, plots, sample_metrics
from jaxalign.evaluation.best_of_n import (
    best_of_n_rewards,
    powers_of_two,
)
from jaxalign.evaluation.by_field import RowMetric
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
from jaxalign.pipeline.reward_terms import Reward, describe_reward
from jaxalign.runtime import flags, tables
from jaxalign.runtime.cli import launch
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.run import Run
from jaxalign.runtime.split_flags import SplitFlags

# The rewards of the best of each n, float [number of ns, P] each, by name.
Curves = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(SplitFlags, RunConfig):
    """Proxy and true reward of the best of n answers."""

    RANGES: ClassVar = {"samples": flags.FROM_2}
    reward: str
    """The proxy reward, which selects: a reward model's folder, programmed (the data
    set's rule-based reward), or another of docs/rewards.md, such as my.py:function."""
    prompts: int = 128
    """Held-out prompts."""
    samples: int = 64
    """Answers to each prompt, the largest n."""
    temperature: float = 1.0
    """Sampling temperature: that at which the policy will be used."""
    max_new_tokens: int | None = None
    """Tokens of the longest answer; by default the data set's."""


def main(config: Config, reward: Reward | None = None) -> list[held_out_tables.Row]:
    """Samples answers, scores them and writes tables; returns one row for each n.

    Args:
      reward: in place of --reward: a function, see `jaxalign.pipeline.own_rewards`, or
        weights by function or name.
    """
    with Run(config, "best_of_n") as run:
        source = datasets.load(config)
        held_out.check_split(config.split_by, source)
        policy = policies.load(config, source, run.mesh)
        reward_fn = reward_functions.make_reward_function(
            reward or config.reward, config.dtype, policy, source
        )
        max_new_tokens = config.max_new_tokens or source.max_new_tokens
        prompts = held_out.fitting_prompts(
            policy, source, config.prompts, max_new_tokens, run.note
        )
        run.describe_data(source.accounts())
        answers = rollouts.sample_answers(
            policy,
            tokenize_prompts(policy, prompts),
            streams.key(jax.random.key(config.seed), "best of n"),
            max_new_tokens=max_new_tokens,
            samples=config.samples,
            temperature=config.temperature,
        )
        by_prompt = lambda values: values.reshape(-1, config.samples)
        proxy = reward_functions.score_answers(reward_fn, answers, mesh=run.mesh)
        rewards = {"proxy reward": by_prompt(proxy)}
        if source.reward is not None:
            metrics = source.reward(answers.prompts, answers.texts, answers.finished)
            rewards["true reward"] = by_prompt(metrics["reward"])

        ns = powers_of_two(config.samples)
        curves = best_of_n_curves(rewards, ns)
        lengths = best_of_n_rewards(
            by_prompt(answers.lengths), rewards["proxy reward"], ns
        )
        units = splits.prompt_hashes(answers.prompts[:: config.samples])
        rows = table(curves, lengths, ns, units)
        fields = [prompt.fields for prompt in prompts]
        split = by_field.group_tables(
            by_field.group_rows(fields, config.split_by, "held-out row"),
            {k: RowMetric(x[-1], has_interval=True) for k, x in curves.items()},
            units=units,
            count="prompts",
        )
        title = (
            f"{config.model} at temperature {config.temperature:g}, best by "
            f"{describe_reward(reward or config.reward)}; {len(prompts)} held-out "
            "prompts, 95 % intervals over them, of this one model"
        )
        named = {
            f"the best of {config.samples} by {name}": by_field.titled_rows(name, part)
            for name, part in split.items()
        }
        tables.publish(run.folder, {title: rows} | named)
        plot(run.folder, gains_by_kl(curves, rewards, ns, units))
        write_best(run.folder, answers, rewards["proxy reward"])
        run.say(f"table, plot and answers are in {run.folder}")
        last = {k: v.mean for k, v in rows[-1].items() if isinstance(v, Interval)}
        numbers = {"n": config.samples, "temperature": config.temperature}
        split_numbers = by_field.flatten(by_field.named_numbers(split))
        run.finish(numbers | last | split_numbers)
        return rows


def best_of_n_curves(rewards: dict[str, np.ndarray], ns: Sequence[int]) -> Curves:
    """The rewards of the best of n by the proxy, and of the best by the true reward.

    Args:
      rewards: "proxy reward", and "true reward" if there is one, float [P N] each.
    """
    proxy = rewards["proxy reward"]
    curves = {name: best_of_n_rewards(r, proxy, ns) for name, r in rewards.items()}
    if "true reward" in rewards:
        true = rewards["true reward"]
        curves["best possible"] = best_of_n_rewards(true, true, ns)
    return curves


def table(
    curves: Curves, lengths: np.ndarray, ns: Sequence[int], units: Units
) -> list[held_out_tables.Row]:
    """One row for each n; the gain over n = 1 is paired by prompt.

    Args:
      lengths: tokens of the best of n by the proxy, float [number of ns, P].
      units: the unit of each prompt, over which intervals are, [P].
    """
    rows = []
    for i, n in enumerate(ns):
        row: held_out_tables.Row = {"n": n, "KL (nats)": sample_metrics.kl_best_of_n(n)}
        row |= {name: bootstrap(x[i], units=units) for name, x in curves.items()}
        if "true reward" in curves:
            true = curves["true reward"]
            gain = paired_difference(true[i], true[0], units=units)
            row["true gain"] = Gain(*gain) if i else None
        row["length"] = bootstrap(lengths[i], units=units)
        rows.append(row)
    return rows


def gains_by_kl(
    curves: Curves, rewards: dict[str, np.ndarray], ns: Sequence[int], units: Units
) -> dict[str, list[tuple[float, Interval]]]:
    """(KL, gain over n = 1) of each curve, gains in standard deviations of its reward.

    Args:
      rewards: of the policy's own answers, float [P N] each.
    """
    series = {}
    for name, curve in curves.items():
        reward = rewards[name if name in rewards else "true reward"]
        gains = (curve - curve[0]) / (reward.std() or 1.0)
        series[name] = [
            (sample_metrics.kl_best_of_n(n), bootstrap(gain, units=units))
            for n, gain in zip(ns, gains, strict=True)
        ]
    return series


def plot(out: Path, series: dict[str, list[tuple[float, Interval]]]) -> None:
    """Plot gains against KL to reward_kl.png."""
    plots.plot_reward_kl(
        out / "reward_kl.png",
        series,
        reward="gain in standard deviations",
        joined_by="larger n",
    )


def write_best(out: Path, answers: rollouts.Answers, proxy: np.ndarray) -> None:
    """Write the first answer to some prompts beside the best by the proxy [P N]."""
    prompts, samples = proxy.shape
    first = np.arange(prompts) * samples
    columns = {
        "the first": first,
        f"the best of {samples}": first + sample_metrics.best_index(proxy),
    }
    tables.write_answers(
        out,
        [prompt.messages for prompt in answers.prompts[::samples]],
        {name: [answers.texts[i] for i in rows] for name, rows in columns.items()},
    )


if __name__ == "__main__":
    launch(main, Config)
