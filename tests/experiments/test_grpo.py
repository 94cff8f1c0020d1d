"""The group methods as a user runs them, at a tiny size."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import grpo, sft
from jaxalign.batches import GroupBatch, from_lengths
from jaxalign.models import pretrained
from jaxalign.pipeline import (
    datasets,
    group_batch,
    online,
    policies,
    reward_functions,
    rollouts,
    text_rewards,
)
from jaxalign.rewards import shaping
from jaxalign.runtime import defaults
from jaxalign.runtime.run import Run
from jaxalign.training import forward, group_methods, metrics, step
from tests.support import quick

SMALL = {"mesh": "data=1", "prompts": 4, "samples": 4, "max_new_tokens": 6}
replace = dataclasses.replace


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    out = tmp_path_factory.mktemp("base")
    sft.main(sft.Config(steps=2, batch=8, out=out, mesh="data=1"))
    return str(out / "policy")


def lines(folder):
    return metrics.read_steps(folder)


@pytest.mark.parametrize("name", quick.only(["grpo"], group_methods.METHODS))
def test_the_first_update_of_each_method_is_on_policy(base, tmp_path, name):
    config = grpo.Config(model=base, method=name, steps=1, out=tmp_path, **SMALL)
    (first,) = lines(tmp_path) if grpo.main(config) else ()
    np.testing.assert_allclose(first["ratio"], 1.0, atol=1e-6)
    np.testing.assert_allclose([first["kl"], first["approxkl"]], 0.0, atol=1e-5)
    model, _ = pretrained.load(tmp_path / "policy", dtype="float32")
    assert model.config.layers == pretrained.load(base)[0].config.layers


@pytest.mark.slow
def test_prompts_are_shared_where_rows_divide(base, tmp_path, monkeypatch):
    """On 8 devices each has a row of 4 answers; the numbers are those apart."""
    sizes = SMALL | {"mesh": "data=8", "prompts": 8}
    config = grpo.Config(model=base, steps=2, **sizes)
    found, used = [], []
    together = forward.pack_shared_prompts

    def watched(*told, answers, room):
        used.append(answers)
        return together(*told, answers=answers, room=room)

    monkeypatch.setattr(forward, "pack_shared_prompts", watched)
    for name in ("shared", "apart"):
        grpo.main(replace(config, out=tmp_path / name))
        found.append(lines(tmp_path / name))
        monkeypatch.setattr(rollouts, "answers_per_row", lambda *args, **kwargs: 1)
    assert used == [4, 4]
    timed = ("seconds", "per_second", "memory")
    for one, other in zip(*found, strict=True):
        assert one.keys() == other.keys()
        for n in one:
            if not any(x in n for x in timed):
                np.testing.assert_allclose(one[n], other[n], rtol=1e-3, atol=1e-4)


def test_how_many_answers_share_a_row():
    model = replace(policies.toy_config(16, 512, "float32"), width=128)
    of = lambda parts, model=model: rollouts.answers_per_row(model, 4, 8, parts=parts)
    assert [of(1), of(4), of(8), of(16), of(32), of(3)] == [8, 8, 4, 2, 1, 1]
    assert rollouts.answers_per_row(model, 4, 6, parts=8) == 3
    cudnn = replace(model, attention="cudnn", dtype="bfloat16")
    assert of(1, model=cudnn) == 1


def test_prompts_are_read_as_often_as_devices_divide():
    of = lambda *told: rollouts.prompt_copies(*told, parts=8)
    assert [of(8, 3), of(4, 4), of(2, 8), of(3, 8), of(3, 5)] == [1, 2, 4, 8, 5]


@pytest.mark.slow
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
    shapes = set()

    def advantage(rewards):
        shapes.add(rewards.shape)
        return group_methods.METHODS["rloo"].advantage(rewards)

    mine = replace(group_methods.GRPO, advantage=advantage)
    grpo.main(grpo.Config(model=base, steps=1, out=tmp_path, **SMALL), method=mine)
    assert shapes == {(4, 4)}


@pytest.mark.slow
def test_the_rate_follows_iterations_where_updates_are_left_out(
    base, tmp_path, monkeypatch
):
    """Of four updates an iteration one is made; the schedule stands at 0, 4, 8, 12.

    So 4/16 of the rate are left in the last iteration, and not 13/16.
    """
    counts = []
    minibatches, make_step = rollouts.minibatches, step.make_step

    def first_minibatch(*args, **kwargs):
        return itertools.islice(minibatches(*args, **kwargs), 1)

    def recording_step(*args, **kwargs):
        update = make_step(*args, **kwargs)
        is_schedule = lambda x: isinstance(x, optax.ScaleByScheduleState)

        def record(state, batch):
            states = jax.tree.leaves(state.opt_state, is_leaf=is_schedule)
            counts.append([int(x.count) for x in states if is_schedule(x)])
            return update(state, batch)

        return record

    monkeypatch.setattr(rollouts, "minibatches", first_minibatch)
    monkeypatch.setattr(step, "make_step", recording_step)
    config = grpo.Config(
        model=base, steps=4, epochs=2, minibatches=2, out=tmp_path, **SMALL
    )
    assert grpo.main(config)["train/updates"] == 1
    assert counts == [[0], [4], [8], [12]]
    config = defaults.resolve(config)
    assert config.rate(4)(3) == 0.25 * config.learning_rate


# (place of the KL, beta, clip) of each paper; RLOO's beta is TRL's
DEFAULTS = {
    "grpo": ("loss", 0.04, 0.2, 0.2),
    "dr_grpo": (None, 0.0, 0.2, 0.2),
    "rloo": ("reward", 0.05, 0.2, 0.2),
    "reinforce_plus_plus": ("reward_to_go", 0.01, 0.2, 0.2),
    "dapo": (None, 0.0, 0.2, 0.28),
    "gspo": (None, 0.0, 3e-4, 4e-4),
    "cispo": (None, 0.0, 1.0, 4.0),
}


@pytest.mark.parametrize("name", group_methods.METHODS)
def test_defaults_are_the_papers_and_beta_is_a_flag(name):
    method = group_methods.METHODS[name]
    kl, beta, low, high = DEFAULTS[name]
    assert (method.beta, method.clip_low, method.clip_high) == (beta, low, high)
    assert kl in (None, method.kl) and "arXiv:" in method.source
    assert (
        method.dynamic_sampling == bool(method.overlong) == (name in ("dapo", "cispo"))
    )
    assert grpo.kl_coefficient(grpo.Config(), method) == beta
    assert grpo.kl_coefficient(grpo.Config(beta=0.3), method) == 0.3
    assert method.hyperparameters()["kl_term"] == group_methods.KL_PLACEMENT_TEXTS.get(
        kl, "none"
    )
    assert method.hyperparameters(0.3)["beta"] == 0.3


def advantage_inputs(method, reward, lengths, *, longest):
    """The scores that advantages are computed from, of two answers to each prompt."""
    lengths = np.array(lengths)
    count = len(lengths)
    tokens = np.ones((count, 1 + longest), np.int32)
    sequences = from_lengths(tokens, 1 + lengths, np.ones(count, np.int32))
    zero = jnp.zeros(tokens.shape)
    rollout = online.Rollout(
        [], sequences, sequences, zero, jnp.asarray(lengths < longest)
    )
    score = grpo.penalized_score(
        grpo.Config(), method, rollout, jnp.float32(reward), longest
    )
    inputs = []
    method = replace(method, advantage=lambda x: inputs.append(x) or x)
    group_batch.group_advantages(
        method, sequences, score, zero, zero, beta=0.0, samples=2
    )
    return np.ravel(inputs[0])


def test_dapo_charges_length_once():
    """Equation 13, added to the rule's reward: a right answer that was cut is worth 0.

    L = 10 and C = 2: nothing up to 8 tokens, half at 9, 1 at 10, where answers are cut.
    """
    reward, lengths = [1, 1, 1, -1, -1, -1], [8, 9, 10, 3, 9, 10]
    dapo = group_methods.METHODS["dapo"]
    found = advantage_inputs(dapo, reward, lengths, longest=10)
    np.testing.assert_allclose(found, [1, 0.5, 0, -1, -1.5, -2], atol=1e-6)
    # other methods have the penalty of a missing end instead
    found = advantage_inputs(group_methods.GRPO, reward, lengths, longest=10)
    np.testing.assert_allclose(found, [1, 1, 0, -1, -1, -2], atol=1e-6)


def test_prompts_are_informative_by_their_rewards():
    """Both right, both wrong, one of each."""
    reward = jnp.float32([1, 1, -1, -1, 1, -1])
    informative = group_batch.informative_prompts(reward, 2)
    assert informative.tolist() == [False, False, True]


@pytest.mark.slow
def test_penalties_make_no_prompt_informative(base, tmp_path, monkeypatch):
    """All rewards are 1, and all penalized scores differ: no prompt is informative."""
    ones = lambda prompts, sequences, ended: jnp.ones(len(ended))
    monkeypatch.setattr(
        reward_functions, "make_reward_function", lambda *args, **kwargs: ones
    )
    differing = lambda score, *args, **kwargs: jnp.arange(len(score), dtype=jnp.float32)
    monkeypatch.setattr(shaping, "penalize_overlong", differing)
    config = grpo.Config(
        model=base, method="dapo", draws=2, steps=1, out=tmp_path, **SMALL
    )
    (only,) = lines(tmp_path) if grpo.main(config) else ()
    assert only["informative"] == 0.0 and only["weight"] == 0.0


@pytest.mark.parametrize("informative, enough", [([1, 2], False), ([2, 3], True)])
def test_dynamic_sampling_draws_until_there_are_enough(informative, enough):
    """Of four prompts an iteration; with three batches drawn, it stops anyway."""
    config = grpo.Config(prompts=4, draws=3)
    dapo = group_methods.METHODS["dapo"]
    batches = [jnp.arange(4) < count for count in informative]
    assert not grpo.enough_prompts(config, dapo, [])
    assert grpo.enough_prompts(config, dapo, batches) == enough
    assert grpo.enough_prompts(config, dapo, [*batches, batches[0]])
    # other methods draw once
    assert not grpo.enough_prompts(config, group_methods.GRPO, [])
    assert grpo.enough_prompts(config, group_methods.GRPO, batches[:1])


@pytest.mark.slow
def test_answers_to_gsm8k_are_checked(public_data, tmp_path):
    problems = (public_data / "gsm8k" / "test.jsonl").read_text().splitlines()
    path = tmp_path / "problems.jsonl"
    path.write_text("\n".join(sorted(problems, key=len)[:20]))
    config = grpo.Config(data=str(path), reward="gsm8k", steps=2, out=tmp_path, **SMALL)
    first, second = lines(tmp_path) if grpo.main(config) else ()
    assert 0 <= first["reward"] <= 1 and first["length"] > 0
    assert first["informative"] in (0, 0.25, 0.5, 0.75, 1)
    dataset = datasets.load(config)
    reward, prompts = (
        text_rewards.text_reward("gsm8k", dataset),
        dataset.prompts()[0],
    )
    ended, right = np.ones(18, bool), [p.references[0] for p in prompts]
    assert reward(prompts, right, ended)["reward"].all()
    assert not reward(prompts, ["no number"] * 18, ended)["reward"].any()


def test_prompts_that_do_not_inform_are_drawn_anew():
    def drawn(first):
        rows = np.arange(first, first + 6, dtype=np.float32)[:, None]
        sequences = from_lengths(
            np.ones((6, 2), np.int32), np.full(6, 2), np.ones(6, np.int32)
        )
        return GroupBatch(sequences, rows, rows, rows[:, 0])

    informative = jnp.array([[False, True, False], [False, True, False]])
    kept = group_batch.select_informative([drawn(0), drawn(6)], informative, 3)
    # prompts 1 and 4 inform; the first that does not fills up, and counts nowhere
    np.testing.assert_array_equal(kept.advantage, [2, 3, 8, 9, 0, 1])
    counted = np.asarray(kept.sequences.loss_mask).any(axis=1)
    assert counted.tolist() == [True] * 4 + [False] * 2
