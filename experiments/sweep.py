"""Sweeps: one training program over values of its flags and several seeds.

    python -m experiments.sweep dpo --set beta=0.05,0.1,0.3 --seeds 3 \\
        --model runs/sft/policy --data preferences.jsonl --out runs/betas
    python -m experiments.sweep grpo --set method=grpo,rloo --set beta=0,0.04
    python -m experiments.sweep dpo --set beta=0.1,1 --print-commands > commands.txt

Flags that are none of the sweep's are those of the program, for all runs; so is
--config FILE after the program's name, such as the config.yaml of one of its runs.
--set may be repeated: all combinations are run. Every value is checked before the first
run.

Runs start one after the other, here, each as a process with a folder of its own,
OUT/beta=0.1,seed=0; what it prints is in OUT/logs. One that fails is reported by name
with its error, and the sweep goes on, to end with status 1. Ctrl-C and SIGTERM go on to
the run, which saves itself. The same command again, in the same --out, runs only what
is not done (numbers.json), and continues what was interrupted from its last checkpoint;
more values or seeds may be added. --print-commands prints the commands of
the runs that are not done, one a line, for a cluster's own scheduler; they may be
started again at any time. Afterwards the sweep itself makes the table.

Writes OUT/report.md and report.html: a table, a row for each variant, with 95 %
intervals over seeds (Student's t), and a plot: reward against KL where the runs have
both held out, or the metrics against the value that varies (sweep.png); numbers.json.
"""

import contextlib
import dataclasses
import importlib
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from jaxalign import messages
from jaxalign.evaluation import sweep_plots, sweep_tables
from jaxalign.evaluation.page import Page, Section
from jaxalign.evaluation.sweep_tables import Variants
from jaxalign.pipeline import loss_flags
from jaxalign.runtime import (
    cli,
    config_file,
    config_values,
    flags,
    sweep_grid,
    sweep_runs,
)
from jaxalign.runtime.report_config import ReportConfig
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.run_folder import folder_of
from jaxalign.runtime.sweep_grid import SweepRun

PROGRAMS = ("sft", "reward_model", "dpo", "kto", "ppo", "grpo", "online_dpo", "distill")
REWARD_KL = ("eval/reward", "eval/kl")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ReportConfig):
    """A training program over values of its flags; --seed is the first seed."""

    program: Annotated[str, tyro.conf.Positional]
    """The training program, such as dpo."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = flags.resumable(())
    """Values of a field, as FIELD=VALUE,VALUE,...; may be repeated."""
    seeds: int = flags.resumable(1)
    """Number of seeds: --seed, --seed + 1, ..."""
    metric: tuple[str, ...] = flags.resumable(())
    """Names of numbers.json for table and plot; by default held-out ones: reward, KL,
    accuracy, margin, length, perplexity, or else the loss."""
    print_commands: bool = flags.resumable(False)
    """Print the commands of the runs that are not done, and run nothing."""
    flags: str = ""
    """Flags of the program in one text; at the command line they need not be in it."""


def main(config: Config) -> dict[str, Any]:
    """Runs what is not done, and returns the numbers of each variant by its name.

    `failed` has the error of each run that failed, by the run's name.

    Raises:
      ValueError: an unknown program or field, a value out of range, or a folder that
        was made with other flags: before anything is run. No run has ended well.
    """
    folder = folder_of(config, "sweep")
    runs = planned_runs(config, folder)
    open_runs = [run for run in runs if not sweep_runs.is_done(run)]
    if config.print_commands:
        for run in open_runs:
            print(run.command(config.program))
        return {"runs": len(runs), "done": len(runs) - len(open_runs)}
    config = dataclasses.replace(config, out=folder, resume=True)
    with ReportRun(config, "sweep") as report:
        failed = start_all(config, report, open_runs, len(runs))
        variants = sweep_runs.numbers_by_variant(runs)
        if len(failed) == len(runs):
            name, error = next(iter(failed.items()))
            raise ValueError(f"no run of the sweep has ended well; {name}: {error}")
        metrics = select_metrics(config, variants)
        publish(config, report, variants, metrics, failed)
        rows = sweep_tables.rows(variants, metrics)
        by_model = {
            sweep_grid.variant_name(variant) or config.program: {
                name: row[name] for name in ("seeds", *metrics)
            }
            for (variant, _), row in zip(variants, rows, strict=True)
        }
        numbers = {"runs": len(runs), "done": len(runs) - len(failed)}
        return report.finish(numbers | {"failed": failed, "by_model": by_model})


def planned_runs(config: Config, folder: Path) -> list[SweepRun]:
    """The runs of the sweep, all of them checked.

    Raises:
      ValueError: see `main`.
    """
    if config.program not in PROGRAMS:
        raise messages.unknown_name("program", config.program, PROGRAMS)
    # only the swept program is loaded, and run as a process; no code of it is shared
    module = importlib.import_module(f"experiments.{config.program}")
    runs = sweep_grid.make_runs(
        module.Config,
        shlex.split(config.flags),
        sweep_grid.parse_settings(config.set),
        seeds=range(config.seed, config.seed + config.seeds),
        out=folder,
    )
    for run in runs:
        if isinstance(run.config, loss_flags.LossFlags):
            with flags.prefix_errors(run.folder.name):
                loss_flags.configured_loss(run.config)
    return runs


def start_all(
    config: Config, report: ReportRun, runs: Sequence[SweepRun], total: int
) -> dict[str, str]:
    """Runs the runs, one after the other; returns the errors by name.

    Raises:
      KeyboardInterrupt, SystemExit: the sweep is interrupted.
    """
    if runs and os.environ.get("JAXALIGN_DISTRIBUTED"):
        raise ValueError(
            "a sweep starts its runs in one process each: unset JAXALIGN_DISTRIBUTED, "
            "or start the commands of --print-commands"
        )
    say = lambda text: report.say(f"sweep: {text}")
    done, failed = total - len(runs), {}
    say(f"{total} runs, {done} of them done before")
    for i, run in enumerate(runs, 1):
        name = run.folder.name
        log = report.folder / sweep_runs.LOGS / f"{name}.log"
        say(f"{name} ({i} of {len(runs)}), output in {log}")
        begin = time.perf_counter()
        try:
            error = sweep_runs.start_run(run, config.program, log, say)
        except (KeyboardInterrupt, SystemExit) as stopped:
            advice = f"{done} of {total} runs done; the same command with --out "
            advice += f"{report.folder} continues {name} from its last checkpoint"
            if isinstance(stopped, SystemExit):
                say(f"preempted: {advice}")
            stopped.add_note(advice)
            raise
        seconds = time.perf_counter() - begin
        if error:
            failed[name] = error
            say(f"{name} failed after {seconds:.0f} s: {error}")
        else:
            done += 1
            say(f"{name} done in {seconds:.0f} s")
    return failed


def select_metrics(config: Config, variants: Variants) -> list[str]:
    """The metrics of the table and the plot.

    Raises:
      ValueError: no run has one of --metric; the runs stay, and the command with
        another makes the report.
    """
    known = dict.fromkeys(name for _, seeds in variants for x in seeds for name in x)
    for name in config.metric:
        if name not in known:
            raise messages.unknown_name("metric", name, known)
    return list(config.metric) or sweep_tables.select_metrics(variants)


def publish(
    config: Config,
    report: ReportRun,
    variants: Variants,
    metrics: Sequence[str],
    failed: dict[str, str],
) -> None:
    """Prints the table, and writes it with the plot."""
    rows = sweep_tables.rows(variants, metrics)
    if not config.set:
        rows = [{"program": config.program} | row for row in rows]
    text = (
        "Means over seeds with 95 % intervals (Student's t), which hold for the "
        "held-out rows that all runs share; ± ? with a single seed."
    )
    path = report.folder / "sweep.png"
    image = plot(path, config, variants, metrics) if metrics else None
    sections = [Section(f"Variants of {config.program}", text, rows, image)]
    if failed:
        errors = [{"run": name, "error": text} for name, text in failed.items()]
        sections.append(Section("Runs that failed", rows=errors))
    report.publish(Page(f"Sweep of {config.program}", sections, command_of(config)))
    if all(len(seeds) < 2 for _, seeds in variants):
        report.say("sweep: one seed of each: no intervals (± ?); --seeds 3 adds seeds")


def plot(
    path: Path, config: Config, variants: Variants, metrics: Sequence[str]
) -> Path:
    """Plots reward against KL, or the metrics against the value that varies."""
    finished = [(variant, seeds) for variant, seeds in variants if seeds]
    reward, kl = REWARD_KL
    have_both = all(set(REWARD_KL) <= set(x) for _, seeds in finished for x in seeds)
    if config.metric or not have_both:
        return sweep_plots.plot_sweep(path, finished, metrics)
    pairs = {
        sweep_grid.variant_name(variant) or config.program: [
            (numbers[kl], numbers[reward]) for numbers in seeds
        ]
        for variant, seeds in finished
    }
    return sweep_plots.plot_frontier(
        path, pairs, reward="held-out reward", title=config.program
    )


def command_of(config: Config) -> str:
    """The command that makes the report again."""
    words = ["python", "-m", "experiments.sweep", config.program]
    words += [word for setting in config.set for word in ("--set", setting)]
    words += ["--seeds", str(config.seeds)] + (
        ["--seed", str(config.seed)] if config.seed else []
    )
    words += ["--metric", *config.metric] if config.metric else []
    words += ["--out", str(config.out), *shlex.split(config.flags)]
    return shlex.join(words)


def command(config: Config) -> None:
    """Sweeps without an accelerator of its own: that is for the runs.

    Raises:
      ValueError: some run failed; the report has the others.
    """
    jax.config.update("jax_platforms", "cpu")
    numbers = main(config)
    if failed := numbers.get("failed"):
        raise ValueError(
            f"{len(failed)} of {numbers['runs']} runs failed: {', '.join(failed)}; the "
            "same command runs them again"
        )


def join_flags(arguments: Sequence[str]) -> list[str]:
    """A command line whose flags of the program are in one, --flags.

    They come after those of a sweep's own file, --config FILE as the first words.
    """
    own, theirs = sweep_grid.split_arguments(arguments, Config)
    with contextlib.suppress(ValueError):  # raised again where the file is read
        file, _ = config_file.split_flag(own)
        if file and theirs:
            before = config_values.read_yaml(file, "--config").get("flags", "")
            theirs = [*shlex.split(before), *theirs]
    return [*own, f"--flags={shlex.join(theirs)}"] if theirs else own


if __name__ == "__main__":
    sys.argv[1:] = join_flags(sys.argv[1:])
    cli.run_command(command, Config)
