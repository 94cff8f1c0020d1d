"""experiments.dpo: what each loss is given, and what a run says of it."""

import dataclasses
import json
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import tyro
from safetensors.numpy import load_file

from experiments import dpo, online_dpo
from jaxalign.pipeline import loss_flags
from jaxalign.training import loss_names, metrics, objectives
from jaxalign.training.loss_registry import PAIRWISE_LOSSES
from jaxalign.training.preference_loss import PairwiseLoss
from tests.support import interrupt, quick

ROOT = Path(__file__).parents[2]
replace = dataclasses.replace


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Four steps on 20 pairs, three with each prompt or fewer."""
    pairs = [
        {"prompt": f"say {i // 3}", "chosen": "yes " * (i % 4 + 1), "rejected": "no"}
        for i in range(20)
    ]
    data = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    data.write_text("\n".join(map(json.dumps, pairs)))
    few = {"steps": 4, "batch": 8, "context": 32, "held_out": 0.0}
    return dpo.Config(data=str(data), mesh="data=1", save_every=2, **few)


def logged(folder):
    return metrics.read_steps(folder)


def expected_shifts(lines):
    """Before each step, the mean reward of all answers of the steps before it."""
    pairs = np.array([line["weight"] for line in lines])
    both = [line["rewards/chosen"] + line["rewards/rejected"] for line in lines]
    totals, counts = np.cumsum(pairs * both), np.cumsum(2 * pairs)
    return np.concatenate([[0.0], (totals / counts)[:-1]])


class TestBcoShift:
    def test_it_is_the_running_mean_and_resumes_exactly(
        self, config, tmp_path, monkeypatch
    ):
        whole = replace(config, loss="bco", out=tmp_path / "whole", learning_rate=0.01)
        dpo.main(whole)
        lines = logged(whole.out)
        shifts = [line["reward_shift"] for line in lines]
        np.testing.assert_allclose(shifts, expected_shifts(lines), rtol=1e-5)
        assert shifts[0] == 0.0 and abs(shifts[3]) > 1e-3
        parts = replace(whole, out=tmp_path / "parts")
        with interrupt.stop_at_step(monkeypatch, 3), pytest.raises(interrupt.Stop):
            dpo.main(parts)
        dpo.main(replace(parts, resume=True))
        assert logged(parts.out) == lines
        weights = "policy/model.safetensors"
        one, other = load_file(whole.out / weights), load_file(parts.out / weights)
        assert all(np.array_equal(one[name], other[name]) for name in one)

    @pytest.mark.slow
    def test_micro_batches_and_devices_change_nothing(self, config, tmp_path):
        one = replace(config, loss="bco", learning_rate=0.01, steps=3)
        found = []
        for parts in ({}, {"mesh": "data=2", "micro_batches": 2}):
            run = replace(one, out=tmp_path / str(len(parts)), **parts)
            dpo.main(run)
            found.append([line["reward_shift"] for line in logged(run.out)])
        # which pairs share a row depends on the number of parts: the same pairs in all
        # only where none is packed away; float32 sums in another order, of log-probs of
        # some 10 nats, whose last digit is 1e-6, times a beta of 0.1
        np.testing.assert_allclose(*found, rtol=2e-3, atol=1e-6)

    def test_online_too(self):
        loss = loss_flags.configured_loss(online_dpo.Config(loss="bco"))
        assert (
            loss.needs_reward_shift
            and not objectives.get_loss("bco_pair").needs_reward_shift
        )


@pytest.mark.slow
def test_kto_weighs_its_two_kinds(config, tmp_path):
    # at the reference each term is its weight / 2, and a kind of weight 0 costs nothing
    run = replace(config, loss="kto", steps=1, out=tmp_path, undesirable_weight=0.0)
    numbers = dpo.main(replace(run, desirable_weight=3.0))
    up = numbers["train/loss"] / 1.5
    assert 0.0 < up < 1.0
    np.testing.assert_allclose(up * 8, round(up * 8), atol=1e-3)


@pytest.mark.parametrize("asked", quick.only([False], [False, True]))
def test_a_reference_free_loss_runs_no_reference_unless_asked(config, tmp_path, asked):
    more = {"reference_metrics": True} if asked else {}
    dpo.main(replace(config, loss="simpo", steps=1, out=tmp_path, **more))
    assert (tmp_path / "reference").exists() == asked
    (line,) = logged(tmp_path)
    assert ("logratio/chosen" in line) == asked
    assert "rewards/chosen" not in line and "accuracy" in line


class TestLossOfOnesOwn:
    @pytest.mark.slow
    def test_gets_whole_batches_and_the_references_sums(self, config, tmp_path):
        """Whatever --loss says: simpo is packed, with padding, and has no reference."""
        seen = []

        def mine(pairs):
            seen.append(pairs)
            return pairs.reference.chosen - pairs.policy.chosen

        dpo.main(replace(config, loss="simpo", out=tmp_path), loss=mine)
        assert {line["weight"] for line in logged(tmp_path)} == {8}
        assert {pairs.policy.chosen.shape for pairs in seen} == {(8,)}

    def test_says_what_it_needs(self, config, tmp_path):
        kl = lambda pair: sum(pair.kl) - pair.policy.chosen
        mine = PairwiseLoss(kl, needs_reference_distribution=True, couples_batch=False)
        dpo.main(replace(config, steps=1, out=tmp_path, micro_batches=2), loss=mine)
        assert np.isfinite(logged(tmp_path)[0]["loss"])

    def test_is_not_cut_unless_it_says_that_it_may_be(self, config, tmp_path):
        run = replace(config, micro_batches=2, out=tmp_path)
        with pytest.raises(ValueError, match="couples_batch=False"):
            dpo.main(run, loss=lambda pairs: jnp.sort(pairs.policy.chosen))
        # though the loss of the default name sorts nothing
        sorts = PairwiseLoss(lambda p: jnp.sort(p.policy.chosen), couples_batch=True)
        with pytest.raises(ValueError, match="sorts all pairs of a batch"):
            dpo.main(run, loss=sorts)


@pytest.mark.parametrize(
    "flags, words",
    [
        ({"loss": "ipo", "beta": 0.1}, "takes tau 0.1, not beta; TRL's beta"),
        ({"loss": "simpo", "tau": 0.1}, "takes beta 2, gamma 1, not tau"),
        ({"loss": "bco", "delta": 0.1}, "takes beta 0.1, not delta"),
        ({"loss": "kto", "alpha": 0.1}, "desirable_weight 1, .*, not alpha"),
        ({"loss": "dpo", "desirable_weight": 2.0}, "not desirable_weight"),
        ({"loss": "robust", "label_smoothing": 0.1}, "is its flip_rate"),
    ],
)
def test_a_hyperparameter_that_a_loss_does_not_take_is_refused(config, flags, words):
    with pytest.raises(ValueError, match=words):
        dpo.main(replace(config, **flags))


def test_names_of_trl():
    # loss_type of TRL 1.16; tests/parity compares them with TRL, term by term
    same = {
        "sigmoid": "dpo",
        "robust": "robust_dpo",
        "exo_pair": "exo",
        "nca_pair": "nca",
        "sppo_hard": "sppo",
        "sigmoid_norm": "length_normalized_dpo",
    }
    for theirs, ours in same.items():
        assert loss_flags.configured_loss(dpo.Config(loss=theirs)) is not None
        assert objectives.get_loss(theirs) is objectives.get_loss(ours)
    # -log s(b h_c) - log s(-b h_r), for h = (1, -2) and b = 0.1
    sides = lambda *sums: objectives.ModelLogps(*(jnp.array([x]) for x in sums))
    pair = objectives.PairLogps(sides(1.0, -2.0), sides(0.0, 0.0))
    found = loss_flags.configured_loss(dpo.Config(loss="bco_pair"))(pair)
    expected = np.log1p(np.exp(-0.1)) + np.log1p(np.exp(-0.2))
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_help_lists_the_losses_with_their_defaults(capsys):
    with pytest.raises(SystemExit):
        tyro.cli(dpo.Config, args=["--help"])
    text = " ".join(re.sub("[│|]", " ", capsys.readouterr().out).split())
    for part in ("simpo (beta 2, gamma 1)", "ipo (tau 0.1)", "sigmoid = dpo"):
        assert part in text
    assert all(f"{name} (" in text for name in [*PAIRWISE_LOSSES, "kto"])


def test_the_documentations_table_is_that_of_the_objects():
    text = (ROOT / "docs" / "losses.md").read_text()
    assert text == loss_names.markdown_table(), (
        "python -m jaxalign.training.loss_names > it"
    )
    losses = PAIRWISE_LOSSES.values()
    assert all(x.title and x.paper and x.default_source for x in losses)
