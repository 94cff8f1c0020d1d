"""The harness's model: known numbers from tables, texts as its `hf` model cuts them."""

import dataclasses
import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from jaxalign import sharding
from jaxalign.batches import from_lengths
from jaxalign.pipeline import text_models
from jaxalign.pipeline.harness import lm_eval_model, lm_eval_tasks
from jaxalign.training import forward
from tests.support import table_model, untrained

pytest.importorskip("lm_eval", reason="the extra [lm-eval] is not installed")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from lm_eval.api import registry

# what other packages deprecate while the harness reads its data
pytestmark = pytest.mark.filterwarnings("ignore")

WORDS = ["red", "green", "blue", "is", "sky", "grass", "blood"]
BLUE, IS, GREEN = 4, 5, 3


def color_table():
    """After "is" come red, green and blue with 0.2, 0.3 and 0.5; all else is even."""
    table = np.full((9, 9), 1 / 9)
    table[IS] = 1e-9
    table[IS, 2:5] = 0.2, 0.3, 0.5
    return np.log(table / table.sum(axis=1, keepdims=True))


def harness(policy, **settings):
    return lm_eval_model.HarnessModel(policy, **settings)


def request(*args, **fields):
    return SimpleNamespace(args=args, task_name="t", doc_id=0, **fields)


@pytest.fixture(scope="module")
def colors():
    return table_model.table_policy(WORDS, color_table())


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return text_models.load(untrained.save(tmp_path_factory.mktemp("policy"))).policy


def evaluate(policy, tmp_path, rows, **task):
    """The harness's results on one task of its own kind, with our model."""
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {"test": str(data)},
            "cache_dir": str(tmp_path / "cache"),
        },
        "test_split": "test",
        "metadata": {"version": 1},
        **task,
    }
    (tmp_path / "mine.yaml").write_text(json.dumps(config))
    requests = lm_eval_tasks.parse_tasks(str(tmp_path / "mine.yaml"))
    loaded = lm_eval_tasks.load_tasks(requests)
    return lm_eval_tasks.run_tasks(harness(policy, rows=4), loaded)["results"]["mine"]


def test_a_table_that_knows_the_answers_is_right(colors, tmp_path):
    rows = [
        {"q": "sky is", "choices": ["red", "green", "blue"], "gold": 2},
        {"q": "grass is", "choices": ["blue", "red"], "gold": 0},
        {"q": "blood is", "choices": ["red", "green"], "gold": 1},
    ]
    choice = {
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    results = evaluate(colors, tmp_path, rows, **choice)
    # 0.5 > 0.3 > 0.2: the likeliest is the target of every row
    assert results["acc,none"] == 1.0
    wrong = [row | {"gold": 0} for row in rows]
    results = evaluate(colors, tmp_path, wrong, **choice)
    assert results["acc,none"] == pytest.approx(1 / 3)


def test_rolling_log_probs_of_a_table_give_its_perplexity(tmp_path):
    # every word has log-prob -10, so that word_perplexity is e^10
    table = np.full((9, 9), -10.0)
    table[:, 0] = np.log1p(-8 * np.exp(-10.0))  # the rest is on <s>
    policy = table_model.table_policy(WORDS, table, context=4)
    rows = [{"text": "sky is blue"}, {"text": "grass is green is green is green"}]
    results = evaluate(
        *(policy, tmp_path, rows),
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{text}}",
        metric_list=[{"metric": "word_perplexity"}],
    )
    # float32 rounding
    np.testing.assert_allclose(results["word_perplexity,none"], 22026.4658, rtol=1e-5)


def test_answers_end_at_until(colors, tmp_path):
    results = evaluate(
        *(colors, tmp_path, [{"q": "sky is", "a": "blue"}]),
        output_type="generate_until",
        doc_to_text="{{q}}",
        doc_to_target="{{a}}",
        generation_kwargs={"until": [" "], "max_gen_toks": 3, "do_sample": False},
        metric_list=[{"metric": "exact_match"}],
    )
    # blue comes first; what follows is cut at the space before it
    assert results["exact_match,none"] == 1.0


def own_logp(policy, context, tokens):
    row = np.array([[*context, *tokens]], np.int32)
    batch = from_lengths(row, np.array([row.shape[1]]), np.array([len(context)]))
    each = np.asarray(forward.token_logps(policy.model, policy.params, batch))[0]
    return each[len(context) :].sum(dtype=np.float64)


PAIRS = [
    ("What is 2 + 2?", " 4, or so"),
    ("Name a color: ", "red"),
    ("", "Once upon a time"),
    ("What is 2 + 2?", " 5"),
    ("A longer question that has many more words, is it not?", " Yes"),
]


def test_log_likelihoods_are_sums_of_our_log_probs(policy):
    model = harness(policy, rows=3)
    results = model.loglikelihood([request(*pair) for pair in PAIRS])
    ids = lambda text: policy.tokenizer(text, add_special_tokens=False).input_ids
    end = policy.tokenizer.eos_token_id  # this tokenizer has no beginning token
    for (context, continuation), (logp, _) in zip(PAIRS, results, strict=True):
        stem = context.rstrip()
        whole = ids(context + continuation)
        n = len(ids(stem))  # white space at its end belongs to the continuation
        parts = (whole[:n], whole[n:]) if context else ([end], whole)
        # float32 sums of at most 20 log-probs near -5.5, in another order
        np.testing.assert_allclose(logp, own_logp(policy, *parts), rtol=1e-5)
    turned = model.loglikelihood([request(*pair) for pair in PAIRS[::-1]])
    alone = harness(policy, rows=1).loglikelihood([request(*PAIRS[0])])
    for other, expected in zip(
        turned[::-1] + alone, results + results[:1], strict=True
    ):
        np.testing.assert_allclose(other[0], expected[0], rtol=1e-5)  # float32 rounding
        assert other[1] == expected[1]


def test_rolling_predicts_every_token_once(policy):
    text = "Once upon a time there was a red house, and in it lived a small cat."
    ids = policy.tokenizer(text, add_special_tokens=False).input_ids
    end = policy.tokenizer.eos_token_id
    assert 20 < len(ids) < policy.context
    (fits,) = harness(policy).loglikelihood_rolling([request(text)])
    # float32 rounding
    np.testing.assert_allclose(fits, own_logp(policy, [end], ids), rtol=1e-5)
    # in a context of 8: the first 8 after the end token, then windows of 8, the last
    # with as much context as fits
    short = dataclasses.replace(policy, context=8)
    (total,) = harness(short).loglikelihood_rolling([request(text)])
    expected = own_logp(policy, [end], ids[:8])
    for start in range(8, len(ids), 8):
        part = ids[start : start + 8]
        context = ids[start + len(part) - 9 : start]
        expected += own_logp(policy, context, part)
    np.testing.assert_allclose(total, expected, rtol=1e-5)  # float32 rounding


def test_results_are_kept_as_batches_end(colors):
    model, kept = harness(colors, rows=2), {}
    add = lambda method, args, result: kept.update({(method, args[0]): result})
    model.set_cache_hook(SimpleNamespace(add_partial=add))
    results = model.loglikelihood([request("sky is", " blue"), request("", "red")])
    assert kept == {
        ("loglikelihood", "sky is"): results[0],
        ("loglikelihood", ""): results[1],
    }
    (total,) = model.loglikelihood_rolling([request("sky is")])
    assert kept["loglikelihood_rolling", "sky is"] == total
    settings = {"until": [], "max_gen_toks": 1}
    assert model.generate_until([request("sky is", settings)]) == ["blue"]
    assert kept["generate_until", "sky is"] == "blue"


def test_long_contexts_are_cut_and_counted(colors):
    model = harness(colors)  # a context of 32
    long = "red " * 40 + "is"
    ((logp, greedy),) = model.loglikelihood([request(long, " blue")])
    np.testing.assert_allclose(logp, np.log(0.5), rtol=1e-5)
    assert greedy and model.cut == {"loglikelihood": 1}
    assert model.generate_until([request(long, {"max_gen_toks": 1})]) == ["blue"]
    assert model.cut["generate_until"] == 1
    with pytest.raises(ValueError, match="up to 32 tokens .* do not fit .* of 32"):
        model.generate_until([request("red", {"max_gen_toks": 32})])


def test_an_empty_continuation_is_refused(colors):
    with pytest.raises(ValueError, match="continuation of 'sky is' is empty"):
        harness(colors).loglikelihood([request("sky is", "")])
    # "isblue" is no word of this tokenizer, and becomes one unknown token
    with pytest.raises(ValueError, match="'blue' has no token of its own after 'sky"):
        harness(colors).loglikelihood([request("sky is", "blue")])
    with pytest.raises(ValueError, match="' red red .*has 33 tokens, .* context 32"):
        harness(colors).loglikelihood([request("sky is", " red" * 33)])


def test_chat_templates(policy, colors):
    model = harness(policy)
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]
    assert model.apply_chat_template(history) == (
        "<|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>"
    )
    history.append({"role": "assistant", "content": "The answer is"})
    text = model.apply_chat_template(history, add_generation_prompt=False)
    assert text.endswith("<|assistant|>The answer is")
    assert model.chat_template(True) == policy.tokenizer.chat_template
    with pytest.raises(ValueError, match="has no chat template: leave"):
        harness(colors).apply_chat_template(history)


def test_it_is_loaded_by_its_name(tmp_path):
    folder = untrained.save(tmp_path)
    found = registry.get_model("jaxalign")
    arguments = f"pretrained={folder},max_length=40,mesh=data=2"
    model = found.create_from_arg_string(arguments, {"batch_size": 3, "device": None})
    assert isinstance(model, lm_eval_model.HarnessModel)
    assert (model.rows, model.max_length) == (3, 40)
    assert sharding.row_shards(sharding.mesh_of(model.policy.params)) == 2
    (one,) = model.loglikelihood([request("Hi", " there")])
    assert one[0] < 0 and model.tokenizer_name
    with pytest.raises(ValueError, match="unknown peft; expected pretrained=FOLDER"):
        found.create_from_arg_obj({"pretrained": str(folder), "peft": "x"})
    with pytest.raises(ValueError, match="batch_size is 'auto'"):
        found.create_from_arg_obj({"pretrained": str(folder), "batch_size": "auto"})
