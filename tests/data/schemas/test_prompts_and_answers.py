"""Prompt and answer of rows with several fields for them."""

import json

import pytest

from jaxalign.data.records import Demonstration, Preference, Prompt, Ranking
from tests.data.rows import (
    CHAT,
    PAIR,
    TOOL,
    a,
    call,
    check,
    pair,
    rl_prompt,
    s,
    sft,
    tool,
    u,
)

ROWS = [
    # field of the answer
    (CHAT | {"answer": "1"}, Demonstration, sft(u(), a(), fields={"answer": "1"})),
    (CHAT | {"response": "1"}, Demonstration, sft(u(), a(), fields={"response": "1"})),
    (CHAT | {"output": "1"}, Prompt, rl_prompt([u()], "1")),
    ({"messages": [u(), a(weight=0)]}, Prompt, rl_prompt([u()])),
    (
        CHAT | {"answer": "1", "reference": "2"},
        Prompt,
        rl_prompt([u()], "2", fields={"answer": "1"}),
    ),
    ({"messages": [u()], "answer": "a"}, Demonstration, sft(u(), a())),
    (CHAT | {"prompt": "q"}, Demonstration, sft(u(), a())),
    (CHAT | {"prompt": " Q "}, Prompt, rl_prompt([u()], "a")),
    (
        {"messages": [u("Think: q"), a()], "prompt": "q"},
        Prompt,
        rl_prompt([u("Think: q")], "a"),
    ),
    (
        CHAT | {"prompt": "another"},
        Demonstration,
        "'prompt' and 'messages' do not fit together",
    ),
    (
        CHAT | {"question": "another"},
        Demonstration,
        "'question' and 'messages' do not fit",
    ),
    ({"messages": [a()], "prompt": "q"}, Demonstration, sft(u(), a())),
    (CHAT | {"prompt": [s()]}, Demonstration, sft(s(), u(), a())),
    ({"messages": [a()]}, Demonstration, "'completion' .* is missing"),
    (
        {"prompt": [u(), a("x")], "completion": "a"},
        Demonstration,
        "'prompt' and 'completion' do not fit together",
    ),
    ({"prompt": [u(), a()], "completion": "a"}, Demonstration, sft(u(), a())),
    (
        {"prompt": "q", "completion": [a("", tool_calls=[call()]), tool(), a()]},
        Demonstration,
        sft(u(), a("", tool_calls=[call()]), tool(), a()),
    ),
    (
        {"question": "q", "answer": "1", "response": "one"},
        Demonstration,
        "'answer' and 'response' are different answers",
    ),
    (
        {"prompt": "q", "instruction": "i", "output": "a"},
        Demonstration,
        "'prompt' and 'instruction' are different prompts",
    ),
    (
        {"prompt": "Solve: q", "question": "q", "answer": "a"},
        Demonstration,
        sft(u("Solve: q"), a()),
    ),
    (
        {"instruction": "i", "context": "c", "response": "a"},
        Demonstration,
        sft(u("i\nc"), a()),
    ),
    ({"prompt": "q", "context": "c", "completion": "a"}, Demonstration, "'context'"),
    (
        {"prompt": "q", "completion": "a", "history": [["h", "r"]]},
        Demonstration,
        sft(u("h"), a("r"), u(), a()),
    ),
    (
        CHAT | {"history": [["h", "r"]]},
        Demonstration,
        "'history' is not supported beside 'messages'",
    ),
    (
        {"messages": json.dumps([u(), a()])},
        Demonstration,
        sft(u(), a()),
    ),
    (
        {"messages": "q", "completion": "a"},
        Demonstration,
        "'messages' is .*; expected JSON",
    ),
    (
        {"chosen": [a("x")], "rejected": [a("y")], "messages": [u("h"), a("g"), u()]},
        Preference,
        pair([u("h"), a("g"), u()], "x", "y"),
    ),
    (
        PAIR | CHAT,
        Preference,
        pair([u()]),
    ),
    (
        {"chosen": "x", "rejected": "y"} | CHAT,
        Preference,
        "'messages' ends with an answer that is neither of the two",
    ),
    (
        {"chosen": [u(), a()], "rejected": [u(), a("b")], "messages": [u(), a()]},
        Demonstration,
        sft(u(), a()),
    ),
    # a prompt beside an answer of several turns
    (
        {"prompt": "q", "chosen": [u(), a()], "rejected": [u(), a("b")]},
        Preference,
        pair([u()]),
    ),
    (
        {"prompt": "q", "chosen": [s(), u(), a()], "rejected": [s(), u(), a("b")]},
        Preference,
        pair([s(), u()]),
    ),
    (
        {
            "prompt": [u("1"), a("2"), u("3")],
            "chosen": [u("3"), a("4"), u("5"), a()],
            "rejected": [u("3"), a("4"), u("5"), a("b")],
        },
        Preference,
        pair([u("1"), a("2"), u("3"), a("4"), u("5")]),
    ),
    (
        {"prompt": "other", "chosen": [u(), a()], "rejected": [u(), a("b")]},
        Preference,
        "'prompt' and 'chosen' do not fit together",
    ),
    (
        {"prompt": [u(), a("x")], "chosen": [a()], "rejected": [a("b")]},
        Preference,
        "'prompt' and 'chosen' do not fit together",
    ),
    (
        {"prompt": [u(), a("x")], "chosen": [u(), a()], "rejected": [u(), a("b")]},
        Preference,
        "'prompt' and 'chosen' do not fit together",
    ),
    (
        {"prompt": [u()], "chosen": [a("1"), u("2"), a()], "rejected": [a("b")]},
        Preference,
        "'chosen' and 'rejected' differ before",
    ),
    (
        {"prompt": "q", "chosen": [u()], "rejected": [u("b")]},
        Preference,
        "do not fit together",
    ),
    (
        {"prompt": [s()], "chosen": [u(), a()], "rejected": [u(), a("b")]},
        Prompt,
        rl_prompt([s(), u()], "a"),
    ),
    ({"prompt": [a()], "chosen": "a", "rejected": "b"}, Prompt, "has answers, but no"),
    ({"prompt": [a()], "completion": "a"}, Demonstration, "an answer to a prompt"),
    ({"prompt": [a()], "answers": ["a", "b"]}, Ranking, "has answers, but no prompt"),
    # dialogues with a prompt beside them
    (
        {
            "prompt": "\n\nHuman: q\n\nAssistant:",
            "chosen": "\n\nHuman: q\n\nAssistant: a",
            "rejected": "\n\nHuman: q\n\nAssistant: b",
        },
        Preference,
        pair([u()]),
    ),
    (
        {
            "prompt": [s()],
            "chosen": "\n\nHuman: q\n\nAssistant: a",
            "rejected": "\n\nHuman: q\n\nAssistant: b",
        },
        Preference,
        pair([s(), u()]),
    ),
    (
        {
            "prompt": "other",
            "chosen": "\n\nHuman: q\n\nAssistant: a",
            "rejected": "\n\nHuman: q\n\nAssistant: b",
        },
        Preference,
        "'prompt' and 'chosen' do not fit together",
    ),
    # prompts that are objects
    ({"prompt": u(), "completion": "a"}, Demonstration, sft(u(), a())),
    (
        {"prompt": {"role": ["user"], "content": ["q"]}, "completion": "a"},
        Demonstration,
        sft(u(), a()),
    ),
    # lists of answers beside a field that may name the best one
    ({"question": "q", "answers": ["a", "b"], "label": 1}, Ranking, "'label' may say"),
    (
        {"question": "q", "answers": ["a", "b"], "answer": "b"},
        Prompt,
        "'answer' may sa",
    ),
    (
        {"prompt": "q", "completions": ["a", "b"], "labels": [True, False]},
        Ranking,
        "'labels' may say",
    ),
    # an input is appended to the instruction even if it repeats a part
    (
        {"instruction": "Add 1 to 12", "input": "1", "output": "a"},
        Demonstration,
        sft(u("Add 1 to 12\n1"), a()),
    ),
    (
        {"prompt": "Read: c. q", "context": "c.", "completion": "a"},
        Demonstration,
        sft(u("Read: c. q"), a(), fields={"context": "c."}),
    ),
    (
        {"question": "q", "answer": "It is 4", "reasoning": "4"},
        Demonstration,
        sft(u(), a("It is 4", reasoning_content="4")),
    ),
    # tools with the nulls of Parquet, and of another type
    (
        CHAT | {"tools": [TOOL | {"x": None, "strict": True}]},
        Demonstration,
        sft(u(), a(), tools=(TOOL | {"strict": True},)),
    ),
    (
        CHAT | {"tools": [{"type": "web_search"}]},
        Demonstration,
        "'tools\\[0\\]' has type",
    ),
]


@pytest.mark.parametrize(("row", "kind", "expected"), ROWS)
def test_a_row(row, kind, expected):
    check(row, kind, expected)
