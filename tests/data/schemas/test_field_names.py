"""Names of fields that public data sets have for questions, answers and turns."""

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
    PAIR,
    TALK,
    TOOLS,
    a,
    asks,
    call,
    check,
    pair,
    read,
    s,
    sft,
    thumb,
    u,
)

SOLVED = {"problem": "1 + 1?", "solution": "One more: 2", "answer": "2"}
TURNS = [{"input": "q", "output": "a"}, {"input": "r", "output": "b"}]
CALLS = [{"name": "weather", "arguments": {"town": "Oslo"}}]

ROWS = [
    # each name that asks and each that answers, alone
    *(
        ({field: "q", "response": "a"}, Demonstration, sft(u(), a()))
        for field in ("query", "problem", "inputs", "input")
    ),
    *(
        ({"problem": "q", field: "a"}, Demonstration, sft(u(), a()))
        for field in ("solution", "generation", "targets", "output")
    ),
    ({"query": "q"}, Prompt, asks([u()])),
    ({"query": [s(), u()], "response": "a"}, Demonstration, sft(s(), u(), a())),
    ({"problem": "q", "chosen": "a", "rejected": "b"}, Preference, pair([u()])),
    ({"input": "q", "chosen": "a", "rejected": "b"}, Preference, pair([u()])),
    ({"query": "q", "response": "a", "label": True}, Unpaired, thumb(True)),
    # an input is the instruction's, if there is one
    (
        {"instruction": "", "input": "q", "output": "a"},
        Demonstration,
        sft(u(), a(), fields={"instruction": ""}),
    ),
    ({"instruction": "q", "input": "", "output": "a"}, Demonstration, sft(u(), a())),
    ({"input": "q", "context": "c", "output": "a"}, Demonstration, sft(u("q\nc"), a())),
    # a solution and what it comes to
    (
        SOLVED,
        Demonstration,
        sft(u("1 + 1?"), a("One more: 2"), fields={"answer": "2"}),
    ),
    (SOLVED, Prompt, asks([u("1 + 1?")], "2", fields={"solution": "One more: 2"})),
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
        TALK | {"problem": "q", "solution": "s", "answer": "1"},
        Demonstration,
        sft(u(), a(), fields={"problem": "q", "solution": "s", "answer": "1"}),
    ),
    (
        TALK | {"problem": "other", "answer": "1"},
        Demonstration,
        "'problem' and 'messages' do not fit together",
    ),
    # two that ask
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
        {"conversation": [u("other"), a()]} | TALK,
        Demonstration,
        "'messages' and 'conversation' differ",
    ),
    # what is no text under a name that others have, too
    (
        {"prompt": "q", "completion": "a", "problem": 7, "conversation": "c-1"},
        Demonstration,
        sft(u(), a(), fields={"problem": 7, "conversation": "c-1"}),
    ),
    # references
    ({"query": "q", "ground_truth": "2"}, Prompt, asks([u()], "2")),
    ({"query": "q", "reference_answer": ["2", "3"]}, Prompt, asks([u()], "2", "3")),
    (
        {"query": "q", "reference": "2", "ground_truth": "3"},
        Prompt,
        "'reference' and 'ground_truth' differ",
    ),
    (
        PAIR | {"ground_truth": {"is": 1}},
        Prompt,
        asks([u()], "a", fields={"ground_truth": {"is": 1}}),
    ),
    # a message is no plain text
    ({"text": "q", "role": "prompter"}, Demonstration, "'role' beside 'text'"),
    ({"text": "t"}, Preference, "'prompt', 'chosen' and 'rejected' are missing"),
    ({"text": "t"}, Ranking, "'prompt' and 'answers' are missing"),
    ({"text": "t"}, Unpaired, "'completion' and 'label' are missing"),
    ({"text": "t"}, Prompt, "'prompt' is missing"),
]


@pytest.mark.parametrize(("row", "kind", "wanted"), ROWS)
def test_a_row(row, kind, wanted):
    check(row, kind, wanted)


@pytest.mark.parametrize("answers", [CALLS, json.dumps(CALLS)])
def test_answers_that_are_calls_of_the_row_s_tools(answers):
    (record,) = read({"query": "q", "answers": answers} | TOOLS, Demonstration)
    assert record.messages == [u(), a("", tool_calls=[call()])]
    assert record.tools and "answers" not in record.fields
    check({"query": "q", "answers": "no call"} | TOOLS, Demonstration, "'answers'")
