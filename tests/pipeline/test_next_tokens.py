"""Coverage along answers: by hand in a model that is a table of next-token logits."""

import numpy as np
import pytest

from jaxalign.batches import TokenBatch
from jaxalign.evaluation.sampling_adapters import SMOOTHING, temperature, top_k
from jaxalign.pipeline.next_tokens import answer_coverage
from tests.support.table_model import table_policy

WORDS = ["a", "b", "c"]
UNCHANGED = {"same": temperature(1.0)}


def policy_of(table):
    return table_policy(WORDS, np.log(table))


def sequences(rows, masks):
    tokens = np.array(rows, np.int32)
    return TokenBatch(
        tokens=tokens,
        positions=np.tile(np.arange(tokens.shape[1], dtype=np.int32), (len(rows), 1)),
        segments=np.ones_like(tokens),
        loss_mask=np.array(masks, bool),
    )


def test_coverage_is_the_mean_over_the_answers_tokens():
    flat = np.full((5, 5), 0.2)
    sharp = flat.copy()
    sharp[2] = [0.1, 0.1, 0.6, 0.1, 0.1]  # after the first word alone
    # the first answer has a token after word 0 and one after word 1, the second one
    batch = sequences([[0, 2, 3, 4], [0, 3, 2, 4]], [[0, 0, 1, 1], [0, 0, 0, 1]])
    found = answer_coverage(
        policy_of(flat), policy_of(sharp), UNCHANGED, batch, rows=1
    )["same"]
    # reverse cross-entropy with a flat p is log 5 everywhere
    np.testing.assert_allclose(found["reverse"], np.log(5.0), rtol=1e-5)
    cross = -(np.log(0.6) + 4 * np.log(0.1)) / 5
    expected = [(cross + np.log(5.0)) / 2, cross]
    np.testing.assert_allclose(found["forward"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["total_variation"], [0.2, 0.4], rtol=1e-5)


def test_an_adapter_changes_the_policy_and_not_the_reference():
    table = np.full((5, 5), 0.1) + np.eye(5) * 0.5
    batch = sequences([[0, 2, 3]], [[0, 1, 1]])
    policy = policy_of(table)
    adapters = UNCHANGED | {"greedy": top_k(1)}
    found = answer_coverage(policy, policy, adapters, batch)
    np.testing.assert_allclose(found["same"]["jensen_shannon"], 0.0, atol=1e-6)
    np.testing.assert_allclose(found["greedy"]["entropy"], 0.0, atol=1e-4)
    np.testing.assert_allclose(found["greedy"]["reverse"], -np.log(0.6), rtol=1e-4)
    lacking = 0.6 * 0.0 - 0.4 * np.log(SMOOTHING / 5)
    np.testing.assert_allclose(found["greedy"]["forward"], lacking, rtol=1e-3)


def test_models_of_other_vocabularies_are_refused():
    small = table_policy(WORDS[:2], np.log(np.full((4, 4), 0.25)))
    with pytest.raises(ValueError, match="vocabulary of 5, the model one of 4"):
        answer_coverage(
            policy_of(np.full((5, 5), 0.2)), small, UNCHANGED, sequences([[0]], [[1]])
        )
