"""Every family in every kind of training: what is saved has the family's format."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments import dpo, ppo, reward_model, sft
from jaxalign.models import pretrained
from tests.support import quick
from tests.support.families import FAMILIES, write_user_files

ROWS = [
    {"prompt": f"Add {i}.", "chosen": f"{i + 1}.", "rejected": "No."} for i in range(8)
]
STAGES = {
    "sft": (sft, sft.Config(batch=2)),
    "reward_model": (reward_model, reward_model.Config()),
    "dpo": (dpo, dpo.Config()),
    "ppo": (ppo, ppo.Config(max_new_tokens=4, minibatches=1)),
}


@pytest.fixture(scope="module", params=quick.only([], FAMILIES))
def user_files(request, tmp_path_factory):
    """A model's folder with its tokenizer, and a file of pairs."""
    return write_user_files(tmp_path_factory.mktemp(request.param), request.param, ROWS)


def run(name, user_files, out, **changes):
    """Run an experiment for one update."""
    main, config = STAGES[name]
    small = {"steps": 1, "batch": min(config.batch, 4), "mesh": "data=1"}
    model, pairs = str(user_files / "model"), str(user_files / "pairs.jsonl")
    return main.main(
        dataclasses.replace(
            config, model=model, data=pairs, out=out, **(small | changes)
        )
    )


def test_a_trained_model_keeps_the_format_of_its_family(user_files, tmp_path):
    metrics = run("dpo", user_files, tmp_path)
    # at the first step the policy is the reference
    np.testing.assert_allclose(metrics["loss"], np.log(2), rtol=1e-4)
    before = load_file(user_files / "model" / "model.safetensors")
    after = load_file(tmp_path / "policy" / "model.safetensors")
    assert before.keys() == after.keys()
    same = [name for name in before if np.array_equal(before[name], after[name])]
    assert len(same) < len(before) / 4  # biases of keys, say, which softmax ignores
    configs = [
        json.loads((folder / "config.json").read_text())
        for folder in (user_files / "model", tmp_path / "policy")
    ]
    assert configs[0] == configs[1]


@pytest.mark.parametrize("name", STAGES)
def test_what_comes_out_gives_our_logits_in_transformers(user_files, tmp_path, name):
    torch = pytest.importorskip("torch", reason="the extra [parity] is not installed")
    transformers = pytest.importorskip("transformers")
    others = {}
    if name == "ppo":
        run("reward_model", user_files, tmp_path / "first")
        others = {"reward": str(tmp_path / "first" / "reward"), "logp_gap": 1e-3}
    run(name, user_files, tmp_path / "out", **others)
    reward = name == "reward_model"
    folder = tmp_path / "out" / ("reward" if reward else "policy")
    kind = "SequenceClassification" if reward else "CausalLM"
    other = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    tokens = np.random.default_rng(0).integers(8, 200, (2, 20)).astype(np.int32)
    with torch.no_grad():
        expected = other.eval()(torch.tensor(tokens).long()).logits.numpy()
    at = np.broadcast_to(np.arange(20, dtype=np.int32), tokens.shape)
    inputs = tokens, at, np.ones_like(tokens)
    if reward:
        model, params = pretrained.load_reward(folder, dtype=jnp.float32)
        bias = float(params["head"]["bias"])  # which transformers has no place for
        ours = np.asarray(model.scores(params, *inputs))[:, -1:] - bias
    else:
        model, params = pretrained.load(folder, dtype=jnp.float32)
        ours = model.hidden(params, *inputs) @ model.unembed(params)
        cap = model.config.logit_cap
        ours = ours if cap is None else cap * jnp.tanh(ours / cap)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=3e-4)
