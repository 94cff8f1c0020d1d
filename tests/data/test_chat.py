"""The traps of chat templates: prefixes, beginnings, ends and masks."""

import numpy as np
import pytest

from jaxalign.data import chat

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DIALOGUE = (
    "{% for m in messages %}\n\n{{ m['role'] }}:"
    "{{ m['content'] if m['role'] != 'assistant' else m['content'] + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}\n\nassistant:{% endif %}"
)
WITH_BEGINNING = "{{ bos_token }}" + DIALOGUE
FORGETFUL = (
    "{% for m in messages[-2:] %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def talk(*contents, system=None):
    roles = ("user", "assistant")
    said = [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)]
    first = [{"role": "system", "content": system}] if system else []
    return first + said


def words(tokenizer, encoded):
    return tokenizer.decode(encoded.tokens[encoded.mask])


def test_the_last_answer_and_its_end_are_trained_on(tokenizer):
    messages = talk("hello", "sure", "2 + 2?", "4", system="be brief")
    encoded = chat.encode(tokenizer, messages)
    assert words(tokenizer, encoded) == "4<|end|>"
    assert encoded.tokens.dtype == np.int32 and encoded.mask.dtype == bool
    assert tokenizer.decode(encoded.tokens) == (
        "<|system|>be brief<|end|><|user|>hello<|end|><|assistant|>sure<|end|>"
        "<|user|>2 + 2?<|end|><|assistant|>4<|end|>"
    )


def test_all_answers_on_request_as_the_template_itself_marks_them(tokenizer):
    messages = talk("hello", "sure", "2 + 2?", "4", system="be brief")
    encoded = chat.encode(tokenizer, messages, all_turns=True)
    assert words(tokenizer, encoded) == "sure<|end|>4<|end|>"
    marked = tokenizer.apply_chat_template(
        messages, return_assistant_tokens_mask=True, return_dict=True
    )
    assert encoded.mask.tolist() == [bool(x) for x in marked["assistant_masks"]]
    assert encoded.tokens.tolist() == marked["input_ids"]


@pytest.mark.parametrize("template", [None, CHATML, DIALOGUE, WITH_BEGINNING])
@pytest.mark.parametrize(
    "messages",
    [
        talk("hello", " sure"),
        talk("hello", "hello"),
        talk("1 +", "2\n", "= ", "3", system="s"),
        talk("a\n", "\nb"),
        talk("no answer", ""),
    ],
)
def test_prompt_and_answer_are_the_whole(templated, template, messages):
    tokenizer = templated(template, bos_token="<|user|>")
    encoded = chat.encode(tokenizer, messages)
    prompt = chat.encode_prompt(tokenizer, messages[:-1])
    start = len(prompt)
    assert encoded.tokens[:start].tolist() == prompt.tolist()
    assert not encoded.mask[:start].any() and encoded.mask[start:].all()
    # one beginning at most, one end, and both texts side by side are the whole text
    assert (encoded.tokens == tokenizer.bos_token_id).sum() == (
        template in (None, WITH_BEGINNING)
    )
    answer = encoded.tokens[start:]
    assert answer.tolist().count(tokenizer.eos_token_id) == 1
    assert answer[-1] == tokenizer.eos_token_id
    if template is not None:
        whole = tokenizer.apply_chat_template(messages, tokenize=False).rstrip("\n")
        sides = tokenizer.decode(prompt) + tokenizer.decode(answer)
        assert sides == whole


def test_a_token_over_the_boundary_is_cut_there(templated):
    bare = templated("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    left, right = "rever", "se"
    apart = [*bare(left).input_ids, *bare(right).input_ids]
    assert bare(left + right).input_ids[: len(bare(left).input_ids)] != apart[:-1]
    encoded = chat.encode(bare, talk(left, right))
    assert encoded.tokens.tolist() == [*apart, bare.eos_token_id]
    assert words(bare, encoded) == "se<|end|>"


def test_a_base_model_gets_plain_text(stories):
    encoded = chat.encode(stories, talk("Once upon a time", ", there was a cat."))
    assert stories.decode(encoded.tokens) == (
        "<s> Once upon a time, there was a cat.</s>"
    )
    assert words(stories, encoded) == ", there was a cat.</s>"
    whole = stories("Once upon a time, there was a cat.").input_ids
    assert encoded.tokens.tolist() == [*whole, stories.eos_token_id]


def test_stripped_answers_do_not_run_into_the_prompt(stories):
    apart = chat.encode(stories, talk("Once upon a time", " there was"))
    stripped = chat.encode(stories, talk("Once upon a time", "there was"))
    assert apart.tokens.tolist() == stripped.tokens.tolist()


def test_a_prompt_that_takes_the_answers_first_space_is_refused(stories):
    with pytest.raises(ValueError, match="move white space"):
        chat.encode(stories, talk("Once upon a ", "time"))


def test_an_answer_without_a_prompt(stories, templated):
    alone = talk("", "a cat")[1:]
    encoded = chat.encode(stories, alone)
    assert encoded.mask.tolist() == [False] + [True] * (len(encoded.mask) - 1)
    # nothing begins the text here, and nothing predicts its first token
    encoded = chat.encode(templated(None), alone)
    assert encoded.mask.tolist() == [False] + [True] * (len(encoded.mask) - 1)


def test_the_end_is_trained_on_even_where_it_is_the_padding(templated, tokenizer):
    same = templated(tokenizer.chat_template, pad_token="<|end|>")
    assert same.pad_token_id == same.eos_token_id
    encoded = chat.encode(same, talk("hello", "sure"))
    assert encoded.mask[-1] and encoded.tokens[-1] == same.eos_token_id


def test_a_beginning_that_is_the_end_is_there_once(templated):
    same = templated(None, bos_token="<|end|>")
    encoded = chat.encode(same, talk("hello", "sure"))
    assert np.flatnonzero(encoded.tokens == same.eos_token_id).tolist() == [
        0,
        len(encoded.tokens) - 1,
    ]
    assert not encoded.mask[0]


def test_doubled_beginnings_become_one(templated):
    twice = templated("{{ bos_token }}" + WITH_BEGINNING, bos_token="<|user|>")
    encoded = chat.encode(twice, talk("hello", "sure"))
    assert (encoded.tokens == twice.bos_token_id).sum() == 1


def test_nothing_to_train_on_is_refused(tokenizer):
    for messages in ([], talk("hello"), talk("hello", "sure", "thanks")):
        with pytest.raises(
            ValueError, match="must end with a message of the assistant"
        ):
            chat.encode(tokenizer, messages)
    with pytest.raises(ValueError, match="at least one message"):
        chat.encode_prompt(tokenizer, [])


def test_a_template_that_rewrites_the_prompt_is_refused(templated):
    forgetful = templated(FORGETFUL)
    chat.encode(forgetful, talk("hello", "sure"))
    with pytest.raises(ValueError, match="changes the prompt when an answer follows"):
        chat.encode(forgetful, talk("hello", "sure", "thanks", "bye"))


def test_a_template_that_fails_says_so(tokenizer):
    with pytest.raises(ValueError, match="the chat template failed: unknown role tool"):
        chat.encode_prompt(tokenizer, [{"role": "tool", "content": "x"}])


def test_many_at_once_are_as_one_by_one(tokenizer, stories):
    talks = [talk("hello", "sure"), talk("hello", "no"), talk("2", "3", "4", "5")]
    for which in (tokenizer, stories):
        for all_turns in (False, True):
            counts = [
                chat.trained_answer_indices(t, all_turns=all_turns) for t in talks
            ]
            together = chat.encode_batch(
                which, list(map(chat.Conversation, talks)), counts
            )
            for messages, got in zip(talks, together, strict=True):
                alone = chat.encode(which, messages, all_turns=all_turns)
                assert got.tokens.tolist() == alone.tokens.tolist()
                assert got.mask.tolist() == alone.mask.tolist()


def test_the_log_says_which_turns_are_trained_and_how_they_are_joined(
    tokenizer, stories
):
    assert chat.describe(tokenizer, all_turns=True) == (
        "trained: every answer of a conversation; the tokenizer's chat template joins "
        "turns, and '<|end|>' ends an answer"
    )
    assert chat.describe(stories, all_turns=False) == (
        "trained: the last answer alone of a conversation; the tokenizer has no chat "
        "template, so the texts of all turns stand one after the other after '<s>', "
        "without roles, a space between words that would touch, and '</s>' ends an "
        "answer"
    )
