"""Meaning of rows: a table of rows, kinds of records, and the record or the error.

Each expectation is derived from the rule that a field which changes what is trained,
scored or sampled is supported, or refused by its name, and that all others are kept.
"""

import math

import pytest

from jaxalign.data.records import Demonstration, Preference, Prompt, Ranking, Unpaired
from jaxalign.data.row_errors import UnusableRow
from tests.data.rows import (
    CHAT,
    LABELED,
    NAN,
    PAIR,
    SHP,
    TOOLS,
    TREE,
    a,
    call,
    check,
    labeled,
    pair,
    ranking_record,
    rl_prompt,
    s,
    sft,
    u,
)

ROWS = [
    # system prompts: that of the conversation first, else that of the field
    (CHAT | {"system": "S"}, Demonstration, sft(s(), u(), a())),
    ({"messages": [s(), u(), a()], "system": "S"}, Demonstration, sft(s(), u(), a())),
    ({"messages": [s(), u(), a()], "system": "T"}, Demonstration, "'system' and the"),
    ({"messages": [s(), u(), a()], "system_prompt": "T"}, Prompt, "'system_prompt'"),
    (
        {"chosen": [s(), u(), a()], "rejected": [s(), u(), a("b")], "system": "T"},
        Preference,
        "'system' and the",
    ),
    (PAIR | {"system": s()}, Preference, pair([s(), u()])),
    # different system prompts
    (
        {"messages": [s(), u(), a()], "prompt": [s("T"), u()]},
        Demonstration,
        "'prompt' and the conversation have different system prompts",
    ),
    (
        {"messages": [{"role": "developer", "content": "S"}, u(), a()]},
        Demonstration,
        sft({"role": "developer", "content": "S"}, u(), a()),
    ),
    (
        {"messages": [{"role": "developer", "content": "S"}, u(), a()], "system": "T"},
        Demonstration,
        "'system' and the conversation",
    ),
    # reasoning beside a single answer
    (
        {"prompt": "q", "completion": "a", "reasoning_content": "hm"},
        Demonstration,
        sft(u(), a(reasoning_content="hm")),
    ),
    (
        {"question": "q", "answer": "a", "reasoning": "hm"},
        Demonstration,
        sft(u(), a(reasoning_content="hm")),
    ),
    (
        {"instruction": "q", "output": "a", "thinking": "hm"},
        Demonstration,
        sft(u(), a(reasoning_content="hm")),
    ),
    (CHAT | {"thought": "hm"}, Demonstration, sft(u(), a(reasoning_content="hm"))),
    (
        LABELED | {"reasoning": "hm"},
        Unpaired,
        labeled(True, answer=a(reasoning_content="hm")),
    ),
    (
        {"question": "q", "answer": "a", "reasoning": "x", "thinking": "y"},
        Demonstration,
        "'reasoning' and 'thinking' differ",
    ),
    (
        {"messages": [u(), a(thinking="x")], "reasoning": "y"},
        Demonstration,
        "'reasoning' and the reasoning of the answer differ",
    ),
    (
        {"messages": [u(), a("<think>hm</think>a")], "reasoning": "hm"},
        Demonstration,
        sft(u(), a("<think>hm</think>a")),
    ),
    (
        {"question": "q", "answer": "a", "reasoning": "on"},
        Demonstration,
        sft(u(), a(), fields={"reasoning": "on"}),
    ),
    (PAIR | {"reasoning_content": "hm"}, Preference, "'reasoning_content' beside a"),
    (
        {"prompt": "q", "answers": ["a", "b"], "reasoning": "hm"},
        Ranking,
        "'reasoning' beside a ranking",
    ),
    (
        {
            "prompt": [u()],
            "chosen": [a(reasoning_content="x")],
            "rejected": [a(reasoning="y")],
        },
        Preference,
        pair([u()], a(reasoning_content="x"), a(reasoning_content="y")),
    ),
    # loss masks
    (
        {"messages": [u() | {"weight": 0}, a(weight=1)]},
        Demonstration,
        sft(u(), a()),
    ),
    (
        {"messages": [u() | {"train": True}, a()]},
        Demonstration,
        "'train' is 1; only assistant",
    ),
    (
        {"messages": [s() | {"weight": 1}, u(), a()]},
        Demonstration,
        "'weight' is 1; only assistant",
    ),
    (
        {"messages": [u() | {"thinking": "x"}, a()]},
        Demonstration,
        "not a message of the assistant",
    ),
    (
        {"messages": [u() | {"tool_calls": [call()]}, a()]},
        Prompt,
        "not a message of the assistant",
    ),
    # labels
    (LABELED | {"label": False}, Demonstration, UnusableRow),
    (LABELED | {"label": 0}, Demonstration, UnusableRow),
    (LABELED | {"label": "False"}, Demonstration, UnusableRow),
    ({"messages": [u(), a()], "kto_tag": 0.0}, Demonstration, UnusableRow),
    ({"question": "q", "answer": "a", "desirable": "0"}, Demonstration, UnusableRow),
    (LABELED | {"label": "true"}, Demonstration, sft(u(), a())),
    (
        LABELED | {"label": "yes"},
        Demonstration,
        "'label' is .*; expected true or false",
    ),
    (LABELED | {"label": None}, Unpaired, "'label' is null; expected true or false"),
    (LABELED | {"label": NAN}, Unpaired, "'label' is .*; expected a finite number"),
    (LABELED | {"label": 2}, Demonstration, "'label' is 2; expected true or false"),
    (LABELED | {"kto_tag": False}, Unpaired, "'label' and 'kto_tag' differ"),
    (LABELED | {"label": "FALSE"}, Unpaired, labeled(False)),
    (LABELED | {"label": 1.0}, Unpaired, labeled(True)),
    (LABELED | {"label": False}, Prompt, rl_prompt([u()])),
    ({"messages": [u(), a()], "label": False}, Prompt, rl_prompt([u()])),
    (
        {"prompt": "q", "label": "safe"},
        Prompt,
        rl_prompt([u()], fields={"label": "safe"}),
    ),
    (
        {"messages": [u(), a()], "label": None},
        Demonstration,
        sft(u(), a(), fields={"label": None}),
    ),
    (
        {"messages": [u(), a()], "label": {"topic": ["x"]}},
        Demonstration,
        sft(u(), a(), fields={"label": {"topic": ["x"]}}),
    ),
    (
        {"messages": [u(), a()], "label": ["x"]},
        Unpaired,
        "'label' is .*; expected true or false",
    ),
    (PAIR | {"label": False}, Preference, pair([u()], fields={"label": False})),
    (
        {"prompt": "q", "completion": "a", "chosen": None, "rejected": None},
        Demonstration,
        sft(u(), a()),
    ),
    # plain text
    ({"text": "t", "id": 1}, Demonstration, sft(a("t"), plain=True, fields={"id": 1})),
    ({"text": "t", "label": False}, Demonstration, UnusableRow),
    ({"text": " "}, Demonstration, "'text' is empty"),
    ({"text": ["t"]}, Demonstration, "'text' is a list; expected text"),
    ({"text": "t", "system": "S"}, Demonstration, "'system' is not supported beside"),
    ({"text": "t"} | TOOLS, Demonstration, "'tools' is not supported beside"),
    ({"text": "t"}, Prompt, "'text' alone is plain text"),
    ({"text": "t"}, Preference, "'text' alone is plain text"),
    ({"text": "t"}, Ranking, "'text' alone is plain text"),
    ({"text": "t", "label": True}, Unpaired, "'text' alone is plain text"),
    (
        {"instruction": "q", "output": "a", "text": "q a"},
        Demonstration,
        sft(u(), a(), fields={"text": "q a"}),
    ),
    # numbers
    (PAIR | {"margin": NAN}, Preference, "'margin' is .*; expected a finite number"),
    (PAIR | {"margin": True}, Preference, "'margin' is true; expected a finite number"),
    (PAIR | {"margin": "3"}, Preference, "'margin' is .*; expected a finite number"),
    (
        PAIR | {"margin": 10**400},
        Preference,
        "'margin' is 1000.*; expected a finite number",
    ),
    (PAIR | {"margin": 1e39}, Preference, "'margin' is .*; expected a finite number"),
    (PAIR | {"margin": 2}, Preference, pair([u()], margin=2.0)),
    (PAIR | {"label_prob": 0.75}, Preference, pair([u()], label_prob=0.75)),
    (PAIR | {"label_prob": 1.5}, Preference, "'label_prob' is 1.5; expected a prob"),
    (PAIR | {"label_prob": -0.1}, Preference, "'label_prob' is -0.1; expected a prob"),
    # earlier files of the judge have p_chosen, with its log-odds as the margin
    (
        PAIR | {"p_chosen": 0.75, "margin": math.log(3.0)},
        Preference,
        pair(
            [u()],
            margin=math.log(3.0),
            label_prob=0.75,
            fields={"p_chosen": 0.75},
        ),
    ),
    # an annotator's own probability is no label, and a rating margin is none
    (PAIR | {"p_chosen": 0.75}, Preference, pair([u()], fields={"p_chosen": 0.75})),
    (
        PAIR | {"p_chosen": 0.75, "margin": 3},
        Preference,
        pair([u()], margin=3.0, fields={"p_chosen": 0.75}),
    ),
    (SHP | {"labels": NAN}, Preference, "'labels' is .*; expected a finite number"),
    (SHP | {"labels": True}, Preference, "'labels' is .*; expected a finite number"),
    (SHP | {"labels": 7}, Preference, "'labels' is 7.*; expected 0 or 1"),
    (
        {"prompt": TREE | {"replies": [r | {"rank": NAN} for r in TREE["replies"]]}},
        Ranking,
        "'rank' is .*; expected a finite number",
    ),
    (
        {"prompt": "q", "answers": ["b", "a"], "scores": [1, 2]},
        Ranking,
        ranking_record("a", "b"),
    ),
    (
        {"prompt": "q", "answers": ["a", "b"], "ranks": [0, 1]},
        Ranking,
        ranking_record("a", "b"),
    ),
    (
        {"prompt": "q", "answers": ["a", "b"], "scores": [1]},
        Ranking,
        "'scores' is not a list of 2 numbers",
    ),
    ({"prompt": "q", "answers": ["a", "b"], "scores": [1, 1]}, Ranking, UnusableRow),
    (
        {"prompt": "q", "answers": ["a", "b"], "scores": [1, True]},
        Ranking,
        r"'scores\[1\]' is .*; expected a finite number",
    ),
]


@pytest.mark.parametrize(("row", "kind", "expected"), ROWS)
def test_a_row(row, kind, expected):
    check(row, kind, expected)
