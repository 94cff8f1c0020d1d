"""A teacher needs the student's tokenizer; the first difference is named."""

import copy
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.data import tokenizer as tokenizers
from jaxalign.models import transformer
from jaxalign.pipeline import model_folders, teachers
from tests.support import untrained

replace = dataclasses.replace


@pytest.fixture(scope="module")
def student():
    return untrained.policy()


@pytest.fixture(scope="module")
def folder(student, tmp_path_factory):
    """A teacher of another width and depth."""
    shape = replace(student.config, width=48, layers=2)
    model = transformer.language_model(shape)
    policy = replace(student, model=model, params=model.init(jax.random.key(1), None))
    return model_folders.save(tmp_path_factory.mktemp("teacher") / "policy", policy)


def changed(student, change):
    """The student's tokenizer after a change of its tokenizer.json."""
    other = copy.deepcopy(student.tokenizer)
    content = json.loads(other.backend_tokenizer.to_str())
    change(content)
    other._tokenizer = type(other.backend_tokenizer).from_str(json.dumps(content))
    return other


def test_the_same_tokenizer_has_no_difference(student, folder):
    # read back from its files
    assert teachers.first_difference(tokenizers.load(folder), student.tokenizer) == ""


def test_two_ids_that_are_swapped_are_named(student):
    def swap(content):
        vocab = content["model"]["vocab"]
        vocab["a"], vocab["b"] = vocab["b"], vocab["a"]

    a, b = student.tokenizer.convert_tokens_to_ids(["a", "b"])
    found = teachers.first_difference(changed(student, swap), student.tokenizer)
    assert found == f"token 'a' is {b} in the teacher and {a} in the student"


def test_a_token_more_on_either_side_is_named(student):
    more = copy.deepcopy(student.tokenizer)
    more.add_tokens(["<extra>"])
    count = len(student.tokenizer)
    found = teachers.first_difference(more, student.tokenizer)
    assert found == f"token '<extra>' is {count} in the teacher and none in the student"
    found = teachers.first_difference(student.tokenizer, more)
    assert found == f"token '<extra>' is none in the teacher and {count} in the student"


def test_special_tokens_are_compared_by_what_they_do(student):
    same = student.tokenizer
    padded = copy.deepcopy(same)
    padded.pad_token = "<|user|>"  # which nothing reads
    assert teachers.first_difference(padded, same) == ""
    begun = [copy.deepcopy(same) for _ in range(2)]
    begun[0].bos_token, begun[1].bos_token = "<|user|>", "<|system|>"
    found = teachers.first_difference(*begun)
    assert found == "its bos_token is '<|user|>', and the student's '<|system|>'"
    # eos differs, but the template ends the turns of both with <|end|>
    ended = copy.deepcopy(same)
    ended.eos_token = "<|pad|>"
    assert teachers.first_difference(ended, same) == ""
    ended.chat_template = ended.chat_template.replace("<|end|>", "<|pad|>")
    found = teachers.first_difference(ended, same)
    assert found == "its answers end with '<|pad|>', and the student's with '<|end|>'"


def test_another_split_of_one_vocabulary_is_refused(student):
    def lowercase(content):
        content["normalizer"] = {"type": "Lowercase"}

    found = teachers.first_difference(changed(student, lowercase), student.tokenizer)
    assert found.startswith("it splits ") and found.endswith(" into other tokens")


def test_a_teacher_is_refused_before_its_weights_are_read(student, folder, tmp_path):
    other = copy.deepcopy(student.tokenizer)
    other.add_tokens(["<extra>"])
    open_teacher = lambda name: teachers.open_teacher(name, other, dtype="float32")
    with pytest.raises(ValueError, match="another tokenizer than the student: token"):
        open_teacher(str(folder))
    with pytest.raises(FileNotFoundError, match="--teacher .*: no such folder"):
        open_teacher(str(tmp_path / "missing"))


@pytest.mark.parametrize("param_dtype", ["float32", "bfloat16"])
def test_a_teacher_of_another_size_is_loaded(student, folder, param_dtype):
    opened = teachers.open_teacher(
        str(folder), student.tokenizer, dtype=param_dtype, param_dtype=param_dtype
    )
    assert opened.describe(student.tokenizer) == "llama, 2 layers of width 48"
    teacher = teachers.load(opened, student, mesh=None, longest=96)
    assert teacher.tokenizer is student.tokenizer
    assert {x.dtype for x in jax.tree.leaves(teacher.params)} == {
        jnp.dtype(param_dtype)
    }
    expected = np.asarray(initial_embed(folder, student), np.float32)
    # bfloat16 has 8 bits
    np.testing.assert_allclose(
        teacher.params["embed"].astype(jnp.float32), expected, rtol=2**-8
    )
    with pytest.raises(ValueError, match="up to 97 tokens do not fit into the teach"):
        teachers.load(opened, student, mesh=None, longest=97)


def initial_embed(folder, student):
    shape = replace(student.config, width=48, layers=2)
    return transformer.language_model(shape).init(jax.random.key(1), None)["embed"]
