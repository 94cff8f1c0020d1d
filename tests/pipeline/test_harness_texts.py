"""Texts and arguments of the harness's model, without the harness."""

import pytest

from jaxalign.data import tokenizer as tokenizers
from jaxalign.pipeline.harness import arguments as harness_arguments
from jaxalign.pipeline.harness import texts as harness_texts
from tests.support import table_model

WORDS = table_model.word_tokenizer(["red", "sky"])
CHAT = tokenizers.train(["a b c"], vocab_size=261)
USER = {"role": "user", "content": "Hi"}


def test_an_empty_context_is_the_beginning_or_the_end():
    assert harness_texts.prefix_token(WORDS) == WORDS.bos_token_id == 0
    assert CHAT.bos_token_id is None
    assert harness_texts.prefix_token(CHAT) == CHAT.eos_token_id


def test_the_beginning_token_comes_once(public_data):
    tokenizer = tokenizers.load(public_data / "stories260K" / "hf")
    # this tokenizer writes <s> (id 1) before texts
    plain = harness_texts.encode(tokenizer, "One day")
    assert plain[0] == 1 and plain[1:].count(1) == 0
    assert harness_texts.encode(tokenizer, "One day", False) == plain[1:]
    assert harness_texts.encode(tokenizer, "<s>One day").count(1) == 1


def test_chats_end_with_a_header_or_with_the_last_message():
    both = [USER, {"role": "assistant", "content": "The answer is "}]
    assert harness_texts.render_chat(CHAT, [USER], prompt=True) == (
        "<|user|>Hi<|end|><|assistant|>"
    )
    # white space at the end of what is to be continued is cut, as in transformers
    assert harness_texts.render_chat(CHAT, both, prompt=False).endswith(
        "<|assistant|>The answer is"
    )


def test_a_template_without_a_system_gets_none():
    strict = tokenizers.train(["a b c"], vocab_size=261)
    strict.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}"
        "{{ raise_exception('no system') }}{% endif %}[{{ m['content'] }}]{% endfor %}"
    )
    system = {"role": "system", "content": "Be brief."}
    assert harness_texts.render_chat(strict, [system, USER], prompt=True) == "[Hi]"
    strict.chat_template = "{{ raise_exception('nothing at all') }}"
    with pytest.raises(ValueError, match="nothing at all"):
        harness_texts.render_chat(strict, [USER], prompt=True)
    with pytest.raises(ValueError, match="no chat template: leave --apply"):
        harness_texts.render_chat(WORDS, [USER], prompt=True)


def test_arguments_are_the_flags_of_the_program():
    folder, config = harness_arguments.read_arguments(
        {"pretrained": "a/b", "batch_size": "8", "max_length": 64, "device": "cuda"}
    )
    assert (folder, config.rows, config.context, config.seed) == ("a/b", 8, 64, 0)
    text = "pretrained=a,dtype=bfloat16,mesh=data=2"
    folder, config = harness_arguments.read_arguments(
        harness_arguments.parse_arguments(text)
    )
    assert (folder, config.dtype, config.mesh) == ("a", "bfloat16", "data=2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "no pretrained; expected pretrained=FOLDER"),
        ({"pretrained": "a", "peft": "b"}, "unknown peft; expected"),
        ({"pretrained": "a", "batch_size": "auto"}, "batch_size is 'auto'"),
        ({"pretrained": "a", "dtype": "int3"}, "--dtype is float32, bfloat16, not"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        harness_arguments.read_arguments(arguments)
