"""docs/policy_methods.md has the defaults that the code has."""

import re
from pathlib import Path

from experiments import groups, ppo

TEXT = (Path(__file__).parents[1] / "docs" / "policy_methods.md").read_text()
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in TEXT.splitlines()]


def test_every_group_method_is_listed_with_its_defaults():
    rows = {row[0].strip("`"): row for row in ROWS if len(row) == 9}
    assert set(groups.METHODS) <= set(rows)
    for name, method in groups.METHODS.items():
        told = method.hyperparameters()
        clip = f"{told['clip_low']:g} / {told['clip_high']:g}"
        assert rows[name][4:7] == [told["kl_term"], f"{told['beta']:g}", clip]
        assert ("dynamic sampling" in rows[name][7]) == method.informative
        assert (f"last {method.overlong:g}" in rows[name][7]) == bool(method.overlong)
        assert rows[name][8] == method.source.replace("||", "to")


def test_ppos_defaults_are_those_of_the_code():
    rows = [row for row in ROWS if len(row) == 3 and row[0].startswith("`--")]
    assert len(rows) > 15
    for flag, default, source in rows:
        value = getattr(
            ppo.Config(), re.sub("[`-]", " ", flag).strip().replace(" ", "_")
        )
        assert default == (str(value) if isinstance(value, bool) else f"{value:g}"), (
            flag
        )
        assert source
