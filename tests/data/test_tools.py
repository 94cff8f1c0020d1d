"""Tools, calls, thoughts and what is not trained: what the tokens say of them."""

import datetime

import pytest
from tokenizers import AddedToken, Tokenizer

from jaxalign.data import chat, readers, special_tokens, template_probe, tokenize
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Unpaired,
    assistant_message,
)
from tests.data import chat_templates as known

IM = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
HEADERS = (
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)
QWEN = (known.QWEN25_TOOLS, IM, None, "<|im_end|>")
LLAMA = (known.LLAMA31_TOOLS, HEADERS, "<|begin_of_text|>", "<|eot_id|>")
QWEN3 = (known.QWEN3_TOOLS, IM, None, "<|im_end|>")
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "weather of a town",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
    },
}
CALL = {
    "type": "function",
    "function": {"name": "weather", "arguments": {"town": "Oslo"}},
}
ASKED = {"role": "user", "content": "Oslo?"}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "name": "weather", "content": "4 degrees"}
TALK = [
    ASKED,
    CALLS,
    RESULT,
    assistant_message("It is cold."),
    ASKED,
    assistant_message("Cold."),
]
QWEN_CALL = (
    '<tool_call>\n{"name": "weather", "arguments": {"town": "Oslo"}}\n</tool_call>'
    "<|im_end|>"
)
LLAMA_CALL = '{"name": "weather", "parameters": {"town": "Oslo"}}<|eot_id|>'


@pytest.fixture
def made(tokenizer):
    """A function: the small tokenizer with other special tokens and a template."""

    def make(template, special, bos, eos, *, extra=()):
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        tokens = [AddedToken(t, special=True) for t in (*special, *extra)]
        backend.add_special_tokens(tokens)
        copy = type(tokenizer)(tokenizer_object=backend, bos_token=bos, eos_token=eos)
        copy.chat_template = template
        return copy

    return make


def tokenise(tokenizer, *records, all_turns=False):
    return tokenize.tokenize_usable(
        records, tokenizer, context=99999, overlong="drop", all_turns=all_turns
    )


def trained(tokenizer, record, **settings):
    """What counts of each sequence of a record, as text."""
    (example,), _ = tokenise(tokenizer, record, **settings)
    return [tokenizer.decode(s.tokens[s.mask]) for s in example.sequences]


def reasons(tokenizer, *records, **settings):
    """Why records are refused."""
    return dict(tokenise(tokenizer, *records, **settings)[1].reasons)


@pytest.mark.parametrize(
    "shape, call, end",
    [(QWEN, QWEN_CALL, "<|im_end|>"), (LLAMA, LLAMA_CALL, "<|eot_id|>")],
)
def test_calls_are_trained_and_results_are_not(made, shape, call, end):
    tokenizer = made(*shape)
    # Qwen2.5 opens a call with "\n", which its generation prompt has written already
    record = Demonstration(TALK, tools=(WEATHER,))
    every = trained(tokenizer, record, all_turns=True)
    assert every == [f"{call}It is cold.{end}Cold.{end}"]
    assert trained(tokenizer, record) == [f"Cold.{end}"]
    last = Demonstration(TALK[:4], tools=(WEATHER,))
    assert trained(tokenizer, last) == [f"{call}It is cold.{end}"]
    ends = Demonstration(TALK[:2], tools=(WEATHER,))
    assert trained(tokenizer, ends) == [call]
    encoded = chat.encode(tokenizer, TALK[:4], (WEATHER,))
    rest = tokenizer.decode(encoded.tokens[~encoded.mask])
    for text in ('"name": "weather"', "weather of a town", "Oslo?", "4 degrees"):
        assert text in rest
    whole = tokenizer.apply_chat_template(TALK[:4], tools=[WEATHER], tokenize=False)
    assert tokenizer.decode(encoded.tokens) == whole.removesuffix("\n")


def test_a_pair_after_a_result_compares_the_answers_alone(made):
    tokenizer = made(*QWEN)
    pair = Preference(TALK[:3], "Cold.", "Hot.", tools=(WEATHER,))
    assert trained(tokenizer, pair) == ["Cold.<|im_end|>", "Hot.<|im_end|>"]
    calls = Preference([ASKED], CALLS, "I do not know.", tools=(WEATHER,))
    assert trained(tokenizer, calls) == [QWEN_CALL, "I do not know.<|im_end|>"]


def test_rows_whose_tools_or_calls_are_not_shown_are_refused_by_name(made, tokenizer):
    tools = "field 'tools': the chat template shows no tools"
    bare = made(known.QWEN25, *QWEN[1:])
    prompt = Prompt([ASKED], tools=(WEATHER,))
    pair = Preference([ASKED], "4", "5", tools=(WEATHER,))
    for record in (prompt, pair, Ranking([ASKED], ("4", "5"), tools=(WEATHER,))):
        assert reasons(bare, record) == {tools: 1}
    # the name of the tool stands in the text, and the tool does not
    named = Unpaired(
        [assistant_message("weather") | {"role": "user"}], "4", True, tools=(WEATHER,)
    )
    assert reasons(bare, named) == {tools: 1}
    calls = "field 'tool_calls': the chat template shows no calls"
    assert calls in reasons(made(known.PHI3, *QWEN[1:]), Demonstration(TALK[:2]))
    with pytest.raises(ValueError, match=r"0 of 1 rows \(1 field 'tools'"):
        tokenize.tokenize([pair], bare, context=99)
    with pytest.raises(ValueError, match="field 'tools': the chat template shows no"):
        chat.encode_prompt(bare, [ASKED], (WEATHER,))
    plain = made(None, *QWEN[1:])
    (why,) = reasons(plain, pair)
    assert why == "field 'tools': the tokenizer, without a template, shows no tools"


def test_what_a_template_cannot_write_beside_a_call_is_refused(made):
    beside = [
        ASKED,
        CALLS | {"content": "Let me look."},
        RESULT,
        assistant_message("Cold."),
    ]
    record = Demonstration(beside, tools=(WEATHER,))
    text = "Let me look.\n" + QWEN_CALL + "Cold.<|im_end|>"
    assert trained(made(*QWEN), record) == [text]
    assert reasons(made(*LLAMA), record) == {
        "field 'content': the chat template leaves out what the assistant says": 1
    }
    twice = Demonstration([ASKED, CALLS | {"tool_calls": [CALL, CALL]}])
    (why,) = reasons(made(*LLAMA), twice)
    assert why.startswith("the chat template failed: This model only supports single")


def test_the_real_file_of_tool_calls(made, public_data):
    file = public_data / "llama-factory-demo" / "glaive_toolcall_en_demo.json"
    records, _ = readers.read(file, Demonstration)
    for shape in (QWEN, LLAMA):
        tokenizer = made(*shape)
        found, report = tokenise(tokenizer, *records, all_turns=True)
        assert report.usable == report.total == len(records) == 300
        for example in found:
            (row,) = example.sequences
            text = tokenizer.decode(row.tokens[row.mask])
            messages = records[example.row].messages
            calls = [m for m in messages if m.get("tool_calls")]
            results = [m["content"] for m in messages if m["role"] == "tool"]
            assert text.count('{"name": ') >= len(calls)
            for answer in (m["content"] for m in messages if m["role"] == "assistant"):
                assert answer.strip() in text
            assert not any(result in text for result in results if len(result) > 30)


def test_a_thought_is_trained_as_qwen3_documents_it(made):
    tokenizer = made(*QWEN3)
    answer = assistant_message("ANSWER") | {"reasoning_content": "THOUGHT"}
    record = Demonstration([ASKED, answer])
    expected = "<think>\nTHOUGHT\n</think>\n\nANSWER<|im_end|>"
    assert trained(tokenizer, record) == [expected]
    # pairs that differ only in thoughts are pairs
    pair = Preference([ASKED], answer, answer | {"reasoning_content": "no"})
    assert trained(tokenizer, pair) == [expected, expected.replace("THOUGHT", "no")]
    assert reasons(tokenizer, Preference([ASKED], answer, dict(answer))) == {
        "identical as tokens": 1
    }
    # no template that knows no thoughts may teach not to think
    why = {"field 'reasoning_content': the chat template shows no thoughts": 1}
    for shape in (QWEN, LLAMA):
        assert reasons(made(*shape), record) == why
        assert reasons(made(*shape), pair) == why


def test_earlier_thoughts_are_left_out_as_the_template_does_and_counted(made):
    tokenizer = made(*QWEN3)
    answer = assistant_message("ANSWER") | {"reasoning_content": "THOUGHT"}
    talk = [ASKED, answer, ASKED, answer]
    assert trained(tokenizer, Demonstration(talk)) == [
        "<think>\nTHOUGHT\n</think>\n\nANSWER<|im_end|>"
    ]
    assert reasons(tokenizer, Demonstration(talk)) == {
        template_probe.OMITTED_THOUGHTS: 1
    }
    with pytest.raises(ValueError, match="writes an earlier answer .* anew"):
        tokenise(tokenizer, Demonstration(talk), all_turns=True)
    # a template that never shows one loses it
    why = {"field 'reasoning_content': the chat template shows no thoughts": 1}
    assert (
        reasons(
            made(*QWEN), Demonstration([ASKED, answer, ASKED, assistant_message("b")])
        )
        == why
    )


def test_calls_of_the_last_turn_are_trained_with_their_thoughts(made):
    tokenizer = made(*QWEN3)
    thinks = CALLS | {"reasoning_content": "LOOK"}
    talk = [
        ASKED,
        thinks,
        RESULT,
        assistant_message("Cold.") | {"reasoning_content": "4"},
    ]
    assert trained(tokenizer, Demonstration(talk, tools=(WEATHER,))) == [
        f"<think>\nLOOK\n</think>\n\n{QWEN_CALL}<think>\n4\n</think>\n\nCold.<|im_end|>"
    ]
    # without a thought Qwen3 writes an empty one only while nothing follows
    bare = Demonstration(
        [ASKED, CALLS, RESULT, assistant_message("Cold.")], tools=(WEATHER,)
    )
    assert trained(tokenizer, bare) == [
        f"{QWEN_CALL}<think>\n\n</think>\n\nCold.<|im_end|>"
    ]


def test_what_is_not_to_be_trained_is_not(made, tokenizer):
    bad, good = assistant_message("BAD") | {"train": False}, assistant_message("good")
    for which in (tokenizer, made(*QWEN)):
        end = "<|end|>" if which is tokenizer else "<|im_end|>"
        talk = Demonstration([ASKED, bad, ASKED, good])
        assert trained(which, talk, all_turns=True) == ["good" + end]
        assert trained(which, talk) == ["good" + end]
        last = Demonstration([ASKED, good, ASKED, bad])
        assert trained(which, last, all_turns=True) == ["good" + end]
        nothing = {"with nothing that is trained (field 'train')": 1}
        assert reasons(which, last) == nothing
        assert reasons(which, Demonstration([ASKED, bad]), all_turns=True) == nothing
        assert reasons(which, Unpaired([ASKED], bad, True)) == nothing
        # the model still reads what it is not trained on
        (example,), _ = tokenise(which, last, all_turns=True)
        assert "BAD" in which.decode(example.sequences[0].tokens)
    call = Demonstration([ASKED, CALLS | {"train": False}, RESULT, good])
    assert trained(made(*QWEN), call) == ["good<|im_end|>"]


def test_a_plain_text_is_trained_whole_but_for_its_first_token(made, stories):
    plain = Demonstration([{"role": "user", "content": "Once upon a time"}], plain=True)
    assert trained(stories, plain) == ["Once upon a time</s>"]
    (example,), _ = tokenise(stories, plain)
    (row,) = example.sequences
    assert row.tokens[0] == stories.bos_token_id and row.mask.tolist() == [
        False,
        *[True] * (len(row.tokens) - 1),
    ]
    templated = made(*QWEN)  # which begins no text; beside conversations
    both = [plain, Demonstration([ASKED, assistant_message("b")]), plain]
    found, _ = tokenise(templated, *both)
    texts = [templated.decode(e.sequences[0].tokens) for e in found]
    assert (
        texts[0] == texts[2] == "Once upon a time<|im_end|>" and "im_start" in texts[1]
    )
    assert found[0].sequences[0].mask.tolist()[:2] == [False, True]
    assert reasons(
        stories,
        Demonstration([{"role": "user", "content": "a</s>b"}], plain=True),
        Demonstration([{"role": "user", "content": " "}], plain=True),
    ) == {"with special tokens in their text": 1, "with an empty answer": 1}


def test_developer_is_itself_where_the_template_takes_it_and_system_elsewhere(made):
    talk = [
        {"role": "developer", "content": "be brief"},
        ASKED,
        assistant_message("Cold."),
    ]
    im = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    im += "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

    def text(tokenizer):
        return tokenizer.decode(chat.encode(tokenizer, talk).tokens)

    assert "<|im_start|>developer\nbe brief<|im_end|>" in text(made(im, *QWEN[1:]))
    # Qwen2.5's leaves the role out without a word; the toy's refuses it
    assert "<|im_start|>system\nbe brief<|im_end|>" in text(made(*QWEN))
    toy = made(tokenizers.CHAT_TEMPLATE, ("<|system|>",), None, "<|end|>")
    assert "<|system|>be brief<|end|>" in text(toy)
    prompt = chat.encode_prompt(made(*QWEN), talk[:2])
    assert "system\nbe brief" in made(*QWEN).decode(prompt)


NO_SYSTEM = (
    "{% for m in messages %}{% if m.role != 'system' %}<{{ m.role }}>{{ m.content }}"
    "<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_what_a_template_leaves_out_in_silence_is_refused_by_name(made):
    tokenizer = made(NO_SYSTEM, *QWEN[1:])
    rule = {"role": "system", "content": "Oslo?"}  # which stands in the text anyway
    why = {"field 'content': the chat template leaves out what the system says": 1}
    for record in (
        Demonstration([rule, ASKED, assistant_message("Cold.")]),
        Preference([rule, ASKED], "a", "b"),
        Prompt([rule, ASKED]),
    ):
        assert reasons(tokenizer, record) == why
    mute = NO_SYSTEM.replace("'system'", "'assistant'")
    (why,) = reasons(
        made(mute, *QWEN[1:]), Demonstration([ASKED, assistant_message("Cold.")])
    )
    assert why == (
        "field 'content': the chat template leaves out what the assistant says"
    )
    short = NO_SYSTEM.replace("{{ m.content }}", "{{ m.content[:30] }}")
    long = Demonstration([ASKED, assistant_message("longer than " + "thirty" * 5)])
    (why,) = reasons(made(short, *QWEN[1:]), long)
    assert why == (
        "field 'content': the chat template changes or cuts what the assistant says"
    )


def test_special_tokens_in_texts_are_kept_on_request(made):
    extra = ("<think>", "</think>")
    tokenizer = made(*QWEN, extra=extra)
    record = Demonstration([ASKED, assistant_message("<think>cold</think>4")])
    others = [
        Demonstration([ASKED, assistant_message(f"a{token}b")])
        for token in ("<|im_end|>", "<|im_start|>", "<|endoftext|>")
    ]
    refused = "with special tokens in their text"
    assert reasons(tokenizer, record, *others) == {refused: 4}
    before = tokenizers.fingerprint(tokenizer)
    tokenizers.set_tokenization_options(
        tokenizer, tokenizers.TokenizationOptions(keep_special=True)
    )
    assert tokenizers.fingerprint(tokenizer) != before
    assert trained(tokenizer, record) == ["<think>cold</think>4<|im_end|>"]
    assert reasons(tokenizer, record, *others) == {refused: 3}
    (example,), _ = tokenise(tokenizer, record)
    (row,) = example.sequences
    ids = tokenizer.convert_tokens_to_ids(list(extra))
    assert all((row.tokens[row.mask] == one).sum() == 1 for one in ids)
    # rewards of sampled answers see them, and no ends of turns
    (text,) = special_tokens.decode_answers(tokenizer, [row.tokens[row.mask]])
    assert text == "<think>cold</think>4"
    tokenizers.set_tokenization_options(tokenizer, tokenizers.TokenizationOptions())
    assert special_tokens.decode_answers(tokenizer, [row.tokens[row.mask]]) == ["cold4"]


def test_special_tokens_in_thoughts_and_calls_are_refused_too(made):
    tokenizer = made(*QWEN3)
    call = {"function": {"name": "weather", "arguments": {"town": "<|im_end|>"}}}
    for answer in (
        assistant_message("a") | {"reasoning_content": "b<|im_end|>"},
        CALLS | {"tool_calls": [call]},
    ):
        assert reasons(tokenizer, Demonstration([ASKED, answer])) == {
            "with special tokens in their text": 1
        }


def test_a_dated_template_keeps_the_day_that_is_pinned(made, tmp_path):
    tokenizer = made(*LLAMA)
    prompt = lambda: tokenizer.decode(chat.encode_prompt(tokenizer, [ASKED]))
    today = datetime.date.today()
    assert f"Today Date: {today:%d %b %Y}" in prompt()
    unpinned = tokenizers.fingerprint(tokenizer)
    for day in (datetime.date(2024, 7, 26), datetime.date(2025, 1, 2)):
        tokenizers.set_tokenization_options(
            tokenizer, tokenizers.TokenizationOptions(today=day)
        )
        assert f"Today Date: {day:%d %b %Y}" in prompt()
        assert tokenizers.fingerprint(tokenizer) != unpinned
    undated = made(*QWEN)
    before = tokenizers.fingerprint(undated)
    tokenizers.set_tokenization_options(
        undated, tokenizers.TokenizationOptions(today=day)
    )
    assert tokenizers.fingerprint(undated) == before
    tokenizer.save_pretrained(tmp_path)
    saved = tokenizers.load(tmp_path)
    assert saved.chat_template == known.LLAMA31_TOOLS
    assert tokenizers.tokenization_options(saved) == tokenizers.TokenizationOptions()


def test_which_special_tokens_a_text_may_hold(made):
    extra = ("<think>", "</think>", "<|reserved_0|>", "<|end_of_text|>")
    roles = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>")
    # Qwen3's template writes thoughts itself; the roles of Phi-3 are its template's
    # and the toy's template puts its own together
    for template, tokens, eos in (
        (QWEN3[0], IM, IM[1]),
        (known.PHI3, roles, IM[2]),
        (tokenizers.CHAT_TEMPLATE, roles[:4], "<|end|>"),
    ):
        tokenizer = made(template, tokens, None, eos, extra=extra)
        tokenizers.set_tokenization_options(
            tokenizer, tokenizers.TokenizationOptions(keep_special=True)
        )
        refused = special_tokens.forbidden_tokens(tokenizer)
        assert {*tokens, "<|end_of_text|>"} <= {*refused}
        assert {*refused}.isdisjoint(extra[:3])
