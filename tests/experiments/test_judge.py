"""AI feedback as a user runs it, with judges that are tiny or go by the place alone."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import judge, reward_model
from jaxalign import streams
from jaxalign.batches import PreferenceBatch, from_lengths
from jaxalign.data import chat, readers, splits
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Preference, Prompt, Ranking, assistant_message
from jaxalign.models import transformer
from jaxalign.pipeline import (
    judge_rows,
    llm_judge,
    model_folders,
    policies,
    reward_functions,
)
from jaxalign.pipeline.llm_judge import AnswerSet, Comparison, user_message
from jaxalign.rewards import judge_prompts
from jaxalign.runtime import jsonl
from jaxalign.runtime.mesh import mesh_of
from jaxalign.training import forward
from jaxalign.types import ScalarModel

ASKED = [{"role": "user", "content": "How are you?"}]
ANSWERED = [
    AnswerSet(ASKED, ("Well, thank you.", "Leave me alone!", "Why?")),
    AnswerSet(
        [*ASKED, assistant_message("Well."), *ASKED], ("Still well.", "I told you.")
    ),
]


def compare(model, answered, principles=("Which is better?",)):
    manner = llm_judge.JudgeSettings(batch_size=4)
    noise = partial(streams.generator, 0, "judge")
    return llm_judge.compare_answers(model, answered, principles, noise, manner)


@pytest.fixture(scope="module")
def tiny():
    """A small new model, which judges at random, but always alike."""
    # a tokenizer that knows what judges are asked: questions are short
    text = judge_prompts.comparison_prompt(ASKED, *ANSWERED[0].answers[:2])
    tokenizer = tokenizers.train([text] * 9, vocab_size=512)
    shape = policies.toy_config(len(tokenizer), 512, "float32")
    small = {"width": 32, "hidden": 64, "layers": 1, "heads": 2, "kv_heads": 2}
    model = transformer.language_model(dataclasses.replace(shape, head_dim=16, **small))
    # far from uniform, so that options differ
    params = jax.tree.map(lambda x: 2 * x, model.init(jax.random.key(0)))
    return policies.Policy(model, params, tokenizer, 512)


@pytest.fixture(scope="module")
def biased(tiny):
    """A judge who goes by the last token alone, which is the same in both orders."""
    width, letters = tiny.config.width, len(tiny.tokenizer)
    first, second = jax.random.split(jax.random.key(0))
    table = jax.random.normal(first, (width, letters))
    embed = jax.random.normal(second, (letters, width))
    stub = tiny.model._replace(
        unembed=lambda params: table,
        extend=lambda params, tokens, cache: (embed[tokens], cache),
    )
    return dataclasses.replace(tiny, model=stub)


def test_options_are_scored_as_the_model_would_say_them(tiny):
    question = [llm_judge.user_message("Which, of the two, is it?")]
    (found,) = llm_judge.option_logprobs(tiny, [question], ("A", "B"), batch_size=1)
    np.testing.assert_allclose(np.exp(found).sum(), 1.0, rtol=1e-5)
    said_so = [
        chat.encode(tiny.tokenizer, [*question, assistant_message(x)]) for x in "AB"
    ]
    # without the end of the turn
    tokens = np.stack([one.tokens[:-1] for one in said_so])
    lengths = np.full(2, tokens.shape[1])
    rows = from_lengths(tokens, lengths, lengths - said_so[0].mask.sum() + 1)
    logp = forward.token_logps(tiny.model, tiny.params, rows)
    each, _ = forward.row_sums(logp, rows.loss_mask)
    np.testing.assert_allclose(found[0] - found[1], each[0] - each[1], atol=1e-4)


def test_a_judge_is_a_reward_of_answers(tiny):
    """Each answer is rated by itself, whatever stands beside it in the batch."""
    prompts = [Prompt(ASKED), Prompt([user_message("Why?")]), Prompt(ASKED)]
    texts = ["Well, thank you.", "Well, thank you.", "No!"]
    score = reward_functions.llm_rating_reward(tiny)
    found = score(prompts, texts, np.ones(3, bool))["reward"]
    assert found.shape == (3,) and len(set(found.tolist())) == 3
    assert (found >= 1).all() and (found <= 10).all()
    question = judge_prompts.rating_prompt(ASKED, "No!", highest=10)
    options = [str(k) for k in range(1, 11)]
    logps = llm_judge.option_logprobs(
        tiny, [[user_message(question)]], options, batch_size=1
    )
    np.testing.assert_allclose(found[2], np.exp(logps[0]) @ np.arange(1, 11), rtol=1e-4)


def test_swapped_answers_swap_the_label(tiny):
    (first, *_), (single,) = compare(tiny, ANSWERED)
    assert (first.i, first.j) == (0, 1)
    swapped = [AnswerSet(one.prompt, one.answers[::-1]) for one in ANSWERED]
    (*_, last), (other,) = compare(tiny, swapped)
    np.testing.assert_allclose(other.p, 1.0 - single.p, atol=1e-4)
    np.testing.assert_allclose(last.p, 1.0 - first.p, atol=1e-4)
    assert abs(first.p - 0.5) > 1e-3
    expected = 0.5 * (first.first + 1.0 - first.swapped)
    np.testing.assert_allclose(first.p, expected, rtol=1e-6)


def test_a_judge_who_goes_by_the_place_prefers_nothing(biased):
    found = compare(biased, ANSWERED)
    every = [pair for pairs in found for pair in pairs]
    assert {pair.p for pair in every} == {0.5} and len(every) == 4
    assert all(abs(pair.first - 0.5) > 0.1 for pair in every)
    assert judge_rows.soft_pairs(ANSWERED[0], found[0]) == []
    assert (
        judge_rows.mean_win_probabilities(ANSWERED[0], found[0]).tolist() == [0.5] * 3
    )


def test_principles_are_drawn_for_each_comparison(tiny, monkeypatch):
    seen = []

    def ask(model, questions, options, *, batch_size):
        seen.extend(question[0]["content"] for question in questions)
        return np.log(np.full((len(questions), 2), 0.5, np.float32))

    monkeypatch.setattr(llm_judge, "option_logprobs", ask)
    compare(tiny, [ANSWERED[1]] * 60, ["Be kind.", "Be true."])
    kind = ["Be kind." in text for text in seen]
    assert kind[::2] == kind[1::2]  # both orders by one principle
    assert 10 < sum(kind[::2]) < 50 and len(seen) == 120
    assert seen[0].index("Still well.") < seen[0].index("I told you.")
    assert seen[1].index("Still well.") > seen[1].index("I told you.")
    alone = len(seen)
    compare(tiny, [*ANSWERED, ANSWERED[1]], ["Be kind.", "Be true."])
    assert seen[-4:] == seen[:4]  # whatever else is judged, the same are drawn
    assert len(seen) > alone + 4


def test_rows_of_labels_by_hand():
    answers = ANSWERED[0].answers
    pairs = [Comparison(0, 1, 0, 0, 0.75), Comparison(0, 2, 0, 0, 0.5)]
    pairs.append(Comparison(1, 2, 0, 0, 0.0))
    one, other = judge_rows.soft_pairs(ANSWERED[0], pairs)
    assert (one["chosen"], one["rejected"]) == (answers[0], answers[1])
    assert one["label_prob"] == 0.75 and np.isclose(one["margin"], np.log(3.0))
    assert (other["chosen"], other["rejected"]) == (answers[2], answers[1])
    assert np.isclose(other["margin"], np.log(0.9999 / 0.0001))
    worth = judge_rows.mean_win_probabilities(ANSWERED[0], pairs)
    # (3/4 + 1/2) / 2, (1/4 + 0) / 2, (1/2 + 1) / 2
    assert worth.tolist() == [0.625, 0.125, 0.75]
    row = judge_rows.ranking_row(ANSWERED[0], worth)
    assert row["answers"] == [answers[2], answers[0], answers[1]]
    # of equal ratings nothing is preferred
    ratings = [np.array([1.0, 4.0, 2.0]), np.array([2.0, 2.0])]
    (row,) = judge_rows.zephyr_pairs(ANSWERED, ratings, jax.random.key(0))
    assert row["chosen"] == answers[1] and row["rejected"] in (answers[0], answers[2])
    assert row["rewards"] == [4, 1 + (row["rejected"] == answers[2])]


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


CALL = {"type": "function", "function": {"name": "weather", "arguments": {"at": "x"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}
ANSWERS = [
    {"role": "assistant", "content": "Mild.", "reasoning_content": "Look it up?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    "Mild.",
]
RESULT = {"role": "tool", "content": "4 degrees"}
CALLED = [*ASKED, ANSWERS[1], RESULT, *ASKED]


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
    monkeypatch.setattr(
        judge, "filter_by_length", lambda config, model, answered: answered
    )
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
        {"messages": [*ASKED, assistant_message(one)], "tools": [TOOL]}
        for one in ANSWERS
    ]
    files = [write(tmp_path / f"{n}.jsonl", row) for n, row in enumerate(rows)]
    files.append(write(tmp_path / "other.jsonl", {"messages": rows[2]["messages"]}))
    config = judge.Config(data=",".join(files), held_out=0.0, mesh="data=1")
    _, parts = judge.candidates(config, None)
    one, other = judge.merge_prompts([train for train, _ in parts])
    assert list(one.answers) == ANSWERS and one.tools == (TOOL,)
    assert other == AnswerSet(ASKED, ("Mild.",))  # without tools it is another prompt
    text = write(tmp_path / "text.jsonl", {"text": "Mild."})
    plain = dataclasses.replace(config, data=f"{text},{files[0]}")
    with pytest.raises(ValueError, match="text.jsonl:1: field 'text' answers nothing"):
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
    together = judge.merge_prompts([first[0], second[0]])
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
        objective = reward_model.objective(config, model, Preference)
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
    told = [AnswerSet(ASKED, ("x", "y", "z" * 600)), AnswerSet(ASKED, ("x", "y"))]
    assert judge.filter_by_length(config, tiny, told) == told[1:]
    ratings = dataclasses.replace(config, ask="ratings")
    assert judge.filter_by_length(ratings, tiny, told) == told[1:]
    empty = dataclasses.replace(config, principles=write(tmp_path / "none.txt"))
    with pytest.raises(ValueError, match="--principles .*none.txt holds none"):
        judge.main(empty)
    assert judge.principles_of(config) == (judge_prompts.DEFAULT_PRINCIPLE,)


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
    monkeypatch.setattr(judge, "judge_answers", shown)
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
        ({"ask": "ratings", "principles": "constitution"}, "ratings ask one question"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path, flags, hint):
    with pytest.raises(ValueError, match=hint):
        judge.main(judge.Config(out=tmp_path / "run", **flags))
    assert not (tmp_path / "run").exists()
