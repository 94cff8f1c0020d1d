import json
import shutil

import pytest
from transformers import AutoTokenizer

from jaxalign.data import tokenize
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Demonstration, assistant_message

SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " two  spaces ",
        "tabs\tand\r\nlines",
        "naïve 漢字 🙂 \x00\x7f",
        "don't . , !",
    ],
)
def test_any_text_round_trips(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id is None


def test_every_digit_is_a_token(tokenizer):
    # trained on 12, 30 and 42 four times over, so a merge would have been worth it
    assert tokenizer.tokenize("12 + 30 = 42").count("4") == 1
    assert len(tokenizer("4213").input_ids) == 4


def test_each_special_token_is_one_id(tokenizer):
    ids = [tokenizer(text).input_ids for text in SPECIAL]
    assert ids == [[0], [1], [2], [3], [4]]
    assert tokenizer.eos_token == "<|end|>"
    assert tokenizer.pad_token == "<|pad|>"
    assert tokenizer.bos_token is None


def test_small_vocabularies_are_refused():
    with pytest.raises(ValueError, match="vocab_size 260 is below 261"):
        tokenizers.train(["text"], vocab_size=260)


def test_saved_and_loaded_it_is_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = tokenizers.load(tmp_path)
    assert tokenizers.fingerprint(loaded) == tokenizers.fingerprint(tokenizer)
    talk = [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "4"},
    ]
    others = AutoTokenizer.from_pretrained(tmp_path)
    for one in (loaded, others):
        ids = one.apply_chat_template(talk).input_ids
        assert one.decode(ids) == "<|user|>2 + 2?<|end|><|assistant|>4<|end|>"


def test_the_template_refuses_unknown_roles(tokenizer):
    with pytest.raises(Exception, match="unknown role tool"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}])


def test_fingerprints_tell_tokenizers_apart(tokenizer, templated):
    same = templated(tokenizer.chat_template)
    assert tokenizers.fingerprint(same) == tokenizers.fingerprint(tokenizer)
    same(["a", "a b c"], padding=False, truncation=True, max_length=2)
    assert tokenizers.fingerprint(same) == tokenizers.fingerprint(tokenizer)
    for other in (
        templated("{{ messages }}"),
        templated(tokenizer.chat_template, bos_token="<|user|>"),
        tokenizers.train(["other words here"] * 4, vocab_size=300),
    ):
        assert tokenizers.fingerprint(other) != tokenizers.fingerprint(tokenizer)


def test_folders_without_a_tokenizer_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder: .*nowhere"):
        tokenizers.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no tokenizer"):
        tokenizers.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=f"the tokenizer in {tmp_path} cannot be read"):
        tokenizers.load(tmp_path)


def test_a_tokenizer_without_an_end_is_refused(public_data, tmp_path):
    shutil.copytree(public_data / "stories260K" / "hf", tmp_path, dirs_exist_ok=True)
    settings = tmp_path / "tokenizer_config.json"
    settings.chmod(0o644)
    found = json.loads(settings.read_text())
    del found["eos_token"]
    settings.unlink()
    settings.write_text(json.dumps(found))
    with pytest.raises(ValueError, match="has no eos_token"):
        tokenizers.load(tmp_path)


def test_tokens_beyond_the_embedding_are_refused(tokenizer):
    count = len(tokenizer)
    tokenizers.check_embedding(tokenizer, count)
    with pytest.raises(ValueError, match=f"up to {count - 1} .* only {count - 1} rows"):
        tokenizers.check_embedding(tokenizer, count - 1)


def test_no_padding_token_is_needed(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    settings = tmp_path / "tokenizer_config.json"
    found = json.loads(settings.read_text())
    del found["pad_token"]
    settings.write_text(json.dumps(found))
    loaded = tokenizers.load(tmp_path)
    assert loaded.pad_token is None
    record = Demonstration(
        [{"role": "user", "content": "hello"}, assistant_message("sure")]
    )
    for each in (tokenizer, loaded):
        (example,), _ = tokenize.tokenize([record], each, context=64)
        assert each.decode(example.sequences[0].tokens).endswith("sure<|end|>")


def test_special_texts_are_all_that_tokenizers_cut_out(templated, tokenizer):
    assert tokenizers.special_token_texts(tokenizer) == sorted(SPECIAL)
    # a copy that was told of its end alone still cuts out the others
    assert tokenizers.special_token_texts(templated(None)) == sorted(SPECIAL)
