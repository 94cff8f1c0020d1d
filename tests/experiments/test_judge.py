"""AI feedback as a user runs it: files, rows, splits, flags."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import judge, reward_model
from jaxalign.batches import PreferenceBatch, from_lengths
from jaxalign.data import readers, splits
from jaxalign.data.records import Preference, Prompt, Ranking, assistant_message
from jaxalign.pipeline import (
    answer_sets,
    llm_judge,
    model_folders,
)
from jaxalign.pipeline.llm_judge import AnswerSet
from jaxalign.rewards import judge_prompts
from jaxalign.runtime import jsonl
from jaxalign.runtime.mesh import mesh_of
from jaxalign.types import ScalarModel
from tests.support.tiny_judge import QUESTION, make_judge

CALL = {"type": "function", "function": {"name": "weather", "arguments": {"at": "x"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}
ANSWERS = [
    {"role": "assistant", "content": "Mild.", "reasoning_content": "Look it up?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    "Mild.",
]
RESULT = {"role": "tool", "content": "4 degrees"}
CALLED = [*QUESTION, ANSWERS[1], RESULT, *QUESTION]


@pytest.fixture(scope="module")
def tiny():
    return make_judge()


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("ask", ["pairs", "ratings"])
def test_thoughts_calls_and_tools_are_read_and_kept(ask, tiny, tmp_path, monkeypatch):
    """By the judge in every question, and in the rows that it writes."""
    seen = []

    def answer(model, questions, options, *, batch_size):
        seen.extend(question[0]["content"] for question in questions)
        tall = np.arange(len(questions) * len(options)).reshape(-1, len(options))
        return np.log(tall / tall.sum(axis=1, keepdims=True) + 1e-3)

    monkeypatch.setattr(llm_judge, "option_logprobs", answer)
    monkeypatch.setattr(judge.policies, "load", lambda *_: tiny)
    keep_all = lambda model, prompts, question, **_: prompts
    monkeypatch.setattr(answer_sets, "filter_by_length", keep_all)
    row = {"prompt": CALLED, "answers": ANSWERS, "tools": [TOOL]}
    data = tmp_path / "data"
    data.mkdir()
    for name in ("train", "test"):
        write(data / f"{name}.jsonl", row)
    out = tmp_path / "out"
    judge.main(judge.Config(data=str(data), out=out, mesh="data=1", ask=ask))
    for text in seen:
        assert text.index("Tools: ") < text.index("Human: How are you?")
        assert "Assistant: Call: " in text and "Result: 4 degrees" in text
    thought, called = "<think>\nLook it up?\n</think>", 'Call: {"name": "weather"'
    assert any(thought in text for text in seen)
    assert any(text.count(called) == 2 for text in seen)
    (ranked,), _ = readers.read(out / "rankings/train.jsonl", Ranking)
    assert ranked.prompt == CALLED and ranked.tools == (TOOL,)
    assert sorted(map(str, ranked.answers)) == sorted(map(str, ANSWERS))
    pairs, _ = readers.read(out / "preferences/train.jsonl", Preference)
    assert pairs and all(pair.tools == (TOOL,) for pair in pairs)
    assert all(pair.chosen in ANSWERS and pair.rejected in ANSWERS for pair in pairs)


def test_answers_of_several_files_keep_their_thoughts(tmp_path):
    rows = [
        {"messages": [*QUESTION, assistant_message(one)], "tools": [TOOL]}
        for one in ANSWERS
    ]
    files = [write(tmp_path / f"{n}.jsonl", row) for n, row in enumerate(rows)]
    files.append(write(tmp_path / "other.jsonl", {"messages": rows[2]["messages"]}))
    config = judge.Config(data=",".join(files), held_out=0.0, mesh="data=1")
    _, parts = judge.candidates(config, None)
    one, other = answer_sets.merge_prompts([train for train, _ in parts])
    assert list(one.answers) == ANSWERS and one.tools == (TOOL,)
    assert other == AnswerSet(
        QUESTION, ("Mild.",)
    )  # without tools it is another prompt
    text = write(tmp_path / "text.jsonl", {"text": "Mild."})
    plain = dataclasses.replace(config, data=f"{text},{files[0]}")
    with pytest.raises(ValueError, match="text.jsonl:1: field 'text' has no prompt"):
        judge.candidates(plain, None)


@pytest.mark.slow
def test_pairs_and_ratings_as_a_user_runs_them(tiny, tmp_path):
    folder = str(model_folders.save(tmp_path / "judge", tiny))
    asked = [f"Say {n}." for n in range(4)]
    told = [{"prompt": x, "answers": [x, f"{x}!", "No."]} for x in asked]
    data = tmp_path / "data"
    data.mkdir()
    write(data / "train.jsonl", *told)
    write(data / "test.jsonl", told[3] | {"prompt": "Say so."})
    config = judge.Config(model=folder, data=str(data), mesh="data=1", batch=4)
    thinking = dataclasses.replace(
        config, thoughts=3, principles="constitution", out=tmp_path / "pairs"
    )
    numbers = judge.main(thinking)
    assert numbers["train_left_out"] == 0 and 0 <= numbers["train_consistent"] <= 1
    pairs, _ = readers.read(tmp_path / "pairs/preferences/train.jsonl", Preference)
    assert len(pairs) == numbers["train_pairs"] <= 12
    assert all(0 < pair.margin <= np.log(1.5) + 1e-5 for pair in pairs)  # 60 %
    (ranked,), _ = readers.read(tmp_path / "pairs/rankings/test.jsonl", Ranking)
    assert set(ranked.answers) == {"Say 3.", "Say 3.!", "No."}
    # one answer a row, of two models, to the same prompts: rated
    files = [
        write(tmp_path / f"{a}.jsonl", *[{"prompt": x, "output": a + x} for x in asked])
        for a in "ab"
    ]
    asks = [Prompt([{"role": "user", "content": x}]) for x in asked]
    hashes = splits.prompt_hashes(asks)
    one = lambda seed: splits.HeldOutSplit(0.3, seed).mask(hashes)  # which are held out
    seed = next(seed for seed in range(99) if one(seed).sum() == 1)
    (held,) = np.array(asked)[one(seed)]
    rating = dataclasses.replace(
        config,
        data=",".join(files),
        ask="ratings",
        out=tmp_path / "ratings",
        held_out=0.3,
        held_out_seed=seed,
    )
    numbers = judge.main(rating)
    assert 1 < numbers["train_rating"] < 10 and numbers["test_pairs"] == 1
    (pair,), _ = readers.read(tmp_path / "ratings/preferences/test.jsonl", Preference)
    assert {pair.chosen, pair.rejected} == {f"a{held}", f"b{held}"}


def test_models_answer_first_where_told(tiny, tmp_path):
    folder = str(model_folders.save(tmp_path / "judge", tiny))
    prompts = [{"prompt": f"Say {n}."} for n in range(20)]
    few = {"prompts": 2, "held_out_prompts": 2, "samples": 2, "max_new_tokens": 4}
    config = judge.Config(
        model=folder,
        policies=f"{folder},{folder}",
        data=write(tmp_path / "prompts.jsonl", *prompts),
        mesh="data=1",
        **few,
    )
    _, (first, second) = judge.candidates(config, mesh_of(config))
    assert [len(side) for side in first] == [4, 4]
    assert [a.prompt[0]["content"] for a in first[0]] == ["Say 0."] * 2 + ["Say 1."] * 2
    assert first != second  # the same model, with other noise
    together = answer_sets.merge_prompts([first[0], second[0]])
    assert [a.prompt for a in together] == [first[0][0].prompt, first[0][2].prompt]
    said_of_both = {*first[0][0].answers, *second[0][1].answers}
    assert said_of_both - {""} <= set(together[0].answers)


def test_labels_of_a_judge_may_be_hard_or_soft():
    batch = PreferenceBatch(
        *(from_lengths(np.full((1, 2), x), np.full(1, 2), np.ones(1)) for x in (3, 1)),
        margin=np.log(np.array([3.0], np.float32)),
        row=np.zeros(1, np.int32),
        valid=np.ones(1, bool),
        label_prob=np.array([0.75], np.float32),
    )
    scores = lambda params, tokens, *_, at: jnp.take_along_axis(
        1.0 * tokens, at, axis=1
    )
    model = ScalarModel(None, None, None, scores, None)
    losses = []
    for soft in (False, True):
        config = reward_model.Config(soft_labels=soft)
        objective = reward_model.objective(config, model, Preference, [])
        losses.append(float(objective({}, batch)[0]))
    # scores 3 and 1, a label of 3/4, or a margin of log 3
    up, down = np.log1p(np.exp(-2.0)), np.log1p(np.exp(2.0))
    hard, soft = np.log1p(3 * np.exp(-2.0)), 0.75 * up + 0.25 * down
    np.testing.assert_allclose(losses, [hard, soft], rtol=1e-5)


def test_nothing_to_judge_is_said(tiny, tmp_path):
    rows = [{"prompt": f"q{i}", "answers": ["x", "x"]} for i in range(40)]
    data = write(tmp_path / "a.jsonl", *rows)
    config = judge.Config(data=data, out=tmp_path / "out", mesh="data=1")
    with pytest.raises(ValueError, match="no prompt with two different answers"):
        judge.main(config)
    # an answer that does not fit in the context of 512 tokens
    told = [AnswerSet(QUESTION, ("x", "y", "z" * 600)), AnswerSet(QUESTION, ("x", "y"))]
    for ask in ("pairs", "ratings"):
        asking = dataclasses.replace(config, ask=ask)
        question = judge.longest_question(
            asking, judge.read_principles(asking.principles)
        )
        assert answer_sets.filter_by_length(tiny, told, question) == told[1:]
    empty = dataclasses.replace(config, principles=write(tmp_path / "none.txt"))
    with pytest.raises(ValueError, match="--principles .*none.txt holds no principles"):
        judge.main(empty)
    assert judge.read_principles(config.principles) == (
        judge_prompts.DEFAULT_PRINCIPLE,
    )


def test_what_one_of_several_files_holds_out_is_in_the_training_rows_of_none(
    tiny, tmp_path, monkeypatch
):
    """Of a file, split by the rule, and of a folder with splits of its own."""
    rows = [{"prompt": f"q{i}", "answers": ["x", "y", "z"]} for i in range(40)]
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "train.jsonl", *rows[:20])
    write(folder / "test.jsonl", *rows[20:30])
    file = write(tmp_path / "file.jsonl", *rows)
    shown = lambda config, model, answered, *_: (
        [],
        [{"p": a.prompt} for a in answered],
        {},
    )
    monkeypatch.setattr(judge, "label_answers", shown)
    monkeypatch.setattr(judge.policies, "load", lambda *_: tiny)
    config = judge.Config(data=f"{file},{folder}", out=tmp_path / "out", mesh="data=1")
    judge.main(config)
    train, test = (
        {
            row["p"][0]["content"]
            for row in jsonl.read(tmp_path / f"out/rankings/{n}.jsonl")
        }
        for n in ("train", "test")
    )
    assert not train & test and len(train | test) == 40
    assert test > {f"q{i}" for i in range(20, 30)}
    told = json.loads((tmp_path / "out/data.json").read_text())["splits"]
    assert {account["data"] for account in told} == {file, str(folder)}
    nothing = dataclasses.replace(config, data=file, held_out=0.0, out=tmp_path / "no")
    with pytest.raises(ValueError, match="no rows are held out, and test.jsonl needs"):
        judge.main(nothing)


@pytest.mark.parametrize(
    "flags, hint",
    [
        ({"highest": 1}, "--highest 1: .* from 2"),
        ({"batch": 0}, "--batch 0: .* from 1"),
        ({"ask": "ratings", "principles": "constitution"}, "asks one question"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path, flags, hint):
    with pytest.raises(ValueError, match=hint):
        judge.main(judge.Config(out=tmp_path / "run", **flags))
    assert not (tmp_path / "run").exists()
