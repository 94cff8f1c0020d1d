"""Distillation losses: the student's next-token distribution against the teacher's.

loss                     paper                      divergence
-----------------------  -------------------------  ------------------------------------
forward_kl_distillation  Hinton et al. 2015         KL(teacher || student)
reverse_kl_distillation  Gu et al. 2023 (MiniLLM)   KL(student || teacher)
generalized_jsd          Agarwal et al. 2023 (GKD)  generalized Jensen-Shannon
top_k_distillation       Bai et al. 2022            KL(teacher || student), top K tokens

Every loss returns one term per position [*S], in nats. The teacher gets no gradient. A
token that is ruled out (logit -inf) has log-prob -1e5 here: it costs nothing where both
rule it out, and stays finite.
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
    """Forward KL distillation, KL(teacher || student): covers all modes.

    loss = sum over v of T(v) * (log T(v) - log S(v))

    Args:
      teacher, student: logits over the vocabulary at each position; no gradient for the
        teacher.

    Returns:
      One term per position, in nats.

    Reference: Hinton et al. 2015, arXiv:1503.02531; Agarwal et al. 2023,
    arXiv:2306.13649 (forward KL).

    >>> float(forward_kl_distillation([0.0, 0.0], [0.0, 0.0]))
    0.0
    """
    teacher = jax.lax.stop_gradient(teacher)
    return kl_divergence(finite_log_probs(teacher), finite_log_probs(student))


@typed
def reverse_kl_distillation(
    teacher: Float[Array, "*S V"], student: Float[Array, "*S V"]
) -> Float[Array, "*S"]:
    """Reverse KL distillation, KL(student || teacher): seeks a mode.

    loss = sum over v of S(v) * (log S(v) - log T(v))

    Args:
      teacher, student: logits over the vocabulary at each position; no gradient for the
        teacher.

    Returns:
      One term per position, in nats.

    Reference: Gu et al. 2023, arXiv:2306.08543; Agarwal et al. 2023, arXiv:2306.13649
    (reverse KL).

    >>> float(reverse_kl_distillation([0.0, 0.0], [0.0, 0.0]))
    0.0
    """
    teacher = jax.lax.stop_gradient(teacher)
    return kl_divergence(finite_log_probs(student), finite_log_probs(teacher))


@typed
def generalized_jsd(
    teacher: Float[Array, "*S V"], student: Float[Array, "*S V"], *, beta: Scalar
) -> Float[Array, "*S"]:
    """Generalized Jensen-Shannon divergence (GKD).

    M = beta * T + (1 - beta) * S
    loss = beta * KL(T || M) + (1 - beta) * KL(S || M)

    Args:
      teacher, student: logits over the vocabulary at each position; no gradient for the
        teacher.
      beta: weight of the teacher, in (0, 1); 1/2 is Jensen-Shannon. Near 0 the loss is
        beta times the forward KL, near 1 it is (1 - beta) times the reverse KL; *at* 0
        and 1 it is constantly 0: use `forward_kl_distillation` and
        `reverse_kl_distillation` there.

    Derived: KL(S || M) is of order beta^2 near 0, so that loss / beta -> KL(T || S).

    Returns:
      One term per position, in nats.

    Reference: Agarwal et al. 2023, arXiv:2306.13649 (generalized JSD).

    >>> round(float(generalized_jsd([9.0, -9.0], [-9.0, 9.0], beta=0.5)), 4)  # log 2
    0.6931
    """
    teacher = jax.lax.stop_gradient(teacher)
    teacher_logp, student_logp = finite_log_probs(teacher), finite_log_probs(student)
    mixture = jnp.logaddexp(
        jnp.log(beta) + teacher_logp, jnp.log1p(-beta) + student_logp
    )
    teacher_kl = kl_divergence(teacher_logp, mixture)
    student_kl = kl_divergence(student_logp, mixture)
    return beta * teacher_kl + (1.0 - beta) * student_kl


@typed
def top_k_distillation(
    teacher_logp: Float[Array, "*S K"],
    teacher_ids: Int[Array, "*S K"],
    student_logits: Float[Array, "*S V"],
) -> Float[Array, "*S"]:
    """Forward KL of the teacher's top K tokens and one bucket for the rest.

    rest(P) = 1 - sum over k of P(k)
    loss = sum over k of T(k) * (log T(k) - log S(k))
           + rest(T) * (log rest(T) - log rest(S))

    At most `forward_kl_distillation`, and equal to it where K = V.

    Args:
      teacher_logp: log-probs of the teacher's K most likely tokens under its full
        softmax, in nats: their probabilities sum to at most 1. A rest within their
        rounding counts as none.
      teacher_ids: ids of these tokens, all different.
      student_logits: logits over the vocabulary.

    Returns:
      One term per position, in nats.

    Reference: Bai et al. 2022, arXiv:2204.05862 (context distillation; K = 50).

    >>> loss = top_k_distillation([jnp.log(0.5)], [1], [0.0, 0.0])
    >>> round(float(loss), 4)
    0.0
    """
    teacher_logp = jax.lax.stop_gradient(teacher_logp)
    stored = jnp.result_type(teacher_logp)
    rounding = jnp.finfo(stored).eps * (1.0 + math.log(teacher_logp.shape[-1]))
    wide = teacher_logp.astype(jnp.result_type(stored, jnp.float32))
    teacher, student = jnp.maximum(wide, LOWEST), finite_log_probs(student_logits)
    student_top = jnp.take_along_axis(student, teacher_ids, axis=-1)
    in_top = jnp.put_along_axis(
        jnp.zeros(student.shape, bool), teacher_ids, True, axis=-1, inplace=False
    )
    # The student's rest is a sum over its tokens: 1 - sum would cancel.
    student_rest = jax.nn.logsumexp(jnp.where(in_top, LOWEST, student), axis=-1)
    rest = -jnp.expm1(jax.nn.logsumexp(teacher, axis=-1))
    has_rest = rest > rounding
    rest = jnp.where(has_rest, rest, 1.0)
    bucket = jnp.where(has_rest, rest * (jnp.log(rest) - student_rest), 0.0)
    return kl_divergence(teacher, student_top) + bucket
