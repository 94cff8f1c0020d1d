"""docs/coming_from_trl.md names flags that exist, with the defaults that they have."""

import dataclasses
import importlib
import re
from pathlib import Path

import pytest

from jaxalign.runtime import defaults, trl_flags

TEXT = (Path(__file__).parents[1] / "docs" / "coming_from_trl.md").read_text("utf-8")
FLAG = re.compile(r"`(?:experiments\.(\w+) )?--([a-z][\w-]*)`")
PROGRAM = re.compile(r"`experiments\.(\w+)`")


def sections() -> dict[str, list[list[str]]]:
    """The rows of five cells of each section, without head and rule, by its title."""
    found = {}
    for section in TEXT.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        lines = [line for line in body.splitlines() if line.startswith("| `")]
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
        found[title] = [row for row in rows if len(row) == 5]
    return {title: rows for title, rows in found.items() if rows}


def entries() -> list[tuple[str, str, str, str]]:
    """(program, field of TRL's, field here, default here) of every row with a flag."""
    return [
        (program, row[0].strip("`"), match[2].replace("-", "_"), row[3])
        for title, rows in sections().items()
        for row in rows
        for match in FLAG.finditer(row[2])
        for program in ([match[1]] if match[1] else PROGRAM.findall(title))
    ]


def default_of(program: str, name: str):
    """A flag's default for a pretrained model."""
    config = importlib.import_module(f"experiments.{program}").Config()
    if name == "learning_rate":
        return defaults.RATES[program].pretrained
    if name == "epochs" and config.epochs is None:
        return 1
    return getattr(config, name)


def shown(value: object) -> str:
    """A default as the tables write it."""
    return ("off", "on")[value] if isinstance(value, bool) else str(value)


def test_there_is_a_table_for_each_of_trls_configurations():
    names = {re.match(r"`(\w+)`", title) for title in sections()}
    kinds = ("SFT", "Reward", "DPO", "KTO", "GRPO", "RLOO", "OnlineDPO", "PPO")
    assert {n[1] for n in names if n} == {f"{kind}Config" for kind in kinds}
    assert len(entries()) > 150


@pytest.mark.parametrize("program", sorted({entry[0] for entry in entries()}))
def test_every_flag_exists_with_the_default_that_is_written(program):
    config = importlib.import_module(f"experiments.{program}").Config
    known = {field.name for field in dataclasses.fields(config)}
    for _, _, name, default in [e for e in entries() if e[0] == program]:
        assert name in known, f"--{name} of {program}"
        if default:
            assert default == shown(default_of(program, name)), (program, name)


def test_every_other_flag_of_the_page_exists_somewhere():
    programs = ["sft", "reward_model", "dpo", "kto", "grpo", "online_dpo", "ppo"]
    modules = [importlib.import_module(f"experiments.{name}") for name in programs]
    known = {f.name for m in modules for f in dataclasses.fields(m.Config)}
    written = set(re.findall(r"--([a-z][a-z-]+)", TEXT)) - {"config"}
    own = {name.replace("-", "_") for name in written}
    assert own - known == {"per_device_train_batch_size"}  # the example of an error


def test_the_messages_name_flags_that_the_page_has():
    """Each name of TRL's that is refused stands in a table, beside the same flag."""
    pairs = {(trl, here) for _, trl, here, _ in entries()}
    names = {row[0].strip("`") for rows in sections().values() for row in rows}
    missing = {"warmup_ratio", "load_in_8bit", "reward_funcs"}  # not fields, or in text
    for trl, counterpart in trl_flags.COUNTERPARTS.items():
        if trl in missing:
            assert f"`{trl}" in TEXT or trl == "warmup_ratio"
            continue
        assert trl in names, trl
        for here in counterpart.names.split():
            assert (trl, here) in pairs, (trl, here)
