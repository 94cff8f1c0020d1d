"""The fields and defaults that docs/coming_from_trl.md ascribes to TRL are TRL's."""

import dataclasses
import re

import pytest

from tests.test_coming_from_trl import sections

trl = pytest.importorskip("trl", reason="needs the extra parity")
ROWS = sections()
OFFLINE = next(title for title in ROWS if title.startswith("Offline trainers"))


def configuration(name):
    """A configuration of TRL's, of which OnlineDPO is an experimental one."""
    if name == "OnlineDPOConfig":
        return pytest.importorskip("trl.experimental.online_dpo").OnlineDPOConfig
    return getattr(trl, name)


def default_of(field):
    """The default of a field, of a list too."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def check(rows, kinds):
    """Each row's field is one of these configurations', with the default written."""
    known = {field.name: field for kind in kinds for field in dataclasses.fields(kind)}
    for name, default, *_ in rows:
        field = known.get(name.strip("`"))
        assert field is not None, name
        assert str(getattr(default_of(field), "value", default_of(field))) == default


@pytest.mark.parametrize(
    "title", [t for t in ROWS if re.match("`(?!PPO)", t)], ids=lambda t: t.split("`")[1]
)
def test_the_fields_are_trls(title):
    check(ROWS[title], [configuration(title.split("`")[1])])


def test_the_fields_of_all_offline_trainers():
    from trl.scripts.utils import ScriptArguments

    check(ROWS[OFFLINE], [trl.ModelConfig, ScriptArguments, trl.SFTConfig])
