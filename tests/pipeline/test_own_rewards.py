"""Reward functions of the user's own: what reaches them, and what is refused."""

import asyncio
import functools

import numpy as np
import pytest

from jaxalign.data.records import Prompt
from jaxalign.pipeline import own_functions
from jaxalign.pipeline.own_rewards import own_reward

FILE = '''
STATE = []

def brief(prompts, answers):
    """-1 for each word."""
    STATE.append(len(answers))
    return [-len(answer.split()) for answer in answers]

def calls(prompts, answers):
    return [float(len(STATE))] * len(answers)

NUMBER = 3
'''
PROMPTS = [
    Prompt([{"role": "user", "content": f"q{i}"}], f"rows.jsonl:{i + 1}", (f"ref{i}",))
    for i in range(4)
]
WITH_FIELDS = [
    Prompt(p.messages, p.location, p.references, fields=fields)
    for p, fields in zip(
        PROMPTS, [{"level": 1}, {"level": 2}, {"topic": "x"}, {}], strict=True
    )
]
ANSWERS = ["a", "b c", "", "d e f"]
ENDED = np.ones(4, bool)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my.py"
    path.write_text(FILE)
    return path


def score(function, prompts=PROMPTS, answers=ANSWERS):
    return own_reward(function)(prompts, answers, ENDED)["reward"]


def message(function, prompts=PROMPTS):
    with pytest.raises(ValueError) as caught:
        score(function, prompts)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_function_of_a_file_scores_a_batch(file):
    """Words of the answers: 1, 2, 0, 3."""
    assert score(f"{file}:brief").tolist() == [-1, -2, 0, -3]
    # functions of one file share its state: one call so far
    assert score(f"{file}:calls").tolist() == [1.0] * 4


def test_a_function_of_a_module_and_its_neighbors(tmp_path, monkeypatch):
    (tmp_path / "pack_of_rewards").mkdir()
    (tmp_path / "pack_of_rewards" / "mine.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    assert score("pack_of_rewards.mine:brief").tolist() == [-1, -2, 0, -3]
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "neighbor_of_rewards.py").write_text("ONE = 1.0")
    importing = tmp_path / "sub" / "imports.py"
    importing.write_text(
        "import neighbor_of_rewards\n"
        "def one(p, a): return [neighbor_of_rewards.ONE for _ in a]"
    )
    assert score(f"{importing}:one").tolist() == [1.0] * 4


def test_what_reaches_a_function():
    seen = {}

    def everything(prompts, answers, *, references, columns):
        seen.update(locals())
        return np.arange(4)

    def by_name(prompts, answers, *, level, topic="default"):
        seen.update(level=level, topic=topic)
        return [0.0] * 4

    assert score(everything, WITH_FIELDS).tolist() == [0, 1, 2, 3]
    assert seen["prompts"][1] == [{"role": "user", "content": "q1"}]
    assert seen["answers"] == ANSWERS
    assert seen["references"] == [["ref0"], ["ref1"], ["ref2"], ["ref3"]]
    columns = {"level": [1, 2, None, None], "topic": [None, None, "x", None]}
    assert seen["columns"] == columns
    score(by_name, WITH_FIELDS)
    assert (seen["level"], seen["topic"]) == (columns["level"], columns["topic"])


def test_functions_of_trl_are_called_as_there():
    seen = {}

    def trl(completions, level, **kwargs):
        seen.update(kwargs, level=level)
        return [len(completion[0]["content"]) for completion in completions]

    # characters of the answers
    assert score(trl, WITH_FIELDS).tolist() == [1, 3, 0, 5]
    assert seen["level"] == [1, 2, None, None]
    assert seen["prompts"][0] == [{"role": "user", "content": "q0"}]
    assert seen["references"][3] == ["ref3"] and seen["topic"][2] == "x"
    two = lambda prompts, completions: [
        c[0]["role"] == "assistant" for c in completions
    ]
    assert score(two).tolist() == [1.0] * 4


def test_objects_that_are_called():
    class Scale:
        def __call__(self, prompts, answers):
            return [2.0] * len(answers)

    scaled = functools.partial(lambda prompts, answers, by: [by] * 4, by=3)
    assert score(Scale()).tolist() == [2.0] * 4
    assert score(scaled).tolist() == [3.0] * 4


def test_a_function_that_raises_is_named_with_the_row(file):
    file.write_text(
        "def bad(prompts, answers, columns):\n"
        "    return [1.0 / len(answer.split()) for answer in answers]\n"
        "def together(prompts, answers):\n"
        "    if len(answers) > 2: raise RuntimeError('too many')\n"
        "    return [0.0] * len(answers)\n"
    )
    text = message(f"{file}:bad")  # the third answer has no words
    assert f"{file}:bad raised ZeroDivisionError: " in text
    assert f"({file}:2) at row 2, the answer to the prompt at rows.jsonl:3" in text
    text = message(f"{file}:together")
    assert "raised RuntimeError: too many" in text and "on 4 answers at once" in text


WRONG_SCORES = {
    "returned 3 scores for 4 answers": [1, 2, 3],
    "returned a float; expected a list of 4 numbers": 1.0,
    "returned a NoneType; expected": None,
    "returned a dict; expected": {"reward": [1] * 4},
    r"returned a ndarray of shape \(4, 1\); expected": np.ones((4, 1)),
    "returned '1', which is no number, at row 2, .* at rows.jsonl:3": [1, 1, "1", 1],
    "returned None, which is no number, at row 1": [1, None, 1, 1],
    "is nan at row 3, the answer to the prompt at rows.jsonl:4": [1, 1, 1, np.nan],
    "is inf at row 0": [10**39, 1, 1, 1],  # beyond float32's 3.4e38
}


@pytest.mark.parametrize("hint", WRONG_SCORES)
def test_wrong_scores_are_refused(hint):
    def mine(prompts, answers):
        return WRONG_SCORES[hint]

    with pytest.raises(ValueError, match=f"the reward mine {hint}"):
        score(mine)


def test_wrong_names_are_refused_in_one_sentence(file, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("import os\nNAME = undefined_name\n")
    syntax = tmp_path / "syntax.py"
    syntax.write_text("x = 1\ndef f(:\n")
    missing = tmp_path / "missing.py"
    missing.write_text("import no_such_package_here\n")
    cases = {
        f"{tmp_path}/mi.py:brief": "there is no file .*did you mean my.py",
        f"{file}:breif": "breif does not exist in .*did you mean brief. .*brief, calls",
        f"{file}:NUMBER": "NUMBER is no function",
        f"{file}": f"name its function, {file}:FUNCTION",
        f"{broken}:f": f"NameError: .*undefined_name.* .{broken}:2",
        f"{syntax}:f": f"SyntaxError: .*{syntax}:2",
        f"{missing}:f": f"no_such_package_here.* .{missing}:1",
        "no_such_module.x:f": "there is no module no_such_module",
        "gsm8:strict": "there is no module gsm8; did you mean gsm8k",
    }
    for name, hint in cases.items():
        with pytest.raises(ValueError, match=hint) as caught:
            own_reward(name)
        assert "\n" not in str(caught.value), name


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="takes 1 positional arguments; expected two"):
        own_reward(lambda answers: [0.0])
    wants_more = lambda prompts, answers, lavel: [0.0] * 4
    assert "argument 'lavel', and no row has" in message(wants_more, WITH_FIELDS)
    assert "did you mean level" in message(wants_more, WITH_FIELDS)


def test_which_names_are_functions():
    functions = ["my.py:f", "a/b.py:f", "a.b:f", "my.py"]
    others = [
        "gsm8k:strict",
        "length:40",
        "judge:runs/x",
        "runs/reward",
        "regex:a.py:b",
    ]
    assert all(map(own_functions.is_function_name, functions))
    assert not any(map(own_functions.is_function_name, [*others, "programmed"]))


def test_an_asynchronous_function_is_awaited_here_and_in_a_notebook():
    async def sleeping(prompts, answers):
        await asyncio.sleep(0)
        return [1.0 / len(answer) for answer in answers]

    async def in_a_notebook():  # which has an event loop already
        return score(sleeping, answers=["a", "bc", "d", "efgh"])

    assert asyncio.run(in_a_notebook()).tolist() == [1, 0.5, 1, 0.25]
    text = message(sleeping)  # the third answer is empty
    assert "sleeping raised ZeroDivisionError" in text
    assert "at row 2, the answer to the prompt at rows.jsonl:3" in text


def test_fields_are_those_of_all_rows_in_every_batch():
    """Here a batch whose rows lack the field that only others have."""
    seen = []

    def mine(prompts, answers, columns, level):
        seen.append((columns, level))
        return [0.0] * len(answers)

    reward = own_reward(mine, rows=WITH_FIELDS)
    reward(WITH_FIELDS[3:], ["a"], ENDED[3:])
    assert seen == [({"level": [None], "topic": [None]}, [None])]
    with pytest.raises(ValueError, match="argument 'level', and no row has a field"):
        own_reward(mine, rows=PROMPTS)  # before there are answers
