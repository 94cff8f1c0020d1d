"""The Python of docs/use_your_model.md runs, and gives this library's numbers."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxalign
from jaxalign.models import lora, peft
from jaxalign.pipeline import model_folders
from tests.support import small_runs

torch = pytest.importorskip("torch", reason="needs the extra parity")
pytest.importorskip("peft", reason="needs peft")
PAGE = Path(__file__).parents[2] / "docs" / "use_your_model.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
PROMPTS, ANSWERS = ["what is 2 + 2 ?"], ["it is 4 ."]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The folders that the page names, below the working directory."""
    base = small_runs.prepare(tmp_path / "base")
    policy = jaxalign.load(base / "policy").policy
    targets = "attention.*|feed_forward.*"
    adapter = lora.init(jax.random.key(0), policy.params, rank=2, targets=targets)
    adapter = jax.tree.map(lambda x: x + 0.05, adapter)  # its product is not 0
    attached = lora.attach(policy.params, adapter, scale=2.0)
    merged = jaxalign.load(base / "policy").with_params(lora.merge(attached))
    model_folders.save(tmp_path / "runs/dpo/policy", merged.policy)
    peft.save(
        *(tmp_path / "runs/dpo/adapter", policy.model, adapter),
        alpha=4.0,
        base=str(base / "policy"),
    )
    model, params = model_folders.load_scalar(base / "reward", "float32")
    head = params["head"] | {"bias": np.float32(0.75)}
    model_folders.save_scalar(
        *(tmp_path / "runs/reward_model/reward", model, params | {"head": head}),
        policy.tokenizer,
    )
    monkeypatch.chdir(tmp_path)


def run(text):
    """The names that a block of the page leaves, for the block that has the text."""
    (block,) = [b for b in BLOCKS if text in b]
    names = {}
    exec(block, names)
    return names


def test_transformers_has_the_tokens_and_logits(runs):
    names = run("AutoModelForCausalLM.from_pretrained")
    ours = jaxalign.load("runs/dpo/policy").logits(PROMPTS)
    with torch.no_grad():
        theirs = names["model"](**names["inputs"]).logits.numpy()
    count = theirs.shape[1]
    np.testing.assert_allclose(theirs, ours[:, :count], atol=1e-5)  # float32


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of PEFT's use of transformers
def test_peft_has_the_merged_models_logits(runs):
    model = run("AutoPeftModelForCausalLM")["model"]
    inputs = run("AutoModelForCausalLM.from_pretrained")["inputs"]
    with torch.no_grad():
        theirs = model(**inputs).logits.numpy()
    ours = jaxalign.load("runs/dpo/policy").logits(PROMPTS)[:, : theirs.shape[1]]
    base = jaxalign.load("base/policy").logits(PROMPTS)[:, : theirs.shape[1]]
    assert np.abs(np.asarray(base) - theirs).max() > 1e-2
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


def test_a_reward_model_has_the_scores_with_its_bias(runs):
    names = run("AutoModelForSequenceClassification")
    (ours,) = jaxalign.load_reward("runs/reward_model/reward").score(PROMPTS, ANSWERS)
    assert names["bias"].tolist() == [0.75]
    np.testing.assert_allclose(names["score"].item(), ours, atol=1e-5)
