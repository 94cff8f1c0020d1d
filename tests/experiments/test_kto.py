"""experiments.kto: unpaired answers and pairs, weights, reference point, numbers."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import dpo, kto
from jaxalign.data import dataset_ops, loader
from jaxalign.data.examples import Example, TokenRow
from jaxalign.data.records import Unpaired
from jaxalign.evaluation import unpaired
from jaxalign.training import metrics
from tests.support import small_runs

replace = dataclasses.replace


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_runs.prepare(tmp_path_factory.mktemp("kto"))


@pytest.fixture
def config(base, tmp_path):
    """Two steps on the unpaired answers, none held out."""
    few = {"steps": 2, "batch": 8, "held_out": 0.0, "mesh": "data=1"}
    return kto.Config(
        model=str(base / "policy"),
        data=str(base / "unpaired.jsonl"),
        out=tmp_path / "run",
        **few,
    )


def written(path, labels, prompts=None):
    """A file of short unpaired answers with these labels."""
    rows = [
        {
            "prompt": f"{i} red" if prompts is None else prompts[i],
            "completion": "blue cat"[: 3 + i % 4],
            "label": label,
        }
        for i, label in enumerate(labels)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def logged(folder):
    return metrics.read_steps(folder)


def test_the_first_loss_by_hand(config, tmp_path):
    """The policy is its reference: ratios and z0 are 0, each term is its weight / 2."""
    data = written(tmp_path / "x.jsonl", [True, False, False, False])
    told = replace(config, data=data, batch=4, steps=1)
    kto.main(told)
    (line,) = logged(told.out)
    # 1 desirable answer of weight 3, 3 undesirable ones of weight 1: (3 + 3) / 2 / 4
    np.testing.assert_allclose(line["loss"], 0.75, rtol=1e-5)
    # float32 sums of log-probs of some 30 nats
    np.testing.assert_allclose(line["kl"], 0.0, atol=1e-4)
    notes = json.loads((told.out / "data.json").read_text())["notes"]
    assert any("1 desirable answers of weight 3, 3 undesirable" in n for n in notes)


@pytest.mark.parametrize(
    "n_d, n_u, told, weights",
    [
        (10, 10, {}, (1.0, 1.0)),
        (4, 3, {}, (1.0, 1.0)),  # 4/3 is within
        (1, 10, {}, (10.0, 1.0)),  # the rarer kind weighs more
        (2, 1, {}, (1.0, 1.5)),  # 2 / 1.5 = 4/3
        (1, 10, {"desirable_weight": 2.0}, (2.0, 0.2)),  # 2 * 1 / (0.2 * 10) = 1
        (1, 10, {"undesirable_weight": 2.0}, (20.0, 2.0)),
        (2, 1, {"desirable_weight": 0.5}, (0.5, 1.0)),  # 0.5 * 2 / 1 = 1
        (1, 10, {"desirable_weight": 1.0, "undesirable_weight": 1.0}, (1.0, 1.0)),
        (5, 0, {}, (1.0, 1.0)),
        (5, 5, {"undesirable_weight": 0.0}, (1.0, 0.0)),
    ],
)
def test_weights_balance_the_kinds_unless_told(n_d, n_u, told, weights):
    """Ethayarajh et al. 2024, eq. 9: lambda_D n_D / (lambda_U n_U) in [1, 4/3]."""
    found = kto.balance_weights(kto.Config(**told), n_d, n_u)
    np.testing.assert_allclose(found, weights, rtol=1e-12)


def test_shares_of_a_mixture_are_those_of_its_batches():
    """A quarter of rows all desirable, three of which half are: 1/4 + 3/8."""
    part = lambda values: [
        Example((TokenRow(np.array([1, 2]), np.array([False, True])),), i, value)
        for i, value in enumerate(values)
    ]
    mixture = dataset_ops.Mixture([part([1.0] * 9), part([1.0, 0.0])], [1.0, 3.0])
    assert kto.desirable_shares(mixture) == (0.625, 0.375)


@pytest.mark.parametrize("label", [True, False])
def test_answers_of_one_kind_alone(config, tmp_path, label):
    data = written(tmp_path / "x.jsonl", [label] * 24)
    numbers = kto.main(replace(config, data=data, batch=5, held_out=0.3))
    kind, other = ("", "un") if label else ("un", "")
    unknown = {name for name, x in numbers.items() if not np.isfinite(x)}
    # what a training batch says of answers that it does not have
    assert unknown == {f"train/{x}/{other}desirable" for x in ("logratio", "rewards")}
    assert f"eval/accuracy/{kind}desirable" in numbers
    assert f"eval/accuracy/{other}desirable" not in numbers


@pytest.mark.slow
def test_pairs_are_two_answers_each(base, config, tmp_path):
    """The same batches, whichever file they are of; dpo --loss kto has them, too."""
    told = replace(config, steps=3, learning_rate=1e-2, held_out=0.2)
    single = kto.main(told)
    pairs = str(base / "pairs.jsonl")
    paired = kto.main(replace(told, data=pairs, out=tmp_path / "pairs"))
    same = {"loss", "kl", "rewards/desirable", "rewards/undesirable"}
    lines = logged(told.out)
    assert lines == logged(tmp_path / "pairs") and same <= set(lines[0])
    assert single == paired and single["eval/accuracy"] > 0
    assert abs(lines[-1]["logratio/desirable"]) > 1e-3  # or nothing was compared
    common = {f.name for f in dataclasses.fields(dpo.Config)}
    flags = {k: v for k, v in vars(told).items() if k in common}
    flags |= {"data": pairs, "out": tmp_path / "dpo"}
    dpo.main(dpo.Config(**flags, loss="kto"))
    assert logged(tmp_path / "dpo") == lines


@pytest.mark.slow
def test_devices_and_micro_batches_change_nothing(config, tmp_path):
    found = []
    for parts in ({}, {"mesh": "data=4", "micro_batches": 2}):
        out = tmp_path / str(len(parts))
        kto.main(replace(config, out=out, learning_rate=1e-2, **parts))
        found.append(logged(out))
    for one, other in zip(*found, strict=True):
        assert set(one) == set(other)
        for name in one:  # float32 sums in another order, of log-probs of some 30 nats
            np.testing.assert_allclose(one[name], other[name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_tokens_that_are_kept_give_the_same_run(config, tmp_path):
    told = replace(config, held_out=0.2)
    numbers = kto.main(told)
    kept = replace(told, out=tmp_path / "kept", token_cache=tmp_path / "cache")
    # rows are padded to the longest of the file, not of its held-out part: float32
    # sums of log-probs of some 30 nats, times a beta of 0.1
    assert kto.main(kept) == pytest.approx(numbers, rel=1e-5, abs=1e-6)
    assert list((tmp_path / "cache").iterdir())
    splits = [
        json.loads((out / "data.json").read_text())["splits"]
        for out in (told.out, kept.out)
    ]
    assert splits[0] == splits[1] and splits[0][0]["kind"] == "Unpaired"


def test_the_rows_of_a_file_may_be_held_out(base, config, tmp_path):
    """Of pairs, too; what shares a prompt with them is not trained on."""
    pairs = (base / "pairs.jsonl").read_text().splitlines()[:4]
    (tmp_path / "test.jsonl").write_text("\n".join(pairs))
    told = replace(config, held_out_data=str(tmp_path / "test.jsonl"))
    numbers = kto.main(told)
    assert numbers["eval/desirable"] == numbers["eval/undesirable"] == 4
    assert numbers["answers"] == 2 * (64 - 4)


def test_held_out_numbers_by_hand():
    # z0 = mean(0.5, -0.1, 0.8) = 0.4: the first is above it and desirable, the second
    # below and undesirable, the third desirable and below
    ratios = np.array([[1.0, 0.5], [-2.0, -0.1], [0.2, 0.8]])
    up = np.array([True, False, True])
    numbers = unpaired.held_out_metrics(ratios, up, np.arange(3), beta=0.5, seed=0)
    expected = {
        "kl": 0.4,
        "accuracy": 2 / 3,
        "accuracy/desirable": 0.5,
        "accuracy/undesirable": 1.0,
        "rewards/desirable": 0.3,
        "rewards/undesirable": -1.0,
        "rewards/margin": 1.3,
        "margin": 2.6,
        "desirable": 2,
        "undesirable": 1,
    }
    found = {name: numbers[name] for name in expected}
    assert found == pytest.approx(expected)
    below = np.array([[0.1, -1.0], [-0.1, -1.0]])  # the mean is -1: clamped at 0
    numbers = unpaired.held_out_metrics(below, up[:2], np.arange(2), beta=0.5, seed=0)
    assert numbers["kl"] == 0.0 and numbers["accuracy"] == 1.0


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_no_answer_meets_its_own_prompt_however_it_was_cut(batch):
    """As TRL's issue #1911. The same long prompt, cut for answers of different lengths.

    Row i answers prompt i // 3 with tokens 100 + i // 3; its prompt has lost i % 3.
    """
    examples = []
    for i in range(9):
        asked = [1, *range(10 * (i // 3) + 2 + i % 3, 10 * (i // 3) + 9)]
        tokens = np.array([*asked, 100 + i // 3], np.int32)
        row = TokenRow(tokens, np.arange(len(tokens)) == len(asked))
        examples.append(Example((row,), i, float(i % 2), prompt_hash=i // 3))
    batches = loader.evaluation_batches(examples, batch, kind=Unpaired)
    seen = 0
    for found in batches:
        for k in np.flatnonzero(found.valid):
            other = found.mismatched_answers
            answer = other.tokens[k][other.loss_mask[k]]
            assert answer.tolist() != [100 + int(found.row[k]) // 3]
            assert len(answer) == 1
            seen += 1
    assert seen == 9


@pytest.mark.parametrize(
    "flags, words",
    [
        (
            {"desirable_weight": float("nan")},
            "--desirable-weight nan: it should be a number 0 or more",
        ),
        (
            {"undesirable_weight": -1.0},
            "--undesirable-weight -1.0: it should be a number 0",
        ),
        (
            {"undesirable_weight": float("inf")},
            "--undesirable-weight inf: it should be a number 0",
        ),
        ({"desirable_weight": 0.0, "undesirable_weight": 0.0}, "both 0"),
        ({"beta": 0.0}, "--beta 0.0: it should be a number above 0"),
    ],
)
def test_hyperparameters_that_mean_nothing_are_refused(config, flags, words):
    with pytest.raises(ValueError, match=words):
        kto.main(replace(config, **flags))
    assert not config.out.exists()


def test_one_prompt_alone_is_refused(config, tmp_path):
    data = written(tmp_path / "x.jsonl", [True, False] * 8, ["red"] * 16)
    with pytest.raises(ValueError, match="KTO needs two different prompts"):
        kto.main(replace(config, data=data))


@pytest.mark.parametrize(
    "told, words",
    [({"micro_batches": 3}, "8 does not divide into the 3 --micro-batches"),
     ({"batch": 4096}, "--batch 4,096 is more than the 128 rows .* give 128 at most")],
)  # fmt: skip
def test_batches_that_cannot_be_are_refused(config, told, words):
    with pytest.raises(ValueError, match=words):
        kto.main(replace(config, **told))
    assert not config.out.exists()
