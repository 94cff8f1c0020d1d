"""Distillation: the student's distribution comes nearer to the teacher's.

Arguments are logits over the vocabulary, one distribution per position; one term per
position comes out. The teacher gets no gradient. A token that is ruled out (logit -inf)
has log-prob -1e5 here: it costs nothing where both rule it out, and stays finite.
"""

import math

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Float, Int, Scalar, typed

# A finite stand-in for -inf, far below every log-prob.
LOWEST = -1e5


def finite_log_probs(logits: Array) -> Array:
    """Log-probs over the last axis, in float32 or wider, and finite."""
    wide = logits.astype(jnp.result_type(logits, jnp.float32))
    return jnp.maximum(jax.nn.log_softmax(wide, axis=-1), LOWEST)


def kl_divergence(logp: Array, other_logp: Array) -> Array:
    """KL of finite log-probs over the last axis: sum of p * (log p - log q)."""
    return jnp.sum(jnp.exp(logp) * (logp - other_logp), axis=-1)


@typed
def forward_kl_distillation(
    teacher: Float[Array, "*S V"], student: Float[Array, "*S V"]
) -> Float[Array, "*S"]:
    """KL(teacher || student) in nats, one term per position: covers all modes.

    loss = sum over v of T(v) * (log T(v) - log S(v))

    Reference: Hinton et al. 2015, arXiv:1503.02531; Agarwal et al. 2023,
    arXiv:2306.13649 (forward KL).

    >>> logits = jnp.zeros((1, 4))
    >>> forward_kl_distillation(logits, logits).tolist()
    [0.0]
    """
    teacher = jax.lax.stop_gradient(teacher)
    return kl_divergence(finite_log_probs(teacher), finite_log_probs(student))


@typed
def reverse_kl_distillation(
    teacher: Float[Array, "*S V"], student: Float[Array, "*S V"]
) -> Float[Array, "*S"]:
    """KL(student || teacher) in nats, one term per position: seeks a mode.

    loss = sum over v of S(v) * (log S(v) - log T(v))

    Reference: Gu et al. 2023, arXiv:2306.08543; Agarwal et al. 2023, arXiv:2306.13649
    (reverse KL).

    >>> logits = jnp.zeros((1, 4))
    >>> reverse_kl_distillation(logits, logits).tolist()
    [0.0]
    """
    teacher = jax.lax.stop_gradient(teacher)
    return kl_divergence(finite_log_probs(student), finite_log_probs(teacher))


@typed
def generalized_jsd(
    teacher: Float[Array, "*S V"], student: Float[Array, "*S V"], *, beta: Scalar
) -> Float[Array, "*S"]:
    """Generalised Jensen-Shannon divergence, one term per position.

    M = beta * T + (1 - beta) * S
    loss = beta * KL(T || M) + (1 - beta) * KL(S || M)

    Args:
      beta: strictly between 0 and 1; 1/2 is Jensen-Shannon. Near 0 the loss is beta
        times the forward KL, near 1 it is (1 - beta) times the reverse KL; *at* 0 and
        1 it is 0 and teaches nothing: use `forward_kl_distillation` and `reverse_kl_distillation` there.

    Derived: KL(S || M) is of order beta^2 near 0, so that loss / beta -> KL(T || S).

    Reference: Agarwal et al. 2023, arXiv:2306.13649 (generalised JSD).

    >>> logits = jnp.zeros((1, 4))
    >>> bool(abs(generalized_jsd(logits, logits, beta=0.5)[0]) < 1e-6)
    True
    """
    teacher = jax.lax.stop_gradient(teacher)
    teacher_logp, student_logp = finite_log_probs(teacher), finite_log_probs(student)
    mixture = jnp.logaddexp(
        jnp.log(beta) + teacher_logp, jnp.log1p(-beta) + student_logp
    )
    of_teacher = kl_divergence(teacher_logp, mixture)
    of_student = kl_divergence(student_logp, mixture)
    return beta * of_teacher + (1.0 - beta) * of_student


@typed
def top_k_distillation(
    teacher_logp: Float[Array, "*S K"],
    teacher_ids: Int[Array, "*S K"],
    student_logits: Float[Array, "*S V"],
) -> Float[Array, "*S"]:
    """KL(teacher || student) of K tokens and one bucket of the rest, per position.

    rest(P) = 1 - sum over k of P(k)
    loss = sum over k of T(k) * (log T(k) - log S(k))
           + rest(T) * (log rest(T) - log rest(S))

    At most `forward_kl_distillation`, and equal to it where K = V.

    Args:
      teacher_logp: log-probs of the teacher's likeliest tokens, of the whole softmax:
        they sum to less than 1. A rest within their rounding counts as none.
      teacher_ids: which tokens; no two are the same.

    Reference: Bai et al. 2022, arXiv:2204.05862 (context distillation; K = 50).

    >>> import numpy as np
    >>> half = np.log(np.array([[0.5]], np.float32))
    >>> loss = top_k_distillation(half, np.array([[1]]), np.zeros((1, 2), np.float32))
    >>> bool(abs(loss[0]) < 1e-6)
    True
    """
    teacher_logp = jax.lax.stop_gradient(teacher_logp)
    stored = jnp.result_type(teacher_logp)
    rounding = jnp.finfo(stored).eps * (1.0 + math.log(teacher_logp.shape[-1]))
    wide = teacher_logp.astype(jnp.result_type(stored, jnp.float32))
    teacher, student = jnp.maximum(wide, LOWEST), finite_log_probs(student_logits)
    kept = jnp.take_along_axis(student, teacher_ids, axis=-1)
    taken = jnp.put_along_axis(
        jnp.zeros(student.shape, bool), teacher_ids, True, axis=-1, inplace=False
    )
    # Of the student all is known: a sum over the rest, and no 1 - sum, which cancels.
    student_rest = jax.nn.logsumexp(jnp.where(taken, LOWEST, student), axis=-1)
    rest = -jnp.expm1(jax.nn.logsumexp(teacher, axis=-1))
    counts = rest > rounding
    rest = jnp.where(counts, rest, 1.0)
    bucket = jnp.where(counts, rest * (jnp.log(rest) - student_rest), 0.0)
    return kl_divergence(teacher, kept) + bucket
