"""Files of answers, and prompts to evaluate on, from the layouts that users have."""

import json

import pytest

from jaxalign.data import readers
from jaxalign.data.records import Demonstration, Prompt
from jaxalign.pipeline.evaluation import answer_rows
from jaxalign.pipeline.evaluation.answer_rows import AnswerRow, read_answers
from jaxalign.pipeline.evaluation.prompts import PromptConfig, load_prompts


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


QUESTION = [{"role": "user", "content": "2 + 2?"}]


def test_an_answer_is_read_as_it_was_written(tmp_path):
    prompt = Prompt(QUESTION, references=("4",), fields={"category": "math", "id": 7})
    rows = [
        AnswerRow(prompt, "four", "runs/dpo", 3, True, {"temperature": 0.5}),
        AnswerRow(prompt, "", "runs/sft"),
    ]
    path = write(tmp_path / "answers.jsonl", map(answer_rows.write_row, rows))
    first, second = read_answers(path)
    assert first.prompt.messages == QUESTION and first.prompt.references == ("4",)
    assert first.prompt.fields == {"category": "math", "id": 7}
    assert first.prompt.location.endswith("answers.jsonl:1")
    assert first[1:] == rows[0][1:]
    assert second[1:] == ("", "runs/sft", None, None, {})
    # and --data reads it, to train on
    (example,), _ = readers.read(
        write(tmp_path / "one.jsonl", [answer_rows.write_row(rows[0])]), Demonstration
    )
    assert example.messages[-1]["content"] == "four"


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "2 + 2?", "output": "four", "generator": "gpt", "dataset": "d"},
        {"prompt": "2 + 2?", "completion": "four", "model": "gpt", "dataset": "d"},
        {
            "messages": [*QUESTION, {"role": "assistant", "content": "four"}],
            "model": "gpt",
            "dataset": "d",
        },
    ],
    ids=["alpaca eval", "completion", "messages"],
)
def test_other_layouts_of_answers(tmp_path, row):
    (answer,) = read_answers(write(tmp_path / "a.jsonl", [row]))
    assert answer.prompt.messages == QUESTION
    assert (answer.answer, answer.model) == ("four", "gpt")
    assert answer.prompt.fields == {"dataset": "d"}


def test_rows_without_an_answer_are_named(tmp_path):
    rows = [{"prompt": "a", "answer": "b"}, {"prompt": "a"}]
    with pytest.raises(ValueError, match=r"a.jsonl:2: field 'completion'"):
        read_answers(write(tmp_path / "a.jsonl", rows))
    with pytest.raises(ValueError, match=r"a.jsonl:1: .*prompt"):
        read_answers(write(tmp_path / "a.jsonl", [{"answer": "b"}]))
    ranking = {"prompt": "a", "answers": ["b", "c"]}
    with pytest.raises(ValueError, match=r"a.jsonl:1: "):
        read_answers(write(tmp_path / "a.jsonl", [ranking]))


def test_all_prompts_of_a_file_are_evaluated_on_in_order(tmp_path):
    rows = [{"prompt": f"prompt {i}", "category": "x"} for i in range(40)]
    path = write(tmp_path / "p.jsonl", rows)
    prompts = load_prompts(PromptConfig(data=str(path)))
    texts = [prompt.messages[0]["content"] for prompt in prompts]
    assert texts == [row["prompt"] for row in rows]
    assert prompts[0].fields == {"category": "x"}
    assert len(load_prompts(PromptConfig(data=str(path), prompts=3))) == 3
    # a tenth is held out by training, and can be chosen
    held_out = load_prompts(PromptConfig(data=str(path), split="held_out"))
    train = load_prompts(PromptConfig(data=str(path), split="train"))
    assert 0 < len(held_out) < len(train) and len(held_out) + len(train) == 40


def test_the_held_out_prompts_of_a_folder_and_of_the_toy_world(tmp_path):
    write(tmp_path / "train.jsonl", [{"prompt": "a"}])
    write(tmp_path / "test.jsonl", [{"prompt": "b"}])
    (prompt,) = load_prompts(PromptConfig(data=str(tmp_path)))
    assert prompt.messages[0]["content"] == "b"
    assert len(load_prompts(PromptConfig(data="toy", prompts=5))) == 5
