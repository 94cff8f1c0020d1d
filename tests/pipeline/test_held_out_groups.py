"""Held-out numbers of every training program for each value of a field of the rows."""

import dataclasses

import numpy as np
import pytest

from experiments import dpo, grpo, kto, online_dpo, ppo, reward_model, sft
from jaxalign.data import toy_world
from jaxalign.data.examples import Example
from jaxalign.pipeline import datasets, held_out_groups
from jaxalign.pipeline.datasets.record_splits import SplitRecords
from jaxalign.pipeline.held_out_metrics.rollouts import summarize_answers
from tests.support import quick, small_runs

replace = dataclasses.replace
NAMES = ("(none)", "harmless", "kind")
PROGRAMS = {
    "sft": (sft, "loss", "tokens", 1),
    "reward_model": (reward_model, "accuracy", "rows", 1),
    "dpo": (dpo, "accuracy", "rows", 1),
    "dpo_kto": (dpo, "accuracy", "rows", 2),
    "kto": (kto, "accuracy", "rows", 2),
    "ppo": (ppo, "reward", "rows", 1),
    "grpo": (grpo, "reward", "rows", 1),
    "online_dpo": (online_dpo, "reward", "rows", 1),
}
OWN = {
    "dpo_kto": {"loss": "kto"},
    "grpo": {"prompts": 4, "samples": 2},
    "online_dpo": {"prompts": 4},
}
HELD_OUT = 13  # of 64 prompts


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_runs.prepare(tmp_path_factory.mktemp("fields"))


def with_categories(records):
    """Records of two categories, in turn, in an object; the last has none."""
    with_fields = [
        replace(record, fields={"meta": {"category": ("kind", "harmless")[i % 2]}})
        for i, record in enumerate(records)
    ]
    return [*with_fields[:-1], *records[-1:]]


@pytest.fixture
def told(base, tmp_path, monkeypatch):
    """Flags of a run whose records have a category, as readers keep it."""
    load = datasets.load

    def with_fields(config):
        source = load(config)
        read = lambda kind: SplitRecords(*map(with_categories, source.split(kind)))
        return replace(source, read=read, derivations={})

    monkeypatch.setattr(datasets, "load", with_fields)

    def flags(name):
        shared = {
            "model": str(base / "policy"),
            "data": str(base / "pairs.jsonl"),
            "out": tmp_path / "run",
            "held_out": 0.2,
            "mesh": "data=1",
            "steps": 1,
            "split_by": ("meta.category",),
        }
        if PROGRAMS[name][1] == "reward":
            shared |= {"reward": str(base / "reward"), "max_new_tokens": 4}
        if name not in ("grpo", "online_dpo"):
            shared["batch"] = 8
        return shared | OWN.get(name, {})

    return flags


@pytest.mark.parametrize("name", quick.only(["sft", "grpo"], PROGRAMS))
def test_the_parts_make_the_whole(told, name, capsys):
    module, metric, weight, answers = PROGRAMS[name]
    numbers = module.main(module.Config(**told(name)))
    of = lambda metric: np.array(
        [numbers[f"eval/{metric}/meta.category={group}"] for group in NAMES]
    )
    assert of("rows").sum() == answers * HELD_OUT and of("rows")[0] == answers
    whole = numbers[f"eval/{metric}"]
    # float64 sums in another order
    np.testing.assert_allclose(
        (of(metric) * of(weight)).sum() / of(weight).sum(), whole
    )
    if metric != "loss":
        place = "meta.category=kind"
        assert numbers[f"eval/{metric}/{place}_low"] <= of(metric)[2]
        assert (
            np.isnan(numbers[f"eval/{metric}/meta.category=(none)_low"]) or answers > 1
        )
    line = (
        f"by meta.category: {metric} harmless {of(metric)[1]:.4g} (n {of('rows')[1]})"
    )
    assert line in capsys.readouterr().out


@pytest.mark.parametrize("name", quick.only(["dpo", "grpo"], PROGRAMS))
def test_a_field_that_is_not_there_is_refused(told, name, tmp_path):
    module = PROGRAMS[name][0]
    wrong = module.Config(**told(name) | {"split_by": ("topic",)})
    with pytest.raises(ValueError, match="topic: no held-out row .* is meta.category"):
        module.main(wrong)
    assert not (tmp_path / "run" / "reference").exists()
    none = replace(wrong, held_out=0.0)
    with pytest.raises(ValueError, match="no rows are held out.* set --held-out"):
        module.main(none)


def test_cached_tokens_have_no_fields(tmp_path):
    config = reward_model.Config(split_by=("kind",), token_cache=tmp_path / "cache")
    with pytest.raises(ValueError, match="rows of --token-cache have no fields"):
        held_out_groups.check_split(config, [Example((), 0)])


def test_answers_by_hand():
    rows = [Example((), i, fields={"kind": "aba"[i]}) for i in range(3)]
    config = grpo.Config(split_by=("kind",))
    groups = held_out_groups.HeldOutGroups(config, rows, np.arange(3))
    answers = {
        name: np.array(values)
        for name, values in {
            "reward": [1.0, 5.0, 2.0],
            "kl": [0.5, 1.0, 0.1],
            "length": [3, 4, 6],
            "eos": [True, False, False],
            "entropy": [1.0, 1.0, 1.0],
        }.items()
    }
    found = summarize_answers(answers, groups)
    expected = {"reward": 1.5, "kl": 0.3, "length": 4.5, "eos": 0.5, "rows": 2}
    for name, x in expected.items():
        np.testing.assert_allclose(found[f"{name}/kind=a"], x)
    assert found["reward/kind=a_high"] == 2.0 and np.isnan(found["reward/kind=b_low"])


def test_records_of_the_toy_world_have_their_kind():
    records = [
        toy_world.request(0, 3, test=True).prompt,
        toy_world.demonstration(0, 3, test=True),
        toy_world.preference(0, 3, test=True).preference,
    ]
    request = toy_world.request(0, 3, test=True)
    fields = {"kind": request.kind, "novelty": request.novelty}
    assert [record.fields for record in records] == [fields] * 3
