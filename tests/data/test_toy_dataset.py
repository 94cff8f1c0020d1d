"""The toy world on disk is the toy world."""

import dataclasses

import pytest

from jaxalign.data import readers, toy_dataset, toy_requests, toy_topics, toy_world
from jaxalign.data.records import Demonstration, Preference, Prompt
from jaxalign.data.toy_dataset import ToySpec


def made(kind, **changed):
    return ToySpec(kind, **{"train": 30, "test": 7, "seed": 3} | changed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("toy")


def without_place(records):
    return [dataclasses.replace(r, location="", fields={}) for r in records]


@pytest.mark.parametrize(("split", "count"), [("train", 30), ("test", 7)])
def test_rows_are_the_toy_worlds(folder, split, count):
    def source(kind):
        return toy_dataset.load(folder, made(kind), split=split)

    def told(function, **knobs):
        return [function(3, i, test=split == "test", **knobs) for i in range(count)]

    found, report = readers.from_tfds(source("demonstrations"), Demonstration)
    assert without_place(found) == without_place(told(toy_world.demonstration))
    assert str(report) == f"{count} of {count} rows"
    labelled = told(toy_world.preference)
    found, _ = readers.from_tfds(source("preferences"), Preference)
    assert without_place(found) == without_place(x.preference for x in labelled)
    p_chosen = [pair.fields["p_chosen"] for pair in found]
    assert p_chosen == pytest.approx([x.p_chosen for x in labelled], abs=1e-6)
    asked = told(toy_world.request)
    found, _ = readers.from_tfds(source("prompts"), Prompt)
    assert without_place(found) == without_place(r.prompt for r in asked)
    assert [p.fields["kind"] for p in found] == [r.kind for r in asked]
    assert list(map(toy_dataset.request, source("prompts"))) == asked


def test_rows_are_found_by_their_number(folder):
    source = toy_dataset.load(folder, made("prompts"), split="train[10:]")
    assert len(source) == 20
    assert toy_dataset.request(source[5]) == toy_world.request(3, 15)


def test_prompts_are_no_demonstrations(folder):
    source = toy_dataset.load(folder, made("prompts"))
    with pytest.raises(ValueError, match="field 'completion' .* is missing"):
        readers.from_tfds(source, Demonstration)


def test_every_change_makes_other_rows(folder):
    def pairs(**changed):
        source = toy_dataset.load(folder, made("preferences", **changed))
        return [tuple(sorted(row.items())) for row in source]

    first = pairs()
    for changed in ({"seed": 4}, {"temperature": 0.1}, {"group": "brevity"}):
        other = pairs(**changed)
        assert len(other) == 30 and other != first, changed
    assert pairs(train=5) == first[:5]
    assert pairs() == first


def test_rows_are_made_once(folder, monkeypatch):
    making = made("demonstrations", train=3)
    first = list(toy_dataset.load(folder, making))

    def unwanted(*_, **__):
        raise AssertionError("made again")

    monkeypatch.setattr(toy_world, "demonstration", unwanted)
    assert list(toy_dataset.load(folder, making)) == first


@pytest.mark.parametrize("changed", [toy_topics, toy_requests, toy_world])
def test_rows_of_another_toy_world_are_not_reused(monkeypatch, changed):
    name, source = made("prompts").name, toy_dataset.inspect.getsource
    monkeypatch.setattr(
        toy_dataset.inspect,
        "getsource",
        lambda module: source(module) + "#" * (module is changed),
    )
    assert made("prompts").name != name


def test_configs_by_name(tmp_path):
    for kind, fields in toy_dataset.FEATURES.items():
        builder = toy_dataset.ToyWorld(
            config=kind, data_dir=tmp_path, file_format="array_record"
        )
        assert set(builder.info.features) == set(fields)


@pytest.mark.parametrize(
    ("making", "message"),
    [
        (ToySpec("pairs"), "kind should be one of .*'prompts'.*, not 'pairs'"),
        (ToySpec("prompts", group="nobody"), "group should be one of .*, not 'nobody'"),
        (ToySpec("prompts", test=0), "train and test should be at least 1"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path, making, message):
    with pytest.raises(ValueError, match=message):
        toy_dataset.load(tmp_path, making)
