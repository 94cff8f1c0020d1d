"""The objective of distillation: by hand, limits, masks, and the policy gradient."""

import functools
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from jaxalign import batches, losses
from jaxalign.training import forward, objectives, state, step
from jaxalign.training.objectives import DistillationBatch
from jaxalign.types import LanguageModel
from tests.support import quick

KEY = jax.random.key(0)
# a prompt of one token, an answer of two, one of padding
ROW = batches.from_lengths(np.array([[0, 2, 1, 0]]), np.array([3]), np.array([1]))
BETAS = pytest.mark.parametrize("beta", quick.only([0.3], [0.3, 1.0]))


@pytest.fixture
def both(bigram):
    """The parameters of a student, and of a teacher of the same size."""
    return bigram.init(KEY), bigram.init(jax.random.key(1))


def table(*probs):
    """A bigram whose next token has these probabilities, whatever this one is."""
    return {"embed": np.ones((3, 1), np.float32), "unembed": np.log([probs])}


def value(objective, params, batch, teacher):
    total, (weight, _) = objective(params, batch, teacher)
    return total / weight


def tempered_kl(p, q, temperature):
    p, q = (np.array(x) ** (1 / temperature) for x in (p, q))
    p, q = p / p.sum(), q / q.sum()
    return (p * np.log(p / q)).sum()


class TestByHand:
    # T = (1/2, 1/4, 1/4), S uniform over 3: M of beta 1/2 is (5/12, 7/24, 7/24)
    T, S = (0.5, 0.25, 0.25), (1 / 3, 1 / 3, 1 / 3)
    FORWARD = 0.5 * np.log(3 / 2) + 0.5 * np.log(3 / 4)
    REVERSE = np.log(2 / 3) / 3 + np.log(4 / 3) * 2 / 3
    JSD = 0.5 * (0.5 * np.log(6 / 5) + 0.5 * np.log(6 / 7)) + 0.5 * (
        np.log(4 / 5) / 3 + np.log(8 / 7) * 2 / 3
    )

    @pytest.fixture
    def at(self, bigram):
        def at(**flags):
            objective = objectives.distillation(bigram, bigram, **flags)
            args = table(*self.S), DistillationBatch(ROW), table(*self.T)
            return objective(*args)

        return at

    @pytest.mark.parametrize(
        "beta, expected", [(0.0, FORWARD), (1.0, REVERSE), (0.5, JSD)]
    )
    def test_of_a_vocabulary_of_3(self, at, beta, expected):
        total, (weight, metrics) = at(beta=beta)
        assert weight == 2
        np.testing.assert_allclose(total, 2 * expected, rtol=1e-5)
        means = {name: x / n for name, (x, n) in metrics.items()}
        np.testing.assert_allclose(means["forward_kl"], self.FORWARD, rtol=1e-5)
        np.testing.assert_allclose(means["reverse_kl"], self.REVERSE, rtol=1e-5)
        np.testing.assert_allclose(means["entropy"], np.log(3), rtol=1e-6)
        assert means["length"] == 2.0 and "logp_gap" not in means

    def test_the_temperature_is_of_both(self, at):
        total, _ = at(beta=0.0, temperature=2.0)
        expected = tempered_kl(self.T, self.S, 2.0)
        np.testing.assert_allclose(total, 2 * expected, rtol=1e-5)

    def test_rows_that_only_one_embedding_has_are_padding(self, bigram):
        # a fourth row of 1/2, which makes half of all: the rest stays as it is
        wide = table(*self.T, 1.0)
        objective = objectives.distillation(bigram, bigram, beta=1.0)
        actual = value(objective, table(*self.S), DistillationBatch(ROW), wide)
        np.testing.assert_allclose(actual, self.REVERSE, rtol=1e-5)


class TestGkdDivergence:
    T, S = np.random.default_rng(3).normal(0, 1, (2, 4, 7))

    def test_the_ends_are_the_two_kls(self):
        ends = [objectives.gkd_divergence(beta)(self.T, self.S) for beta in (0.0, 1.0)]
        chex.assert_trees_all_equal(
            ends,
            [
                losses.forward_kl_distillation(self.T, self.S),
                losses.reverse_kl_distillation(self.T, self.S),
            ],
        )

    def test_at_one_half_it_is_symmetric(self):
        divergence = objectives.gkd_divergence(0.5)
        actual, swapped = divergence(self.T, self.S), divergence(self.S, self.T)
        chex.assert_trees_all_close(actual, swapped, rtol=1e-5)

    def test_near_the_ends_it_is_a_multiple_of_them(self):
        # to order beta; float64, as the parts cancel
        with jax.enable_x64(True):
            for beta, end in ((1e-7, 0.0), (1 - 1e-7, 1.0)):
                near = objectives.gkd_divergence(beta)(self.T, self.S) / 1e-7
                at = objectives.gkd_divergence(end)(self.T, self.S)
                np.testing.assert_allclose(near, at, rtol=1e-3)


@BETAS
class TestObjective:
    def test_gradients_are_finite_differences(self, bigram, both, rows, beta):
        objective = objectives.distillation(bigram, bigram, beta=beta)
        batch = DistillationBatch(rows(3))
        loss = functools.partial(value, objective, batch=batch, teacher=both[1])
        # float32: differences of 1e-2 leave 2 digits
        check_grads(loss, (both[0],), order=1, modes=["rev"], rtol=2e-2, eps=1e-2)

    def test_the_teacher_gets_no_gradient(self, bigram, both, rows, beta):
        objective = objectives.distillation(bigram, bigram, beta=beta)
        of_teacher = lambda t: value(objective, both[0], DistillationBatch(rows(3)), t)
        gradient = jax.grad(of_teacher)(both[1])
        chex.assert_trees_all_equal(gradient, jax.tree.map(jnp.zeros_like, both[1]))

    def test_of_the_teacher_itself_it_is_0_and_flat(self, bigram, both, rows, beta):
        objective = objectives.distillation(bigram, bigram, beta=beta)
        loss = lambda p: value(objective, p, DistillationBatch(rows(3)), both[1])
        actual, gradient = jax.value_and_grad(loss)(both[1])
        np.testing.assert_allclose(actual, 0.0, atol=1e-6)  # float32 rounding
        zeros = jax.tree.map(jnp.zeros_like, both[1])
        chex.assert_trees_all_close(gradient, zeros, atol=1e-6)

    def test_masked_is_removed(self, bigram, both, rows, beta):
        batch = rows(4)
        objective = objectives.distillation(bigram, bigram, beta=beta)
        kept = jax.tree.map(lambda x: x[:3], batch)
        masked = jax.tree.map(np.copy, batch)
        masked.loss_mask[3] = False
        masked.tokens[3] = 0
        outputs = [
            jax.value_and_grad(objective, has_aux=True)(
                both[0], DistillationBatch(x), both[1]
            )
            for x in (kept, masked)
        ]
        # float32: sums in another order
        chex.assert_trees_all_close(*outputs, rtol=1e-5, atol=1e-6)

    def test_chunks_and_micro_batches_change_nothing(self, bigram, both, rows, beta):
        batch = DistillationBatch(rows(4), np.zeros((4, 12), np.float32))

        def stepped(micro_batches, chunk):
            objective = objectives.distillation(bigram, bigram, beta=beta, chunk=chunk)
            update = step.make_step(
                objective, optax.sgd(0.1), micro_batches=micro_batches, donate=False
            )
            start = state.create(both[0], optax.sgd(0.1), KEY)
            new, metrics = update(start, batch, both[1])
            metrics.pop("logp_gap")  # a maximum of each part
            return new.params, metrics

        # float32: sums in another order
        chex.assert_trees_all_close(stepped(1, None), stepped(2, 1), rtol=1e-5)


def test_the_sampled_tokens_policy_gradient_has_its_mean(bigram, both, rows):
    """On-policy distillation as a policy gradient of the token's log-ratio.

    Its advantage is log T(v) - log S(v) of the sampled token v alone. The mean over v
    of advantage * grad log S(v) is minus the gradient of KL(S || T) at that prefix, as
    the sum of S * grad log S is 0.
    """
    params, teacher = both
    batch = rows(3)

    def expected_gradient(params):
        hidden, unembed = forward.hidden_and_unembed(bigram, params, batch)
        other = forward.hidden_and_unembed(bigram, teacher, batch)
        logp, teacher_logp = (
            jax.nn.log_softmax(h[:, :-1] @ u) for h, u in ((hidden, unembed), other)
        )
        advantage = jax.lax.stop_gradient(teacher_logp - logp)
        probs = jax.lax.stop_gradient(jnp.exp(logp))
        surrogate = -jnp.sum(probs * advantage * logp, axis=-1)
        return jnp.sum(jnp.where(batch.loss_mask[:, 1:], surrogate, 0.0))

    objective = objectives.distillation(bigram, bigram, beta=1.0)
    total = lambda p: objective(p, DistillationBatch(batch), teacher)[0]
    actual, expected = jax.grad(total)(params), jax.grad(expected_gradient)(params)
    chex.assert_trees_all_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_the_samplers_log_probs_are_compared_where_they_count(bigram, both, rows):
    batch = rows(2)
    logp = forward.token_logps(bigram, both[0], batch, temperature=0.7)
    off = jnp.where(batch.loss_mask, 0.0, 9.0).at[1].add(0.5)
    objective = objectives.distillation(bigram, bigram, beta=1.0, temperature=0.7)
    given = DistillationBatch(batch, logp + off)
    _, (_, metrics) = objective(both[0], given, both[1])
    gap, count = metrics["logp_gap"]
    np.testing.assert_allclose(gap / count, 0.5, rtol=1e-5)


def test_models_of_two_sizes_with_a_cap_each(bigram, both, rows):
    """The teacher is wider, and caps its logits at 2; against plain logits."""
    rng = np.random.default_rng(0)
    wide = {
        "embed": rng.normal(size=(11, 9)).astype(np.float32),
        "unembed": rng.normal(size=(9, 11)).astype(np.float32),
    }
    capped = LanguageModel(
        **bigram._asdict()
        | {"config": SimpleNamespace(vocab_size=11, context=12, logit_cap=2.0)}
    )
    batch = rows(3)
    objective = objectives.distillation(bigram, capped, beta=0.3)
    actual = value(objective, both[0], DistillationBatch(batch), wide)
    plain = lambda p: (p["embed"][batch.tokens] @ p["unembed"])[:, :-1]
    teacher = 2 * jnp.tanh(plain(wide) / 2)
    terms = losses.generalized_jsd(teacher, plain(both[0]), beta=0.3)
    mask = batch.loss_mask[:, 1:]
    expected = jnp.where(mask, terms, 0.0).sum() / mask.sum()
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
