"""Embeddings as the model's input, in place of tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

VARIANTS = [{}, {"scale_embeddings": True}, {"learned_positions": True}]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_embeddings_of_tokens_are_the_tokens(variant, rows, changes):
    model = variant(**changes)
    params = model.init(jax.random.key(0))
    batch = rows.positions, rows.segments
    other = jnp.zeros_like(rows.tokens)  # tokens are not read where embeddings are
    embeddings = model.embed(params, rows.tokens)
    np.testing.assert_array_equal(
        model.hidden(params, other, *batch, embeddings=embeddings),
        model.hidden(params, rows.tokens, *batch),
    )


def test_gradient_with_respect_to_one_hot_tokens(tiny, params, rows):
    """The slope along (one token -> another) is that of the mixture of the two."""
    table = tiny.embed(params, jnp.arange(tiny.config.vocab_size))
    one_hot = jax.nn.one_hot(rows.tokens, tiny.config.vocab_size)

    def score(one_hot):
        read = tiny.hidden(
            params,
            rows.tokens,
            rows.positions,
            rows.segments,
            embeddings=one_hot @ table,
        )
        return jnp.sum(jnp.tanh(read[0, 5]))  # row 0, a token that later ones precede

    slope = jax.grad(score)(one_hot)
    assert not slope[0, 6:].any()  # causal: later tokens do not matter
    assert not slope[1:].any()
    step = jnp.zeros_like(one_hot).at[0, 2, 7].set(1e-2)
    finite = (score(one_hot + step) - score(one_hot - step)) / 2e-2
    # central differences: error h^2 f'''/6 ~ 1e-4, and 1e-7 / 1e-2 of rounding
    np.testing.assert_allclose(slope[0, 2, 7], finite, rtol=1e-2)
