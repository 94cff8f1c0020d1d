"""Every metric that a run logs stands in the table of docs/metrics.md."""

import re
from pathlib import Path

import pytest

from jaxalign.training import metrics
from tests.support import quick, small_runs

DOCUMENT = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text("utf-8")
PLACEHOLDER = re.compile(r"NAME|VALUE|SIDE")
# flags under which a program has further metrics
VARIANTS = {
    "sft": {},
    "dpo": {},
    "dpo reference-free": {"loss": "simpo"},
    "dpo reward shift": {"loss": "bco_pair"},
    "kto": {},
    "reward_model": {},
    "ppo": {"ptx_weight": "0.5", "data": "sft", "ptx_batch": "8"},
    "grpo": {},
    "grpo on policy": {"minibatches": "1"},
    "online_dpo": {},
    "distill": {},
    "distill on policy": {"lmbda": "1"},
}
COMMON = {"step", "loss", "grad_norm", "learning_rate", "epoch"}
SAMPLED = {"reward", "reward_std", "eos", "truncated", "length", "kl"}


def documented() -> list[re.Pattern[str]]:
    """A pattern for each name in the first column of the table of metrics."""
    section = DOCUMENT.split("\n## Metrics\n")[1]
    cells = [line.split("|")[1] for line in section.splitlines() if line[:2] == "| "]
    names = [name for cell in cells for name in re.findall("`([^`]+)`", cell)]
    return [
        re.compile(".+".join(map(re.escape, PLACEHOLDER.split(name)))) for name in names
    ]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_runs.prepare(tmp_path_factory.mktemp("names"))


@pytest.mark.parametrize("name", quick.only(["sft", "grpo"], VARIANTS))
def test_every_metric_of_a_small_run_is_documented(base, tmp_path, name):
    program, flags = name.split()[0], dict(VARIANTS[name])
    if flags.get("data") == "sft":
        flags["data"] = str(base / "pairs.jsonl")
    given = {"mesh": "data=1", "steps": "1", **flags}
    pairs = [f"{key}={value}" for key, value in given.items()]
    module, config = small_runs.experiment_config(base, tmp_path, program, pairs)
    logged: dict[int, set[str]] = {}
    watch = lambda step, numbers: logged.setdefault(step, set()).update(numbers)
    module.main(config, loggers=[watch])
    lines = metrics.read_log(tmp_path)
    names = {name for line in lines for name in line}
    (step,) = metrics.read_steps(tmp_path)
    assert step.keys() >= COMMON
    samples = program in ("ppo", "grpo", "online_dpo")
    assert step.keys() >= SAMPLED or not samples
    # loggers have the same, finite ones, and the times
    assert logged[0] - names == {"seconds", "tokens_per_second"}
    names |= logged[0]
    patterns = documented()
    assert [n for n in sorted(names) if not any(p.fullmatch(n) for p in patterns)] == []


def test_each_name_stands_in_the_table_once():
    """But for `accuracy`, which has two meanings."""
    names = [pattern.pattern for pattern in documented()]
    assert len(names) > 60
    assert {name for name in names if names.count(name) > 1} == {"accuracy"}
