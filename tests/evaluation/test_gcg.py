"""Greedy coordinate gradient: its loss, its gradient, its candidates, its search."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.evaluation.attacks import gcg
from jaxalign.evaluation.attacks.gcg import AttackRow, GcgOptions
from jaxalign.models import transformer
from jaxalign.models.config import ModelConfig

V, L = 7, 2
ROWS = [
    AttackRow(prompt_start=[1, 2], prompt_end=[3], target=[4, 5]),
    AttackRow(prompt_start=[6], prompt_end=[3, 1, 2], target=[5]),
]
WIDE = GcgOptions(steps=4, width=200, topk=V, chunk=50)


@pytest.fixture(scope="module")
def model():
    config = ModelConfig(
        vocab_size=V, width=8, hidden=8, layers=1, heads=2, kv_heads=2, head_dim=4,
        context=16, tied=True,
    )  # fmt: skip
    return transformer.language_model(config)


@pytest.fixture(scope="module")
def params(model):
    # larger than at initialization, so that the suffix matters
    return jax.tree.map(lambda x: 3.0 * x, model.init(jax.random.key(0)))


@pytest.fixture(scope="module")
def attack():
    return gcg.make_attack(ROWS, L)


def nll_by_hand(model, params, row, suffix):
    """The target's mean NLL, of one unpadded row, from the softmax of its logits."""
    text = np.array([[*row.prompt_start, *suffix, *row.prompt_end, *row.target]])
    positions = np.arange(text.shape[1])[None]
    read = model.hidden(params, text, positions, np.ones_like(text))
    logp = jax.nn.log_softmax(read[0] @ model.unembed(params))
    first = text.shape[1] - len(row.target)
    places = range(first, text.shape[1])
    return -np.mean([logp[t - 1, text[0, t]] for t in places]), logp[first - 1 : -1]


def test_the_loss_by_hand(model, params, attack):
    suffix = jnp.array([2, 5])
    rows = [nll_by_hand(model, params, row, [2, 5]) for row in ROWS]
    expected = np.mean([nll for nll, _ in rows])
    loss = gcg.attack_loss(model, params, attack, suffix)
    # float32 sums in another order
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    # with a token to avoid: - log(1 - p(avoid)) at each place of the target
    more = np.mean([-np.mean(np.log1p(-np.exp(logp[:, 6]))) for _, logp in rows])
    loss = gcg.attack_loss(model, params, attack, suffix, avoid=6)
    # the same: two sums of float32 log-probs
    np.testing.assert_allclose(loss, expected + more, rtol=1e-5)


def test_the_gradient_is_that_of_one_hot_tokens(model, params, attack):
    suffix = jnp.array([2, 5])
    loss, gradient = gcg.coordinate_gradient(model, params, attack, suffix)
    # one-hot times the table in place of a lookup: float32 roundings
    np.testing.assert_allclose(
        loss, gcg.attack_loss(model, params, attack, suffix), rtol=1e-6
    )
    table = model.embed(params, jnp.arange(V))
    embeddings = model.embed(params, attack.with_suffix(suffix))

    def mixed(step):  # place 1 of the suffix moves towards token 3
        vector = table[5] + step * table[3]
        rows = jnp.arange(2)
        changed = embeddings.at[rows, attack.places[:, 1]].set(vector)
        return gcg.attack_loss(model, params, attack, suffix, embeddings=changed)

    finite = (mixed(1e-2) - mixed(-1e-2)) / 2e-2
    assert abs(finite) > 1e-3
    # central differences: h^2 f''' / 6 ~ 1e-4, on a slope of 1e-2 or so
    np.testing.assert_allclose(gradient[1, 3], finite, rtol=2e-2)


def test_candidates_take_the_steepest_allowed_tokens():
    gradient = jnp.array([[0.0, -3.0, -2.0, -1.0, 5.0], [1.0, 2.0, 3.0, -9.0, 0.0]])
    allowed = np.array([True, False, True, True, True])
    options = {"width": 64, "topk": 2, "replace": 1}
    suffix = jnp.array([4, 4])
    drawn = gcg.propose(jax.random.key(1), suffix, gradient, allowed, **options)
    changes = {
        (place, int(row[place])) for row in drawn for place in (0, 1) if row[place] != 4
    }
    # place 0: token 1 is not allowed, so 2 and 3; place 1: 3, then 4 (itself)
    assert changes == {(0, 2), (0, 3), (1, 3)}
    assert np.all(np.sum(np.asarray(drawn) != 4, axis=1) <= 1)
    only = np.array([False, False, True, False, False])
    drawn = gcg.propose(jax.random.key(1), suffix, gradient, only, **options)
    assert set(np.unique(drawn)) == {2, 4}


def test_the_search_ends_where_no_replacement_is_better(model, params, attack):
    result = gcg.optimize_suffix(
        model, params, attack, [0, 0], key=jax.random.key(3), options=WIDE
    )
    every = jnp.array(list(itertools.product(range(V), repeat=L)))
    losses = gcg.candidate_losses(model, params, attack, every, chunk=49)
    losses = np.asarray(losses).reshape(V, V)
    a, b = result.suffix
    # 200 candidates of 14 replacements: each is among them, but for odds of 1e-6
    assert result.loss == pytest.approx(losses[a].min(), rel=1e-6)
    assert result.loss == pytest.approx(losses[:, b].min(), rel=1e-6)
    assert result.loss < losses[0, 0] - 0.01
    assert np.all(np.diff(result.losses) <= 0)


def test_refused_and_unstable_suffixes_are_not_taken(model, params, attack):
    run = lambda **given: gcg.optimize_suffix(
        model, params, attack, [0, 0], key=jax.random.key(3), options=WIDE, **given
    )
    free = run()
    refused = max(map(int, free.suffix))
    assert refused != 0
    allowed = np.arange(V) != refused
    assert refused not in run(allowed=allowed).suffix
    kept = run(are_stable=lambda suffixes: suffixes[:, 0] == 0)
    assert kept.suffix[0] == 0
    stuck = run(are_stable=lambda suffixes: np.zeros(len(suffixes), bool))
    assert stuck.suffix.tolist() == [0, 0]
    np.testing.assert_allclose(stuck.losses, stuck.loss)


def test_bad_input_is_named(model, params, attack):
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="3 tokens; the attack has places for 2"):
        gcg.optimize_suffix(model, params, attack, [0, 0, 0], key=key)
    with pytest.raises(ValueError, match="no token is allowed"):
        gcg.optimize_suffix(
            model, params, attack, [0, 0], key=key, allowed=np.zeros(V, bool)
        )
    with pytest.raises(ValueError, match="row 0 of the attack has no prompt or no"):
        gcg.make_attack([AttackRow([1], [], [])], 2)
    with pytest.raises(ValueError, match="takes embeddings"):
        blind = model._replace(embed=None)
        gcg.optimize_suffix(blind, params, attack, [0, 0], key=key)
