"""docs/policy_methods.md and docs/defaults.md have the defaults that the code has."""

import re
from pathlib import Path

from experiments import ppo
from jaxalign.runtime import defaults
from jaxalign.training import group_methods

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "policy_methods.md").read_text()
DEFAULTS = (DOCS / "defaults.md").read_text()
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in TEXT.splitlines()]


def test_every_group_method_is_listed_with_its_defaults():
    rows = {row[0].strip("`"): row for row in ROWS if len(row) == 9}
    assert set(group_methods.METHODS) <= set(rows)
    for name, method in group_methods.METHODS.items():
        told = method.hyperparameters()
        clip = f"{told['clip_low']:g} / {told['clip_high']:g}"
        assert rows[name][4:7] == [told["kl_term"], f"{told['beta']:g}", clip]
        assert ("dynamic sampling" in rows[name][7]) == method.dynamic_sampling
        assert (f"last {method.overlong:g}" in rows[name][7]) == bool(method.overlong)
        assert rows[name][8] == method.source.replace("||", "to")


def test_ppos_defaults_are_those_of_the_code():
    rows = [row for row in ROWS if len(row) == 3 and row[0].startswith("`--")]
    assert len(rows) > 15
    toy = defaults.resolve(ppo.Config())
    for flag, default, source in rows:
        value = getattr(toy, re.sub("[`-]", " ", flag).strip().replace(" ", "_"))
        assert default == (str(value) if isinstance(value, bool) else f"{value:g}"), (
            flag
        )
        assert source


def table(columns: int) -> list[list[str]]:
    """Rows of docs/defaults.md with so many columns, without head and rule."""
    lines = [line for line in DEFAULTS.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return [row for row in rows if len(row) == columns and "`" in row[0]]


def test_learning_rates_by_model_are_those_of_the_code():
    told = {row[0].strip("`"): row for row in table(6)}
    assert told.keys() == defaults.RATES.keys()
    for name, rates in defaults.RATES.items():
        toy, pretrained, adapter, source = told[name][2:]
        assert [float(x) for x in (toy, pretrained, adapter)] == list(rates[:3])
        assert source == rates.source
        assert any(f"experiments.{e}" in told[name][1] for e in (name, "dpo --loss"))


def test_the_toys_stages_are_those_of_the_code():
    told = {
        (pipeline.split("`")[1], stage.strip("`"), flag.strip("`"), float(value))
        for pipeline, stage, flag, value in table(4)
    }
    assert told == {
        (pipeline, stage, f"--{name.replace('_', '-')}", value)
        for pipeline, of_stages in defaults.TOY_STAGES.items()
        for stage, flags in of_stages.items()
        for name, value in flags.items()
    }


def test_context_and_steps_are_those_of_the_code():
    told = {row[0].split("`")[1]: row for row in table(3) if "--" in row[0]}
    assert told["--context"][2] == f"the model's own, at most {defaults.CONTEXT}"
    (rows,) = [row for row in table(3) if row[0] == "`--epochs` of SFT"]
    assert rows[2] == "1"
    assert f"`--steps` iterations ({ppo.Config().steps} by default)" in DEFAULTS
