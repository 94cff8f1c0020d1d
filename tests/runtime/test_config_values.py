"""Configurations from files: names and types are checked, with the place at fault."""

import dataclasses
from pathlib import Path
from typing import Literal

import pytest

from jaxalign.runtime import config_values, flags


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(flags.ValidatedConfig):
    data: str
    out: Path | None = None
    samples: int = 1
    temperature: float = 1.0
    mode: Literal["a", "b"] = "a"
    models: tuple[str, ...] = ()
    keep: bool = False

    RANGES = {"keep": flags.COUNT}


def parse(**values):
    return config_values.from_values(Config, values, "s.yaml: x")


def test_values_become_a_configuration():
    config = parse(data="d", out="o", temperature=0, models=["a", "b"], keep=True)
    assert config == Config(
        data="d", out=Path("o"), temperature=0, models=("a", "b"), keep=True
    )
    named = config_values.from_values(Config, {"data": "d"}, "s", samples=3)
    assert named.samples == 3


@pytest.mark.parametrize(
    "values, message",
    [
        ({"data": "d", "sample": 2}, "s.yaml: x: .*sample.*samples"),
        ({"data": "d", "samples": "2"}, "s.yaml: x.samples is '2'; expected a whole"),
        ({"data": "d", "samples": True}, "x.samples is True; expected a whole number"),
        ({"data": "d", "mode": "c"}, "x.mode is 'c'; expected a or b"),
        ({"data": "d", "models": [1]}, "expected a list, of each text"),
        ({"data": "d", "samples": 0}, "s.yaml: x: --samples 0: it should be"),
        ({"samples": 2}, "s.yaml: x: data is missing"),
    ],
)
def test_a_wrong_value_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        parse(**values)


def test_files_without_names_are_refused(tmp_path):
    path = tmp_path / "suite.yaml"
    with pytest.raises(ValueError, match="--suite .*suite.yaml: No such file"):
        config_values.read_yaml(path, "--suite")
    for text, message in [("", "no names"), ("- a", "no names"), ("a: [", "no YAML")]:
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            config_values.read_yaml(path, "--suite")
    path.write_text("compare: {data: x}\n")
    assert config_values.read_yaml(path, "--suite") == {"compare": {"data": "x"}}


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    """YAML itself takes the last value; the same name in two mappings is none twice."""
    path = tmp_path / "c.yaml"
    for text in ("beta: 1\nx: 2\nbeta: 3\n", "ppo:\n  a-b: 1\n  a_b: 2\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match="--config .*c.yaml, line 3: .* already"):
            config_values.read_yaml(path, "--config")
    path.write_text("ppo: {beta: 1}\ndpo: {beta: 2}\n")
    assert config_values.read_yaml(path, "--config")["dpo"] == {"beta": 2}
