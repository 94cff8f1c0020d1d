"""The toy world as experiments read it: what is held out from each stage."""

import dataclasses

import numpy as np
import pytest

from experiments import evaluating, sources
from experiments.config import Shared
from experiments.evaluating import Evaluated
from jaxalign.data import splits, toy_world


@pytest.fixture(scope="module")
def source():
    return sources.load(Shared(data="toy", seed=3))


def last(messages):
    """The text of the last user message."""
    return next(m["content"] for m in messages[::-1] if m["role"] == "user")


def test_no_stage_is_trained_on_what_is_held_out(source, monkeypatch):
    prompts, held_prompts = source.prompts()
    pairs, held_pairs = source.preferences()
    few = toy_world.demonstration
    # 24,000 take long: a tenth of them is made
    monkeypatch.setattr(
        toy_world, "demonstration", lambda *a, **b: few(*a, **b) if a[1] < 2400 else ""
    )
    shown = source.demonstrations()[:2400]
    trained = {last(d.messages) for d in shown} | {last(p.messages) for p in prompts}
    trained |= {last(p.prompt) for p in pairs}
    held = [last(p.messages) for p in held_prompts]
    assert not trained & {*held, *(last(p.prompt) for p in held_pairs)}
    assert len(held) == len(set(held)) == 512


def test_the_table_has_a_column_for_everything_new(source):
    prompts = source.prompts()[1][:256]
    texts = ["i can not help with that."] * 256  # of which each refuses
    judged = sources.judge_of(source)(prompts, texts, np.ones(256, bool))
    numbers = np.zeros(256)
    units = splits.prompt_hashes(prompts)
    found = Evaluated(texts, judged["reward"], None, numbers, numbers, judged, units)
    (row,) = evaluating.table([{"SFT": found}])
    for name in ("combination", "wording", "topic"):
        for measure in ("refused_due", "refused_undue"):
            share = row[f"{measure}, new {name}"]
            assert share.mean == share.high == 1.0 and 0.5 < share.low < 1.0
        # 2.5 where a refusal is due; elsewhere it is brief at most
        reward = row[f"true reward, new {name}"]
        assert 0.5 < reward.low < reward.mean < reward.high < 2.5
    few = dataclasses.replace(
        found, judged={k: x for k, x in judged.items() if "new" not in k}
    )
    assert not [name for name in evaluating.table([{"SFT": few}])[0] if "new" in name]
