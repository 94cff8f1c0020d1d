"""PPO with all that it carries, and online preference learning, at a tiny size."""

import dataclasses
import json
import shutil
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments import dpo, online_dpo, ppo
from jaxalign import losses, sharding
from jaxalign.batches import from_lengths
from jaxalign.models import transformer
from jaxalign.pipeline import (
    held_out_metrics,
    loss_flags,
    online,
    policies,
    reward_functions,
    rollouts,
)
from jaxalign.pipeline.datasets import tokenized
from jaxalign.sampling import SamplingParams
from jaxalign.training import forward, metrics, objectives
from tests.support import untrained

SMALL = {"mesh": "data=1", "max_new_tokens": 6, "save_every": 2}
replace = dataclasses.replace


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return untrained.save(tmp_path_factory.mktemp("base") / "policy").parent


@pytest.fixture(autouse=True)
def reward(monkeypatch):
    """A reward that any tokens have, as answers of an untrained model are alike."""
    monkeypatch.setattr(
        reward_functions, "make_reward_function", lambda *args, **kwargs: tokens_reward
    )


def tokens_reward(prompts, sequences, ended):
    """How much the answer's token ids are, by 7: of six tokens, a mean of about 3."""
    sums, counts = forward.row_sums(
        (sequences.tokens % 7).astype(jnp.float32), sequences.loss_mask
    )
    return sums / counts


def lines(folder):
    return metrics.read_steps(folder)


def weights(folder):
    return load_file(folder / "policy" / "model.safetensors")


def same(one, other):
    a, b = weights(one), weights(other)
    return all(np.array_equal(a[name], b[name]) for name in a)


def gone_on(main, config, folder):
    """A run's numbers from its checkpoint before the last, all later things undone.

    Checkpoints are made between iterations only, so that this is what a run leaves that
    is killed in any later one, with answers drawn or not.
    """
    shutil.copytree(config.out, folder)
    shutil.rmtree(folder / "policy")
    saved = sorted((folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
    assert len(saved) == 2
    shutil.rmtree(saved[-1])
    return main(replace(config, out=folder, resume=True))


@pytest.mark.slow
def test_ppo_goes_on_exactly_with_all_that_it_carries(base, tmp_path, monkeypatch):
    tokenize = tokenized.tokenize
    few = lambda records, *args, **kwargs: tokenize(records[:64], *args, **kwargs)
    monkeypatch.setattr(tokenized, "tokenize", few)
    config = ppo.Config(
        model=str(base / "policy"),
        steps=4,
        batch=8,
        ptx_weight=0.5,
        ptx_batch=2,
        value_warmup=1,
        value_learning_rate=1e-3,
        kl_stop=1e-7,
        kl_target=0.1,
        kl_horizon=100,
        normalize="running",
        score_clip=3.0,
        bootstrap=True,
        adam="tensorflow",
        warmup=1,
        schedule="cosine",
        out=tmp_path / "whole",
        **SMALL,
    )
    whole = ppo.main(config)
    assert gone_on(ppo.main, config, tmp_path / "parts") == whole
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")
    assert same(tmp_path / "parts", tmp_path / "whole")
    assert not same(tmp_path / "whole", base)
    first, second, third, _ = lines(tmp_path / "whole")
    # in the first iteration the value model trains alone, and beta waits
    assert first["updates"] == 4 and first["ratio"] == 1.0
    assert first["beta"] == second["beta"] == np.float32(0.05)
    np.testing.assert_allclose([first["kl"], second["kl"]], 0.0, atol=1e-6)
    assert "ptx_nll" not in first and second["ptx_nll"] > 0
    # then the policy moves: its second minibatch is past the bound, and the last
    assert second["updates"] == 2 and second["approxkl"] > 1e-7
    assert third["kl_k3"] > 0 and third["beta"] < first["beta"]
    # the sampler's log-probs are the trainer's, at every token: float32 rounding
    assert 0 < max(line["logp_gap"] for line in lines(tmp_path / "whole")) < 1e-4


def test_pairs_are_the_best_and_the_worst_and_ties_are_dropped():
    tokens = np.arange(9, dtype=np.int32)[:, None].repeat(2, axis=1)
    sequences = from_lengths(tokens, np.full(9, 2), np.ones(9, np.int32))
    score = jnp.array([1.0, 3.0, 2.0, 5.0, 5.0, 5.0, 0.5, 0.0, 0.5])
    found = online_dpo.best_and_worst(sequences, score, samples=3)
    assert found.valid.tolist() == [True, False, True]
    valid = np.asarray(found.valid)
    assert np.asarray(found.chosen.tokens)[valid, 0].tolist() == [1, 6]
    assert np.asarray(found.rejected.tokens)[valid, 0].tolist() == [0, 7]
    assert found.margin.tolist() == [2.0, 0.0, 0.5]
    assert found.row.tolist() == [0, 1, 2]


@pytest.mark.slow
def test_online_dpo_goes_on_exactly_and_a_loss_of_ones_own_is_passed(base, tmp_path):
    config = online_dpo.Config(
        model=str(base / "policy"),
        steps=3,
        prompts=8,
        samples=3,
        learning_rate=1e-3,
        out=tmp_path / "whole",
        **SMALL,
    )

    def loss(pair):
        means = (*pair.policy[2:], *pair.reference[2:])
        return 2.0 * losses.ipo(*means, tau=0.2)

    main = partial(online_dpo.main, loss=loss)
    whole = main(config)
    assert gone_on(main, config, tmp_path / "parts") == whole
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")
    assert same(tmp_path / "parts", tmp_path / "whole")
    assert not same(tmp_path / "whole", base)
    first, second, _ = lines(tmp_path / "whole")
    # at the reference, ipo is 1 / (2 tau)^2, and no answer is likelier than there
    np.testing.assert_allclose(first["loss"], 2 * 6.25, rtol=1e-4)
    np.testing.assert_allclose([first["kl"], first["logratio/margin"]], 0.0, atol=1e-5)
    # fresh pairs, of a policy that has moved
    assert second["kl_k3"] > 0 and second["loss"] != first["loss"]
    assert 0 < first["logp_gap"] < 1e-4
    assert first["weight"] == 8 * (1 - first["ties"]) > 0


@pytest.mark.slow
def test_online_bco_carries_its_running_mean(base, tmp_path):
    config = online_dpo.Config(
        model=str(base / "policy"),
        loss="bco",
        steps=3,
        prompts=8,
        epochs=1,
        minibatches=1,
        learning_rate=1e-2,
        out=tmp_path / "whole",
        **SMALL,
    )
    whole = online_dpo.main(config)
    assert gone_on(online_dpo.main, config, tmp_path / "parts") == whole
    rows = lines(tmp_path / "whole")
    assert lines(tmp_path / "parts") == rows
    totals = [r["weight"] * (r["rewards/chosen"] + r["rewards/rejected"]) for r in rows]
    counts = np.cumsum([2 * r["weight"] for r in rows])
    expected = [0.0, *(np.cumsum(totals) / counts)[:-1]]
    found = [r["reward_shift"] for r in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    assert found[2] != 0.0


@pytest.mark.slow
def test_an_iteration_without_a_pair_changes_nothing(base, tmp_path, monkeypatch):
    """Momentum alone would move the policy; what is not known is null, not NaN."""
    config = online_dpo.Config(
        model=str(base / "policy"),
        steps=1,
        prompts=4,
        learning_rate=1e-3,
        schedule="constant",
        missing_eos_penalty=0.0,
        out=tmp_path / "one",
        **SMALL,
    )
    # evaluations would use up the reward
    monkeypatch.setattr(held_out_metrics, "rollouts", lambda *_: None)
    online_dpo.main(config)
    drawn = []

    def only_once(*told):
        drawn.append(tokens_reward(*told))
        return drawn[0] if len(drawn) == 1 else jnp.zeros_like(drawn[0])

    monkeypatch.setattr(
        reward_functions, "make_reward_function", lambda *args, **kwargs: only_once
    )
    online_dpo.main(replace(config, steps=2, out=tmp_path / "two"))
    assert same(tmp_path / "one", tmp_path / "two")
    assert not same(tmp_path / "one", base)
    first, second = (row for row in lines(tmp_path / "two") if "ties" in row)
    assert first["ties"] < 1.0 and first["accuracy"] is not None
    assert second["ties"] == 1.0 and second["weight"] == second["loss"] == 0.0
    numbers = (tmp_path / "two" / "numbers.json").read_text()
    known = json.loads(numbers, parse_constant=lambda name: pytest.fail(name))
    assert second["accuracy"] is None and known["train/accuracy"] is None


def test_the_knobs_of_a_loss_are_not_the_samplings():
    told = online_dpo.Config(loss="discopop", temperature=0.5, beta=0.3)
    sides = lambda *sums: objectives.ModelLogps(*(jnp.array([x]) for x in sums))
    pairs = objectives.PairLogps(sides(1.0, -1.0), sides(0.0, 0.0))
    offline = dpo.Config(loss="discopop", beta=0.3)
    np.testing.assert_allclose(
        loss_flags.configured_loss(told)(pairs),
        loss_flags.configured_loss(offline)(pairs),
    )
    hot = replace(offline, temperature=0.5)
    assert loss_flags.configured_loss(hot)(pairs) != loss_flags.configured_loss(
        offline
    )(pairs)


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="did you mean .*dpo"):
        online_dpo.main(online_dpo.Config(loss="dpoo", out=tmp_path))
    with pytest.raises(ValueError, match="--samples 1: .* from 2"):
        online_dpo.main(online_dpo.Config(samples=1, out=tmp_path))
    with pytest.raises(ValueError, match="aot sorts all pairs"):
        online_dpo.main(online_dpo.Config(loss="aot", out=tmp_path))
    with pytest.raises(ValueError, match="32 pairs .* do not divide into 3"):
        online_dpo.main(online_dpo.Config(minibatches=3, out=tmp_path))
    with pytest.raises(ValueError, match="--minibatches 0: .* from 1"):
        online_dpo.main(online_dpo.Config(minibatches=0, out=tmp_path))
    with pytest.raises(ValueError, match="64 answers .* do not divide into 3"):
        ppo.main(ppo.Config(minibatches=3, out=tmp_path))
    with pytest.raises(ValueError, match="--value-warmup 5 is longer than the 4"):
        ppo.main(ppo.Config(steps=4, value_warmup=5, out=tmp_path))


@pytest.mark.slow
def test_slots_change_no_answer():
    """Some answers at a time, as `--slots` asks for, or all at once."""
    model = transformer.language_model(policies.toy_config(16, 24, "float32"))
    params = model.init(jax.random.key(0))
    policy = SimpleNamespace(model=model, stop_tokens=(1, 2))
    tokens = np.random.default_rng(0).integers(3, 16, (4, 8)).astype(np.int32)
    told = (policy, params, tokens, np.array([8, 2, 5, 3], np.int32))
    told = (*told, jax.random.key(1), SamplingParams(max_new_tokens=12, samples=2))
    once = rollouts.sample(*told)
    some = rollouts.sample(*told, slots=3)
    np.testing.assert_array_equal(once[0].tokens, some[0].tokens)
    np.testing.assert_array_equal(once[0].loss_mask, some[0].loss_mask)
    np.testing.assert_array_equal(once[1], some[1])
    np.testing.assert_allclose(once[2], some[2], atol=1e-5)
    assert len(set(np.asarray(once[0].loss_mask).sum(axis=1).tolist())) > 2


def test_an_iteration_of_more_prompts_than_there_are_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"--batch\) 1,000,000 is more than the 4,096"):
        ppo.main(ppo.Config(batch=10**6, reward="length:4", out=tmp_path / "many"))
    assert not (tmp_path / "many").exists()


def test_a_bad_reward_is_refused_before_data_and_models_are_read(monkeypatch):
    run = SimpleNamespace(mesh=sharding.make_mesh({"data": 1}))
    monkeypatch.setattr(online.datasets, "load", lambda _: pytest.fail("data are read"))
    config = ppo.Config(reward="no_such_file.py:f=1,exact=0.5")
    with pytest.raises(ValueError, match="there is no file no_such_file.py"):
        online.prepare(config, run, prompts=8)
