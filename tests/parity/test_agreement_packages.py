"""Agreement coefficients are those of `krippendorff` and scikit-learn."""

import numpy as np
import pytest

from jaxalign.evaluation.agreement.coefficients import krippendorff_alpha, label_counts
from jaxalign.evaluation.agreement.rater_pairs import cohen_kappa
from jaxalign.evaluation.calibration import measures as calibration

REASON = "pip install krippendorff scikit-learn"
krippendorff = pytest.importorskip("krippendorff", reason=REASON)
metrics = pytest.importorskip("sklearn.metrics", reason=REASON)

LEVELS = ("nominal", "ordinal", "interval", "ratio")
# both compute in float64, in other orders
EQUAL = {"rtol": 0, "atol": 1e-9}


def random_table(seed, labels, missing):
    """Labels of 6 annotators of 70 items that agree somewhat, NaN where missing."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, labels, 70)
    table = np.where(rng.random((6, 70)) < 0.6, truth, rng.integers(0, labels, (6, 70)))
    return np.where(rng.random((6, 70)) < missing, np.nan, table)


@pytest.mark.parametrize("missing", [0.0, 0.4, 0.85])
@pytest.mark.parametrize("labels", [2, 3, 7])
@pytest.mark.parametrize("level", LEVELS)
def test_alpha_is_krippendorffs(level, labels, missing):
    table = random_table(labels, labels, missing)
    # uneven steps, so that interval and ratio differ from ordinal
    values = np.arange(labels) ** 1.5 + 0.25
    spread = np.where(np.isnan(table), np.nan, values[np.nan_to_num(table).astype(int)])
    theirs = krippendorff.alpha(spread, level_of_measurement=level, value_domain=values)
    annotator, item = np.nonzero(np.isfinite(table))
    codes = table[annotator, item].astype(int)
    counts = label_counts(item, codes, shape=(70, labels))
    ours = krippendorff_alpha(counts, level=level, values=values)
    np.testing.assert_allclose(ours, theirs, **EQUAL)


@pytest.mark.parametrize("kind", ["unweighted", "linear", "quadratic"])
@pytest.mark.parametrize("labels", [2, 3, 7])
def test_kappa_is_scikit_learns(kind, labels):
    first, second, *_ = random_table(10 + labels, labels, 0.0).astype(int)
    theirs = metrics.cohen_kappa_score(
        first,
        second,
        labels=np.arange(labels),
        weights=None if kind == "unweighted" else kind,
    )
    ours = cohen_kappa(first, second, labels=labels, kind=kind)
    np.testing.assert_allclose(ours, theirs, **EQUAL)


def test_brier_and_nll_are_scikit_learns():
    rng = np.random.default_rng(20)
    logit, outcome = rng.normal(0, 2, 300), rng.integers(0, 2, 300)
    probability = 1 / (1 + np.exp(-logit))
    np.testing.assert_allclose(
        calibration.brier_terms(probability, outcome).mean(),
        metrics.brier_score_loss(outcome, probability),
        **EQUAL,
    )
    np.testing.assert_allclose(
        calibration.nll_terms(logit, outcome).mean(),
        metrics.log_loss(outcome, probability),
        **EQUAL,
    )
