"""Preference losses side by side: how much reward each gets for its KL.

Every loss, at every beta and seed, is trained from the same references on the same
preferences. By default in exact worlds, where reward, KL and their best trade-off are
known: 8 losses x 4 betas x 5 seeds, each loss one compiled program.

    python -m experiments.benchmark
    python -m experiments.benchmark --losses dpo ipo nca --betas 0.1 1 --pairs 0
    python -m experiments.benchmark --world toy --model runs/sft/policy \\
        --data runs/collect/preferences --losses dpo ipo --betas 0.1 --seeds 2

A loss of your own joins by its name, here or in a notebook:

    mine = lambda chosen, rejected, ref_chosen, ref_rejected, *, beta: ...
    benchmark.main(benchmark.Config(losses=("dpo",)), losses={"mine": mine})

Writes OUT/table.csv (the end of training, a row a run), courses.csv (over training),
table.md (intervals over seeds), frontier.png and displacement.png.

The default took 16 s on two CPU cores (25 s beside other work). Seen, with 256 pairs a
world:

- All but dpo_positive lie near one line, well below the optimum's: at 1.5 nats the
  optimum has a reward of 1.2, ipo 0.8. What beta buys is mostly a place on that line.
- With infinite data (--pairs 0) dpo has no regret at any beta. With 256 pairs at beta 1
  it spends 1.8 nats where the optimum spends 0.3; cdpo spends 0.5. The price of few
  pairs is KL: reward by itself hardly turns down in 1000 steps.
- At beta 0.1 all but dpo_positive and sppo make chosen answers much less likely, and
  rejected ones still less: by 18 and 28 nats in dpo. Part of it is no error: with
  infinite data dpo, then at the optimum, lowers both too.
- One beta is not one strength: apo_zero's four lie within 0.2 nats, and dpo_positive
  (lam 5) hardly leaves the reference when labels are noisy.

In the toy world each variant is a whole run of experiments.dpo: keep the list short.
"""

import csv
import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import rich

from experiments import benchmark_plots as plots
from experiments import dpo as dpo_stage
from experiments import policies, rlhf, rollouts, sources, variants
from experiments.benchmark_plots import Row, by, mean
from experiments.config import Shared, folder_of, launch, mesh_of
from jaxalign.evaluation import report
from jaxalign.evaluation.intervals import bootstrap, paired
from jaxalign.training import objectives, pairwise

POINTS = 20  # of a course, beside its start


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Shared):
    """Preference losses side by side."""

    losses: tuple[str, ...] = (
        *("dpo", "cdpo", "ipo", "hinge"),
        *("dpo_positive", "apo_zero", "sppo", "simpo"),
    )
    """The losses, by name; the others are compared with the first."""
    betas: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    """Strengths of the hold on the reference (IPO's tau, ORPO's lam)."""
    seeds: int = 5
    """How many runs of each, of seeds --seed, --seed + 1, ..."""
    world: Literal["exact", "toy"] = "exact"
    """exact: worlds where all is known; toy: language models, see --dpo.*."""
    pairs: int = 256
    """Preferences in the sample (exact); 0 is infinitely many."""
    prompts: int = 8
    """Prompts in a world (exact)."""
    answers: int = 8
    """Answers to a prompt (exact)."""
    steps: int = 1000
    """Steps of Adam (exact)."""
    learning_rate: float = 0.1
    """Of Adam at the start; it falls as a cosine (exact)."""
    judge: str = "toy"
    """The data set whose programmed reward and held-out prompts judge (toy)."""
    eval_prompts: int = 256
    """Held-out prompts that every model answers (toy)."""
    dpo: dpo_stage.Config = dpo_stage.Config()


def main(
    config: Config, losses: Mapping[str, variants.Loss] | None = None
) -> list[dict[str, Any]]:
    """Trains and measures every variant; returns the rows of the table.

    Args:
      losses: your own by name, beside those that the configuration names: a function of
        (chosen, rejected, ref_chosen, ref_rejected) [B] and a keyword beta -> [B].
    """
    own = dict(losses or {})
    names = list(dict.fromkeys([*config.losses, *own]))
    out = folder_of(config, "benchmark")
    if not names or not config.betas or config.seeds < 1:
        raise ValueError("a benchmark needs a loss, a beta and a seed")
    if config.world == "exact":
        rows, best = exact_world(config, names, own)
    else:
        rows, best = toy_world(config, names, own, out), None
    check_finite(rows)
    last = [group[-1] for group in by(rows, "loss", "beta", "seed").values()]
    summary, leaders = table(last), compared(last)
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "courses.csv", rows)
    write_csv(out / "table.csv", last)
    text = f"{report.markdown(leaders)}\n{report.markdown(summary)}"
    (out / "table.md").write_text(text)
    told = f"{config.seeds} seeds"
    if config.world == "exact":
        told += f", {config.pairs or 'infinitely many'} pairs"
    plots.plot_frontier(out / "frontier.png", last, best, f"after training; {told}")
    low = min(config.betas)
    course = [r for r in rows if r["beta"] == low and r["chosen_ratio"] is not None]
    if course:
        title = f"training pairs at beta {low:g}; {told} (pale: single seeds)"
        plots.plot_displacement(out / "displacement.png", course, title)
    report.show(leaders, f"each loss at its best beta; {told}")
    rich.print(f"tables and plots are in [bold]{out}[/bold]")
    return summary


def exact_world(
    config: Config, names: Sequence[str], own: dict[str, variants.Loss]
) -> tuple[list[Row], tuple[Any, Any]]:
    """The rows of every variant at some steps, and the frontier of the optimum."""
    known = variants.LOSSES | own
    for name in names:
        pairwise.check(name, known)
    seeds = range(config.seed, config.seed + config.seeds)
    data = variants.make(
        seeds, prompts=config.prompts, answers=config.answers, pairs=config.pairs
    )
    betas = jnp.array(config.betas)
    # closer together at the start, where most happens
    marks = np.unique(config.steps * np.linspace(0, 1, POINTS + 1) ** 2 // 1).astype(
        int
    )
    rows = []
    for name in names:
        course = variants.train(
            known[name],
            data,
            betas,
            steps=config.steps,
            rate=config.learning_rate,
            marks=marks,
        )
        seen = {field: np.asarray(x) for field, x in course._asdict().items()}
        rows += [
            {"loss": name, "beta": beta, "seed": seed, "step": int(step)}
            | {field: float(x[s, b, i]) for field, x in seen.items()}
            for b, beta in enumerate(config.betas)
            for s, seed in enumerate(seeds)
            for i, step in enumerate(marks)
        ]
    return rows, variants.frontier(data.worlds, jnp.geomspace(0.01, 100.0, 200))


def toy_world(
    config: Config, names: Sequence[str], own: dict[str, variants.Loss], out: Path
) -> list[Row]:
    """The same of language models; only the last row of a run knows reward and KL."""
    if config.model == "toy":
        raise ValueError(
            "--world toy needs --model, the folder of an SFT policy, and --data, "
            "preferences on its answers: experiments.sft and experiments.collect "
            "make them"
        )
    for name in names:
        pairwise.check(name, [*objectives.PAIRWISE, "kto", *own])
    shared = {f.name: getattr(config, f.name) for f in dataclasses.fields(Shared)}
    shared |= {"data": config.judge}
    whole = rlhf.Config(**shared, eval_prompts=config.eval_prompts, dpo=config.dpo)
    source = sources.load(whole)
    sources.judge_of(source)
    rows = []
    for name in names:
        for beta in config.betas:
            for seed in range(config.seed, config.seed + config.seeds):
                folder = out / f"{name}-{beta:g}-{seed}"
                run = rlhf.stages(dataclasses.replace(whole, seed=seed), folder)
                knobs, loss = chosen_loss(name, beta, own)
                train = functools.partial(dpo_stage.main, loss=loss)
                run("dpo", train, model=config.model, data=config.data, **knobs)
                seen = course_of(folder / "dpo" / "metrics.jsonl")
                with jax.set_mesh(mesh_of(config)):
                    seen[-1] |= evaluated(whole, source, folder / "dpo" / "policy")
                about = {"loss": name, "beta": beta, "seed": seed}
                rows += [about | row for row in seen]
    return rows


def chosen_loss(
    name: str, beta: float, own: dict[str, variants.Loss]
) -> tuple[dict[str, Any], objectives.PairLoss | None]:
    """The flags of experiments.dpo for a variant, and the loss where it has no name.

    Of a loss by name, beta is its first knob: the one that its paper tunes.
    """
    if name in own:
        return {}, lambda p: own[name](*p[:4], beta=beta)
    knob = "beta" if name == "kto" else next(iter(objectives.knobs_of(name)))
    return {"loss": name, knob: beta}, None


def course_of(metrics: Path) -> list[Row]:
    """At most `POINTS` rows of a run of experiments.dpo, each a mean over its steps."""
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    rows = []
    for part in np.array_split(np.arange(len(lines)), min(POINTS, len(lines))):
        few = [lines[i] for i in part]
        row: Row = {"step": few[-1]["step"] + 1, "reward": None, "kl": None}
        for role in ("chosen", "rejected"):
            for field, name in ((role, "logp"), (f"{role}_ratio", "rewards")):
                known = f"{name}/{role}" in few[0]
                row[field] = mean(few, f"{name}/{role}") if known else None
        rows.append(row)
    return rows


def evaluated(config: rlhf.Config, source: sources.Source, folder: Path) -> Row:
    """The programmed reward and the KL of a policy's answers to held-out prompts."""
    policy = rlhf.load(config, source, folder)
    base = policies.load(config, source, mesh_of(config))
    answers = rollouts.answer(
        policy,
        rlhf.short(base, source, config.eval_prompts),
        jax.random.fold_in(jax.random.key(config.seed), 1),
        max_new_tokens=source.max_new_tokens,
    )
    judge = sources.judge_of(source)
    judged = judge(answers.prompts, answers.texts, answers.finished)
    ratio = rollouts.answer_logps(
        policy, policy.params, answers
    ) - rollouts.answer_logps(base, base.params, answers)
    return {"reward": float(judged["reward"].mean()), "kl": float(ratio.mean())}


def check_finite(rows: Sequence[Row]) -> None:
    """Stops at a variant that left the numbers.

    Raises:
      FloatingPointError: names it.
    """
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float) and not np.isfinite(value):
                raise FloatingPointError(
                    f"{row['loss']} at beta {row['beta']:g}, seed {row['seed']}: "
                    f"{name} is {value} at step {row['step']}"
                )


def table(last: Sequence[Row]) -> list[dict[str, Any]]:
    """One row a variant; intervals are over seeds, which are worlds where exact."""
    rows = []
    for (loss, beta), group in by(last, "loss", "beta").items():
        row = {"loss": loss, "beta": f"{beta:g}"}
        for name in ("reward", "kl", "regret", "chosen", "rejected"):
            values = [r.get(name) for r in group]
            row[name] = None if None in values else bootstrap(np.array(values))
        rows.append(row)
    return rows


def compared(last: Sequence[Row]) -> list[dict[str, Any]]:
    """Each loss at its beta of most reward, and its lead on the first, seed by seed."""
    rows: list[dict[str, Any]] = []
    first = None
    for loss, group in by(last, "loss").items():
        best = max(by(group, "beta").values(), key=lambda rows: mean(rows, "reward"))
        reward = np.array([row["reward"] for row in best])
        lead = None if first is None else paired(reward, first)
        first = reward if first is None else first
        row = {"loss": loss, "best beta": f"{best[0]['beta']:g}"}
        row |= {"reward": bootstrap(reward), f"over {last[0]['loss']}": lead}
        rows.append(row | {"kl": bootstrap(np.array([r["kl"] for r in best]))})
    return rows


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows; what is not known is empty."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, report.columns(rows))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    launch(main, Config)
