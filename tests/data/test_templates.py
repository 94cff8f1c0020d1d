"""The masks of the well-known chat templates, and of those that defeat a mask."""

import pytest
from tokenizers import AddedToken, Tokenizer

from jaxalign.data import chat, templates, text_encoding
from jaxalign.data import tokenizer as tokenizers
from tests.data import chat_templates as known

IM = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
HEADERS = (
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|end_of_text|>",
)
TURNS = ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")
PHI = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>")
# name: template, special tokens, bos, eos, the end of a turn, what precedes an answer
KNOWN = {
    "qwen2.5": (known.QWEN25, IM, None, "<|im_end|>", "<|im_end|>", ""),
    "qwen2.5 base": (known.QWEN25, IM, None, "<|endoftext|>", "<|im_end|>", ""),
    "llama3.1": (
        known.LLAMA31,
        HEADERS,
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|eot_id|>",
        "",
    ),
    "mistral": (known.MISTRAL, ("<s>", "</s>"), "<s>", "</s>", "</s>", " "),
    "gemma": (known.GEMMA, TURNS, "<bos>", "<eos>", "<end_of_turn>", ""),
    "phi3": (known.PHI3, PHI, None, "<|endoftext|>", "<|end|>", ""),
    "zephyr": (known.ZEPHYR, ("<s>", "</s>"), "<s>", "</s>", "</s>", ""),
    "qwen3": (known.QWEN3, IM, None, "<|im_end|>", "<|im_end|>", "thought"),
    "toy": (tokenizers.CHAT_TEMPLATE, PHI, None, "<|end|>", "<|end|>", ""),
}
NO_SYSTEM = {"mistral": "Only user and assistant|alternate", "gemma": "not supported"}
THOUGHT = "<think>\n\n</think>\n\n"  # Qwen3's, before an answer without one


def talk(*contents, system=None):
    roles = ("user", "assistant")
    said = [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)]
    first = [{"role": "system", "content": system}] if system else []
    return first + said


@pytest.fixture
def made(tokenizer):
    """A function: the small tokenizer with other special tokens and a template."""

    def make(template, special, bos, eos, *, rstrip=False):
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        backend.add_special_tokens([AddedToken(t, rstrip=rstrip) for t in special])
        copy = type(tokenizer)(tokenizer_object=backend, bos_token=bos, eos_token=eos)
        copy.chat_template = template
        return copy

    return make


@pytest.fixture(params=KNOWN)
def model(request, made):
    """A tokenizer of each shape, its name, its end of turn, and what leads answers."""
    template, special, bos, eos, end, lead = KNOWN[request.param]
    return (
        made(template, special, bos, eos),
        request.param,
        end,
        THOUGHT if (lead == "thought") else lead,
    )


def sides(tokenizer, encoded):
    return (
        tokenizer.decode(encoded.tokens[~encoded.mask]),
        tokenizer.decode(encoded.tokens[encoded.mask]),
    )


@pytest.mark.parametrize(
    "messages",
    [
        talk("hello", "sure"),
        talk("hello", "2 + 2 =\n\n4"),
        talk("hello\n", "sure", "what is 1 ?", "1"),
        talk("hello", "hello", "hello", "hello", "hello", "hello"),
        talk("a", "b", "c", "d", system="be brief"),
    ],
)
def test_the_assistants_words_and_their_end_are_trained_on(model, messages):
    tokenizer, name, end, lead = model
    if messages[0]["role"] == "system" and name in NO_SYSTEM:
        with pytest.raises(ValueError, match=f"template failed: .*({NO_SYSTEM[name]})"):
            chat.encode(tokenizer, messages)
        return
    encoded = chat.encode(tokenizer, messages)
    asked = tokenizer.apply_chat_template(
        messages[:-1], tokenize=False, add_generation_prompt=True
    )
    assert sides(tokenizer, encoded) == (asked, lead + messages[-1]["content"] + end)
    prompt = chat.encode_prompt(tokenizer, messages[:-1])
    assert encoded.tokens[: len(prompt)].tolist() == prompt.tolist()
    assert encoded.mask.argmax() == len(prompt)
    assert messages[-2]["content"].strip() in asked


def test_every_turn_and_nothing_between(model):
    tokenizer, name, end, lead = model
    messages = talk("hello", "sure", "thanks", "of course", "so", "no")
    if name == "qwen3":
        with pytest.raises(ValueError, match="rewrites an earlier answer"):
            chat.encode(tokenizer, messages, all_turns=True)
        return
    encoded = chat.encode(tokenizer, messages, all_turns=True)
    rest, trained = sides(tokenizer, encoded)
    answers = [lead + m["content"] + end for m in messages[1::2]]
    assert trained == "".join(answers)
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    whole = whole[: whole.rindex(end) + len(end)]
    for answer in answers:
        whole = whole.replace(answer, "", 1)
    assert rest == whole
    last = chat.encode(tokenizer, messages)
    assert encoded.tokens.tolist() == last.tokens.tolist()


def test_generation_stops_where_a_turn_ends_and_at_the_end_of_sequence(model):
    tokenizer, name, end, _ = model
    assert templates.end_of_turn(tokenizer) == end
    ids = tokenizer.convert_tokens_to_ids([end, KNOWN[name][3]])
    assert chat.stop_tokens(tokenizer) == tuple(dict.fromkeys(ids))
    # what is trained last is the first token that generation stops at
    encoded = chat.encode(tokenizer, talk("hello", "sure"))
    assert encoded.tokens[-1] == ids[0] and encoded.mask[-1]
    assert set(encoded.tokens[encoded.mask][:-1]).isdisjoint(ids)


def test_without_a_template_the_end_of_sequence_ends_a_turn(stories):
    assert chat.stop_tokens(stories) == (stories.eos_token_id,)


MARKED = {
    "toy": (tokenizers.CHAT_TEMPLATE, PHI, None, "<|end|>"),
    "qwen2.5": (
        known.QWEN25.replace(
            "{{- '<|im_start|>' + message.role + '\\n' + message.content "
            "+ '<|im_end|>' + '\\n' }}",
            "{{- '<|im_start|>' + message.role + '\\n' }}"
            "{%- if message.role == 'assistant' %}"
            "{% generation %}{{- message.content + '<|im_end|>' + '\\n' }}"
            "{% endgeneration %}{%- else %}"
            "{{- message.content + '<|im_end|>' + '\\n' }}{%- endif %}",
        ),
        IM,
        None,
        "<|endoftext|>",
    ),
    # the words alone are marked, and their end is not
    "zephyr": (
        known.ZEPHYR.replace(
            "{{ '<|assistant|>\n'  + message['content'] + eos_token }}",
            "{{ '<|assistant|>\n' }}{% generation %}{{ message['content'] }}"
            "{% endgeneration %}{{ eos_token }}",
        ),
        ("<s>", "</s>"),
        "<s>",
        "</s>",
    ),
    "qwen3": (known.QWEN3_MARKED, IM, None, "<|im_end|>"),
}


@pytest.mark.parametrize("name", MARKED)
@pytest.mark.parametrize("all_turns", [False, True])
def test_marks_and_prefix_difference_agree(made, name, all_turns):
    template, *special = MARKED[name]
    bare = templates.GENERATION_TAG.sub("", template)
    bare = bare.replace("{% endgeneration %}", "").replace("{%- endgeneration %}", "")
    assert templates.GENERATION_TAG.search(template) and "generation %}" not in bare
    marked, unmarked = made(template, *special), made(bare, *special)
    messages = talk("hello", "sure", "thanks", "of course")
    assert marked.apply_chat_template(messages, tokenize=False).strip() == (
        unmarked.apply_chat_template(messages, tokenize=False).strip()
    )
    found = chat.encode(marked, messages, all_turns=all_turns)
    if all_turns and name == "qwen3":  # only the marks know
        expected = f"sure<|im_end|>{THOUGHT}of course<|im_end|>"
        assert sides(marked, found)[1] == expected
        return
    other = chat.encode(unmarked, messages, all_turns=all_turns)
    assert found.tokens.tolist() == other.tokens.tolist()
    assert found.mask.tolist() == other.mask.tolist()


def test_a_thought_is_trained_on_where_it_is_written(made):
    template, special, bos, eos, *_ = KNOWN["qwen3"]
    tokenizer = made(template, special, bos, eos)
    thought = "<think>\n1 + 1\n</think>\n\n2"
    encoded = chat.encode(tokenizer, talk("1 + 1", thought, "and 2 + 2?", thought))
    rest, trained = sides(tokenizer, encoded)
    assert trained == thought + "<|im_end|>"
    assert "<think>" not in rest  # what the model will see of its earlier thoughts


DEFEATED = {
    "r1": (
        known.DEEPSEEK_R1,
        ("<|User|>", "<|Assistant|>", "<s>", "</s>"),
        talk("hello", "sure"),
    ),
    "mistral v0.3": (
        known.MISTRAL_V3,
        ("<s>", "</s>"),
        talk("hello", "sure", system="be brief"),
    ),
}


@pytest.mark.parametrize("name", DEFEATED)
def test_templates_that_change_the_prompt_are_refused(made, name):
    template, special, messages = DEFEATED[name]
    tokenizer = made(template, special, "<s>", "</s>")
    with pytest.raises(ValueError, match="changes the prompt when an answer follows"):
        chat.encode(tokenizer, messages)


def test_a_template_that_marks_the_wrong_words_is_refused(made):
    wrong = (
        "{% for m in messages %}<{{ m['role'] }}>{% if loop.first %}{% generation %}"
        "{{ m['content'] }}{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    with pytest.raises(ValueError, match="marks nothing of the last answer"):
        chat.encode(made(wrong, (), None, "<|end|>"), talk("hello", "sure"))


@pytest.mark.parametrize("rstrip", [False, True])
def test_a_text_cut_before_special_tokens_has_the_same_tokens(made, rstrip):
    tokenizer = made(known.PHI3, PHI, None, "<|endoftext|>", rstrip=rstrip)
    for messages in (talk("a\n", " b \n", "\n\n c", "d"), talk("", "", "", "")):
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        assert len(text_encoding.special_token_boundaries(tokenizer).split(text)) > 8
        (found,) = text_encoding.encode_texts(tokenizer, [text])
        assert found == tokenizer(text, add_special_tokens=False).input_ids


def test_tokens_that_take_white_space_before_them_are_no_seams(tokenizer):
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.add_special_tokens([AddedToken("<|greedy|>", lstrip=True)])
    copy = type(tokenizer)(tokenizer_object=backend, eos_token="<|end|>")
    text = "hello \n<|greedy|>world<|end|>"
    assert text_encoding.special_token_boundaries(copy).split(text) == [
        "hello \n<|greedy|>world",
        "<|end|>",
    ]
    (found,) = text_encoding.encode_texts(copy, [text])
    assert found == copy(text, add_special_tokens=False).input_ids


def test_a_tokenizer_of_a_base_model_is_cut_alike(stories):
    text = "<s> Once upon<s>a time</s> there"
    assert len(text_encoding.special_token_boundaries(stories).split(text)) == 4
    (found,) = text_encoding.encode_texts(stories, [text])
    assert found == stories(text, add_special_tokens=False).input_ids
