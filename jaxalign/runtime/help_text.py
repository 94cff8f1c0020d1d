"""--help: the flags of a program in groups, and a line for each of its stages.

tyro parses the flags. Its own help has no groups of flags without a prefix, lists the
flags of all stages at once, and keeps the line breaks of docstrings.
"""

import ast
import dataclasses
import functools
import inspect
import textwrap
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from jaxalign import messages
from jaxalign.runtime import flags, help_groups, stage_flags
from jaxalign.runtime.config import DefaultDate, RunConfig

WIDTH = 100  # columns, at most
FLAG_WIDTH = 34  # columns of a flag beside its text
METAVARS = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH"}
HELP = "-h, --help"


class Row(NamedTuple):
    """A flag as --help shows it: how it is typed, and what it does."""

    flag: str
    text: str


def requested_topic(arguments: Sequence[str]) -> str | None:
    """What a command line asks help for: "" the program, all, or a stage; else None.

    >>> requested_topic(["--help-reward-model"]), requested_topic(["--beta", "0.1"])
    ('reward_model', None)
    """
    for word in arguments:
        if word in ("-h", "--help"):
            return ""
        if word.startswith("--help-"):
            return word.removeprefix("--help-").replace("-", "_")
    return None


def show(config: Any, program: str, topic: str = "") -> None:
    """Prints the flags of a program, with their defaults.

    Args:
      config: a program's configuration, with the defaults.
      program: its command, such as `python -m experiments.dpo`.
      topic: "" for the program's own flags, a stage's name (with dots for stages of a
        stage), or all.

    Raises:
      ValueError: no such stage; names those that there are.
    """
    console = Console(highlight=False)
    console.width = min(console.width, WIDTH)
    known = stages(config)
    if topic not in ("", "all", *known):
        shown = f"help-{topic.replace('_', '-')}"
        raise messages.unknown_name(
            "help flag", shown, ["help-all", *help_flags(known)]
        )
    prefix = f"{topic}." if topic in known else ""
    about = class_text(config)
    if topic in known:
        about = stage_text(known[topic])
        if isinstance(config, RunConfig):
            about += " It has the pipeline's --seed, --model, --mesh and so on."
        config = known[topic]
    console.print(Text(f"usage: {program} [FLAGS]\n\n{about}\n"))
    print_groups(console, flag_groups(config, prefix))
    if topic == "all":
        for name, stage in known.items():
            console.print(Text(f"\n{stage_text(stage)}"))
            print_groups(console, flag_groups(stage, f"{name}."), f"{name}: ")


def print_groups(
    console: Console, groups: dict[str, list[Row]], prefix: str = ""
) -> None:
    """Prints each group of flags in a box with a title."""
    for title, rows in groups.items():
        shown = f"{prefix}{title}"
        panel = Panel(flag_table(rows), title=shown, title_align="left")
        console.print(panel)


def flag_table(rows: Sequence[Row]) -> Table:
    """Flags beside their texts, or above them where a name is too long for that."""
    table = Table.grid(padding=(0, 2, 0, 0))
    beside = all(len(word) <= FLAG_WIDTH for row in rows for word in row.flag.split())
    if beside:
        table.add_column(max_width=FLAG_WIDTH)
        table.add_column()
    for flag, text in rows:
        cells = Text(flag, style="bold"), Text(text)
        if beside:
            table.add_row(*cells)
        else:
            table.add_row(cells[0])
            table.add_row(Padding(cells[1], (0, 0, 0, 6)))
    return table


def flag_groups(config: Any, prefix: str = "") -> dict[str, list[Row]]:
    """The flags of a configuration by title, the program's own first.

    Args:
      config: with the defaults.
      prefix: of the flags, such as `ppo.`; those of a pipeline's stage that have no
        effect there are left out.
    """
    titles = [help_groups.PROGRAM, *help_groups.GROUPS, help_groups.STAGES]
    groups: dict[str, list[Row]] = {title: [] for title in titles}
    if not prefix:
        known = list(stages(config))
        groups["run"] += [Row(HELP, "Show this and exit.")]
        if known:
            text = f"Show the flags of one stage, such as --{help_flags(known)[0]}, "
            text += "or of all."
            groups["run"] += [Row("--help-STAGE, --help-all", text)]
        text = "Take the flags of a YAML file, such as the config.yaml that every run "
        text += "writes into its folder; flags on the command line come first."
        groups["run"] += [Row("--config FILE", text)]
    docs, hints = field_docs(type(config)), field_hints(type(config))
    for field in sorted(dataclasses.fields(config), key=help_groups.position):
        name, value = field.name, getattr(config, field.name)
        if isinstance(value, flags.ValidatedConfig):
            groups[help_groups.STAGES].append(stage_row(value, f"{prefix}{name}"))
            continue
        is_stage = prefix and isinstance(config, RunConfig)
        if is_stage and not stage_flags.has_effect(name):
            continue
        title = help_groups.TITLE_BY_NAME.get(name, help_groups.PROGRAM)
        text = help_of(hints[name]) or docs.get(name, "")
        text = f"{text} {default_text(value)}".strip()
        groups[title].append(Row(invocation(f"{prefix}{name}", hints[name]), text))
    return {title: rows for title, rows in groups.items() if rows}


def stage_row(stage: Any, name: str) -> Row:
    """The line of a stage; the title of the group says how to see its flags."""
    return Row(f"--{name}.FLAG".replace("_", "-"), stage_text(stage))


def stage_text(stage: Any) -> str:
    """What a stage does, without what its docstring says of stages of its own."""
    return f"{class_text(stage).partition(';')[0].rstrip('.')}."


def stages(config: Any, prefix: str = "") -> dict[str, Any]:
    """The inner configurations by name, those of an inner one with dots."""
    found = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, flags.ValidatedConfig):
            found[f"{prefix}{field.name}"] = value
            found |= stages(value, f"{prefix}{field.name}.")
    return found


def help_flags(names: Sequence[str] | dict[str, Any]) -> list[str]:
    """Flags that show stages, without the dashes before them."""
    return [f"help-{name.replace('_', '-')}" for name in names]


def class_text(config: Any) -> str:
    """The first paragraph of a configuration's docstring, in one line."""
    first = inspect.cleandoc(type(config).__doc__ or "").partition("\n\n")[0]
    return " ".join(first.split())


def field_hints(config: type) -> dict[str, Any]:
    """The types of the fields, with their annotations."""
    return typing.get_type_hints(config, include_extras=True)


def help_of(hint: Any) -> str:
    """The help of an annotated type, whose line breaks are meant; "" without."""
    texts = [getattr(one, "help", None) for one in getattr(hint, "__metadata__", ())]
    return next((text for text in texts if text), "")


def invocation(name: str, hint: Any) -> str:
    """How a flag is typed.

    >>> invocation("ppo.kl_target", float | None), invocation("resume", bool)
    ('--ppo.kl-target FLOAT', '--resume, --no-resume')
    """
    flag = f"--{name}".replace("_", "-")
    if hint is bool:
        outer, dot, last = flag[2:].rpartition(".")
        return f"{flag}, --{outer}{dot}no-{last}"
    return f"{flag} {metavar(hint)}"


def metavar(hint: Any) -> str:
    """The value of a flag, in capitals.

    >>> metavar(tuple[str, ...]), metavar(Literal["a", "b"])
    ('TEXT ...', '{a,b}')
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return metavar(inner[0])
    if origin in (typing.Union, types.UnionType):
        kinds = [metavar(one) for one in inner if one is not type(None)]
        return "|".join(dict.fromkeys(kinds))
    if origin is Literal:
        return "{" + ",".join(map(str, inner)) + "}"
    if origin is tuple:
        return f"{metavar(inner[0])} ..."
    return METAVARS.get(hint, "VALUE")


def default_text(value: Any) -> str:
    """A default in brackets; "" for None and empty texts."""
    if type(value).__name__.startswith("Missing") or "MISSING" in repr(value):
        return "(required)"
    if value is None or value == "" or value == () or isinstance(value, DefaultDate):
        return ""
    if isinstance(value, bool):
        return f"(default: {'on' if value else 'off'})"
    if isinstance(value, tuple):
        return f"(default: {' '.join(map(str, value))})"
    return f"(default: {value})"


def field_docs(config: type) -> dict[str, str]:
    """The docstrings of a configuration's fields, each in one line."""
    docs: dict[str, str] = {}
    for base in reversed(config.__mro__):
        if dataclasses.is_dataclass(base):
            docs |= class_field_docs(base)
    return docs


@functools.cache
def class_field_docs(config: type) -> dict[str, str]:
    """The docstrings of the fields that a class itself defines."""
    tree: Any = ast.parse(textwrap.dedent(inspect.getsource(config)))
    body = tree.body[0].body
    docs = {}
    for field, after in zip(body, body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
            name, text = getattr(field.target, "id", ""), ast.literal_eval(after.value)
            docs[name] = " ".join(str(text).split())
    return docs
