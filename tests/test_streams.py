"""Noise has a name: a prompt's answers depend on nothing that is beside them."""

import dataclasses
import zlib

import jax
import numpy as np
import pytest

from experiments import collect, winners
from jaxalign import streams
from jaxalign.data.records import Prompt
from jaxalign.pipeline import datasets, online, policies, rollouts
from jaxalign.pipeline.prompts import tokenize_prompts
from jaxalign.runtime.run import Run
from tests.support import small_runs

replace = dataclasses.replace
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_runs.prepare(tmp_path_factory.mktemp("streams"))


def test_a_key_is_folded_from_the_name_and_each_number():
    fold = jax.random.fold_in
    named = fold(KEY, np.uint32(zlib.crc32(b"rollouts")))
    assert streams.key(KEY, "rollouts") == named
    assert streams.key(KEY, "rollouts", 5, 2) == fold(fold(named, 5), 2)


def test_streams_are_different():
    told = [("a",), ("b",), ("a", 0), ("a", 1), ("a", 0, 1), ("a", 1, 0), ("b", 0)]
    keys = {tuple(jax.random.key_data(streams.key(KEY, *x)).tolist()) for x in told}
    drawn = {int(streams.generator(3, *x).integers(2**62)) for x in told}
    assert len(keys) == len(drawn) == len(told)
    again = streams.generator(3, "a", 1).integers(2**62)
    assert again in drawn


def test_ids_of_prompts_are_of_their_text_alone():
    said = lambda text: [{"role": "user", "content": text}]
    assert streams.prompt_id(said("a")) == streams.prompt_id(said("a"))
    assert streams.prompt_id(said("a")) != streams.prompt_id(said("b"))
    ids = streams.answer_ids([2**32 - 1, 5], 1)
    assert ids.dtype == np.int32  # which folds as the 32 bits it was
    assert ids.view(np.uint32).tolist() == [[2**32 - 1, 0], [5, 0]]


@pytest.fixture
def policy(base):
    _, config = small_runs.experiment_config(base, base, "sft", [])
    return policies.load(config, datasets.load(config), None)


def answered(policy, texts, samples=1, rows=256):
    asked = [Prompt([{"role": "user", "content": text}]) for text in texts]
    told = {"max_new_tokens": 6, "samples": samples, "rows": rows}
    asked = tokenize_prompts(policy, asked)
    answers = rollouts.sample_answers(policy, asked, KEY, **told)
    return np.array(answers.texts).reshape(-1, samples)


def test_answers_depend_on_no_other_prompt_nor_on_how_many(policy):
    texts = ["red blue", "green one two", "cat", "sun moon dog"]
    together = answered(policy, texts, samples=3)
    assert len(set(together.ravel())) > 6  # there is noise
    np.testing.assert_array_equal(answered(policy, texts), together[:, :1])
    np.testing.assert_array_equal(answered(policy, texts[::-1], 3), together[::-1])
    np.testing.assert_array_equal(answered(policy, texts[2:], 3), together[2:])
    np.testing.assert_array_equal(answered(policy, texts, 3, rows=2), together)


def test_a_prompt_that_comes_twice_has_two_answers(policy):
    first, second = answered(policy, ["red blue"] * 2, samples=4)
    np.testing.assert_array_equal(first, answered(policy, ["red blue"], samples=4)[0])
    assert (first != second).any()


def test_a_batch_over_the_end_of_an_epoch_repeats_no_noise(base, tmp_path, monkeypatch):
    """Five prompts, four in a batch, which may be the same one at its two ends."""
    data = tmp_path / "pairs.jsonl"
    rows = (base / "pairs.jsonl").read_text().splitlines()[:5]
    data.write_text("\n".join(rows) + "\n")
    told = [f"data={data}", "mesh=data=1"]
    _, config = small_runs.experiment_config(base, tmp_path / "run", "grpo", told)
    config = dataclasses.replace(config, held_out=0.0)
    seen = []

    class Sampled(Exception):
        pass

    def sample(*_, row_ids, **__):
        seen.append(np.asarray(row_ids))
        raise Sampled

    monkeypatch.setattr(rollouts, "sample", sample)
    with Run(config, "grpo") as run:
        setup = online.prepare(config, run, prompts=4, samples=2)
        doubled = 0
        for iteration in range(10):
            with pytest.raises(Sampled):
                key = streams.key(KEY, "rollouts", iteration)
                online.sample_rollout(setup, None, next(setup.prompt_batches), key)
            whole = setup.prompt_batches.batches.global_indices
            doubled += len(set(whole)) < len(whole)
            assert len(np.unique(seen[-1], axis=0)) == 8
        asked = [setup.prompt_batches.ids[row] for row in whole for _ in range(2)]
    assert doubled, "no batch held a prompt twice: nothing was tested"
    assert seen[-1][:, 0].view(np.uint32).tolist() == asked


@pytest.mark.parametrize("module", [collect, winners])
def test_splits_are_streams_whatever_is_recorded(base, tmp_path, monkeypatch, module):
    """Once the key came of how many numbers had been written before."""
    _, config = small_runs.experiment_config(base, tmp_path / "out", "collect", [])
    if module is winners:
        fields = {f.name for f in dataclasses.fields(winners.Config)}
        told = {k: v for k, v in vars(config).items() if k in fields}
        told |= {"reward": str(base / "reward"), "temperature": 1.0}
        config = winners.Config(**told)
    keys = []
    answer = rollouts.sample_answers

    def noted(policy, prompts, key, **told):
        keys.append(key)
        return answer(policy, prompts, key, **told)

    monkeypatch.setattr(rollouts, "sample_answers", noted)
    monkeypatch.setattr(winners, "select_winners", lambda answers, reward, samples: [0])
    name = module.__name__.rpartition(".")[2]
    for first in (0, 3):
        keys.clear()
        config = replace(config, first_prompt=first, out=tmp_path / f"{first}")
        module.main(config)
        run_key = jax.random.key(config.seed)
        expected = [
            streams.key(run_key, f"{name} {split}", first)
            for split in ("train", "test")
        ]
        assert keys == expected
