"""The Dirichlet-multinomial distribution of label counts, and the largest share.

Each item has probabilities q of its K labels, drawn from Dirichlet(a); its annotators
draw their labels from q. Given an item's counts n, q is Dirichlet(a + n).
"""

import numpy as np
from scipy import optimize, special

LOG_BOUNDS = (-6.0, 7.0)  # of log a: items all unanimous, items all alike
# gamma variables, even in the logarithm, whose deviation is 1 / sqrt(a) >= 0.03
STEP = 0.0375
GRID = np.exp(np.arange(-16.0, 9.5, STEP))


def fit_concentration(
    counts: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """The concentration a of greatest likelihood [K], each in exp(-6)..exp(7).

    log p(n | a) = log G(A) - log G(A + m)
                   + sum over c of [log G(a_c + n_c) - log G(a_c)]

    with A = sum of a, m = sum of n, G the gamma function, and without the multinomial
    coefficient, in which a is not.

    Args:
      counts: labels of each item, or of each different pattern [U K].
      weights: how often each occurs [U]; once by default.
      start: a concentration near the best [K], to save time.

    Reference: Minka 2000, "Estimating a Dirichlet distribution", section 3.
    """
    counts = np.asarray(counts, np.float64)
    weights = np.ones(len(counts)) if weights is None else weights
    m, total = counts.sum(axis=1), weights.sum()

    def objective(log_a: np.ndarray) -> tuple[float, np.ndarray]:
        a = np.exp(log_a)
        both = a + counts
        whole = special.gammaln(a.sum()) - special.gammaln(a.sum() + m)
        parts = np.sum(special.gammaln(both) - special.gammaln(a), axis=1)
        slope = special.digamma(a.sum()) - special.digamma(a.sum() + m)
        slopes = slope[:, None] + special.digamma(both) - special.digamma(a)
        gradient = -(weights @ slopes) * a / total
        return float(-(weights @ (whole + parts)) / total), gradient

    start = counts.mean(axis=0) + 1e-3 if start is None else start
    start = np.clip(np.log(start), *LOG_BOUNDS)
    bounds = [LOG_BOUNDS] * counts.shape[1]
    # truncated Newton calls no BLAS, whose threads cost more than these few numbers
    best = optimize.minimize(objective, start, jac=True, bounds=bounds, method="TNC")
    return np.exp(best.x)


def largest_share(concentration: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E[max over c of q_c] where q is Dirichlet [U], and P(q_c is the largest) [U K].

    q is a vector of independent gamma variables over their sum, of which it is
    independent, so that E[max q] = E[max of the gammas] / A, and

    E[max of the gammas] = integral over x > 0 of (1 - product over c of F_c(x))
    P(q_c is the largest) = integral over x of f_c(x) product over k != c of F_k(x)

    Args:
      concentration: of each distribution [U K], with a sum A between 1 and 10,000.

    >>> expected, largest = largest_share(np.array([[1.0, 1.0], [2.0, 1.0]]))
    >>> round(float(expected[0]), 6), round(float(largest[1, 0]), 6)  # P(q > 1/2)
    (0.75, 0.75)
    """
    a = np.asarray(concentration, np.float64)
    different, place = np.unique(a, return_inverse=True)
    below = special.gammainc(different[:, None], GRID)[place.reshape(a.shape)]
    above = 1 - np.prod(below, axis=1)  # [U X]
    # trapezoids in log x, and a rectangle below the first point
    inner = np.sum(above * GRID, axis=1) - above[:, 0] * GRID[0] / 2
    expected = (inner * STEP + above[:, 0] * GRID[0]) / a.sum(axis=1)
    log_density = a[..., None] * np.log(GRID) - GRID - special.gammaln(a)[..., None]
    others = [np.delete(below, c, axis=1).prod(axis=1) for c in range(a.shape[1])]
    largest = np.sum(np.exp(log_density) * np.stack(others, axis=1), axis=-1) * STEP
    return expected, largest
