"""What inspect_data shows: the trained tokens, and counts by hand."""

import dataclasses
import io
import json

import pytest
from rich.console import Console
from transformers import LlamaConfig

from experiments import inspect_data
from jaxalign.data import tokenizer as tokenizers
from jaxalign.runtime import config_file

ROWS = [
    {"prompt": "ab", "chosen": "cd", "rejected": "e"},
    {"prompt": [{"role": "user", "content": "a\nb"}], "chosen": "c", "rejected": "dd"},
    {"prompt": "a", "chosen": "same", "rejected": "same"},
    {"prompt": "a", "chosen": "b" * 40, "rejected": "c"},
]


@pytest.fixture
def config(tmp_path):
    """A file of pairs, and a model folder whose tokens are bytes."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    tokenizers.train(["a"], vocab_size=261).save_pretrained(tmp_path / "model")
    shape = LlamaConfig(
        architectures=["LlamaForCausalLM"], vocab_size=261, max_position_embeddings=99
    )
    (tmp_path / "model" / "config.json").write_text(shape.to_json_string())
    return inspect_data.Config(
        data=str(file), model=str(tmp_path / "model"), context=32, held_out=0.0
    )


def printed(config, **settings):
    file = io.StringIO()
    counts = inspect_data.main(config, Console(file=file, width=200, **settings))
    return counts, file.getvalue()


def test_trained_tokens_stand_in_brackets_without_colour(config):
    _, text = printed(config)
    assert "an answer ends with <|end|>\n" in text
    assert "rows.jsonl:1: 8 tokens, 3 trained\n" in text
    assert "<|user|>ab<|end|><|assistant|>⟦cd<|end|>⟧\n" in text
    assert "rows.jsonl:2 rejected: 9 tokens, 3 trained\n" in text
    assert "<|user|>a↵\nb<|end|><|assistant|>⟦dd<|end|>⟧\n" in text


def test_trained_tokens_are_green_and_special_ones_reversed(config):
    _, text = printed(config, force_terminal=True, color_system="standard")
    assert "\x1b[32mcd\x1b[0m\x1b[7;32m<|end|>\x1b[0m" in text
    assert "\x1b[7m<|user|>\x1b[0mab\x1b[7m<|end|><|assistant|>\x1b[0m" in text
    assert "⟦" not in text


def test_out_has_the_counts_and_the_flags(config, tmp_path):
    config = dataclasses.replace(config, out=tmp_path / "out")
    counts, _ = printed(config)
    assert json.loads((config.out / "numbers.json").read_text()) == counts
    again = config_file.read_config(inspect_data.Config, config.out / "config.yaml")
    assert dataclasses.replace(again, out=config.out) == config


def test_counts_by_hand(config):
    counts, text = printed(config)
    assert list(counts) == ["demonstrations", "pairs"]
    # a prompt has its letters and three special tokens, an answer its letters and one
    found = counts["pairs"]
    assert (found["rows"], found["kept"], found["sequences"]) == (4, 2, 4)
    assert found["tokens"] == (5 + 3) + (5 + 2) + (6 + 2) + (6 + 3)
    assert found["trained"] == 3 + 2 + 2 + 3
    assert found["share trained"] == 10 / 32
    # whole rows, the long one too: 6 = 4 + 2, and 45 = 4 + 41
    assert (found["length 0%"], found["length 100%"]) == (6, 45)
    assert (found["answer 0%"], found["answer 100%"]) == (2, 41)
    assert "pairs: 2 of 4 rows (1 identical as tokens, 1 longer than 32 tokens)" in text


def test_what_a_source_has_not_is_said(config, tmp_path):
    file = tmp_path / "answers.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}\n' * 4)
    other = inspect_data.Config(data=str(file), model=config.model, held_out=0.0)
    counts, text = printed(other)
    assert list(counts) == ["demonstrations"]
    assert f"no pairs: {file}:1: field 'chosen'" in text.replace("\n", "")


def test_data_of_no_usable_kind_are_refused(config, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "chosen": "b"}\n')
    with pytest.raises(ValueError, match="rows.jsonl has no usable rows of any kind"):
        printed(dataclasses.replace(config, data=str(tmp_path / "rows.jsonl")))


def test_a_vocabulary_beyond_the_embedding_is_refused(config, tmp_path):
    file = tmp_path / "model" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "vocab_size": 260}))
    with pytest.raises(ValueError, match="embedding only 260 rows"):
        printed(config)


def test_unpaired_answers_are_a_kind_of_their_own(config, tmp_path):
    rows = [{"prompt": "a", "completion": "bc", "label": label} for label in (1, 0)]
    (tmp_path / "single.jsonl").write_text("\n".join(map(json.dumps, rows)))
    told = {**vars(config), "data": str(tmp_path / "single.jsonl")}
    counts, text = printed(inspect_data.Config(**told))
    # 2 bytes and the end of the turn each
    assert counts["unpaired"]["kept"] == 2 and counts["unpaired"]["trained"] == 6
    assert "no pairs: " in text and "⟦bc" in text
