"""Tokenizers that others made: each fault is one line with the folder and the field."""

import itertools
import json
import math
import time

import pytest
import transformers

from jaxalign.data import tokenizer as tokenizers

WRONG = ["7", "x" * 9999, [], [[1]], {"a": 1}, -3, -0.5, True, None, 10**12, 10**400]
WRONG += [math.nan, math.inf, 0, [None], "\n", {"content": 3}, {"content": "<|end|>"}]
# What is right for some field, and so means another tokenizer.
TEMPLATES = ["7", "x" * 9999, "\n", None]
FREE = {
    "chat_template": [*TEMPLATES, {"content": "<|end|>"}, []],
    "pad_token": ["7", "x" * 9999, None, "\n", {"content": "<|end|>"}],
    "eos_token": ["7", "x" * 9999, "\n"],  # new tokens, which no embedding has
    "bos_token": ["7", "x" * 9999, "\n", {"content": "<|end|>"}],
    "unk_token": ["7", "x" * 9999, "\n", {"content": "<|end|>"}],
    "model_max_length": [True, 10**12],
    "add_bos_token": [True],
    "add_eos_token": [True],
    "extra_special_tokens": [[], {"content": "<|end|>"}],
}
FIELDS = {
    "add_bos_token", "add_eos_token", "bos_token", "unk_token", "model_max_length",
    "padding_side", "added_tokens_decoder", "additional_special_tokens", "auto_map",
    "extra_special_tokens", "tokenizer_class", "chat_template", "from_slow", "vocab",
    "clean_up_tokenization_spaces", "model_input_names", "processor_class",
}  # fmt: skip


@pytest.fixture
def folder(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    return tmp_path


def refusal(folder):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        tokenizers.load(folder)
    text = str(error.value)
    assert str(folder) in text and "\n" not in text and len(text) < 600, text
    return text


def what(tokenizer):
    return (
        tokenizers.fingerprint(tokenizer),
        tokenizer.special_tokens_map,
        tokenizer("what is 12 <|end|>").input_ids,
        len(tokenizer),
    )


def test_a_field_of_the_wrong_kind(folder):
    path = folder / "tokenizer_config.json"
    there = json.loads(path.read_text())
    expected = what(tokenizers.load(folder))
    began, faults = time.monotonic(), []
    for field, wrong in itertools.product(sorted({*there, *FIELDS}), WRONG):
        if any(wrong == x and type(wrong) is type(x) for x in FREE.get(field, ())):
            continue
        path.write_text(json.dumps(there | {field: wrong}))
        try:
            found = what(tokenizers.load(folder))
        except (ValueError, FileNotFoundError) as error:
            text = str(error)
            assert str(folder) in text and "\n" not in text and len(text) < 600, text
            faults += [(field, wrong, text)] if field not in text else []
        else:
            faults += [(field, wrong)] if found != expected else []
    assert not faults, "\n".join(str(x)[:200] for x in faults)
    assert time.monotonic() - began < 120


@pytest.mark.parametrize("text", [
    "", "[]", "7", "null", '{"model": 3}', '{"model": {"type": "BPE", "vocab": []}}',
    '{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 99999999999}, '
    '"merges": []}}',
    '{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}',
    '{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, '
    '"merges": ["b c"]}}',
    '{"version": "1.0", "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, '
    '"behavior": "Isolated", "invert": false}, "model": {"type": "BPE", "vocab": {}, '
    '"merges": []}}',
    "[" * 100_000, '{"a": ' * 100_000, "\xff\xfe", "{" + '"a": 1, ' * 9999,
], ids=range(14))  # fmt: skip
def test_hostile_tokenizers(folder, text):
    (folder / "tokenizer.json").write_bytes(text.encode("latin-1"))
    refusal(folder)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "\xff", '{"eos_token": 3}'])
def test_damaged_settings(folder, name, text):
    (folder / name).write_bytes(text.encode("latin-1"))
    assert name in refusal(folder)


@pytest.mark.parametrize("token", [
    {"x": {"content": "a"}}, {"3": "a"}, {"3": {"content": 3}}, {"3": {}},
    {"3": {"content": "a", "special": "yes"}}, {"-1": {"content": "a"}},
])  # fmt: skip
def test_added_tokens_of_the_wrong_kind(folder, token):
    path = folder / "tokenizer_config.json"
    there = json.loads(path.read_text())
    path.write_text(json.dumps(there | {"added_tokens_decoder": token}))
    assert "added_tokens_decoder" in refusal(folder)


def test_files_of_a_gigabyte_are_not_read(folder):
    with (folder / "tokenizer.json").open("ab") as file:
        file.truncate(2**30)
    assert "tokenizer.json has more than 512 MiB" in refusal(folder)


def test_what_the_reader_raises_need_be_no_exception(folder, monkeypatch):
    """A panic of the Rust reader derives from BaseException alone."""

    class Panic(BaseException):
        pass

    def panic(*_, **__):
        raise Panic("called `unwrap()`\non a `None` value")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", panic)
    assert "cannot be read: called `unwrap()` on a `None` value" in refusal(folder)
