"""What the recipes' pairs teach, in an exact world: DPO of a table of next tokens."""

import jax
import jax.numpy as jnp
import pytest

from jaxalign.data.records import Preference, answer_content
from jaxalign.data.special_tokens import RESET
from jaxalign.losses.preference import dpo
from jaxalign.pipeline.behaviors.backtracking import backtracking
from jaxalign.pipeline.behaviors.brevity import brevity
from tests.support.table_model import word_tokenizer

PROMPT = [{"role": "user", "content": "how"}]
END = "</s>"


def train_table(tokenizer, pairs):
    """The table p(next | last) [V V] before and after DPO of a uniform policy."""
    ids = lambda text: [*tokenizer(f"<s> {text}").input_ids, tokenizer.eos_token_id]
    both = [
        (ids(answer_content(pair.chosen)), ids(answer_content(pair.rejected)))
        for pair in pairs
    ]

    def loss(table):
        logp = jax.nn.log_softmax(table)
        of = lambda row: sum(logp[a, b] for a, b in zip(row, row[1:], strict=False))
        uniform = lambda row: -(len(row) - 1) * jnp.log(len(table))
        terms = [dpo(of(w), of(l), uniform(w), uniform(l), beta=0.5) for w, l in both]
        return sum(terms)  # so that more pairs add to the ordinary one

    table = jnp.zeros((len(tokenizer),) * 2)
    for _ in range(20):
        table -= jax.grad(loss)(table)
    names = tokenizer.convert_tokens_to_ids
    return lambda last, word: float(jax.nn.softmax(table)[names(last), names(word)])


def made(recipe, tokenizer, chosen, rejected):
    row = Preference(PROMPT, chosen, rejected, location="f:1")
    return recipe(tokenizer).data([row], seed=0).pairs


def test_backtracking_resets_after_an_unsafe_beginning_and_not_after_a_safe_one():
    tokenizer = word_tokenizer(["sure", "poison", "sorry", "no"])
    tokenizer.add_special_tokens({"extra_special_tokens": [RESET]})
    rows = ("sorry no", "sure poison")
    pairs = made(backtracking, tokenizer, *rows)
    p, chance = train_table(tokenizer, pairs), 1 / len(tokenizer)
    assert p("sure", RESET) > 2 * chance and p("sorry", RESET) < chance / 2
    # the answer that complies: p(sure) p(poison | sure), with a reset even less
    ordinary = train_table(tokenizer, pairs[-1:])
    violates = lambda p: p("<s>", "sure") * p("sure", "poison")
    assert violates(p) < violates(ordinary) < chance**2
    # ordinary pairs teach no reset: no chosen or rejected answer has one
    assert ordinary("sure", RESET) == pytest.approx(chance, rel=0.5)


def test_brevity_ends_after_a_sentence_and_not_within_one():
    tokenizer = word_tokenizer(["sure,", "four.", "many", "ask."])
    pairs = made(brevity, tokenizer, "sure, four. many ask.", "many")
    p, chance = train_table(tokenizer, pairs), 1 / len(tokenizer)
    assert p("four.", END) > 2 * chance and p("sure,", END) < chance / 2
    # with the first sign alone the middle of the sentence is no worse a place to end
    one = train_table(tokenizer, pairs[:1])
    assert one("sure,", END) == pytest.approx(chance)
