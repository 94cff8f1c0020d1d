"""Constructors of rows, messages and records, with short names for tables of cases."""

import json

import pytest

from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Unpaired,
)
from jaxalign.data.row_errors import MalformedRow, UnusableRow
from jaxalign.data.schemas import parser


def u(text="q"):
    return {"role": "user", "content": text}


def a(text="a", **more):
    return {"role": "assistant", "content": text, **more}


def s(text="S"):
    return {"role": "system", "content": text}


def tool(text="4 degrees", **more):
    return {"role": "tool", "content": text, **more}


def call(name="weather", arguments=None, **more):
    function = {"name": name, "arguments": arguments or {"town": "Oslo"}}
    return {**more, "type": "function", "function": function}


def sft(*messages, **more):
    return Demonstration(list(messages), "f:1", **more)


def pair(prompt, chosen="a", rejected="b", **more):
    return Preference(prompt, chosen, rejected, location="f:1", **more)


def rl_prompt(prompt, *references, **more):
    return Prompt(prompt, "f:1", references, **more)


def labeled(up, prompt=None, answer="a", **more):
    return Unpaired(prompt or [u()], answer, up, "f:1", **more)


def ranking_record(*answers, **more):
    return Ranking([u()], answers, "f:1", **more)


FUNCTION = {"name": "weather", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
TOOLS = {"tools": [TOOL]}
CHAT = {"messages": [u(), a()]}
PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}
TREE = {
    "text": "q",
    "role": "prompter",
    "replies": [
        {"text": "b", "role": "assistant", "rank": 1},
        {"text": "a", "role": "assistant", "rank": 0},
    ],
}
LABELED = {"prompt": "q", "completion": "a", "label": True}
SHP = {"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1}
ULTRA = {
    "instruction": "q",
    "completions": [
        {"response": "a", "overall_score": 2.0},
        {"response": "b", "overall_score": 1.0},
    ],
}
SCORES = {"completions": [{"overall_score": 2.0}, {"overall_score": 1.0}]}
NAN, INF = float("nan"), float("inf")


def read(row, kind):
    return list(parser.parse_row(json.loads(json.dumps(row)), kind, "f:1"))


def check(row, kind, expected):
    """Check that a row gives the expected record, `UnusableRow`, or error message."""
    if isinstance(expected, kind):
        assert read(row, kind) == [expected]
        return
    error = UnusableRow if expected is UnusableRow else MalformedRow
    message = None if expected is UnusableRow else expected
    with pytest.raises(error, match=message):
        read(row, kind)
