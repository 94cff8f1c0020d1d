"""The same folder in transformers and torch: the same hidden states and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxalign.models import pretrained

torch = pytest.importorskip("torch", reason="the extra [parity] is not installed")


@pytest.mark.parametrize("tied", [True, False])
def test_logits_and_gradients_are_those_of_transformers(
    variant, draw, rows, tmp_path, tied
):
    transformers = pytest.importorskip("transformers")
    model = variant(tied=tied, rope_theta=500.0)
    params = draw(model)
    pretrained.save(tmp_path, model, params)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation="eager"
    )
    real = rows.segments > 0
    found = theirs(
        torch.tensor(rows.tokens).long(), attention_mask=torch.tensor(real).long()
    ).logits
    weights = np.random.default_rng(0).normal(size=(4, 9, 22)).astype(np.float32)
    weights = np.where(real[:, :, None], weights, 0.0)
    (found * torch.tensor(weights)).sum().backward()

    def loss(params):
        hidden = model.hidden(params, rows.tokens, rows.positions, rows.segments)
        logits = hidden @ model.unembed(params)
        return jnp.sum(logits * weights), logits

    grads, logits = jax.jit(jax.grad(loss, has_aux=True))(params)
    # two libraries' order of float32 sums
    np.testing.assert_allclose(
        logits[real], found.detach().numpy()[real], rtol=1e-4, atol=1e-4
    )
    their_grads = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    pretrained.save(tmp_path / "grads", model, grads)
    ours = load_file(tmp_path / "grads" / "model.safetensors")
    assert set(ours) == set(their_grads)
    for name, gradient in ours.items():
        size = np.abs(their_grads[name]).max()
        np.testing.assert_allclose(gradient, their_grads[name], atol=2e-5 * size)
