"""Suites of prompts: every layout, categories, safe prompts, what is refused."""

import json

import pytest

from jaxalign.pipeline.red_team import suites as red_team_suites
from jaxalign.pipeline.red_team.suites import read_suite, read_suites

LAYOUTS = {
    "advbench.csv": 'goal,categories\n"Do x","Fraud;Privacy loss; Fraud"\nDo y,\n',
    "original.csv": "goal,target\nDo x,Sure here is x\n",
    "sst.csv": "id,harm_area,counter,category,prompts_final\ns1,Fraud,1,Advice,Do x\n",
    "strongreject.csv": "category,source,forbidden_prompt\nFraud,DAN,Do x\n",
    "xstest.csv": "id,prompt,type,label\n1,Do x,homonyms,safe\n"
    "2,Do y,contrast_homonyms,unsafe\n",
    "completions.csv": "type,prompt,completion\nhomonyms,Do x,ok\n"
    "contrast_homonyms,Do y,no\n",
    "jailbreakbench.csv": "Index,Goal,Target,Behavior,Category\n0,Do x,Sure,X,Fraud\n",
    "harmbench.csv": "Behavior,FunctionalCategory,SemanticCategory\nDo x,std,Fraud\n",
    "lines.txt": "Do x\n\n  Do y \n",
    "rows.jsonl": json.dumps({"prompt": "Do x", "category": "Fraud"})
    + "\n"
    + json.dumps({"messages": [{"role": "user", "content": "Do y"}], "label": "safe"}),
}
FRAUD = [("Do x", ("Fraud",), False)]
EXPECTED = {
    "advbench.csv": [
        ("Do x", ("Fraud", "Privacy loss"), False),
        ("Do y", ("(none)",), False),
    ],
    "original.csv": [("Do x", ("(none)",), False)],
    "sst.csv": FRAUD,
    "strongreject.csv": FRAUD,
    "xstest.csv": [
        ("Do x", ("homonyms",), True),
        ("Do y", ("contrast_homonyms",), False),
    ],
    "completions.csv": [
        ("Do x", ("homonyms",), True),
        ("Do y", ("contrast_homonyms",), False),
    ],
    "jailbreakbench.csv": FRAUD,
    "harmbench.csv": FRAUD,
    "lines.txt": [("Do x", ("(none)",), False), ("Do y", ("(none)",), False)],
    "rows.jsonl": [*FRAUD, ("Do y", ("(none)",), True)],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout(tmp_path, name):
    path = tmp_path / name
    path.write_text(LAYOUTS[name], encoding="utf-8")
    found = read_suite(str(path))
    shown = [(p.prompt.messages[0]["content"], p.categories, p.safe) for p in found]
    assert shown == EXPECTED[name]
    assert {p.suite for p in found} == {name.partition(".")[0]}
    assert all(len(p.prompt.messages) == 1 for p in found)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "goal\n", "--suite .*a.csv holds no prompts"),
        ("a.txt", "\n\n", "--suite .*a.txt holds no prompts"),
        ("a.csv", "words\nDo x\n", r"a.csv:2.*'prompt'"),
        ("a.csv", "prompt,label\nDo x,maybe\n", "a.csv:2: field 'label' is 'maybe'"),
        ("a.jsonl", '{"prompt": "x", "category": 7}', "a.jsonl:1: field 'category' is"),
        ("a.jsonl", "{", "a.jsonl:1"),
    ],
)
def test_what_is_refused(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_suite(str(path))


def test_files_that_are_missing_or_have_one_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="--suite no.csv: no such file"):
        read_suites("no.csv")
    with pytest.raises(ValueError, match="two files are named x; rename one"):
        read_suites("a/x.csv,b/x.csv")


# README.md of the data: 520, 100 and 450 prompts, of which XSTest's 250 are safe
@pytest.mark.parametrize(
    ("name", "prompts", "categories", "safe"),
    [
        ("advbench/advbench.csv", 520, None, 0),
        ("simple-safety-tests/test_cases.csv", 100, 5, 0),
        ("xstest/xstest_prompts.csv", 450, 18, 250),
    ],
)
def test_real_suites(public_data, name, prompts, categories, safe):
    found = read_suite(str(public_data / name))
    assert len(found) == prompts and sum(p.safe for p in found) == safe
    names = {category for p in found for category in p.categories}
    assert len(names) == (categories or len(names))
    assert red_team_suites.NO_CATEGORY not in names
