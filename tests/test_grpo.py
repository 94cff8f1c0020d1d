"""The group methods as a user runs them, at a tiny size."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import groups, grpo, sft
from experiments.run import Run
from jaxalign.batches import GroupBatch, from_lengths
from jaxalign.models import pretrained

SMALL = {"mesh": "data=1", "prompts": 4, "samples": 4, "max_new_tokens": 6}
replace = dataclasses.replace


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    out = tmp_path_factory.mktemp("base")
    sft.main(sft.Config(steps=2, batch=8, out=out, mesh="data=1"))
    return str(out / "policy")


def lines(folder):
    return [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", groups.METHODS)
def test_the_first_update_of_each_method_is_on_policy(base, tmp_path, name):
    config = grpo.Config(model=base, method=name, steps=1, out=tmp_path, **SMALL)
    (first,) = lines(tmp_path) if grpo.main(config) else ()
    np.testing.assert_allclose(first["ratio"], 1.0, atol=1e-6)
    np.testing.assert_allclose([first["kl"], first["approxkl"]], 0.0, atol=1e-5)
    model, _ = pretrained.load(tmp_path / "policy", dtype="float32")
    assert model.config.layers == pretrained.load(base)[0].config.layers


def test_resumed_equals_uninterrupted(base, tmp_path, monkeypatch):
    config = grpo.Config(
        model=base, method="dapo", steps=3, save_every=1, out=tmp_path / "a", **SMALL
    )
    whole = grpo.main(config)
    log = Run.log

    def until(self, i, *args, **kwargs):
        if i == 2:
            raise KeyboardInterrupt
        log(self, i, *args, **kwargs)

    parts = replace(config, out=tmp_path / "b")
    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", until)
        with pytest.raises(KeyboardInterrupt):
            grpo.main(parts)
    assert grpo.main(replace(parts, resume=True)) == whole


def test_a_method_of_ones_own_is_passed(base, tmp_path):
    seen = []

    def advantage(rewards):
        seen.append(rewards.shape)
        return groups.METHODS["rloo"].advantage(rewards)

    mine = replace(groups.GRPO, advantage=advantage)
    grpo.main(grpo.Config(model=base, steps=1, out=tmp_path, **SMALL), method=mine)
    assert set(seen) == {(4, 4)}


def test_prompts_that_do_not_inform_are_drawn_anew():
    config = grpo.Config(prompts=3, samples=2)

    def drawn(first):
        rows = np.arange(first, first + 6, dtype=np.float32)[:, None]
        sequences = from_lengths(
            np.ones((6, 2), np.int32), np.full(6, 2), np.ones(6, np.int32)
        )
        return GroupBatch(sequences, rows, rows, rows[:, 0])

    informs = np.array([False, True, False, False, True, False])
    kept = grpo.chosen([drawn(0), drawn(6)], informs, config)
    # prompts 1 and 4 inform; the first that does not fills up, and counts nowhere
    np.testing.assert_array_equal(kept.advantage, [2, 3, 8, 9, 0, 1])
    counted = np.asarray(kept.sequences.loss_mask).any(axis=1)
    assert counted.tolist() == [True] * 4 + [False] * 2


def test_bad_settings_are_refused(base, tmp_path):
    with pytest.raises(ValueError, match="did you mean .*grpo"):
        grpo.main(grpo.Config(model=base, method="gpro", out=tmp_path))
    with pytest.raises(ValueError, match="needs 2 samples a prompt"):
        grpo.main(grpo.Config(model=base, samples=1, out=tmp_path))
    with pytest.raises(ValueError, match="do not divide into 3"):
        grpo.main(grpo.Config(model=base, minibatches=3, out=tmp_path))
