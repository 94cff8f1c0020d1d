"""--data A=WEIGHT,B=WEIGHT: batches have the parts' shares, whatever is read."""

import json
import math

import numpy as np
import pytest

from experiments import collect, dpo, grpo, judge, kto, ppo, reward_model, sft
from jaxalign.data import dataset_ops, loader, mixing, packing
from jaxalign.data.examples import Example, TokenRow
from jaxalign.data.records import Demonstration, Prompt, Ranking
from jaxalign.pipeline import datasets
from jaxalign.pipeline.prompts import cyclic_slice
from jaxalign.runtime.config import RunConfig
from tests.support import quick, small_runs

LARGE, SMALL = 120, 12  # rows of each part; 0.9 of the batches come of the small one


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The little model, and two files of each layout, told apart by their prompts."""
    folder = small_runs.prepare(tmp_path_factory.mktemp("mixing"))
    layouts = {
        "shown": {"completion": "blue"},
        "pairs": {"chosen": "blue", "rejected": "cat dog"},
        "ranked": {"answers": ["blue", "cat", "dog moon"]},
        "single": {"completion": "blue", "label": True},
    }
    for name, answers in layouts.items():
        for part, rows in (("red", LARGE), ("sun", SMALL)):
            lines = [{"prompt": f"{part} {i}"} | answers for i in range(rows)]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / f"{name}-{part}.jsonl").write_text(text)
    return folder


def mixture(base, name, weights=(0.1, 0.9)):
    parts = zip(("red", "sun"), weights, strict=True)
    return ",".join(f"{base / name}-{part}.jsonl={w}" for part, w in parts)


def sequences_of(whole):
    """The indices of the examples in a whole batch, each as often as it is there."""
    if isinstance(whole, dict):  # packed
        first = (whole["at_segment_ids"] > 0) & (whole["at_positions"] == 0)
        return whole["at"][first]
    return whole[whole >= 0]


@pytest.fixture
def came(monkeypatch):
    """The indices of all that a run's training batches hold."""
    found = []
    onward = loader.BatchIterator.__next__

    def watched(self):
        batch = onward(self)
        if self.identity.get("shuffle", True):  # not those that are scored, or held out
            found.extend(sequences_of(self.global_indices).tolist())
        return batch

    monkeypatch.setattr(loader.BatchIterator, "__next__", watched)
    return found


FEW = {"steps": 3, "batch": 40, "mesh": "data=1", "held_out": 0.2}
SAMPLED = {"max_new_tokens": 2, "steps": 3, "mesh": "data=1", "held_out": 0.2}
RUNS = {
    "sft": (sft, sft.Config(**FEW), "shown"),
    "dpo": (dpo, dpo.Config(**FEW), "pairs"),
    "reward_model": (reward_model, reward_model.Config(**FEW), "pairs"),
    "reward_model ranked": (reward_model, reward_model.Config(**FEW), "ranked"),
    "kto": (kto, kto.Config(**FEW), "single"),
    "kto pairs": (kto, kto.Config(**FEW), "pairs"),
    "ppo": (ppo, ppo.Config(reward="length:3", batch=40, **SAMPLED), "shown"),
    "grpo": (grpo, grpo.Config(reward="length:3", prompts=40, **SAMPLED), "shown"),
}


@pytest.mark.parametrize("name", quick.only(["sft"], RUNS))
def test_batches_have_the_shares_of_the_weights(base, tmp_path, came, name):
    """Of 0.9 of all rows, more than the small part has: it comes again and again."""
    module, config, layout = RUNS[name]
    told = {"model": str(base / "policy"), "data": mixture(base, layout)}
    source = datasets.load(RunConfig(data=told["data"], held_out=0.2))
    kind = {"ranked": "rankings", "pairs": "preferences"}.get(layout, "prompts")
    small = getattr(source, kind)()[0].sizes[1]
    assert 0 < small < SMALL  # some are held out
    module.main(small_runs.dataclasses.replace(config, out=tmp_path / "run", **told))
    assert len(came) > 3 * 40 - 1
    sides = 2 if name == "kto pairs" else 1
    large = sides * getattr(source, kind)()[0].sizes[0]
    of_small = [i for i in came if i >= large]
    assert len(set(of_small)) == sides * small
    # any stretch has its shares to within a row; packed rows are filled first-fit from
    # bins that hold 4 rows of 10 or so sequences each, of either part alike
    tolerance = 0.03 if name == "sft" else 1.01 / len(came)
    assert abs(len(of_small) / len(came) - 0.9) < tolerance


def test_rankings_of_a_mixture_are_rankings(base):
    source = datasets.load(RunConfig(data=mixture(base, "ranked")))
    assert source.has_rankings
    assert {type(r) for r in source.rankings()[0]} == {Ranking}


@pytest.mark.parametrize("weight", ["nan", "inf", "1e999", "-inf", "-1", "0", "x", ""])
def test_weights_are_finite_numbers_above_0(base, weight):
    with pytest.raises(ValueError, match="--data takes PATH=WEIGHT.*finite.*above 0"):
        datasets.load(RunConfig(data=mixture(base, "shown", (0.5, weight))))


@pytest.mark.parametrize("weight", [math.nan, math.inf, 0.0, -1.0])
def test_and_so_from_python(weight):
    part = singles(3)
    for kind in (dataset_ops.Mixture, mixing.MixedRecords):
        with pytest.raises(ValueError, match="expected a finite number above 0"):
            kind([part, part], [1.0, weight])
        with pytest.raises(
            ValueError, match="part 2 of the mixture has no training rows"
        ):
            kind([part, []], [1.0, 1.0])


def singles(count):
    mask = np.array([False, True, True])
    row = lambda i: TokenRow(np.array([1, 2, i], np.int32), mask)
    return [Example((row(i),), i) for i in range(count)]


def counted(batches, count):
    found = []
    for _ in range(count):
        next(batches)
        found.append(sequences_of(batches.global_indices).tolist())
    return found


@pytest.mark.parametrize("packed", [True, False])
def test_a_mixture_goes_on_exactly_and_over_epochs(packed):
    """7 and 31 rows, at equal weights: the small part is read four times as often."""
    examples = dataset_ops.Mixture([singles(31), singles(7)], [0.5, 0.5])

    def made(seed=0):
        if packed:
            return packing.packed_batches(examples, 4, length=9, seed=seed)
        return loader.batches(examples, 12, kind=Demonstration, seed=seed)

    batches = made()
    before = counted(batches, 5)
    state = batches.get_state()
    rest = counted(batches, 40)
    again = made()
    again.set_state(json.loads(json.dumps(state)))
    assert counted(again, 40) == rest and counted(made(1), 5) != before
    flat = np.array(sum(before + rest, []))
    # to within a row, and where packed what waits in the 4 * 4 bins of 3
    assert abs((flat >= 31).mean() - 0.5) <= (48 if packed else 1) / len(flat)
    times = np.bincount(flat, minlength=38)
    small, large = times[31:], times[:31]
    epochs = len(flat) / 2 / 7, len(flat) / 2 / 31
    assert np.ptp(large) <= 2 and abs(small.mean() - epochs[0]) <= (7 if packed else 1)
    other = dataset_ops.Mixture(examples.parts, [0.5, 0.6])
    with pytest.raises(ValueError, match="cannot go on with the data"):
        loader.batches(other, 12, kind=Demonstration, seed=0).set_state(state)


def test_prompts_that_are_asked_in_turn_have_the_shares():
    """As collect, winners and judge ask them; the small part begins again."""
    parts = [
        [Prompt([], f"a:{i}") for i in range(90)],
        [Prompt([], f"b:{i}") for i in range(4)],
    ]
    mixed = mixing.MixedRecords(parts, [1.0, 3.0])
    first = cyclic_slice(mixed, 0, 40)
    names = [prompt.location[0] for prompt in first]
    assert names.count("b") == 30 and [
        p.location for p in first if p.location[0] == "a"
    ] == [f"a:{i}" for i in range(10)]
    assert cyclic_slice(mixed, 0, 60)[40:] == cyclic_slice(mixed, 40, 20)
    assert len(cyclic_slice(mixed, 0, 1000)) == 94


def test_held_out_prompts_come_of_all_parts(base):
    """In proportion to their sizes, so that the first of them are of both."""
    held = datasets.load(
        RunConfig(data=mixture(base, "shown"), held_out=0.3)
    ).prompts()[1]
    starts = [prompt.messages[-1]["content"][:3] for prompt in held]
    small = starts.count("sun")
    assert small > 1
    half = len(starts) // 2
    assert abs(starts[:half].count("sun") - small / 2) <= 1


def test_weights_of_answers_that_are_all_judged_are_refused(base):
    config = judge.Config(data=mixture(base, "pairs"))
    with pytest.raises(ValueError, match="weights mean nothing: leave them out"):
        judge.candidates(config, None)


@pytest.mark.slow
def test_collect_asks_prompts_by_their_weights(base, tmp_path):
    told = {"model": str(base / "policy"), "data": mixture(base, "shown")}
    few = {"prompts": 20, "held_out_prompts": 4, "samples": 2, "max_new_tokens": 4}
    made = datasets.load(RunConfig(data=told["data"]))
    source = small_runs.dataclasses.replace(
        made, reward=lambda prompts, texts, ended: {"reward": np.zeros(len(texts))}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", lambda config: source)
        collect.main(collect.Config(out=tmp_path, mesh="data=1", **few, **told))
    rows = (tmp_path / "rankings" / "train.jsonl").read_text().splitlines()
    asked = [json.loads(row)["prompt"][-1]["content"][:3] for row in rows]
    # of 20 prompts 18 are of the small part, but for those whose answers are the same
    assert asked.count("sun") > 3 * asked.count("red")


def test_weights_that_leave_a_part_nothing_are_refused():
    parts = [["a"], ["b"]]
    for weights in ([1e-320, 1e308], [1e-12, 1.0], [1e200, 1e200]):
        with pytest.raises(ValueError, match="times the smallest"):
            mixing.MixedRecords(parts, weights)
    mixing.MixedRecords(parts, [1e-3, 1e5])
