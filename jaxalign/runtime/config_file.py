"""config.yaml: the flags of a run, written for people to read, and read by --config.

`out` and `resume` are not written, but for a comment: a run of another's file has a
folder of its own. In a file written by hand they count.
"""

import dataclasses
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from jaxalign.atomic_files import atomic_path
from jaxalign.runtime import config_values, flags, run_settings, stage_flags

NAME = "config.yaml"
LOCATION_FLAGS = ("out", "resume")  # what says where a run is, not what it does
Config = TypeVar("Config", bound=flags.ValidatedConfig)


def program_of(config: Any) -> str:
    """The module of a configuration's program, such as `experiments.dpo`."""
    module = type(config).__module__
    if module == "__main__":
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        module = spec.name if spec else Path(sys.argv[0]).name
    return module.removesuffix(".__main__")


def config_text(config: Any, file: Path, *, replaced: Collection[str] = ()) -> str:
    """A configuration as YAML: its fields in the order of the class.

    Args:
      config: a dataclass of flags.
      file: the file that will hold it.
      replaced: fields of inner configurations whose values come from the outer one.
    """
    program, shown = program_of(config), scalar(str(file))
    header = [
        f"# Flags of {program}. The same run again, in another place:",
        f"#   python -m {program} --config {shown}",
        "# Flags on the command line come before those of this file.",
    ]
    settings = run_settings.to_json(config)
    body = field_lines(settings, replaced=replaced)
    return "\n".join([*header, *body, ""])


def field_lines(
    settings: Mapping[str, Any], indent: str = "", *, replaced: Collection[str] = ()
) -> list[str]:
    """The lines of the fields, those of inner configurations indented."""
    lines = []
    for name, value in settings.items():
        if isinstance(value, dict):
            kept = {k: v for k, v in value.items() if k not in replaced}
            inner = field_lines(kept, indent + "  ", replaced=replaced)
            lines += [f"{indent}{name}:", *inner]
        elif name not in LOCATION_FLAGS:
            lines.append(f"{indent}{name}: {scalar(value)}")
    return lines


def scalar(value: Any) -> str:
    """A number, text or list in one line of YAML.

    >>> scalar("2026-12-01"), scalar(5e-07), scalar(["a", "off"]), scalar(None)
    ("'2026-12-01'", '5.0e-07', "[a, 'off']", 'null')
    """
    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=float("inf")
    )
    return text.removesuffix("\n").removesuffix("\n...")


def write_config(folder: Path, config: Any, *, replaced: Collection[str] = ()) -> None:
    """Writes FOLDER/config.yaml completely, or leaves the previous file."""
    write(folder / NAME, config, replaced=replaced)


def write_sidecar(result: Path, config: Any) -> None:
    """Writes the flags of a program whose --out is a file: plan.config.yaml beside it.

    Args:
      result: the file of --out, such as plan.json.
    """
    write(result.with_name(f"{result.stem}.{NAME}"), config)


def write(file: Path, config: Any, *, replaced: Collection[str] = ()) -> None:
    """Writes a configuration as YAML completely, or leaves the previous file."""
    text = config_text(config, file, replaced=replaced)
    with atomic_path(file) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def split_flag(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The file of --config, and the other arguments of a command line.

    Raises:
      ValueError: --config without a file, or twice.

    >>> split_flag(["--beta", "0.1", "--config", "a.yaml"])
    (PosixPath('a.yaml'), ['--beta', '0.1'])
    """
    files, others = [], []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag != "--config":
            others.append(word)
            continue
        file = value if equals else next(words, "")
        if not file or file.startswith("--"):
            raise ValueError("--config needs a file, such as runs/a/config.yaml")
        files.append(Path(file))
    if len(files) > 1:
        raise ValueError(
            f"--config is there {len(files)} times: give one file, and flags on top"
        )
    return (files[0] if files else None), others


def read_config(kind: type[Config], path: Path | str, **missing: Any) -> Config:
    """The configuration in a YAML file, such as a run's config.yaml.

    Fields that the file does not have are the defaults, those of inner configurations
    too.

    Args:
      kind: a program's configuration, such as `experiments.dpo.Config`.
      missing: values of fields without a default; they are not validated.

    Raises:
      ValueError: no such file, an unknown field (with near names), or a value of
        another type or range; names the file and the field.
    """
    path = Path(path)
    values = config_values.read_yaml(path, "--config")
    names = {str(name).replace("-", "_") for name in values}
    settings = {k: v for k, v in missing.items() if k not in names}
    with flags.prefix_errors(str(path)):
        stage_flags.refuse_without_effect(kind, stage_flags.value_names(values))
    with flags.defer_validation():
        config = config_values.from_values(kind, values, f"{path}:", **settings)
    if not settings:
        with flags.prefix_errors(str(path)):
            flags.validate(config)
    return config


def required_fields(kind: Any) -> list[str]:
    """The names of a configuration's fields that have no default."""
    return [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is field.default_factory is dataclasses.MISSING
    ]
