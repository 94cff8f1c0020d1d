"""Where the answers of compared models come from: files, folders, the sampler."""

import json

import pytest

from jaxalign.data.records import Prompt
from jaxalign.pipeline.comparisons import compared_answers
from jaxalign.pipeline.comparisons.compared_answers import AnswerSampler, Sampling
from jaxalign.pipeline.evaluation.model_checks import check_language_model, check_reward
from jaxalign.pipeline.evaluation.models import EvaluationConfig
from tests.support import untrained

PROMPTS = [Prompt([{"role": "user", "content": text}]) for text in "abcde"]


@pytest.fixture(scope="module")
def policy():
    return untrained.policy()


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def answer(prompt, text, **fields):
    return {"prompt": prompt, "answer": text, **fields}


def test_sources_are_folders_and_files_of_one_or_more_models(tmp_path):
    one = write(tmp_path / "one.jsonl", answer("a", "1"), answer("b", "2"))
    models = ("m", "n", "m")
    rows = [answer(str(i), "x", model=model) for i, model in enumerate(models)]
    both = write(tmp_path / "both.jsonl", *rows)
    generated = tmp_path / "generated"
    generated.mkdir()
    write(generated / "answers.jsonl", answer("a", "1", model="g"))
    found = compared_answers.answer_sources(
        [one, f"named={one}", both, "runs/sft", "dpo=runs/dpo", str(generated)]
    )
    assert [(s.name, s.folder, len(s.answers)) for s in found] == [
        *(("one", "", 2), ("named", "", 2), ("m", "", 2), ("n", "", 1)),
        *(("runs/sft", "runs/sft", 0), ("dpo", "runs/dpo", 0), ("g", "", 1)),
    ]


@pytest.mark.parametrize(
    "words, error",
    [
        ([], "names no model: a comparison needs two"),
        (["runs/a"], "names one model, 'runs/a': a comparison needs two or more"),
        (["runs/a", "runs/a"], "2 models are called 'runs/a'; give them different"),
        (["x=runs/a", "x=runs/b"], "2 models are called 'x'"),
        (["x={both}", "y=runs/b"], "holds answers of 2 models, m, n; leave out"),
    ],
)
def test_models_that_cannot_be_compared(words, error, tmp_path):
    rows = [answer("a", "1", model="m"), answer("a", "1", model="n")]
    both = write(tmp_path / "both.jsonl", *rows)
    with pytest.raises(ValueError, match=error):
        compared_answers.answer_sources([word.format(both=both) for word in words])


def test_answers_do_not_depend_on_how_items_are_cut(policy):
    """Chunks that go over the end of a model's prompts give the same rows."""
    sampling = Sampling(max_new_tokens=4, samples=2)
    loads = []

    def sampler():
        folders = {"x": "runs/x", "y": "runs/y"}
        return AnswerSampler(folders, PROMPTS[:2], load, sampling)

    def load(folder):
        loads.append(folder)
        return policy

    whole = sampler()
    rows = whole.answer_items(range(len(whole)))
    assert len(whole) == 4 and len(rows) == 8
    assert loads == ["runs/x", "runs/y"]  # each once
    parts = sampler()
    cut = [range(0, 1), range(1, 3), range(3, 4)]
    assert [row for items in cut for row in parts.answer_items(items)] == rows
    assert [row["model"] for row in rows] == ["x"] * 4 + ["y"] * 4
    # equal models have equal answers, and two samples differ
    answers = [row["answer"] for row in rows]
    assert answers[:4] == answers[4:] and answers[0] != answers[1]
    assert rows[0]["settings"]["folder"] == "runs/x" and rows[0]["tokens"] <= 4


def test_a_prompt_without_room_for_an_answer_has_none(policy):
    long = Prompt([{"role": "user", "content": "long " * 99}])
    sampler = AnswerSampler(
        {"x": ""}, [long, PROMPTS[0]], lambda _: policy, Sampling(4)
    )
    assert sampler.answer_items(range(0, 1)) == []
    (row,) = sampler.answer_items(range(0, 2))
    assert row["prompt"] == PROMPTS[0].messages


def test_given_answers_are_restricted_to_the_prompts_with_their_fields(tmp_path):
    rows = [answer(text, text.upper()) for text in "abc"]
    files = [write(tmp_path / f"{name}.jsonl", *rows) for name in "xy"]
    sources = compared_answers.answer_sources(files)
    few = compared_answers.given_answers(sources, 2)
    assert [row.answer for row in few["y"]] == ["A", "B"]
    every = compared_answers.given_answers(sources, None)
    prompt = Prompt(PROMPTS[2].messages, fields={"kind": "last"})
    other = Prompt([{"role": "user", "content": "unanswered"}])
    found = compared_answers.restrict_to_prompts(every, [other, prompt])
    assert [row.answer for row in found["x"]] == ["C"]
    assert found["x"][0].prompt.fields == {"kind": "last"}


def test_folders_are_checked_before_anything_is_loaded(tmp_path):
    config = EvaluationConfig()
    language, reward = tmp_path / "language", tmp_path / "reward"
    untrained.save(language)
    untrained.save_reward(reward)
    check_language_model(config, "--judge", str(language))
    for name in (str(reward), f"judge:{language}", "length:40", "programmed"):
        check_reward(config, name)
    with pytest.raises(ValueError, match=f"--judge {reward} is a reward model, which"):
        check_language_model(config, "--judge", str(reward))
    with pytest.raises(FileNotFoundError, match="--judge no/such/place: no such file"):
        check_language_model(config, "--judge", "no/such/place")
    with pytest.raises(ValueError, match="is a language model; expected a reward"):
        check_reward(config, str(language))
    with pytest.raises(ValueError, match="--reward judge: .*is a reward model"):
        check_reward(config, f"judge:{reward}")
    with pytest.raises(ValueError, match="--reward lenght: .*did you mean length"):
        check_reward(config, "lenght")
    with pytest.raises(ValueError, match="length:N needs a number"):
        check_reward(config, "length:short=0.5,exact=1")
