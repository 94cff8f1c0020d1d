"""A study's folder as --data, --annotations and --battles."""

import json

import numpy as np
import pytest

from experiments import agreement, arena
from jaxalign.data.records import Preference
from jaxalign.feedback import export, store
from jaxalign.pipeline import datasets
from jaxalign.runtime.config import RunConfig
from tests.support.simulated_study import begin, crowd, judge_all, number_item


@pytest.fixture
def pairs(tmp_path):
    """A study of 40 pairs, each judged by three who see well."""
    rng = np.random.default_rng(0)
    items = [
        number_item(f"i{k}", rng.normal(0, 2, 2), source=["old", "new"], topic="sums")
        for k in range(40)
    ]
    begin(tmp_path / "study", items)
    judge_all(tmp_path / "study", crowd(3, sharpness=4.0))
    return tmp_path / "study"


def load(folder, **flags):
    return datasets.load(RunConfig(data=str(folder), **flags))


class TestData:
    def test_a_study_is_its_export(self, pairs, tmp_path):
        made = export.export_rows(store.items(pairs), store.judgements(pairs))
        path = tmp_path / "pairs.jsonl"
        path.write_text("\n".join(map(json.dumps, made.rows["pairs"])))
        ours, theirs = (load(p).split(Preference) for p in (pairs, path))
        for mine, file in zip(ours, theirs, strict=True):
            assert [p.chosen for p in mine] == [p.chosen for p in file]
            assert [p.margin for p in mine] == [p.margin for p in file]
            assert [p.prompt for p in mine] == [p.prompt for p in file]
        train, held_out = ours
        assert len(train) + len(held_out) == 120 and held_out
        assert {p.fields["annotator"] for p in train} == {"ann0", "ann1", "ann2"}
        assert train[0].fields["topic"] == "sums" and train[0].location
        right = [float(p.chosen) > float(p.rejected) for p in train]
        assert np.mean(right) > 0.85

    def test_all_judgements_of_a_prompt_are_on_one_side(self, pairs):
        sides = load(pairs).split(Preference)
        asked = [{p.prompt[0]["content"] for p in side} for side in sides]
        assert not asked[0] & asked[1]

    def test_ties_are_counted(self, pairs):
        tie = next(iter(store.items(pairs)))
        with store.Store(pairs) as opened:
            body = {"item": tie, "kind": "pair", "seconds": 1.0, "order": [0, 1]}
            for who, value in (("x", "tie"), ("y", "both_bad"), ("z", "skip")):
                event = store.NewEvent(who, "judgement", body | {"value": value})
                opened.append([event])
        source = load(pairs)
        source.split(Preference)
        text = json.dumps(source.accounts())
        for word in ("ties", "both bad", "skips"):
            assert word in text

    def test_rankings(self, tmp_path):
        rng = np.random.default_rng(0)
        items = [
            number_item(f"i{k}", rng.normal(0, 2, 4), kind="ranking") for k in range(20)
        ]
        begin(tmp_path, items, kind="ranking")
        judge_all(tmp_path, crowd(1, sharpness=50.0))
        source = load(tmp_path)
        assert source.has_rankings
        train, _ = source.rankings()
        for ranking in train:
            values = [float(answer) for answer in ranking.answers]
            assert values == sorted(values, reverse=True)

    def test_a_study_that_nobody_judged_is_one_sentence(self, tmp_path):
        begin(tmp_path, [number_item("i", (1, 2))])
        with pytest.raises(ValueError, match="no preferences yet") as error:
            load(tmp_path)
        assert "\n" not in str(error.value)


class TestAgreement:
    def test_sides_are_votes(self, pairs, tmp_path):
        config = agreement.Config(annotations=str(pairs), out=tmp_path / "out")
        numbers = agreement.main(config)
        assert (numbers["items"], numbers["annotators"]) == (40, 3)
        assert numbers["annotations"] == 120
        report = json.loads((tmp_path / "out" / "agreement.json").read_text())
        assert set(report["labels"]) == {"first", "second"}
        assert numbers["agreement"].mean > 0.8

    def test_strengths_are_ordinal(self, pairs, tmp_path):
        config = agreement.Config(
            annotations=str(pairs), label="strength", out=tmp_path / "out"
        )
        numbers = agreement.main(config)
        assert "alpha_ordinal" in numbers and numbers["alpha_ordinal"].mean > 0.5

    def test_other_fields_are_refused(self, pairs, tmp_path):
        config = agreement.Config(
            annotations=str(pairs), item="prompt", out=tmp_path / "out"
        )
        with pytest.raises(ValueError, match="only --label strength"):
            agreement.main(config)


def test_the_arena_rates_the_sources(pairs, tmp_path):
    numbers = arena.main(
        arena.Config(battles=(pairs,), out=tmp_path / "out", resamples=20, shuffles=2)
    )
    assert (numbers["models"], numbers["battles"]) == (2, 120)


def test_a_study_without_sources_is_no_arena(tmp_path):
    begin(tmp_path / "s", [number_item(f"i{k}", (1, 2)) for k in range(3)])
    judge_all(tmp_path / "s", crowd(1))
    config = arena.Config(battles=(tmp_path / "s",), out=tmp_path / "out")
    with pytest.raises(ValueError, match="without battles"):
        arena.main(config)
