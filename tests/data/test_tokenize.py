"""Records as tokens: what is cut, dropped, and counted."""

import numpy as np
import pytest

from jaxalign.data import chat, dataset_ops, examples, tokenize
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Unpaired,
    assistant_message,
)

ASKED = [{"role": "user", "content": "hello world"}]


def texts(tokenizer, sequence):
    """The prompt and the answer of a sequence."""
    start = sequence.prompt_length
    return tokenizer.decode(sequence.tokens[:start]), tokenizer.decode(
        sequence.tokens[start:]
    )


def test_each_kind_of_record(tokenizer):
    prompt = "<|user|>hello world<|end|><|assistant|>"
    cases = [
        (Demonstration([*ASKED, assistant_message("sure")]), ["sure"], 0.0),
        (Preference(ASKED, "sure", "no", margin=2.5), ["sure", "no"], 2.5),
        (Ranking(ASKED, ("sure", "of course", "no")), ["sure", "of course", "no"], 0.0),
        (Unpaired(ASKED, "sure", True), ["sure"], 1.0),
        (Unpaired(ASKED, "no", False), ["no"], 0.0),
    ]
    for record, answers, value in cases:
        (example,), report = tokenize.tokenize([record], tokenizer, context=64)
        assert str(report) == "1 of 1 rows"
        assert (example.row, example.value) == (0, value)
        found = [texts(tokenizer, s) for s in example.sequences]
        assert found == [(prompt, answer + "<|end|>") for answer in answers]
    (example,), _ = tokenize.tokenize([Prompt(ASKED)], tokenizer, context=64)
    assert texts(tokenizer, example.sequences[0]) == (prompt, "")


def test_all_turns_of_a_demonstration(tokenizer):
    talk = [*ASKED, assistant_message("sure"), *ASKED, assistant_message("no")]
    (last,), _ = tokenize.tokenize([Demonstration(talk)], tokenizer, context=99)
    (every,), _ = tokenize.tokenize(
        [Demonstration(talk)], tokenizer, context=99, all_turns=True
    )
    counted = [s.tokens[s.mask] for e in (last, every) for s in e.sequences]
    assert [tokenizer.decode(x) for x in counted] == [
        "no<|end|>",
        "sure<|end|>no<|end|>",
    ]


def test_rows_that_teach_nothing_are_dropped_and_counted(tokenizer):
    records = [
        Preference(ASKED, "sure", "sure"),
        Preference(ASKED, "sure", " "),
        Preference(ASKED, "sure", "no"),
        Preference(ASKED, "sure<|end|>", "no"),
        Preference([{"role": "user", "content": "<|assistant|>yes"}], "sure", "no"),
    ]
    kept, report = tokenize.tokenize(records, tokenizer, context=64)
    assert [e.row for e in kept] == [2]
    assert report.reasons == {
        "identical as tokens": 1,
        "with an empty answer": 1,
        "with special tokens in their text": 2,
    }
    with pytest.raises(ValueError, match=r"--context 64: 0 of 1 rows \(1 identical"):
        tokenize.tokenize(records[:1], tokenizer, context=64)


def test_overlong_rows_are_dropped_as_told(tokenizer):
    records = [
        Demonstration([*ASKED, assistant_message("sure")]),
        Demonstration([*ASKED, assistant_message("sure" * 20)]),
    ]
    length = len(chat.encode(tokenizer, records[0].messages).tokens)
    kept, report = tokenize.tokenize(records, tokenizer, context=length)
    assert [e.row for e in kept] == [0]
    assert report.reasons == {f"longer than {length} tokens": 1}
    with pytest.raises(ValueError, match="0 of 2 rows"):
        tokenize.tokenize(records, tokenizer, context=length - 1)
    with pytest.raises(ValueError, match="drop or truncate, not 'cut'"):
        tokenize.tokenize(records, tokenizer, context=9, overlong="cut")


def test_a_cut_takes_the_prompts_start_and_keeps_the_answer(tokenizer):
    record = Demonstration([*ASKED, assistant_message("sure")])
    whole = chat.encode(tokenizer, record.messages)
    context = len(whole.tokens) - 2
    (example,), report = tokenize.tokenize(
        [record], tokenizer, context=context, overlong="truncate"
    )
    assert report.reasons == {"cut to the context (kept)": 1}
    (row,) = example.sequences
    # the first token, a role or a beginning, stays; the two after it go
    assert row.tokens.tolist() == [whole.tokens[0], *whole.tokens[3:]]
    assert row.tokens[row.mask].tolist() == whole.tokens[whole.mask].tolist()


def test_a_cut_keeps_the_one_beginning(stories):
    record = Demonstration(
        [
            {"role": "user", "content": "Once upon a time there was"},
            assistant_message(" a cat."),
        ]
    )
    (example,), _ = tokenize.tokenize([record], stories, context=8, overlong="truncate")
    tokens = example.sequences[0].tokens
    assert len(tokens) == 8 and tokens[-1] == stories.eos_token_id
    assert np.flatnonzero(tokens == stories.bos_token_id).tolist() == [0]


def test_then_a_cut_takes_the_answers_end(tokenizer):
    record = Demonstration([*ASKED, assistant_message("of course, sure, of course")])
    whole = chat.encode(tokenizer, record.messages)
    answer = whole.tokens[whole.mask]
    (example,), _ = tokenize.tokenize(
        [record], tokenizer, context=5, overlong="truncate"
    )
    (row,) = example.sequences
    assert row.tokens.tolist() == [whole.tokens[0], *answer[:4]]
    assert row.prompt_length == 1


def test_both_answers_of_a_pair_keep_the_same_prompt(tokenizer):
    record = Preference(ASKED, "no", "of course, sure")
    context = len(chat.encode(tokenizer, [*ASKED, assistant_message("no")]).tokens)
    (example,), _ = tokenize.tokenize(
        [record], tokenizer, context=context, overlong="truncate"
    )
    prompts, answers = zip(
        *(texts(tokenizer, s) for s in example.sequences), strict=True
    )
    assert prompts[0] == prompts[1]
    assert answers == ("no<|end|>", "of course, sure<|end|>")


def test_pairs_that_a_cut_makes_identical_are_dropped(tokenizer):
    records = [
        Preference(ASKED, "sure, sure, one", "sure, sure, two"),
        Preference(ASKED, "sure", "no"),
    ]
    kept, report = tokenize.tokenize(records, tokenizer, context=4, overlong="truncate")
    assert [e.row for e in kept] == [1]
    assert report.reasons["identical where they are cut"] == 1
    # with a context of one token there is room for no answer, and none is left
    with pytest.raises(ValueError, match="2 with no room for an answer in 1 tokens"):
        tokenize.tokenize(records, tokenizer, context=1, overlong="truncate")


def test_an_answer_without_a_prompt_is_cut_at_its_end(templated):
    bare = templated(None)
    record = Demonstration([assistant_message("hello world")])
    whole = chat.encode(bare, record.messages).tokens
    (example,), _ = tokenize.tokenize([record], bare, context=3, overlong="truncate")
    assert example.sequences[0].tokens.tolist() == whole[:3].tolist()
    assert example.sequences[0].mask.tolist() == [False, True, True]


def test_a_row_that_cannot_be_encoded_is_named(tokenizer):
    records = [
        Demonstration([*ASKED, assistant_message("sure")], location="rows.jsonl:1"),
        Demonstration(ASKED, location="rows.jsonl:2"),
    ]
    with pytest.raises(ValueError, match="rows.jsonl:2: SFT data must end with"):
        tokenize.tokenize(records, tokenizer, context=64)


def test_pairs_come_apart(tokenizer):
    records = [Preference(ASKED, "sure", "sure"), Preference(ASKED, "sure", "no")]
    pairs, _ = tokenize.tokenize(records, tokenizer, context=64)
    singles = dataset_ops.unpair(pairs)
    assert [(e.row, e.value) for e in singles] == [(2, 1.0), (3, 0.0)]
    found = [texts(tokenizer, e.sequences[0])[1] for e in singles]
    assert found == ["sure<|end|>", "no<|end|>"]


def test_formatting_tokens_of_answers_count_no_longer(tokenizer):
    pair = Preference(ASKED, "sure", "no, not now", margin=2.5)
    found, _ = tokenize.tokenize([pair], tokenizer, context=64)
    (plain,) = dataset_ops.mask_special_tokens(found, tokenizer)
    assert (plain.row, plain.value) == (0, 2.5)
    before = [s.tokens[s.mask] for s in found[0].sequences]
    after = [s.tokens[s.mask] for s in plain.sequences]
    assert [tokenizer.decode(x) for x in before] == [
        "sure<|end|>",
        "no, not now<|end|>",
    ]
    assert [tokenizer.decode(x) for x in after] == ["sure", "no, not now"]
    # the tokens themselves stay: the model still reads them
    for one, other in zip(found[0].sequences, plain.sequences, strict=True):
        np.testing.assert_array_equal(one.tokens, other.tokens)
    # headers between answers, too
    talk = Demonstration(
        [*ASKED, assistant_message("sure"), *ASKED, assistant_message("no")]
    )
    every, _ = tokenize.tokenize([talk], tokenizer, context=99, all_turns=True)
    (row,) = dataset_ops.mask_special_tokens(every, tokenizer)[0].sequences
    assert tokenizer.decode(row.tokens[row.mask]) == "sureno"


def test_an_answer_of_formatting_alone_is_refused(tokenizer):
    end = examples.TokenRow(
        np.array([5, tokenizer.eos_token_id]), np.array([False, True])
    )
    with pytest.raises(ValueError, match="row 7 has an answer of formatting tokens"):
        dataset_ops.mask_special_tokens([examples.Example((end,), 7)], tokenizer)
