"""MT-Bench's files, the judge's prompts, two turns of answers, ratings and pairs."""

import dataclasses
import json

import jax
import pytest

from jaxalign.pipeline.evaluation import conversation_answers
from jaxalign.pipeline.mt_bench import files as mt_bench_files
from jaxalign.pipeline.mt_bench import judging as mt_bench_judging
from jaxalign.pipeline.mt_bench import prompts as mt_bench_prompts
from jaxalign.pipeline.mt_bench import report as mt_bench_report
from jaxalign.pipeline.mt_bench.judging import Speaker
from tests.support import mt_bench_files as small
from tests.support import tiny_judge


def read(folder, **others):
    questions, prompts = small.write(folder, **others)
    return (
        mt_bench_files.read_questions(questions),
        mt_bench_files.read_judge_prompts(prompts),
    )


def speaker_of(monkeypatch, say, notes=None):
    """A speaker whose texts are a function of the conversation; None has no room."""
    seen = []

    def answer(policy, conversations, key, **settings):
        seen.extend((settings["temperature"], messages) for messages in conversations)
        return [say(messages) for messages in conversations]

    monkeypatch.setattr(mt_bench_judging, "answer_conversations", answer)
    return Speaker(None, 8, None, 0, 4, print), seen


def test_the_second_turn_continues_the_conversation(tmp_path, monkeypatch):
    questions, _ = read(tmp_path)
    speaker, seen = speaker_of(monkeypatch, lambda m: f"to {m[-1]['content']}")
    rows = mt_bench_judging.answer_rows(speaker, questions, "x")
    assert [row["answers"] for row in rows] == [
        ["to Write.", "to Again."],
        ["to 2+2?", "to And 3+3?"],
        ["to Code."],
    ]
    roles = {m[-1]["content"]: [x["role"] for x in m] for _, m in seen}
    assert roles["And 3+3?"] == ["user", "assistant", "user"]
    # FastChat's temperatures: writing 0.7, math and coding 0
    assert {m[-1]["content"]: t for t, m in seen} == {
        **{"Write.": 0.7, "Again.": 0.7, "2+2?": 0.0},
        **{"And 3+3?": 0.0, "Code.": 0.0},
    }


def test_a_turn_without_room_ends_the_conversation(tmp_path, monkeypatch):
    questions, prompts = read(tmp_path)
    say = lambda m: None if m[-1]["content"] == "Write." else "ok"
    speaker, _ = speaker_of(monkeypatch, say)
    rows = mt_bench_judging.answer_rows(speaker, questions, "x")
    assert rows[0]["answers"] == [None, None]
    judge, _ = speaker_of(monkeypatch, lambda m: "[[7]]")
    graded = mt_bench_judging.grade_rows(judge, prompts, questions, rows)
    assert [(row["question_id"], row["turn"]) for row in graded] == [
        (111, 1),
        (111, 2),
        (121, 1),
    ]
    assert mt_bench_report.summarize(graded, [], rows, 0)["unanswered"] == 2


def test_math_is_judged_beside_references_where_there_are_some(tmp_path, monkeypatch):
    questions, prompts = read(tmp_path)
    answers = [{"answers": ["a1", "a2"]}, {"answers": ["4", "6"]}, {"answers": ["c"]}]
    judge, seen = speaker_of(monkeypatch, lambda m: f"[[{len(m)}]]")
    rows = mt_bench_judging.grade_rows(judge, prompts, questions, answers)
    assert [row["prompt"] for row in rows] == [
        *("single-v1", "single-v1-multi-turn"),
        *("single-math-v1", "single-math-v1-multi-turn"),
        "single-v1",  # coding without a reference
    ]
    assert [m[-1]["content"] for _, m in seen if "REF" in m[-1]["content"]] == [
        "Q 2+2? REF It is 4. A 4"
    ]
    assert [row["rating"] for row in rows] == [2.0] * 5  # system and user
    assert list(map(mt_bench_prompts.lacks_reference, questions)) == [0, 0, 1]


def test_pairs_are_judged_in_both_orders(tmp_path, monkeypatch):
    questions, prompts = read(tmp_path)
    ours = [{"answers": ["good", "x"]}, {"answers": ["y", "good"]}, {"answers": ["z"]}]
    theirs = [{"answers": ["x", "x"]}, {"answers": ["y", "y"]}, {"answers": [None]}]

    def say(messages):  # the good answer wins; of two others the first, as A
        text = messages[-1]["content"]
        return "[[B]]" if "good" in text.partition(" B ")[2] else "[[A]]"

    judge, _ = speaker_of(monkeypatch, say)
    rows = mt_bench_judging.pair_rows(judge, prompts, questions, ours, theirs)
    shown = [(row["question_id"], row["turn"], row["winner"]) for row in rows]
    # question 81, turn 2: both turns are shown, and the first one holds the good answer
    assert shown == [
        *((81, 1, "model"), (81, 2, "model")),
        *((111, 1, "tie"), (111, 2, "model")),
    ]
    assert (rows[2]["first"], rows[2]["swapped"]) == ("A", "A")  # by position
    assert (rows[0]["first"], rows[0]["swapped"]) == ("A", "B")
    pairs = mt_bench_report.summarize([], rows, [], 0)["pairs"]
    assert pairs["all"]["win_rate"].mean == pytest.approx(3.5 / 4)
    assert pairs["turn 1"]["first_bias"].mean == pytest.approx(1 / 2)


def test_references_of_a_file_of_their_own(tmp_path):
    path = tmp_path / "gpt-4.jsonl"
    row = {"question_id": 121, "choices": [{"index": 0, "turns": ["print(1)"]}]}
    path.write_text(json.dumps(row))
    questions, _ = small.write(tmp_path)
    found = mt_bench_files.read_questions(questions, path)
    assert [q.references for q in found] == [
        (),
        ("It is 4.", "It is 6."),
        ("print(1)",),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question_id": "81"}, "question.jsonl:1: field 'question_id' is '81'; expec"),
        ({"category": None}, "field 'category' is None; expected a text"),
        ({"turns": ["a", "b", "c"]}, "field 'turns' is"),
        ({"turns": []}, "expected a list of one or two texts"),
        ({"reference": "4"}, "field 'reference' is '4'"),
        ({"question_id": 111}, "question.jsonl:2: question_id 111 is there twice"),
    ],
)
def test_questions_that_are_refused(tmp_path, change, message):
    rows = [small.QUESTIONS[0] | change, *small.QUESTIONS[1:]]
    with pytest.raises(ValueError, match=message):
        read(tmp_path, questions=rows)


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ({"single-v1": "{question}"}, "no prompt 'single-v1-multi-turn'; it has singl"),
        (small.SINGLE | {"single-v1": "{ask}"}, "'single-v1' cannot be filled in"),
        (small.SINGLE | {"single-v1": "{"}, "'single-v1' cannot be filled in"),
    ],
)
def test_judge_prompts_that_are_refused(tmp_path, templates, message):
    questions, prompts = read(tmp_path, templates=templates)
    with pytest.raises(ValueError, match=message):
        mt_bench_prompts.check_judge_prompts(
            prompts, questions, mt_bench_prompts.SINGLE, "p.jsonl"
        )


def test_real_files(public_data):
    # studies 1.3: 80 questions of two turns, ten in each of eight categories
    folder = public_data / "mt-bench"
    questions = mt_bench_files.read_questions(folder / "question.jsonl")
    prompts = mt_bench_files.read_judge_prompts(folder / "judge_prompts.jsonl")
    assert len(questions) == 80 and {len(q.turns) for q in questions} == {2}
    categories = [q.category for q in questions]
    assert set(map(categories.count, categories)) == {10}
    assert set(categories) == set(mt_bench_judging.TEMPERATURES)
    # of the 30 of math, reasoning and coding 1 has no reference, 3 none of turn 2
    assert sum(map(mt_bench_prompts.lacks_reference, questions)) == 4
    for names in (mt_bench_prompts.SINGLE, mt_bench_prompts.PAIR):
        mt_bench_prompts.check_judge_prompts(prompts, questions, names, folder)
        with_reference = [q._replace(references=("a", "b")) for q in questions]
        mt_bench_prompts.check_judge_prompts(prompts, with_reference, names, folder)


@pytest.mark.slow
def test_conversations_keep_their_places():
    policy = tiny_judge.make_judge()
    short = [{"role": "user", "content": "How are you?"}]
    long = [{"role": "user", "content": "How are you? " * 200}]
    system = {"role": "system", "content": "Be brief."}
    notes = []
    say = lambda conversations: conversation_answers.answer_conversations(
        *(policy, conversations, jax.random.key(0)),
        max_new_tokens=4,
        note=notes.append,
        name="questions",
    )
    found = say([short, long, [system, *short]])
    assert [text is None for text in found] == [False, True, False]
    assert notes == ["questions: no answer to 1 of 3 (1 longer than 508 tokens)"]
    assert say([short]) == found[:1] and say([]) == []
    narrow = dataclasses.replace(policy, context=4)
    with pytest.raises(
        ValueError, match="--judge-tokens 4 leaves no room for a prompt"
    ):
        conversation_answers.check_room(narrow, 4, "--judge-tokens")
