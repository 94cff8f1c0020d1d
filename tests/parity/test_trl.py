"""TRL's own losses, run on given log-probs: the same numbers, and the same gradients.

Its trainers compute losses inside a method; here that method is called with a trainer
and a model that hold no more than it looks at. No weights, no data.
"""

import collections
import warnings
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import losses
from jaxalign.masks import masked_mean
from jaxalign.training import forward, objectives
from jaxalign.training.objectives import ModelLogps, PairLogps, Sides

REASON = "the extra [parity] is not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("trl", reason=REASON)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.kto_trainer import KTOTrainer

RNG = np.random.default_rng(4)
PAIRS, LENGTH = 5, 7
# a prompt of two tokens, then answers of unequal lengths: chosen, and rejected
N_C, N_R = np.array([[5, 1, 3, 2, 4], [2, 3, 3, 5, 1]])
MASK = np.stack([np.arange(LENGTH) - 2 < n for n in (*N_C, *N_R)])
MASK &= np.arange(LENGTH) >= 2
LOGP, REF = RNG.uniform(-3.0, -0.05, (2, 2 * PAIRS, LENGTH))
SQUARE = RNG.uniform(-2.0, -0.1, MASK.shape)
SAME = lambda x: x
ACCELERATOR = SimpleNamespace(device="cpu", gather=SAME, gather_for_metrics=SAME)


def says(logp, square=SQUARE, **_):
    """What a model of theirs returns: about each token but the first, 0 on prompts."""
    of = lambda x: (torch.as_tensor(x) * torch.as_tensor(MASK))[:, 1:]
    zeros = torch.zeros(logp.shape, dtype=torch.float64)
    return SimpleNamespace(
        log_probs=of(logp),
        log_sum_sq_probs=of(square),
        entropy=of(zeros),
        mean_logits=of(zeros),
        is_top1=of(zeros.bool()),
    )


def trainer(**knobs):
    """As much of a trainer of theirs as its loss looks at."""
    knobs = {"beta": 0.3, "label_smoothing": 0.0} | knobs
    return SimpleNamespace(
        model=SimpleNamespace(training=True, is_gradient_checkpointing=False),
        accelerator=ACCELERATOR,
        aux_loss_enabled=False,
        precompute_ref_logps=False,
        ref_model=lambda **_: says(REF),
        args=SimpleNamespace(discopop_tau=0.05, gradient_checkpointing_kwargs=None),
        loss_weights=[1.0],
        _metrics=collections.defaultdict(lambda: collections.defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
        **knobs,
    )


def theirs(loss_type, dtype="float64", **knobs):
    """TRL's loss, and its gradient by the log-prob of each token."""
    defaults = {
        "ld_alpha": None,
        "use_weighting": False,
        "f_divergence_type": "reverse_kl",
        "f_alpha_divergence_coef": 0.5,
    }
    logp = torch.tensor(LOGP.astype(dtype), requires_grad=True)
    inputs = {
        "input_ids": torch.zeros(MASK.shape, dtype=torch.long),
        "attention_mask": torch.ones(MASK.shape, dtype=torch.long),
        "completion_mask": torch.as_tensor(MASK.astype(np.int64)),
    }
    told = trainer(loss_types=[loss_type], **(defaults | knobs))
    told.ref_model = lambda **_: says(REF.astype(dtype))
    loss = DPOTrainer._compute_loss(told, lambda **_: says(logp), inputs, False)
    loss.backward()
    return loss.item(), logp.grad.numpy()


def pairs_of(logp):
    """Our numbers of the same pairs, whose rows they keep one after the other."""
    side_by_side = lambda x: jnp.stack([x[:PAIRS], x[PAIRS:]], 1).reshape(-1, LENGTH)
    mask = side_by_side(jnp.asarray(MASK))
    sides = lambda x: Sides(*deinterleave(x))

    def of_model(x):
        sums = sides(forward.row_sums(x, mask)[0])
        means = sums.chosen / N_C, sums.rejected / N_R
        shared = sides(forward.shared_length_sums(x, mask))
        return ModelLogps(*sums, *means), shared

    policy, policy_shared = of_model(side_by_side(logp))
    reference, reference_shared = of_model(side_by_side(jnp.asarray(REF)))
    square = side_by_side(jnp.asarray(SQUARE))
    weights = losses.wpo_weight(side_by_side(logp), square, mask)
    return PairLogps(
        policy,
        reference,
        policy_shared=policy_shared,
        reference_shared=reference_shared,
        wpo_weight=sides(weights),
    )


def agree(ours, loss, gradient, rtol):
    with jax.enable_x64(True):
        found, slope = jax.value_and_grad(ours)(jnp.asarray(LOGP))
        np.testing.assert_allclose(found, loss, rtol=rtol)
        np.testing.assert_allclose(slope, gradient, rtol=rtol, atol=rtol)


# their name, their knobs; our name, our knobs
SMOOTH = {"label_smoothing": 0.1}
PAIRWISE = [
    ("sigmoid", {}, "dpo", {"beta": 0.3}),
    ("hinge", {}, "hinge", {"beta": 0.3}),
    ("ipo", {}, "ipo", {"tau": 0.3}),
    ("exo_pair", SMOOTH, "exo", {"beta": 0.3} | SMOOTH),
    ("nca_pair", {}, "nca", {"beta": 0.3}),
    ("robust", SMOOTH, "robust_dpo", {"beta": 0.3, "flip_rate": 0.1}),
    ("bco_pair", {}, "bco_pair", {"beta": 0.3}),
    ("sppo_hard", {}, "sppo", {"beta": 0.3}),
    ("aot", SMOOTH, "aot", {"beta": 0.3} | SMOOTH),
    ("aot_unpaired", SMOOTH, "aot_unpaired", {"beta": 0.3} | SMOOTH),
    ("apo_zero", {}, "apo_zero", {"beta": 0.3}),
    ("apo_down", {}, "apo_down", {"beta": 0.3}),
    ("discopop", {}, "discopop", {"beta": 0.3}),
    ("sigmoid_norm", {}, "length_normalized_dpo", {"beta": 0.3}),
    ("sigmoid", {"use_weighting": True}, "wpo", {"beta": 0.3}),
    ("sigmoid", {"ld_alpha": 0.25}, "ld_dpo", {"beta": 0.3, "alpha": 0.25}),
    (
        *("sigmoid", {"f_divergence_type": "forward_kl"}),
        *("forward_kl_dpo", {"beta": 0.3}),
    ),
    (
        *("sigmoid", {"f_divergence_type": "js_divergence"}),
        *("jensen_shannon_dpo", {"beta": 0.3}),
    ),
]


@pytest.mark.parametrize("name, told, our_name, knobs", PAIRWISE)
def test_dpo_trainer(name, told, our_name, knobs):
    loss = objectives.pairwise_loss(our_name, **knobs)
    # float64 on both sides: what is left is the rounding of a few operations, and of
    # exo's label smoothing, which theirs keeps in float32
    rtol = 1e-6 if name == "exo_pair" else 1e-9
    agree(lambda logp: loss(pairs_of(logp)).mean(), *theirs(name, **told), rtol=rtol)


def test_dpo_trainer_alpha_divergence_in_float32():
    # theirs knows no float64 here: it looks up a clamp by dtype
    told = {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.7}
    loss = objectives.pairwise_loss("alpha_dpo", beta=0.3, alpha=0.7)
    found = theirs("sigmoid", dtype="float32", **told)
    agree(lambda logp: loss(pairs_of(logp)).mean(), *found, rtol=1e-5)


def test_dpo_trainer_sft():
    chosen = lambda x: jnp.asarray(x)[:PAIRS]
    ours = lambda logp: masked_mean(losses.nll(chosen(logp)), chosen(MASK))
    agree(ours, *theirs("sft"), rtol=1e-9)


UP = np.array([True, False, True, True, False] * 2)
MISMATCHED = RNG.normal(1.0, 2.0, 2 * PAIRS)


@pytest.mark.parametrize("name", ["kto", "apo_zero_unpaired"])
def test_kto_trainer(name):
    logp = torch.tensor(LOGP, requires_grad=True)
    told = trainer(loss_type=name, desirable_weight=1.3, undesirable_weight=0.7)
    told.calculate_KL = name == "kto"
    kls = {id(told.ref_model): 0.0, None: torch.as_tensor(MISMATCHED)}
    told._compute_kl_logps = lambda model, _: kls.get(id(model), kls[None])
    inputs = {
        "input_ids": torch.zeros(MASK.shape, dtype=torch.long),
        "attention_mask": torch.ones(MASK.shape, dtype=torch.long),
        "completion_mask": torch.as_tensor(MASK.astype(np.int64)),
        "label": torch.as_tensor(UP),
    }
    loss = KTOTrainer._compute_loss(told, lambda **_: says(logp), inputs, False)
    loss.backward()

    def ours(logp):
        sums = (logp * MASK).sum(1), (REF * MASK).sum(1), UP
        if name == "kto":
            kl = max(0.0, MISMATCHED.mean())
            weights = {"desirable_weight": 1.3, "undesirable_weight": 0.7}
            return losses.kto(*sums, kl, beta=0.3, **weights).mean()
        terms = losses.apo_zero_unpaired(*sums, beta=0.3)
        return (terms * np.where(UP, 1.3, 0.7)).mean()

    assert MISMATCHED.mean() > 0
    agree(ours, loss.item(), logp.grad.numpy(), rtol=1e-9)


SUMS = (LOGP * MASK).sum(1)
MEANS = SUMS / MASK.sum(1)


@pytest.mark.parametrize("name", ["sigmoid", "simpo"])
def test_cpo_trainer(name):
    x = MEANS if name == "simpo" else SUMS
    told = SimpleNamespace(
        **{"alpha": 0.0, "beta": 2.0, "label_smoothing": 0.0, "simpo_gamma": 0.5},
        loss_type=name,
        accelerator=ACCELERATOR,
    )
    both = torch.as_tensor(x[:PAIRS]), torch.as_tensor(x[PAIRS:])
    expected = CPOTrainer.cpo_loss(told, *both)[0].numpy()
    with jax.enable_x64(True):
        if name == "simpo":
            found = losses.simpo(x[:PAIRS], x[PAIRS:], beta=2.0, gamma=0.5)
        else:
            found = losses.cpo(x[:PAIRS], x[PAIRS:], beta=2.0)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_orpo_trainer():
    told = SimpleNamespace(beta=0.2, accelerator=ACCELERATOR)
    both = torch.as_tensor(MEANS[:PAIRS]), torch.as_tensor(MEANS[PAIRS:])
    # theirs is the term that is subtracted, in float32
    expected = -ORPOTrainer.odds_ratio_loss(told, *both)[0].numpy()
    found = losses.orpo(MEANS[:PAIRS], MEANS[PAIRS:], lam=0.2)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
