"""Held-out metrics are what a direct computation gives, on any batch and mesh."""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import losses
from jaxalign.data.records import Demonstration, Preference
from jaxalign.pipeline import datasets, held_out_metrics, model_folders, policies
from jaxalign.runtime.evaluations import Evaluations
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.mesh import mesh_of
from jaxalign.runtime.training_config import OfflineConfig
from jaxalign.training import objectives
from tests.support import quick, small_runs

FEW = {"held_out": 0.3, "batch": 8}
MESHES = ["data=1", "data=2,fsdp=2,tensor=2"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_runs.prepare(tmp_path_factory.mktemp("metrics"))


class Held:
    """A policy that has moved a little from its reference, and held-out rows."""

    def __init__(self, base, folder, mesh="data=1", kind=Preference, **told):
        self.config = OfflineConfig(
            model=str(base / "policy"),
            data=str(base / "pairs.jsonl"),
            mesh=mesh,
            **FEW | told,
        )
        self.mesh = mesh_of(self.config)
        self.said = []
        self.run = SimpleNamespace(
            evaluations=Evaluations(self.config),
            say=self.said.append,
            note=self.said.append,
            mesh=self.mesh,
            folder=folder,
            experiment="test",
        )
        source = datasets.load(self.config)
        self.policy = policies.load(self.config, source, self.mesh)
        self.moved = jax.tree.map(lambda x: x * 1.05, self.policy.params)
        records = source.split(kind)[1]
        self.rows = datasets.tokenize_records(
            self.config, records, self.policy, self.run.note, "held out"
        )

    def measured(self, measure, **extras):
        state = SimpleNamespace(params=self.moved)
        with jax.set_mesh(self.mesh):
            return measure(LoopState(1, state, {}, extras))

    def pairs(self, loss, **options):
        with jax.set_mesh(self.mesh):
            return self.measured(
                held_out_metrics.of_loss(
                    *(self.config, self.run, self.policy, self.rows, loss, same),
                    **options,
                )
            )


def same(params):
    return params


@functools.partial(jax.jit, static_argnums=0)
def next_logps(model, params, tokens):
    """The log-softmax of each position of one row."""
    place = jnp.arange(tokens.shape[1])[None]
    hidden = model.hidden(params, tokens, place, jnp.ones_like(place))
    logits = (hidden @ model.unembed(params)).astype(jnp.float32)
    return jax.nn.log_softmax(logits[0, :-1])


def answer_logp(policy, params, row):
    """The log-prob of each token of an answer, of a row by itself."""
    count = len(row.tokens)
    # zeros follow, which no earlier token sees: one shape for all rows
    tokens = np.pad(row.tokens, (0, 64 - count))[None].astype(np.int32)
    logp = np.asarray(next_logps(policy.model, params, tokens), np.float64)
    return logp[np.arange(count - 1), row.tokens[1:]][np.asarray(row.mask)[1:]]


def test_the_nll_by_hand(base, tmp_path):
    held = Held(base, tmp_path, kind=Demonstration)
    measure = held_out_metrics.conversations(
        held.config, held.run, held.policy.model, held.rows, same
    )
    found = held.measured(measure)
    logps = [
        answer_logp(held.policy, held.moved, example.sequences[0])
        for example in held.rows
    ]
    every = np.concatenate(logps)
    assert found["rows"] == len(logps) > 10 and found["tokens"] == len(every)
    # over tokens, not over rows; float32 log-probs of another program
    np.testing.assert_allclose(found["loss"], -every.mean(), rtol=1e-6)
    np.testing.assert_allclose(found["perplexity"], np.exp(-every.mean()), rtol=1e-5)
    by_rows = -np.mean([logp.mean() for logp in logps])
    assert abs(found["loss"] - by_rows) > 1e-3  # or the two could not be told apart


def test_dpo_by_hand(base, tmp_path):
    held = Held(base, tmp_path)
    found = held.pairs(objectives.get_loss("dpo").bind(beta=0.3))
    ratios = np.array(
        [
            [
                answer_logp(held.policy, held.moved, row).sum()
                - answer_logp(held.policy, held.policy.params, row).sum()
                for row in example.sequences
            ]
            for example in held.rows
        ]
    )
    margin = ratios[:, 0] - ratios[:, 1]
    expected = {
        "loss": np.log1p(np.exp(-0.3 * margin)).mean(),
        "accuracy": (margin > 0).mean(),
        "margin": margin.mean(),
        "logratio/chosen": ratios[:, 0].mean(),
        "logratio/rejected": ratios[:, 1].mean(),
        "rewards/margins": 0.3 * margin.mean(),
        "pairs": len(margin),
    }
    assert np.abs(margin).min() > 1e-4  # no pair lies at a tie
    for name, x in expected.items():
        # differences of float32 sums of log-probs of some 30 nats
        np.testing.assert_allclose(found[name], x, rtol=1e-4, atol=1e-5, err_msg=name)
    assert found["accuracy_low"] < found["accuracy"] < found["accuracy_high"]


def test_kto_by_hand(base, tmp_path):
    """z0 is over all held-out answers, which no batch of 8 holds."""
    held = Held(base, tmp_path)
    held.rows = datasets.tokenized_unpaired(
        *(held.config, datasets.load(held.config), held.policy), held.run.note
    )[1]
    loss = objectives.get_loss("kto").bind(beta=0.3, desirable_weight=2.0)
    found = held.pairs(loss)
    # the terms at each answer's log-ratio and at the z0 that is reported
    ratio = [
        answer_logp(held.policy, held.moved, example.sequences[0]).sum()
        - answer_logp(held.policy, held.policy.params, example.sequences[0]).sum()
        for example in held.rows
    ]
    up = np.array([example.value > 0 for example in held.rows])
    sign = np.where(up, 1.0, -1.0)
    terms = 1.0 / (1.0 + np.exp(0.3 * sign * (np.array(ratio) - found["kl"])))
    # float32 rounding
    np.testing.assert_allclose(
        found["loss"], (np.where(up, 2.0, 1.0) * terms).mean(), rtol=1e-5
    )
    margin = np.mean(np.array(ratio)[up]) - np.mean(np.array(ratio)[~up])
    np.testing.assert_allclose(found["margin"], margin, rtol=1e-4, atol=1e-5)


def scored(base, folder, **told):
    held = Held(base, folder, **told)
    model, params = model_folders.load_scalar(
        base / "reward", "float32", mesh=held.mesh
    )
    held.moved = params
    measure = held_out_metrics.scores(
        *(held.config, held.run, model, held.rows, objectives.hard_label_loss, same),
        center=0.1,
    )
    return held, model, held.measured(measure)


def test_a_reward_model_by_hand(base, tmp_path):
    held, model, found = scored(base, tmp_path)

    place, read = jnp.arange(64)[None], jax.jit(model.scores)

    def score(row):
        count = len(row.tokens)
        tokens = np.pad(row.tokens, (0, 64 - count))[None].astype(np.int32)
        last = jnp.array([[count - 1]])
        ones = jnp.ones_like(place)
        return float(read(held.moved, tokens, place, ones, at=last)[0, 0])

    pairs = np.array([[score(row) for row in x.sequences] for x in held.rows])
    margin = pairs[:, 0] - pairs[:, 1]
    terms = np.log1p(np.exp(-margin)) + 0.1 * pairs.sum(axis=1) ** 2
    expected = {
        "loss": terms.mean(),
        "accuracy": ((margin > 0) + 0.5 * (margin == 0)).mean(),
        "margin": margin.mean(),
        "score/chosen": pairs[:, 0].mean(),
    }
    for name, x in expected.items():
        # float32 scores of another program
        np.testing.assert_allclose(found[name], x, rtol=1e-5, atol=1e-6, err_msg=name)


LOSSES = ["dpo", "aot", "simpo", "tdpo2", "kto"]


@pytest.mark.parametrize("name", quick.only(["aot"], LOSSES))
@pytest.mark.parametrize("mesh", MESHES)
def test_no_batch_and_no_mesh_changes_a_metric(base, tmp_path, name, mesh):
    """Also where a loss sorts the pairs of a batch: it gets all pairs at once."""
    loss = objectives.get_loss(name)
    one = Held(base, tmp_path / "1", batch=64)
    other = Held(base, tmp_path / "2", mesh, batch=4)
    if name == "kto":
        for held in (one, other):
            held.rows = datasets.tokenized_unpaired(
                *(held.config, datasets.load(held.config), held.policy), held.run.note
            )[1]
    ours, theirs = one.pairs(loss), other.pairs(loss)
    assert ours.keys() == theirs.keys() and len(one.rows) % 4
    for key, x in ours.items():
        # differences of float32 sums of some 30 nats, added in another order
        np.testing.assert_allclose(theirs[key], x, rtol=1e-4, atol=2e-5, err_msg=key)


@pytest.mark.parametrize("mesh", quick.only(MESHES[-1:], MESHES))
def test_nll_and_scores_on_any_mesh(base, tmp_path, mesh):
    found = []
    for at, told in (("data=1", {"batch": 64}), (mesh, {"batch": 4})):
        held = Held(base, tmp_path, at, Demonstration, **told)
        measure = held_out_metrics.conversations(
            held.config, held.run, held.policy.model, held.rows, same
        )
        nll = held.measured(measure)
        _, _, scores = scored(base, tmp_path, mesh=at, **told)
        found.append(nll | {f"score/{n}": x for n, x in scores.items()})
    for key, x in found[0].items():
        # float32 rounding
        np.testing.assert_allclose(found[1][key], x, rtol=1e-5, atol=1e-6, err_msg=key)


def test_a_custom_loss_of_whole_pairs(base, tmp_path):
    held = Held(base, tmp_path)
    custom = objectives.as_loss(lambda pair: losses.dpo(*pair.sums, beta=0.3))
    ours, theirs = (
        held.pairs(custom),
        held.pairs(objectives.get_loss("dpo").bind(beta=0.3)),
    )
    # float32 rounding
    np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-6)


def test_a_frozen_reference_is_asked_once(base, tmp_path):
    """Its log-probs are kept in the run's folder; a reference-free loss keeps none."""
    held = Held(base, tmp_path)
    held.pairs(objectives.get_loss("simpo"))
    assert not (tmp_path / "reference").exists()
    with_ratios = held.pairs(objectives.get_loss("simpo"), reference_metrics=True)
    assert "logratio/margin" in with_ratios
    (kept,) = (tmp_path / "reference").iterdir()
    before = kept.stat().st_mtime_ns
    held.pairs(objectives.get_loss("dpo"))
    assert [x.stat().st_mtime_ns for x in (tmp_path / "reference").iterdir()] == [
        before
    ]


def test_the_rows_of_an_evaluation_are_few_and_the_same(base, tmp_path):
    """Drawn by --held-out-seed, not by --seed, from the whole held-out split."""
    dpo = objectives.get_loss("dpo")
    first = Held(base, tmp_path, eval_rows=5).pairs(dpo)
    assert first["pairs"] == 5
    assert Held(base, tmp_path, eval_rows=5).pairs(dpo) == first
    whole = Held(base, tmp_path).pairs(dpo)
    assert whole["pairs"] > 5 and whole["loss"] != first["loss"]


def test_nothing_held_out_is_said(base, tmp_path):
    held = Held(base, tmp_path)
    measure = held_out_metrics.conversations(
        held.config, held.run, held.policy.model, [], same
    )
    assert measure is None and "no rows are held out" in held.said[-1]
    best = dataclasses.replace(held.config, keep_best="eval/loss")
    held.run.evaluations = Evaluations(best)
    with pytest.raises(ValueError, match="--keep-best eval/loss: no rows are held"):
        held_out_metrics.conversations(
            held.config, held.run, held.policy.model, [], same
        )
