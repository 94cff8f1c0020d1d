"""Log-probs of continuations: sums of per-token log-probs, whatever the batches."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxalign import sharding
from jaxalign.batches import from_lengths
from jaxalign.pipeline import text_models
from jaxalign.pipeline.continuation_scores import (
    Continuation,
    bucket,
    excess_tokens,
    score_continuations,
)
from jaxalign.training import forward
from tests.support import table_model, untrained

RNG = np.random.default_rng(0)


def all_scores(policy, requests, rows=4):
    scores = {}
    for part in score_continuations(policy, requests, rows=rows):
        assert not scores.keys() & part.keys(), "every request once"
        scores |= part
    return [scores[i] for i in range(len(requests))]


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return text_models.load(untrained.save(tmp_path_factory.mktemp("policy"))).policy


@pytest.fixture(scope="module")
def requests():
    """Contexts of 1 to 60 tokens, continuations of 1 to 20."""
    draw = lambda low, high: RNG.integers(5, 250, RNG.integers(low, high)).tolist()
    return [Continuation(draw(1, 60), draw(1, 20)) for _ in range(23)]


def test_scores_are_sums_of_the_forward_pass(policy, requests):
    scores = all_scores(policy, requests)
    for (context, tokens), (logp, _) in list(zip(requests, scores, strict=True))[::5]:
        row = np.array([[*context, *tokens]], np.int32)
        lengths = np.array([row.shape[1]])
        batch = from_lengths(row, lengths, np.array([len(context)]))
        each = np.asarray(forward.token_logps(policy.model, policy.params, batch))[0]
        # float32 sums of at most 20 log-probs near -5.5, in another order
        np.testing.assert_allclose(logp, each[len(context) :].sum(), atol=1e-4)


@pytest.mark.slow
def test_scores_depend_on_neither_order_nor_batches(policy, requests):
    scores = all_scores(policy, requests)
    order = RNG.permutation(len(requests))
    shuffled = all_scores(policy, [requests[i] for i in order], rows=3)
    alone = [all_scores(policy, [request])[0] for request in requests[:4]]
    for n, i in enumerate(order):
        # other padded lengths add up in another order
        np.testing.assert_allclose(shuffled[n].logp, scores[i].logp, atol=1e-4)
        assert shuffled[n].is_greedy == scores[i].is_greedy
    for one, score in zip(alone, scores, strict=False):
        np.testing.assert_allclose(one.logp, score.logp, atol=1e-4)


def test_scores_are_those_of_one_device_on_a_mesh(policy, requests):
    mesh = sharding.make_mesh({"data": 4, "fsdp": 2})
    specs = policy.model.specs()
    sharded = dataclasses.replace(
        policy, params=sharding.place(policy.params, specs, mesh)
    )
    assert len(jax.tree.leaves(sharded.params)[0].sharding.device_set) == 8
    expected = all_scores(policy, requests)
    # 23 requests in rows of 5, rounded up to 8: the last batch repeats its own
    for one, other in zip(all_scores(sharded, requests, 5), expected, strict=True):
        np.testing.assert_allclose(one.logp, other.logp, atol=1e-4)
        assert one.is_greedy == other.is_greedy


# rows: <s>, </s>, a, b; after a: a 0.1, b 0.6; after b: a 0.5, b 0.3
TABLE = np.log(
    [
        [0.1, 0.1, 0.7, 0.1],
        [0.25, 0.25, 0.25, 0.25],
        [0.1, 0.2, 0.1, 0.6],
        [0.1, 0.1, 0.5, 0.3],
    ]
)


def test_a_table_gives_its_own_numbers():
    policy = table_model.table_policy(["a", "b"], TABLE)
    requests = [
        Continuation([2], [3, 2]),  # a | b a: 0.6 * 0.5, both the likeliest
        Continuation([2], [3, 3]),  # a | b b: 0.6 * 0.3, the second is not
        Continuation([0, 3], [1]),  # <s> b | </s>: 0.1
        Continuation([1], [0]),  # after </s> all are equal: the first is the argmax
        Continuation([1], [1]),
    ]
    scores = all_scores(policy, requests)
    expected = np.log([0.6 * 0.5, 0.6 * 0.3, 0.1, 0.25, 0.25])
    # float32 logits of size 1
    np.testing.assert_allclose([s.logp for s in scores], expected, rtol=1e-6)
    assert [s.is_greedy for s in scores] == [True, False, False, True, False]


def test_continuations_of_one_input_share_a_row():
    """The letters of a multiple-choice question cost one row, not four."""
    policy, rows = table_model.table_policy(["a", "b"], TABLE), []
    hidden = policy.model.hidden
    count = lambda params, tokens, *rest: (
        rows.append(tokens.shape[0]) or hidden(params, tokens, *rest)
    )
    counting = dataclasses.replace(policy, model=policy.model._replace(hidden=count))
    letters = [Continuation([0, 2], [token]) for token in range(4)]
    scores = all_scores(counting, letters, rows=64)
    # float32 rounding
    np.testing.assert_allclose([s.logp for s in scores], TABLE[2], rtol=1e-6)
    assert rows == [1]


def test_long_contexts_are_cut_from_the_left():
    policy = table_model.table_policy(["a", "b"], TABLE, context=4)
    # 7 + 2 tokens: the input of 4 is what the last 5 have before their last
    request = Continuation([1, 1, 1, 2, 3, 2, 3], [2, 3])
    assert excess_tokens(request, 4) == 4
    (score,) = all_scores(policy, [request])
    np.testing.assert_allclose(score.logp, np.log(0.5 * 0.6), rtol=1e-6)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Continuation([], [2]), "request 0 has a context of 0 tokens"),
        (Continuation([2], []), "request 0 has a continuation of 0 tokens"),
        (Continuation([2], [2] * 5), "5 tokens, which does not fit .* context of 4"),
    ],
)
def test_requests_without_an_answer_are_refused(request_, message):
    policy = table_model.table_policy(["a", "b"], TABLE, context=4)
    with pytest.raises(ValueError, match=message):
        all_scores(policy, [request_])


def test_shapes_are_few():
    assert [bucket(n) for n in range(1, 10)] == [1, 2, 3, 4, 6, 6, 8, 8, 12]
    # 2 shapes for each doubling: 4096 tokens have 17 from 16 tokens on
    assert len({bucket(n) for n in range(16, 4097)}) == 17
