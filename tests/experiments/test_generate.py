"""experiments.generate: golden text, order, resumption, and what is refused."""

import dataclasses
import json

import pytest

from experiments import generate, inspect_data
from jaxalign.pipeline.evaluation import answer_rows
from jaxalign.pipeline.evaluation.answer_generation import AnswerGenerator
from tests.support import untrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return untrained.save(tmp_path_factory.mktemp("models") / "policy")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "prompts.jsonl"
    texts = ["a red dog", "b", "a red dog", "x" * 90, "four words are enough"]
    rows = [{"prompt": t, "kind": f"k{i % 2}", "id": i} for i, t in enumerate(texts)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def config_of(folder, data, out, **flags):
    shared = {"max_new_tokens": 8, "samples": 2, "rows": 3, "mesh": "data=1"}
    return generate.Config(
        model=str(folder), data=str(data), out=out, **(shared | flags)
    )


def rows_of(config):
    text = (config.out / "answers.jsonl").read_text()
    return list(map(json.loads, text.splitlines()))


def test_greedy_text_is_golden(public_data, tmp_path):
    golden = json.loads((public_data / "stories260K" / "golden.json").read_text())
    (tmp_path / "p.jsonl").write_text('{"prompt": "Once upon a time"}\n')
    tokens = len(golden["greedy_ids"]) - 5  # after BOS and the prompt's four
    config = generate.Config(
        model=str(public_data / "stories260K" / "hf"),
        data=str(tmp_path / "p.jsonl"),
        out=tmp_path / "out",
        temperature=0.0,
        max_new_tokens=tokens,
    )
    numbers = generate.main(config)
    (row,) = rows_of(config)
    assert f"Once upon a time{row['answer']}" == golden["greedy_text"]
    assert row["tokens"] == tokens and row["ended"] is False
    assert numbers["answers"] == 1 and numbers["left_out"] == 0


def test_rows_have_the_order_of_the_prompts_and_their_fields(folder, data, tmp_path):
    config = config_of(folder, data, tmp_path / "out")
    numbers = generate.main(config)
    rows = rows_of(config)
    # a prompt that comes twice is answered once, and 3 is too long
    assert [row["id"] for row in rows] == [0, 0, 1, 1, 4, 4]
    assert [row["settings"]["sample"] for row in rows] == [0, 1] * 3
    assert {row["model"] for row in rows} == {str(folder)}
    assert all(row["tokens"] <= 8 for row in rows)
    assert rows[0]["answer"] != rows[1]["answer"]  # other noise
    (left_out,) = json.loads((config.out / "left_out.json").read_text())
    assert left_out["location"].endswith("prompts.jsonl:4")
    assert "93 tokens leave no room" in left_out["reason"]
    assert numbers["left_out"] == 1 and numbers["answers"] == 6
    assert "are left out" in (config.out / "notes.json").read_text()
    assert "a red dog" in (config.out / "report.html").read_text()
    # other programs read the rows
    read = answer_rows.read_answers(config.out / "answers.jsonl")
    assert [r.answer for r in read] == [row["answer"] for row in rows]
    assert read[2].prompt.fields["kind"] == "k1" and read[0].settings["seed"] == 0
    counts = inspect_data.main(
        inspect_data.Config(
            model=str(folder), data=str(config.out / "answers.jsonl"), held_out=0.2
        )
    )
    assert counts["demonstrations"]["kept"] > 0


def test_the_rows_do_not_depend_on_parts_rows_or_an_interruption(
    folder, data, tmp_path, monkeypatch
):
    whole = config_of(folder, data, tmp_path / "whole")
    generate.main(whole)
    parts = config_of(folder, data, tmp_path / "parts", save_every=2)
    sample, calls = AnswerGenerator.rows, []

    def sample_twice(self, part):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(part)
        return sample(self, part)

    with monkeypatch.context() as patch:
        patch.setattr(AnswerGenerator, "rows", sample_twice)
        with pytest.raises(KeyboardInterrupt):
            generate.main(parts)
    assert not (parts.out / "answers.jsonl").exists()
    with monkeypatch.context() as patch:
        patch.setattr(
            *(AnswerGenerator, "rows"),
            lambda self, part: calls.append(part) or sample(self, part),
        )
        generate.main(dataclasses.replace(parts, resume=True, rows=2))
    assert len(calls) == len(set(calls)) == 3  # one prompt a part, none made twice
    assert rows_of(parts) == rows_of(whole)


@pytest.mark.slow
def test_several_models_are_in_one_file(folder, data, tmp_path):
    other = untrained.save(tmp_path / "other")
    config = config_of(f"{folder},{other}", data, tmp_path / "out", prompts=2)
    numbers = generate.main(config)
    rows = rows_of(config)
    assert [row["model"] for row in rows] == [str(folder)] * 4 + [str(other)] * 4
    # the same weights and noise: the same answers
    assert [r["answer"] for r in rows[:4]] == [r["answer"] for r in rows[4:]]
    assert set(numbers["by_model"]) == {str(folder), str(other)}


def test_a_system_prompt_is_part_of_the_prompt(folder, data, tmp_path):
    config = config_of(
        folder, data, tmp_path / "out", system_prompt="Be brief.", prompts=1, samples=1
    )
    generate.main(config)
    (row,) = rows_of(config)
    assert row["prompt"][0] == {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"model": "nowhere"}, "--model nowhere: no such folder"),
        ({"model": "a,a"}, "--model a,a: expected folders of different names"),
        ({"data": "empty.jsonl"}, "empty.jsonl holds no usable Prompt rows"),
        ({"max_new_tokens": 95}, "can answer none of 4 prompts"),
        ({"model": "reward"}, "LlamaForSequenceClassification is a reward model"),
    ],
)
def test_refusals_are_one_sentence_and_leave_no_folder(
    folder, data, tmp_path, monkeypatch, flags, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").touch()
    if flags.get("model") == "reward":
        untrained.save_reward(tmp_path / "reward")
    config = dataclasses.replace(config_of(folder, data, tmp_path / "out"), **flags)
    with pytest.raises((ValueError, OSError), match=message):
        generate.main(config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags", [{"top_p": 0.0}, {"top_k": 0}, {"temperature": -1.0}])
def test_sampling_flags_have_ranges(folder, data, tmp_path, flags):
    with pytest.raises(ValueError, match=f"--{next(iter(flags)).replace('_', '-')} "):
        config_of(folder, data, tmp_path, **flags)
