"""Next-token distributions of policies along the same answers."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.batches import TokenBatch
from jaxalign.estimators.chunks import scaled_logits
from jaxalign.evaluation.sampling_adapters import Adapter, coverage
from jaxalign.pipeline.policies import Policy
from jaxalign.training.forward import hidden_and_unembed
from jaxalign.types import Array

Rows = Callable[[TokenBatch], Array]


def log_probs_of(policy: Policy) -> Rows:
    """A compiled function from sequences [R T] to next-token log-probs [R T-1 V]."""
    model, cap = policy.model, policy.config.logit_cap

    @jax.jit
    def log_probs(params: object, batch: TokenBatch) -> Array:
        hidden, unembed = hidden_and_unembed(model, params, batch)
        logits = scaled_logits(hidden[:, :-1], unembed, jnp.ones(()), cap)
        return jax.nn.log_softmax(logits.astype(jnp.float32))

    return lambda batch: log_probs(policy.params, batch)


def answer_coverage(
    reference: Policy,
    policy: Policy,
    adapters: Mapping[str, Adapter],
    sequences: TokenBatch,
    *,
    rows: int = 8,
) -> dict[str, dict[str, np.ndarray]]:
    """How each adapter of a policy's distributions lies to those of a reference.

    Args:
      reference, policy: of one vocabulary.
      adapters: by name, applied to the policy's distributions.
      sequences: prompts and answers [A T]; measured where `loss_mask` is True.
      rows: sequences that are computed at one time.

    Returns:
      By adapter and measure of `Coverage`, the mean over each answer's tokens [A].

    Raises:
      ValueError: the two have other vocabularies.
    """
    sizes = reference.config.vocab_size, policy.config.vocab_size
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"the reference has a vocabulary of {sizes[0]}, the model one of {sizes[1]}"
        )
    of_p, of_q = log_probs_of(reference), log_probs_of(policy)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in adapters}
    for start in range(0, len(sequences.tokens), rows):
        part = jax.tree.map(lambda x, i=start: x[i : i + rows], sequences)
        mask = np.asarray(part.loss_mask)[:, 1:]
        answers = np.nonzero(mask)[0]
        log_p, log_q = (np.asarray(f(part))[mask] for f in (of_p, of_q))
        for name, adapter in adapters.items():
            values = coverage(jnp.asarray(log_p), adapter(jnp.asarray(log_q)))
            for measure, value in values._asdict().items():
                total = np.bincount(answers, np.asarray(value), minlength=len(mask))
                means = total / np.maximum(mask.sum(axis=1), 1)
                found[name].setdefault(measure, []).extend(means)
    return {
        name: {measure: np.array(x) for measure, x in values.items()}
        for name, values in found.items()
    }
