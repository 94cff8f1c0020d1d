"""Conversions of records keep tools, fields and answers."""

import pytest

from jaxalign.data import readers, records, splits
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Unpaired,
)
from jaxalign.data.schemas import parser
from tests.data.rows import (
    TOOL,
    TOOLS,
    a,
    call,
    labeled,
    pair,
    ranking_record,
    read,
    rl_prompt,
    sft,
    tool,
    u,
)


def test_prompts_with_different_tools_or_calls_are_distinct():
    one, two = sft(u(), a()), sft(u(), a("b"), tools=(TOOL,), fields={"id": 1})
    prompt = [u(), a("", tool_calls=[call()]), tool()]
    other = [u(), a("", tool_calls=[call("time")]), tool()]
    calls = [sft(*prompt, a()), sft(*other, a()), sft(*prompt, a("b"))]
    prompts = records.extract_prompts([one, two, one, *calls])
    assert prompts == [
        rl_prompt([u()], "a", "a"),
        rl_prompt([u()], "b", tools=(TOOL,), fields={"id": 1}),
        rl_prompt(prompt, "a", "b"),
        rl_prompt(other, "a"),
    ]
    assert splits.unique_prompts(prompts + prompts) == [
        rl_prompt([u()], "a"),
        *prompts[1:],
    ]
    # all of them on one side of the split, whatever their tools and what is trained
    assert len(set(splits.prompt_hashes([*prompts, one, two, *calls]))) == 1
    masked = sft(u(), a("x", train=False), u("r"), a())
    trained = sft(u(), a("x"), u("r"), a("b"))
    (both,) = records.extract_prompts([masked, trained])
    assert both.references == ("a", "b")


def test_plain_texts_are_split_by_themselves():
    hashes = splits.prompt_hashes([sft(a(t), plain=True) for t in ("x", "y", "x")])
    assert hashes[0] == hashes[2] != hashes[1]
    with pytest.raises(ValueError, match="f:1: a plain text has no prompt"):
        records.extract_prompts([sft(a("x"), plain=True)])


def test_derived_records_keep_tools_and_fields():
    more = {"tools": (TOOL,), "fields": {"id": 1}}
    thought = a(reasoning_content="hm")
    ranking = ranking_record(thought, "b", "c", **more)
    first, second, third = records.ranking_pairs([ranking])
    assert first == pair([u()], thought, "b", **more)
    assert (second.rejected, third.chosen) == ("c", "b")
    assert records.demonstrations([first]) == [sft(u(), thought, **more)]
    assert records.unpaired_answers([first]) == [
        labeled(True, answer=thought, **more),
        labeled(False, answer="b", **more),
    ]
    row = {"prompt": "q", "answers": [thought, "b", "c"], "id": 1} | TOOLS
    assert read(row, Ranking) == [ranking]
    assert read(row, Preference) == [first, second, third]
    assert read(row, Demonstration) == [sft(u(), thought, **more)]
    assert read(row, Prompt) == [rl_prompt([u()], "a", **more)]
    assert read(row, Unpaired) == [
        labeled(True, answer=thought, **more),
        labeled(False, answer="c", **more),
    ]


def test_ratings_of_a_single_answer_are_counted(tmp_path, jsonl):
    def rated(prompt, response, helpfulness, **more):
        return {
            "prompt": prompt,
            "response": response,
            "helpfulness": helpfulness,
            **more,
        }

    path = jsonl(
        tmp_path / "rows.jsonl",
        rated("q", "b", 1, verbosity=1, source="x"),
        rated("q", "a", 4, verbosity=2, source="x"),
        rated("r", "alone", 4),
    )
    pairs, report = readers.read(path, Preference)
    others = {"helpfulness": [1, 4], "verbosity": [1, 2], "source": "x"}
    assert pairs == [Preference([u()], "a", "b", 0.0, f"{path}:1", fields=others)]
    assert str(report) == "1 of 2 rows (1 rated without a second answer)"


def test_a_deep_tree_is_read():
    node = {"text": "t", "role": "assistant"}
    for depth in range(3000):
        role = ("prompter", "assistant")[depth % 2]
        node = {"text": "t", "role": role, "replies": [node]}
    assert list(parser.parse_row({"prompt": node}, Ranking, "f:1")) == []


def test_conversions():
    pair = Preference([u()], "a", "b", 1.0, "here:1")
    assert records.demonstrations([pair]) == [Demonstration([u(), a()], "here:1")]
    assert records.unpaired_answers([pair]) == [
        Unpaired([u()], "a", True, "here:1"),
        Unpaired([u()], "b", False, "here:1"),
    ]
    demonstration = Demonstration([u(), a("z")], "there:1")
    other = Demonstration([u("r"), a("z")], "there:2")
    assert records.extract_prompts([pair, demonstration, other]) == [
        Prompt([u()], "here:1", ("a", "z")),
        Prompt([u("r")], "there:2", ("z",)),
    ]
