"""The same folder in transformers and torch: logits, gradients, answers, scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxalign import sampling
from jaxalign.models import pretrained

torch = pytest.importorskip("torch", reason="the extra [parity] is not installed")
transformers = pytest.importorskip("transformers")

LENGTH, NEW = 30, 8
PROMPTS = np.array([20, 18, 25], np.int32)


def theirs(folder, kind="CausalLM"):
    """Their model of a folder, computed plainly in float32."""
    auto = getattr(transformers, f"AutoModelFor{kind}")
    return auto.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


@pytest.fixture
def hf_folder(family, settings, tmp_path):
    """A folder that transformers wrote, every parameter drawn anew."""

    def make(*, reward=False, **changes):
        config_json = settings(family, reward=reward) | changes
        config = transformers.CONFIG_MAPPING[family].from_dict(config_json)
        config._attn_implementation = "eager"
        kind = "SequenceClassification" if reward else "CausalLM"
        auto = getattr(transformers, f"AutoModelFor{kind}")
        model = auto.from_config(config)
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0.0, 0.3)
        model.save_pretrained(tmp_path / "theirs")
        return tmp_path / "theirs"

    return make


def logits(model, params, tokens):
    """Ours of whole rows [B T V]."""
    at = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape).astype(np.int32)

    @jax.jit
    def read(params):
        hidden = model.hidden(params, tokens, at, np.ones_like(tokens))
        scores = hidden @ model.unembed(params)
        cap = model.config.logit_cap
        return scores if cap is None else cap * jnp.tanh(scores / cap)

    return np.asarray(read(params))


def test_family(hf_folder, tmp_path):
    """Logits past windows and original contexts, greedy answers, and the way back."""
    folder = hf_folder()
    other = theirs(folder)
    model, params = pretrained.load(folder, dtype=jnp.float32)
    tokens = np.random.default_rng(0).integers(1, 61, (3, LENGTH)).astype(np.int32)
    expected = other(torch.tensor(tokens).long()).logits.detach().numpy()
    # asked for: 3e-4; two libraries' order of float32 sums over 3 layers gives less
    np.testing.assert_allclose(logits(model, params, tokens), expected, atol=2e-5)
    short = tokens[:, :12]  # within longrope's original context
    expected = other(torch.tensor(short).long()).logits.detach().numpy()
    np.testing.assert_allclose(logits(model, params, short), expected, atol=2e-5)

    samples = sampling.generate(
        model, params, tokens[:, : PROMPTS.max()], PROMPTS, jax.random.key(0),
        sampling.SamplingParams(max_new_tokens=NEW, temperature=0.0),
    )  # fmt: skip
    other.generation_config.eos_token_id = None
    for row, length in enumerate(PROMPTS):
        prompt = torch.tensor(tokens[row : row + 1, :length]).long()
        answer = other.generate(
            prompt, max_new_tokens=NEW, do_sample=False, pad_token_id=0
        )
        assert samples.tokens[row].tolist() == answer[0, length:].tolist()

    pretrained.save(tmp_path / "ours", model, params)
    ours, theirs_saved = (
        load_file(x / "model.safetensors") for x in (tmp_path / "ours", folder)
    )
    assert set(ours) == set(theirs_saved)
    for name, tensor in ours.items():
        np.testing.assert_array_equal(tensor, theirs_saved[name])
    again = theirs(tmp_path / "ours")(torch.tensor(short).long()).logits
    np.testing.assert_allclose(again.detach().numpy(), expected, atol=2e-5)


def test_reward_model(hf_folder, tmp_path):
    """Scores of texts of unequal length, from their folder and from ours."""
    folder = hf_folder(reward=True, pad_token_id=0)
    other = theirs(folder, "SequenceClassification")
    model, params = pretrained.load_reward(folder, dtype=jnp.float32)
    tokens = np.random.default_rng(0).integers(1, 61, (3, LENGTH)).astype(np.int32)
    at = np.broadcast_to(np.arange(LENGTH), tokens.shape).astype(np.int32)
    real = at < PROMPTS[:, None]
    tokens = np.where(real, tokens, 0)
    expected = other(
        torch.tensor(tokens).long(), attention_mask=torch.tensor(real).long()
    ).logits.detach()[:, 0]
    scores = jax.jit(model.scores)(params, tokens, at, real.astype(np.int32))
    last = np.asarray(scores)[np.arange(3), PROMPTS - 1]
    np.testing.assert_allclose(last, expected.numpy(), atol=2e-5)

    params["head"]["bias"] = jnp.float32(0.5)  # which transformers leaves out
    pretrained.save_reward(tmp_path / "ours", model, params, tokens={"pad_token_id": 0})
    again = theirs(tmp_path / "ours", "SequenceClassification")(
        torch.tensor(tokens).long(), attention_mask=torch.tensor(real).long()
    ).logits.detach()[:, 0]
    np.testing.assert_allclose(again.numpy(), expected.numpy(), atol=2e-5)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llama", {"rope_scaling": None}),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 3.0}}),
        (
            "llama",
            {
                "rope_scaling": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 16,
                    "mscale": 0.5,
                    "mscale_all_dim": 2.0,
                    "truncate": False,
                }
            },
        ),
        ("gpt_neox", {"use_parallel_residual": False, "attention_bias": False}),
        ("gemma3_text", {"rope_scaling": None, "attention_bias": True}),
        ("phi3", {"rope_scaling": None, "sliding_window": None}),
        ("gpt2", {"tie_word_embeddings": False}),
    ],
)
def test_other_settings(settings, tmp_path, name, changes):
    config_json = settings(name) | changes
    config = transformers.CONFIG_MAPPING[name].from_dict(config_json)
    config._attn_implementation = "eager"
    other = transformers.AutoModelForCausalLM.from_config(config).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.normal_(0.0, 0.3)
    other.save_pretrained(tmp_path)
    tokens = np.random.default_rng(0).integers(1, 61, (3, LENGTH)).astype(np.int32)
    expected = other(torch.tensor(tokens).long()).logits.detach().numpy()
    actual = logits(*pretrained.load(tmp_path, dtype=jnp.float32), tokens)
    np.testing.assert_allclose(actual, expected, atol=2e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_gradients_equal_those_of_transformers(variant, draw, rows, tmp_path, tied):
    model = variant(tied=tied, rope_theta=500.0)
    params = draw(model)
    pretrained.save(tmp_path, model, params)
    other = theirs(tmp_path)
    real = rows.segments > 0
    actual = other(
        torch.tensor(rows.tokens).long(), attention_mask=torch.tensor(real).long()
    ).logits
    weights = np.random.default_rng(0).normal(size=(4, 9, 22)).astype(np.float32)
    weights = np.where(real[:, :, None], weights, 0.0)
    (actual * torch.tensor(weights)).sum().backward()

    def loss(params):
        hidden = model.hidden(params, rows.tokens, rows.positions, rows.segments)
        return jnp.sum(hidden @ model.unembed(params) * weights)

    grads = jax.jit(jax.grad(loss))(params)
    their_grads = {name: p.grad.numpy() for name, p in other.named_parameters()}
    pretrained.save(tmp_path / "grads", model, grads)
    ours = load_file(tmp_path / "grads" / "model.safetensors")
    assert set(ours) == set(their_grads)
    for name, gradient in ours.items():
        size = np.abs(their_grads[name]).max()
        np.testing.assert_allclose(gradient, their_grads[name], atol=2e-5 * size)
