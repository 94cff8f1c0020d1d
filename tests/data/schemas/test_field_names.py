"""Field names of public data sets for prompts, answers, references and turns."""

import json

import pytest

from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Unpaired,
)
from tests.data.rows import (
    CHAT,
    PAIR,
    TOOLS,
    a,
    call,
    check,
    labeled,
    pair,
    read,
    rl_prompt,
    s,
    sft,
    u,
)

SOLVED = {"problem": "1 + 1?", "solution": "One more: 2", "answer": "2"}
TURNS = [{"input": "q", "output": "a"}, {"input": "r", "output": "b"}]
CALLS = [{"name": "weather", "arguments": {"town": "Oslo"}}]

ROWS = [
    # each name of a prompt and each of an answer, alone
    *(
        ({field: "q", "response": "a"}, Demonstration, sft(u(), a()))
        for field in ("query", "problem", "inputs", "input")
    ),
    *(
        ({"problem": "q", field: "a"}, Demonstration, sft(u(), a()))
        for field in ("solution", "generation", "targets", "output")
    ),
    ({"query": "q"}, Prompt, rl_prompt([u()])),
    ({"query": [s(), u()], "response": "a"}, Demonstration, sft(s(), u(), a())),
    ({"problem": "q", "chosen": "a", "rejected": "b"}, Preference, pair([u()])),
    ({"input": "q", "chosen": "a", "rejected": "b"}, Preference, pair([u()])),
    ({"query": "q", "response": "a", "label": True}, Unpaired, labeled(True)),
    # an input is appended to the instruction, if there is one
    (
        {"instruction": "", "input": "q", "output": "a"},
        Demonstration,
        sft(u(), a(), fields={"instruction": ""}),
    ),
    ({"instruction": "q", "input": "", "output": "a"}, Demonstration, sft(u(), a())),
    ({"input": "q", "context": "c", "output": "a"}, Demonstration, sft(u("q\nc"), a())),
    # a solution and its final answer
    (
        SOLVED,
        Demonstration,
        sft(u("1 + 1?"), a("One more: 2"), fields={"answer": "2"}),
    ),
    (SOLVED, Prompt, rl_prompt([u("1 + 1?")], "2", fields={"solution": "One more: 2"})),
    (
        SOLVED | {"solution": ""},
        Demonstration,
        sft(u("1 + 1?"), a("2"), fields={"solution": ""}),
    ),
    (
        SOLVED | {"answer": "two, as one and one more are"},
        Demonstration,
        "are different answers",
    ),
    (SOLVED | {"response": "2"}, Demonstration, "are different answers"),
    # the same beside messages
    (
        CHAT | {"problem": "q", "solution": "s", "answer": "1"},
        Demonstration,
        sft(u(), a(), fields={"problem": "q", "solution": "s", "answer": "1"}),
    ),
    (
        CHAT | {"problem": "other", "answer": "1"},
        Demonstration,
        "'problem' and 'messages' do not fit together",
    ),
    # two prompts
    (
        {"prompt": "q", "query": "other", "completion": "a"},
        Demonstration,
        "'prompt' and 'query' are different prompts",
    ),
    # conversations
    (
        {"conversation": [u(), a()], "conversation_id": "7"},
        Demonstration,
        sft(u(), a(), fields={"conversation_id": "7"}),
    ),
    ({"conversation": TURNS}, Demonstration, sft(u(), a(), u("r"), a("b"))),
    (
        {"conversation": [TURNS[0] | {"weight": 0}, TURNS[1]]},
        Demonstration,
        sft(u(), a(train=False), u("r"), a("b")),
    ),
    ({"conversation": [{"input": None, "output": "a"}]}, Demonstration, "message 0"),
    (
        {"conversation": [u("other"), a()]} | CHAT,
        Demonstration,
        "'messages' and 'conversation' differ",
    ),
    # ambiguous names with values that are not text are metadata
    (
        {"prompt": "q", "completion": "a", "problem": 7, "conversation": "c-1"},
        Demonstration,
        sft(u(), a(), fields={"problem": 7, "conversation": "c-1"}),
    ),
    # references
    ({"query": "q", "ground_truth": "2"}, Prompt, rl_prompt([u()], "2")),
    (
        {"query": "q", "reference_answer": ["2", "3"]},
        Prompt,
        rl_prompt([u()], "2", "3"),
    ),
    (
        {"query": "q", "reference": "2", "ground_truth": "3"},
        Prompt,
        "'reference' and 'ground_truth' differ",
    ),
    (
        PAIR | {"ground_truth": {"is": 1}},
        Prompt,
        rl_prompt([u()], "a", fields={"ground_truth": {"is": 1}}),
    ),
    # a message is not a plain text
    ({"text": "q", "role": "prompter"}, Demonstration, "'role' beside 'text'"),
    ({"text": "t"}, Preference, "'prompt', 'chosen' and 'rejected' are missing"),
    ({"text": "t"}, Ranking, "'prompt' and 'answers' are missing"),
    ({"text": "t"}, Unpaired, "'completion' and 'label' are missing"),
    ({"text": "t"}, Prompt, "'prompt' is missing"),
]


@pytest.mark.parametrize(("row", "kind", "expected"), ROWS)
def test_a_row(row, kind, expected):
    check(row, kind, expected)


@pytest.mark.parametrize("answers", [CALLS, json.dumps(CALLS)])
def test_answers_that_are_tool_calls(answers):
    (record,) = read({"query": "q", "answers": answers} | TOOLS, Demonstration)
    assert record.messages == [u(), a("", tool_calls=[call()])]
    assert record.tools and "answers" not in record.fields
    check({"query": "q", "answers": "no call"} | TOOLS, Demonstration, "'answers'")
