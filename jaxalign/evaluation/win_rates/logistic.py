"""Logistic regression in float64 on soft labels, for many weightings at a time.

One design serves every bootstrap resample, which differs in the weights of its rows
alone. Fits of a few hundred parameters take milliseconds each; JAX's default is
float32, in which a rating's third decimal would be noise.
"""

from typing import NamedTuple

import numpy as np
from scipy import special
from scipy.sparse import csr_array

STEPS = 100
TOLERANCE = 1e-11  # of the gradient, for a total weight of 1
IDENTIFIED = 1e-8  # least curvature of an identified direction, per total weight
SAFE_CHANGE = 1.0  # of all log-odds: a Newton step of less does not raise the loss
ENTRIES_PER_CHUNK = 4_000_000  # weights of resamples in memory at a time


class LogisticFit(NamedTuple):
    """Coefficients of R weightings of the same rows.

    Attributes:
      coefficients: float64 [R K].
      hessian: second derivatives of the penalized negative log-likelihood [R K K].
      identified: whether the likelihood has one minimum, at finite coefficients [R].
        It has none where a combination of the features separates the labels.
    """

    coefficients: np.ndarray
    hessian: np.ndarray
    identified: np.ndarray


def fit_logistic(
    design: csr_array | np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    penalty: np.ndarray | None = None,
    start: np.ndarray | None = None,
) -> LogisticFit:
    """Minimizes a weighted, penalized logistic loss by Newton's method.

    loss_r(x) = sum_i w_ri [softplus(d_i) - y_i d_i] + x' P_r x / 2,   d = design @ x

    A step that would raise the loss is halved. Where the minimum is at infinity the
    result is a point far along the way, with `identified` False.

    Args:
      design: features of each row, dense or sparse [N K].
      labels: in [0, 1]; 0.5 is half of each [N].
      weights: of the rows in each fit, not negative [R N]; by default one fit of ones.
      penalty: symmetric, positive semi-definite [K K], or one per fit [R K K]; by
        default none.
      start: coefficients to start from [K]; by default 0.

    Raises:
      ValueError: shapes that do not fit, a label outside [0, 1], or a weight below 0.

    Reference: McCullagh and Nelder 1989, Generalized Linear Models, section 4.4.

    >>> fit = fit_logistic(np.ones((4, 1)), np.array([1.0, 1.0, 1.0, 0.0]))
    >>> f"{fit.coefficients[0, 0]:.6f}"  # log(3 / 1)
    '1.098612'
    """
    design = csr_array(design, dtype=np.float64)
    rows, size = design.shape
    labels = np.asarray(labels, np.float64)
    weights = np.ones((1, rows)) if weights is None else np.asarray(weights, np.float64)
    if labels.shape != (rows,) or weights.ndim != 2 or weights.shape[1] != rows:
        raise ValueError(
            f"a design of {rows} rows has labels of shape {labels.shape} and weights "
            f"of shape {weights.shape}; expected ({rows},) and (fits, {rows})"
        )
    if not ((labels >= 0) & (labels <= 1)).all():
        raise ValueError("labels of a logistic regression are from 0 to 1")
    if not (weights >= 0).all():
        raise ValueError("weights of a logistic regression are 0 or more")
    penalties = np.broadcast_to(
        np.zeros((size, size)) if penalty is None else penalty,
        (len(weights), size, size),
    )
    outer = row_outer_products(design)
    most = max(1, ENTRIES_PER_CHUNK // max(rows, size * size))
    parts = [
        fit_chunk(
            design,
            outer,
            labels,
            weights[first : first + most],
            penalties[first : first + most],
            np.zeros(size) if start is None else start,
        )
        for first in range(0, len(weights), most)
    ]
    return LogisticFit(*map(np.concatenate, zip(*parts, strict=True)))


def fit_chunk(
    design: csr_array,
    outer: csr_array,
    labels: np.ndarray,
    weights: np.ndarray,
    penalty: np.ndarray,
    start: np.ndarray,
) -> LogisticFit:
    """`fit_logistic` of as many weightings as fit in memory.

    Args:
      outer: `row_outer_products` of the design [N K*K].
    """
    fits, size = len(weights), design.shape[1]
    total = np.maximum(weights.sum(axis=1), np.finfo(np.float64).tiny)
    x = np.tile(np.asarray(start, np.float64), (fits, 1))
    hessian = np.empty((fits, size, size))
    active = np.arange(fits)
    for _ in range(STEPS):
        w, p = weights[active], penalty[active]
        predictor = (design @ x[active].T).T
        probability = special.expit(predictor)
        slope = (design.T @ (w * (probability - labels)).T).T
        gradient = slope + matvec(p, x[active])
        curvature = w * probability * (1 - probability)
        hessian[active] = (outer.T @ curvature.T).T.reshape(-1, size, size) + p
        small = np.abs(gradient).max(axis=1) <= TOLERANCE * total[active]
        moving = ~small
        if not moving.any():
            break
        gradient, active = gradient[moving], active[moving]
        step = newton_direction(hessian[active], gradient, total[active])
        far = np.abs(design @ step.T).max(axis=0) > SAFE_CHANGE
        if far.any():
            rows = active[far]
            step[far] = line_search(
                design, labels, weights[rows], penalty[rows], x[rows], step[far]
            )
        x[active] += step
    curvature = np.linalg.eigvalsh(hessian)[:, 0]
    return LogisticFit(x, hessian, curvature > IDENTIFIED * total)


def newton_direction(
    hessian: np.ndarray, gradient: np.ndarray, total: np.ndarray
) -> np.ndarray:
    """The Newton step [R K]; a little damped, so that no Hessian is singular."""
    damping = 1e-13 * total[:, None, None] * np.eye(hessian.shape[-1])
    return -np.linalg.solve(hessian + damping, gradient[..., None])[..., 0]


def line_search(
    design: csr_array,
    labels: np.ndarray,
    weights: np.ndarray,
    penalty: np.ndarray,
    x: np.ndarray,
    step: np.ndarray,
) -> np.ndarray:
    """The step, halved until the loss does not rise [R K]."""
    largest = 8.0 + np.abs(x).max(axis=1, keepdims=True)
    step = step / np.maximum(1.0, np.abs(step).max(axis=1, keepdims=True) / largest)
    before = logistic_loss(design, labels, weights, penalty, x)
    length = np.ones(len(x))
    for _ in range(30):
        after = logistic_loss(
            design, labels, weights, penalty, x + length[:, None] * step
        )
        rises = after > before + 1e-12 * np.abs(before)
        if not rises.any():
            break
        length[rises] /= 2
    return length[:, None] * step


def logistic_loss(
    design: csr_array,
    labels: np.ndarray,
    weights: np.ndarray,
    penalty: np.ndarray,
    x: np.ndarray,
) -> np.ndarray:
    """The loss of `fit_logistic` at the coefficients of each fit [R]."""
    predictor = (design @ x.T).T
    terms = np.logaddexp(0.0, predictor) - labels * predictor
    return np.einsum("rn,rn->r", weights, terms) + 0.5 * np.einsum(
        "rk,rk->r", x, matvec(penalty, x)
    )


def matvec(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Each matrix [R K K] times its vector [R K]."""
    product: np.ndarray = np.einsum("rjk,rk->rj", matrices, vectors)
    return product


def row_outer_products(design: csr_array) -> csr_array:
    """The outer product of each row with itself, flattened, as a sparse [N K*K].

    >>> row_outer_products(csr_array(np.array([[1.0, 2.0]]))).toarray().tolist()
    [[1.0, 2.0, 2.0, 4.0]]
    """
    design = csr_array(design)
    size = design.shape[1]
    counts = np.diff(design.indptr)
    row = np.repeat(np.arange(design.shape[0]), counts**2)
    # entry e of a row of c entries is paired with each of the c
    start = np.repeat(design.indptr[:-1], counts**2)
    within = np.arange(len(row)) - np.repeat(
        np.cumsum(counts**2) - counts**2, counts**2
    )
    width = np.repeat(counts, counts**2)
    left, right = start + within // width, start + within % width
    values = design.data[left] * design.data[right]
    column = design.indices[left].astype(np.int64) * size + design.indices[right]
    return csr_array((values, (row, column)), shape=(design.shape[0], size * size))
