"""The folder of a study: its settings from one start to the next, and its sizes."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from jaxalign.feedback import store
from jaxalign.feedback.judgements import Item
from jaxalign.feedback.settings import Settings, check_scale


def resume_settings(folder: Path, given: Settings, defaults: Settings) -> Settings:
    """The settings of a start: of a study that goes on, its own where none are given.

    Args:
      given: by flags.
      defaults: of flags that are not given.

    Raises:
      ValueError: another scale is given than the study was begun with.
    """
    if not store.is_study(folder):
        return given
    stored = store.settings(folder)
    values = {}
    for field in dataclasses.fields(Settings):
        value = getattr(given, field.name)
        is_default = value == getattr(defaults, field.name)
        values[field.name] = stored.get(field.name, value) if is_default else value
    settings = Settings(**values)
    check_scale(settings, stored)
    return settings


def open_study(folder: Path, settings: Settings, items: Iterable[Item]) -> int:
    """Begins a study, or goes on with one, and adds the items that are new.

    Returns:
      The number of new items.
    """
    with store.Store(folder, create=settings.to_json()) as opened:
        return opened.add_items(items)


def describe_study(folder: Path) -> str:
    """A study in one line: items, judgements, people."""
    items, said = store.items(folder), store.judgements(folder)
    gold = sum(item.gold is not None for item in items.values())
    people = len({judgement.annotator for judgement in said})
    more = f" and {gold} gold" if gold else ""
    return (
        f"{folder}: {len(items) - gold} items{more}, {len(said)} judgements of "
        f"{people} {'person' if people == 1 else 'people'}"
    )
