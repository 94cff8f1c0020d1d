"""Answers in parts: their order, their noise, and prompts that are left out."""

import numpy as np
import pytest

from jaxalign.data.records import Prompt
from jaxalign.data.templates import Conversation
from jaxalign.pipeline.evaluation import answer_generation
from jaxalign.pipeline.evaluation.answer_generation import (
    split_into_parts,
    with_system_prompt,
)
from jaxalign.pipeline.evaluation.models import EvaluationConfig
from jaxalign.sampling import SamplingParams
from tests.support import untrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(untrained.save(tmp_path_factory.mktemp("policy")))


def prompts_of(*texts):
    return [
        Prompt([{"role": "user", "content": text}], f"p.jsonl:{i}")
        for i, text in enumerate(texts, 1)
    ]


def open_prompts(folder, texts, *, max_new_tokens=8, samples=1):
    params = SamplingParams(max_new_tokens=1, samples=samples)
    prompts = prompts_of(*texts)
    return answer_generation.open_prompts(
        EvaluationConfig(), folder, prompts, params, max_new_tokens
    )


def test_prompts_without_room_are_left_out_by_name(folder):
    # <|user|> text <|end|> <|assistant|>: 3 tokens more than bytes, of a context of 96
    model = open_prompts(folder, ["a" * 85, "b" * 86, "c"])
    assert [p.location for p in model.prompts.records] == ["p.jsonl:1", "p.jsonl:3"]
    (left_out,) = model.left_out
    assert left_out.location == "p.jsonl:2"
    assert left_out.reason == (
        "89 tokens leave no room for 8 new tokens in a context of 96"
    )


def test_the_default_length_is_half_of_a_short_context(folder):
    assert open_prompts(folder, ["a"], max_new_tokens=None).params.max_new_tokens == 48


def test_no_prompt_that_fits_is_an_error(folder):
    with pytest.raises(ValueError, match="can answer none of 1 prompts: p.jsonl:1: 4 "):
        open_prompts(folder, ["a"], max_new_tokens=93)


def test_the_noise_of_a_prompt_does_not_depend_on_its_part(folder):
    """A prompt that comes twice has other samples the second time, in any part."""
    model = open_prompts(folder, ["a", "b", "a"], samples=2)
    alone = model.part(range(2, 3))
    assert alone.prompts.records[0].location == "p.jsonl:3"
    np.testing.assert_array_equal(alone.row_ids, model.row_ids[2:])
    assert model.row_ids[0, :, 1].tolist() == [0, 1]
    assert model.row_ids[2, :, 1].tolist() == [2, 3]
    assert (model.row_ids[0, :, 0] == model.row_ids[2, :, 0]).all()


def test_parts_cover_each_model_in_order_and_have_nearly_one_size(folder):
    one = open_prompts(folder, ["a", "b", "c", "d", "e"], samples=2)
    two = open_prompts(folder, ["a", "b"], samples=2)
    parts = split_into_parts([one, two], answers=4)
    # 10 answers in parts of at most 4: three, of 2, 2 and 1 prompts
    assert [(p.model, list(p.items)) for p in parts] == [
        (0, [0, 1]), (0, [2, 3]), (0, [4]), (1, [0, 1]),
    ]  # fmt: skip
    # more samples than a part holds: a prompt a part
    assert len(split_into_parts([one], answers=1)) == 5


def test_a_system_prompt_replaces_that_of_the_row():
    row = Prompt([{"role": "system", "content": "A"}, {"role": "user", "content": "B"}])
    assert with_system_prompt(row, None) is row
    changed = with_system_prompt(row, "C")
    assert [m["content"] for m in Conversation(changed.messages).messages] == ["C", "B"]
