"""Logistic regression with an L1 penalty whose strength is cross-validated.

This is the estimator of AlpacaEval's length control, which calls scikit-learn's
liblinear: every coefficient is penalized, the intercept too.
"""

import numpy as np
from scipy import special

GRID = np.logspace(-4, 4, 10)
"""Inverse strengths C to select from, AlpacaEval's."""
FOLDS = 5
STEPS, SWEEPS, HALVINGS = 200, 200, 30
TOLERANCE = 1e-9  # of a step, relative to the coefficients
ENTRIES_PER_CHUNK = 4_000_000  # weights of fits in memory at a time


def fit_l1_logistic(
    design: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    inverse: np.ndarray,
    *,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Minimizes an L1-penalized logistic loss for R weightings of the rows [R K].

    loss_r(x) = ||x||_1 + C_r sum_i w_ri [softplus(d_i) - y_i d_i],   d = design @ x

    Proximal Newton: each step minimizes the penalty plus the quadratic model of the
    rest by coordinate descent, and is halved while it raises the loss. The minimum is
    finite, also where a combination of the features separates the labels.

    Args:
      design: features of each row, a few [N K].
      labels: in [0, 1] [N].
      weights: of the rows in each fit, not negative [R N].
      inverse: C, the inverse strength of the penalty in each fit, above 0 [R].
      start: coefficients to start from [K]; by default 0.

    Reference: Yuan, Ho and Lin 2012, JMLR 13 (newGLMNET, which liblinear runs).

    >>> x = fit_l1_logistic(np.ones((4, 1)), np.ones(4) * 0.75, np.ones((1, 4)), [1e6])
    >>> f"{x[0, 0]:.4f}"  # log(3 / 1), of a weak penalty
    '1.0986'
    """
    weights, inverse = np.asarray(weights, np.float64), np.asarray(inverse, np.float64)
    most = max(1, ENTRIES_PER_CHUNK // len(design))
    parts = [
        fit_chunk(
            np.asarray(design, np.float64),
            np.asarray(labels, np.float64),
            weights[first : first + most] * inverse[first : first + most, None],
            np.zeros(design.shape[1]) if start is None else start,
        )
        for first in range(0, len(weights), most)
    ]
    return np.concatenate(parts)


def fit_chunk(
    design: np.ndarray, labels: np.ndarray, weights: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """`fit_l1_logistic` with C in the weights [R N], as many as fit in memory."""
    size = design.shape[1]
    x = np.tile(start, (len(weights), 1))
    outer = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    active = np.arange(len(x))
    for _ in range(STEPS):
        w, here = weights[active], x[active]
        probability = special.expit(here @ design.T)
        gradient = (w * (probability - labels)) @ design
        curvature = w * probability * (1 - probability)
        hessian = (curvature @ outer).reshape(-1, size, size)
        damping = 1e-12 * w.sum(axis=1) + np.finfo(np.float64).tiny
        hessian += damping[:, None, None] * np.eye(size)
        step = penalized_step(hessian, gradient, here)
        x[active] = here + line_search(design, labels, w, here, step)
        moving = np.abs(x[active] - here).max(axis=1) > TOLERANCE * (
            1 + np.abs(here).max(axis=1)
        )
        active = active[moving]
        if not len(active):
            break
    return x


def penalized_step(
    hessian: np.ndarray, gradient: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """The step s that minimizes gradient s + s' hessian s / 2 + ||x + s||_1 [R K]."""
    end = x.copy()
    for _ in range(SWEEPS):
        before = end.copy()
        for k in range(x.shape[1]):
            scale = hessian[:, k, k]
            slope = gradient[:, k] + np.einsum("rk,rk->r", hessian[:, k], end - x)
            free = end[:, k] - slope / scale  # the minimum without the penalty
            end[:, k] = np.sign(free) * np.maximum(np.abs(free) - 1 / scale, 0.0)
        if np.abs(end - before).max() <= 0.1 * TOLERANCE * (1 + np.abs(end).max()):
            break
    return end - x


def line_search(
    design: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    x: np.ndarray,
    step: np.ndarray,
) -> np.ndarray:
    """The step [R K], halved in each fit until the loss does not rise."""
    largest = 8.0 + np.abs(x).max(axis=1, keepdims=True)
    step = step / np.maximum(1.0, np.abs(step).max(axis=1, keepdims=True) / largest)
    before = l1_loss(design, labels, weights, x)
    for _ in range(HALVINGS):
        after = l1_loss(design, labels, weights, x + step)
        rises = after > before + 1e-13 * np.abs(before)
        if not rises.any():
            break
        step[rises] /= 2
    return step


def l1_loss(
    design: np.ndarray, labels: np.ndarray, weights: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """||x||_1 + sum_i w_i [softplus(d_i) - y_i d_i] of each fit [R]."""
    predictor = x @ design.T
    terms = np.logaddexp(0.0, predictor) - labels * predictor
    loss: np.ndarray = np.abs(x).sum(axis=1) + np.einsum("rn,rn->r", weights, terms)
    return loss


def select_inverse(
    design: np.ndarray,
    labels: np.ndarray,
    unit: np.ndarray,
    *,
    grid: np.ndarray = GRID,
    folds: int = FOLDS,
) -> float:
    """The inverse strength C with the least held-out log loss.

    Rows of a unit share a fold; folds are filled in the order of the units, without
    randomness. Of equal losses the smaller C, the stronger penalty, is selected.

    Args:
      design, labels: as in `fit_l1_logistic` [N K], [N].
      unit: an index from 0 of each row's unit [N].
      grid: values of C, rising.
      folds: parts of the cross-validation; fewer if there are fewer units.

    Reference: AlpacaEval, alpaca_eval/metrics/glm_winrate.py (grid, score, folds).
    """
    folds = min(folds, int(unit.max()) + 1)
    if folds < 2:
        return float(grid[-1])
    fold = unit % folds
    masks = fold[None, :] != np.arange(folds)[:, None]
    weights = np.tile(masks, (len(grid), 1)).astype(np.float64)
    inverse = np.repeat(grid, folds)
    x = fit_l1_logistic(design, labels, weights, inverse)
    predictor = x @ design.T
    terms = np.logaddexp(0.0, predictor) - labels * predictor
    # the mean over folds of the mean in each fold, as scikit-learn averages
    mean = (terms * (1 - weights)).sum(axis=1) / (1 - weights).sum(axis=1)
    return float(grid[np.argmin(mean.reshape(len(grid), folds).mean(axis=1))])
