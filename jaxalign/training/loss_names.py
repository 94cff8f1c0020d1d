"""Preference losses found by name, TRL's names among them, and their table."""

import difflib
from collections.abc import Collection
from typing import Any

from jaxalign.training.pairwise import ALIASES, PAIRWISE, UNPAIRED
from jaxalign.training.preference_loss import PreferenceLoss

TITLE = """# Preference losses

Made of `jaxalign/training/pairwise.py` by `python -m jaxalign.training.loss_names`.

Each is `--loss NAME` of `experiments.dpo`, and what a pair's term is, is the function's
docstring. *Reference*: what is needed of the frozen reference model: nothing, the
summed log-probs of each answer (computed once, and kept), or whole distributions (it
runs in every step). *Source of the defaults*: "not verified against the paper" where
the value is a usual one, or remembered, and the paper was not at hand to check it.
"""


def check(name: str, known: Collection[str]) -> None:
    """Stops at an unknown loss.

    Raises:
      ValueError: suggests the near ones.
    """
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(f"unknown loss {name!r}: {hint}there are {', '.join(known)}")


def named(name: str) -> PreferenceLoss:
    """The preference loss of that name, or of that name in TRL, with its defaults.

    Raises:
      ValueError: there is none; the near ones are suggested.
    """
    known = PAIRWISE | UNPAIRED
    check(name, [*known, *ALIASES])
    return known[ALIASES.get(name, name)]


def pairwise(name: str, **hyperparameters: Any) -> PreferenceLoss:
    """The pairwise loss of that name, some hyperparameters set, the others' defaults.

    Raises:
      ValueError: an unknown name (with the near ones), a loss of single answers, or
        hyperparameters that are not the loss's.
    """
    check(name, [*PAIRWISE, *ALIASES])
    return named(name).bind(**hyperparameters)


def summary() -> str:
    """Every name with its hyperparameters' defaults, as a line for --help."""
    known = [*PAIRWISE.values(), *UNPAIRED.values()]
    lines = [f"{loss.name} ({loss.described()})" for loss in known]
    same = [f"{theirs} = {ours}" for theirs, ours in ALIASES.items()]
    return f"{', '.join(lines)}; TRL's names: {', '.join(same)}"


def table() -> str:
    """The table of all losses, as docs/losses.md has it."""
    theirs = {ours: name for name, ours in ALIASES.items()}
    columns = "name", "in TRL", "defaults", "reference", "source", "their source"
    rows = [columns[:5] + ("source of the defaults",), ("---",) * len(columns)]
    for loss in [*PAIRWISE.values(), *UNPAIRED.values()]:
        coupled = "; pairs of a batch" if loss.couples_pairs else ""
        rows.append(
            (
                f"`{loss.name}`",
                f"`{theirs[loss.name]}`" if loss.name in theirs else "",
                loss.described(),
                loss.reference + coupled,
                loss.source,
                loss.defaults,
            )
        )
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([TITLE, *lines, ""])


if __name__ == "__main__":
    print(table(), end="")
