"""The benchmark of preference losses: its arithmetic, its files, and both worlds."""

import csv
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import collect, dpo
from experiments.benchmark import __main__, toy
from experiments.benchmark import exact as variants
from jaxalign import losses
from jaxalign.evaluation import tabular
from jaxalign.evaluation.tabular_losses import expected_loss
from jaxalign.pipeline import datasets, model_folders, policies
from jaxalign.runtime.config import RunConfig
from jaxalign.training import objectives

SMALL = __main__.Config(
    losses=("dpo", "ipo"),
    betas=(0.5, 2.0),
    seeds=2,
    pairs=64,
    prompts=3,
    answers=4,
    steps=30,
)
SIZE = {"prompts": 3, "answers": 4}


def train(name, seeds, betas, *, pairs, steps=30, marks=None):
    """A loss by name, trained in small worlds; measured at the end unless told."""
    loss = variants.expected_loss_of(objectives.get_loss(name))
    data = variants.make_data(seeds, **SIZE, pairs=pairs)
    marks = np.array([steps] if marks is None else marks)
    betas = jnp.array(betas)
    return variants.train(loss, data, betas, steps=steps, rate=0.1, marks=marks)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One small run, with a loss of our own that is DPO."""
    out = tmp_path_factory.mktemp("benchmark")
    mine = {"mine": lambda *logps, beta: losses.dpo(*logps, beta=beta)}
    rows = __main__.main(dataclasses.replace(SMALL, out=out), losses=mine)
    return out, rows


@pytest.mark.slow
def test_mapped_equals_one_by_one():
    together = train("dpo", [3, 4], [0.5, 2.0], pairs=64)
    for s, seed in enumerate([3, 4]):
        for b, beta in enumerate([0.5, 2.0]):
            alone = train("dpo", [seed], [beta], pairs=64)
            for ours, theirs in zip(alone, together, strict=True):
                # the same sums in another order, 30 steps long, in float32
                np.testing.assert_allclose(
                    ours[0, 0], theirs[s, b], rtol=1e-3, atol=1e-4
                )


@pytest.mark.slow
def test_infinite_data_lead_dpo_to_the_optimum():
    # DPO's expected loss is least at the optimum of exact.objective (test_exact_losses)
    betas = [0.5, 2.0]
    found = train("dpo", [0, 1], betas, pairs=0, steps=1000)
    worlds = variants.make_data([0, 1], **SIZE, pairs=0).worlds
    for b, beta in enumerate(betas):
        best = jax.vmap(
            lambda world, beta=beta: tabular.optimal_policy(world, beta=beta)
        )(worlds)
        # Adam in float32, its rate fallen to 0
        for name, seen in (("expected_reward", found.reward), ("kl", found.kl)):
            there = jax.vmap(getattr(tabular, name))(worlds, best)
            np.testing.assert_allclose(seen[:, b, 0], there, atol=2e-3)
    np.testing.assert_allclose(found.regret, 0.0, atol=1e-3)
    # a sample of pairs leads elsewhere
    sampled = train("dpo", [0, 1], betas, pairs=64, steps=1000)
    assert (sampled.regret > 0.01).all()


def test_a_sample_is_of_the_pairs_there_are():
    few, many = (variants.make_data([5], **SIZE, pairs=n) for n in (64, 0))
    # 64 pairs: each weight is a count over 64, and together they are 1
    np.testing.assert_array_equal(few.weights * 64, np.round(few.weights * 64))
    np.testing.assert_allclose(few.weights.sum(), 1.0, rtol=1e-6)
    # 100 000 pairs: a weight w differs from its expectation by sqrt(w / n) <= 1e-3,
    # times 5 standard errors
    more = variants.make_data([5], **SIZE, pairs=100_000)
    np.testing.assert_allclose(more.weights, many.weights, atol=5e-3)
    assert not np.allclose(few.weights, many.weights, atol=5e-3)


def test_it_starts_at_the_reference():
    found = train("dpo", [0], [0.5], pairs=0, marks=[0, 30])
    world = tabular.random_bandit(jax.random.split(jax.random.key(0))[0], **SIZE)
    start = jax.tree.map(lambda x: x[0, 0, 0], found)
    best = tabular.optimal_policy(world, beta=0.5)
    expected = tabular.objective(world, best, beta=0.5)
    reward = tabular.expected_reward(world, world.reference)
    np.testing.assert_allclose(start.reward, reward, atol=1e-6)
    np.testing.assert_allclose(start.regret, expected - reward, atol=1e-6)
    np.testing.assert_allclose([start.kl, start.chosen_ratio], 0.0, atol=1e-6)
    assert found.regret[0, 0, 1] < start.regret
    # chosen is the mean over pairs: the expected loss whose terms it is
    chosen = expected_loss(world, world.reference, lambda chosen, *_: chosen)
    np.testing.assert_allclose(start.chosen, chosen, atol=1e-6)


@pytest.mark.parametrize("name", [*objectives.PAIRWISE_LOSSES, "kto"])
def test_every_loss_trains_or_says_why_not(name):
    if name in variants.SAME_AT_ONE_TOKEN:
        with pytest.raises(
            ValueError, match=f"where {name} is {variants.SAME_AT_ONE_TOKEN[name]}:"
        ):
            variants.expected_loss_of(objectives.get_loss(name))
        return
    found = train(name, [0], [0.5], pairs=64, steps=2, marks=[0, 2])
    assert all(np.isfinite(x).all() for x in found)
    assert (found.kl[..., 1] > 0).all()  # it moved


def test_numbers_of_an_exact_world_by_hand():
    # one prompt, p = (1/4, 3/4), reference (1/2, 1/2)
    world = tabular.Bandit(jnp.zeros((1, 2)), jnp.zeros((1, 2)), jnp.ones(1))
    pair = variants.pair_inputs(world, jnp.log(jnp.array([[1.0, 3.0]])))
    # pairs are (0, 0), (0, 1), (1, 0), (1, 1)
    low, high = np.log(0.25), np.log(0.75)
    np.testing.assert_allclose(pair.policy.chosen, [low, low, high, high], rtol=1e-6)
    np.testing.assert_allclose(
        pair.policy.rejected_mean, [low, high, low, high], rtol=1e-6
    )
    # 1/4 and 3/4 against 1/16 + 9/16 = 5/8
    np.testing.assert_allclose(pair.wpo_weight.chosen, [0.4, 0.4, 1.2, 1.2], rtol=1e-6)
    # KL(reference || policy) = (log(1/2 / (1/4)) + log(1/2 / (3/4))) / 2
    kl = 0.5 * (np.log(2.0) + np.log(2.0 / 3.0))
    np.testing.assert_allclose(pair.kl.rejected, [kl] * 4, rtol=1e-6)
    assert {x.shape for x in jax.tree.leaves(pair)} == {(4,)}


def test_a_strength_is_the_first_hyperparameter_and_the_rest_are_defaults():
    at = lambda name, x: objectives.get_loss(name).at_strength(x).hyperparameters
    assert at("ipo", 0.3) == {"tau": 0.3}
    assert at("simpo", 3.0) == {"beta": 3.0, "gamma": 1.5}  # gamma / beta stays 0.5
    assert at("dpop", 0.3) == {"beta": 0.3, "lam": 5.0}
    weights = {"desirable_weight": 1.0, "undesirable_weight": 1.0}
    assert at("kto", 0.3) == {"beta": 0.3} | weights


def test_no_policy_beats_the_frontier():
    worlds = variants.make_data(range(4), **SIZE, pairs=0).worlds
    kl, reward = variants.frontier(worlds, jnp.geomspace(0.01, 100.0, 400))
    noise = jax.random.normal(jax.random.key(9), (50, 4, 3, 4))
    policies_ = (worlds.reference + worlds.reward)[None] + 0.5 * noise
    mean = lambda f: jax.vmap(lambda x: jax.vmap(f)(worlds, x).mean())(policies_)
    allowed = np.interp(mean(tabular.kl), kl[::-1], reward[::-1])
    # interpolation of a concave curve lies below it, by less than this
    assert (mean(tabular.expected_reward) <= allowed + 1e-3).all()


def test_files(run):
    out, rows = run
    names = ("table.md", "frontier.png", "displacement.png", "config.yaml")
    for name in names:
        assert (out / name).stat().st_size > 100, name
    with (out / "table.csv").open() as file:
        last = list(csv.DictReader(file))
    with (out / "courses.csv").open() as file:
        courses = list(csv.DictReader(file))
    assert list(last[0]) == [
        "loss",
        "beta",
        "seed",
        "step",
        *variants.TrainingCurve._fields,
    ]
    # 3 losses, 2 betas, 2 seeds
    assert len(last) == 12 and {row["step"] for row in last} == {"30"}
    marks = sorted({int(row["step"]) for row in courses})
    assert len(courses) == 12 * len(marks) and marks[0] == 0 and marks[-1] == 30
    # the table's mean is that of its rows
    one = [r for r in last if (r["loss"], r["beta"]) == ("ipo", "2.0")]
    row = next(r for r in rows if (r["loss"], r["beta"]) == ("ipo", "2"))
    mean = np.mean([float(r["reward"]) for r in one])
    np.testing.assert_allclose(row["reward"].mean, mean, rtol=1e-6)
    assert row["reward"].low <= mean <= row["reward"].high
    # our own loss is DPO
    table = {(r["loss"], r["beta"]): r for r in rows}
    assert table["mine", "2"]["kl"] == table["dpo", "2"]["kl"]


def test_errors_say_what_is_wrong(tmp_path):
    small = dataclasses.replace(SMALL, out=tmp_path)
    change = dataclasses.replace
    with pytest.raises(ValueError, match="'dpoo': did you mean dpo"):
        __main__.main(change(small, losses=("dpoo",)))
    with pytest.raises(ValueError, match="one token long, where ld_dpo is dpo"):
        __main__.main(change(small, losses=("dpo", "ld_dpo")))
    with pytest.raises(ValueError, match="needs --model"):
        __main__.main(change(small, world="toy"))
    with pytest.raises(ValueError, match="--seeds 1 should be 2 at least"):
        __main__.main(change(small, seeds=1))
    with pytest.raises(ValueError, match="needs a loss"):
        __main__.main(change(small, betas=()))
    mean = lambda *logps, beta: jnp.mean(logps[0])
    with pytest.raises(ValueError, match="one term per pair"):
        __main__.main(change(small, losses=()), losses={"mine": mean})
    nan = lambda *logps, beta: logps[0] * jnp.nan
    with pytest.raises(FloatingPointError, match="mine at beta 0.5, seed 0: reward"):
        __main__.main(change(small, losses=()), losses={"mine": nan})


@pytest.mark.slow
def test_toy_world(tmp_path):
    shared = RunConfig(mesh="data=1")
    policy = policies.load(shared, datasets.load(shared), None)
    base = str(model_folders.save(tmp_path / "base", policy))
    few = {"prompts": 8, "held_out_prompts": 4, "samples": 2, "max_new_tokens": 4}
    collect.main(
        collect.Config(model=base, out=tmp_path / "pairs", mesh="data=1", **few)
    )
    rows = __main__.main(
        __main__.Config(
            world="toy",
            losses=("ipo",),
            betas=(0.5,),
            seeds=1,
            eval_prompts=4,
            model=base,
            data=str(tmp_path / "pairs" / "preferences"),
            dpo=dpo.Config(steps=2, batch=2),
            mesh="data=1",
            out=tmp_path / "run",
        ),
        losses={"mine": lambda *logps, beta: losses.dpo(*logps, beta=beta)},
    )
    assert [row["loss"] for row in rows] == ["ipo", "mine"]
    # intervals are over prompts, of which the table knows the mean
    with (tmp_path / "run" / "table.csv").open() as file:
        last = list(csv.DictReader(file))
    assert "each" not in last[0]
    np.testing.assert_allclose(float(last[0]["reward"]), rows[0]["reward"].mean)
    assert all(row["regret"] is None and row["reward"] is not None for row in rows)
    settings = (tmp_path / "run" / "ipo-0.5-0" / "dpo" / "config.json").read_text()
    assert '"tau": 0.5' in settings
    assert (tmp_path / "run" / "displacement.png").exists()


def test_a_damaged_log_does_not_stop_the_table(tmp_path):
    log = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": i, "logp/chosen": -1.0 * i}) for i in range(3)]
    log.write_text("\n".join([lines[0], "{", *lines[1:]]) + '\n{"step": 3')
    course = toy.training_curve(tmp_path)
    assert [(row["step"], row["chosen"]) for row in course] == [
        (1, 0),
        (2, -1),
        (3, -2),
    ]
    log.write_text("")
    with pytest.raises(ValueError, match="metrics.jsonl has no step: delete"):
        toy.training_curve(tmp_path)
