"""The toy world as experiments read it: what is held out from each stage."""

import dataclasses
import functools

import numpy as np
import pytest

from jaxalign.data import toy_world
from jaxalign.pipeline import datasets, held_out_tables
from jaxalign.pipeline.held_out import Evaluation
from jaxalign.runtime.config import RunConfig


@pytest.fixture(scope="module")
def source():
    return datasets.load(RunConfig(data="toy", seed=3))


def last(messages):
    """The text of the last user message."""
    return next(m["content"] for m in messages[::-1] if m["role"] == "user")


def test_no_stage_is_trained_on_what_is_held_out(source, monkeypatch):
    prompts, held_prompts = source.prompts()
    pairs, held_pairs = source.preferences()
    # 24,000 take long: a tenth of them is made
    made = functools.cache(toy_world.demonstration)
    monkeypatch.setattr(
        toy_world, "demonstration", lambda seed, i, **test: made(seed, i % 2400, **test)
    )
    shown = source.demonstrations()[0][:2400]
    trained = {last(d.messages) for d in shown} | {last(p.messages) for p in prompts}
    trained |= {last(p.prompt) for p in pairs}
    held = [last(p.messages) for p in held_prompts]
    assert not trained & {*held, *(last(p.prompt) for p in held_pairs)}
    assert len(held) == len(set(held)) == 512


def test_the_table_has_a_column_for_everything_new(source):
    prompts = source.prompts()[1][:256]
    texts = ["i can not help with that."] * 256  # of which each refuses
    judged = source.require_reward()(prompts, texts, np.ones(256, bool))
    numbers, units = np.zeros(256), np.arange(256, dtype=np.uint64)
    found = Evaluation(texts, judged["reward"], None, numbers, numbers, judged, units)
    (row,) = held_out_tables.table([{"SFT": found}])
    for name in ("combination", "wording", "topic"):
        assert row[f"refused_due, new {name}"].mean == 1.0
        assert row[f"refused_undue, new {name}"].mean == 1.0
        # 2.5 where a refusal is due; elsewhere it is brief at most
        assert 0.5 < row[f"true reward, new {name}"].mean < 2.5
    few = dataclasses.replace(
        found, reward_metrics={k: x for k, x in judged.items() if "new" not in k}
    )
    assert not [
        name for name in held_out_tables.table([{"SFT": few}])[0] if "new" in name
    ]
