"""Generation that ends at strings: exact texts from a table, and settings."""

import jax
import numpy as np
import pytest

from jaxalign.pipeline import text_models
from jaxalign.pipeline.harness.until_generation import (
    UntilSettings,
    cut_text,
    generate_until,
    parse_settings,
    tokens_with_strings,
)
from tests.support import table_model, untrained

WORDS = ["one", "two", "three", "four", "Q:"]


def chain(order):
    """A table in which each token of a list is followed by the next, almost surely."""
    table = np.full((7, 7), 1e-6)
    for before, after in zip(order, order[1:], strict=False):
        table[before, after] = 1.0
    return np.log(table / table.sum(axis=1, keepdims=True))


# one two three four Q: one two ...
POLICY = table_model.table_policy(WORDS, chain([2, 3, 4, 5, 6, 2]), context=40)
GREEDY = UntilSettings((), 6, 0.0)


def answers(policy, contexts, settings, rows=2, key=0, ids=None):
    ids = np.stack([np.arange(len(contexts))] * 2, 1) if ids is None else ids
    texts = {}
    for part in generate_until(
        policy, contexts, ids, jax.random.key(key), settings, rows=rows
    ):
        assert not texts.keys() & part.keys(), "every context once"
        texts |= part
    return [texts[i] for i in range(len(contexts))]


def test_answers_stop_before_the_string_or_at_their_length():
    contexts = [[2], [2, 3], [2, 3, 4], [3]]
    assert answers(POLICY, contexts, GREEDY) == [
        "two three four Q: one two",
        "three four Q: one two three",
        "four Q: one two three four",
        "three four Q: one two three",
    ]
    until = GREEDY._replace(until=("Q:",))
    # rows=2: continuous batching of 4 prompts; rows=8: one batch
    for rows in (2, 8):
        assert answers(POLICY, contexts, until, rows) == [
            "two three four ",
            "three four ",
            "four ",
            "three four ",
        ]
    # over a token's border: cut in the text
    assert answers(POLICY, [[2]], GREEDY._replace(until=("ee fo",))) == ["two thr"]


def test_the_end_token_ends_an_answer():
    policy = table_model.table_policy(WORDS, chain([2, 3, 1, 4]))
    assert answers(policy, [[2]], GREEDY) == ["two"]


def test_tokens_that_hold_a_string_stop_the_sampler():
    assert tokens_with_strings(POLICY.tokenizer, ["Q", "ee"]) == (4, 6)
    assert tokens_with_strings(POLICY.tokenizer, []) == ()


def test_the_first_of_the_strings_cuts():
    assert cut_text("a b c b", ["c", "b"]) == "a "
    assert cut_text("a", ["c"]) == "a"


def test_greedy_answers_are_those_of_the_sampler(tmp_path):
    model = text_models.load(untrained.save(tmp_path))
    prompts = ["What is 2 + 2?", "Name a color.", "Why?"]
    expected = model.generate(prompts, max_new_tokens=8, temperature=0)
    encode = lambda p: text_models.chat.encode_prompt(
        model.policy.tokenizer, [{"role": "user", "content": p}]
    )
    contexts = [encode(prompt).tolist() for prompt in prompts]
    got = answers(model.policy, contexts, GREEDY._replace(max_new_tokens=8), rows=2)
    assert [text.strip() for text in got] == expected


def test_samples_depend_on_their_id_and_the_key_alone():
    uniform = table_model.table_policy(WORDS, np.full((7, 7), np.log(1 / 7)))
    settings = GREEDY._replace(temperature=1.0)
    contexts, ids = [[2], [3], [2]], np.array([[5, 0], [6, 0], [5, 1]], np.int32)
    first = answers(uniform, contexts, settings, ids=ids)
    assert first[0] != first[2], "repeats of a context differ"
    turned = answers(uniform, contexts[::-1], settings, rows=8, ids=ids[::-1])
    assert turned[::-1] == first
    assert answers(uniform, contexts, settings, ids=ids, key=1) != first


def test_settings_have_the_names_of_benchmarks():
    parse = lambda **values: parse_settings(values, 256)
    assert parse() == UntilSettings((), 256, 0.0)
    assert parse(until=["a", ""], max_new_tokens=4) == UntilSettings(("a",), 4, 0.0)
    assert parse(until="a", max_gen_toks=3, max_tokens=9).max_new_tokens == 3
    assert parse(temperature=0.7, do_sample=False).temperature == 0.0
    assert parse(temperature=0.7).temperature == 0.7
    assert parse(do_sample=True, top_p=0.9, num_beams=1) == UntilSettings(
        (), 256, 1.0, None, 0.9
    )
    with pytest.raises(ValueError, match="setting 'num_beams' is 4, which this"):
        parse(num_beams=4)


def test_an_answer_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="30 tokens and an answer of 12 do not fit"):
        answers(POLICY, [[2] * 30], GREEDY._replace(max_new_tokens=12))
