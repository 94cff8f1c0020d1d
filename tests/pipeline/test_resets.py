"""Answers with resets: masks, gradients, log-probs, counts and forced beginnings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import streams
from jaxalign.data import collate, dataset_ops
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.examples import Example, TokenRow
from jaxalign.data.records import Preference, Prompt
from jaxalign.data.special_tokens import RESET, reset_id
from jaxalign.data.tokenize import tokenize
from jaxalign.data.tokenizer import TokenizationOptions
from jaxalign.pipeline import added_tokens, policies, resets, rollouts
from jaxalign.pipeline.behaviors import backtracking
from jaxalign.pipeline.evaluation.chat_session import (
    ChatSession,
    ChatSettings,
    Retraction,
    visible_text,
)
from jaxalign.pipeline.prefilled_answers import PrefilledPrompts, sample_prefilled
from jaxalign.pipeline.prompts import TokenizedPrompts, tokenize_prompts
from jaxalign.sampling import SamplingParams
from jaxalign.training import objectives
from tests.support.spelling_model import spelling_policy
from tests.support.table_model import table_model

V = 12
RESET_AT = 9
# prompt 0 1, unsafe prefix 2 3, [RESET], safe answer 4 5, end 6: no token twice
SEQUENCE = [0, 1, 2, 3, RESET_AT, 4, 5, 6]


def example(tokens, first=2):
    mask = np.arange(len(tokens)) >= first
    return Example((TokenRow(np.array(tokens, np.int32), mask),), row=0)


def sft_loss(table, examples):
    model = table_model(V, 32)
    length = max(len(e.sequences[0].tokens) for e in examples)
    batch = collate.pad_sequences([e.sequences[0] for e in examples], length)
    loss, (weight, _) = objectives.sft(model)({"table": table}, batch)
    return loss, weight


@pytest.fixture(scope="module")
def table():
    return jnp.asarray(np.random.default_rng(0).normal(size=(V, V)), jnp.float32)


def test_the_unsafe_prefix_has_a_gradient_of_exactly_zero(table):
    """Hidden states are one-hot vectors of the token before: row t of the gradient is
    that of predicting what follows t."""
    (masked,) = dataset_ops.mask_before_token([example(SEQUENCE)], RESET_AT)
    gradient = jax.grad(lambda t: sft_loss(t, [masked])[0])(table)
    rows = np.abs(np.asarray(gradient)).sum(axis=1)
    assert np.flatnonzero(rows).tolist() == [3, 4, 5, RESET_AT]
    whole = jax.grad(lambda t: sft_loss(t, [example(SEQUENCE)])[0])(table)
    assert set(np.flatnonzero(np.abs(np.asarray(whole)).sum(axis=1))) > {1, 2, 3}


def test_masked_equals_removed(table):
    """The table sees the last token alone: without 2 the scored tokens are the same."""
    (masked,) = dataset_ops.mask_before_token([example(SEQUENCE)], RESET_AT)
    removed = example([0, 1, 3, RESET_AT, 4, 5, 6], first=3)
    loss, weight = sft_loss(table, [masked])
    np.testing.assert_allclose(loss, sft_loss(table, [removed])[0], rtol=1e-6)
    assert weight == 4  # [RESET], 4, 5 and the end


def test_rows_without_the_token_stay_and_the_last_one_counts(table):
    plain = example([0, 1, 4, 5, 6])
    twice = example([0, RESET_AT, 2, RESET_AT, 3, RESET_AT, 4])
    rows = dataset_ops.mask_before_token([plain, twice], RESET_AT)
    np.testing.assert_array_equal(rows[0].sequences[0].mask, plain.sequences[0].mask)
    assert rows[1].sequences[0].mask.tolist() == [False] * 5 + [True] * 2
    assert dataset_ops.mask_before_token([], RESET_AT) == []


@pytest.fixture(scope="module")
def policy():
    """A small policy with [RESET]; its tokenizer admits the token in texts."""
    tokenizer = tokenizers.train(["how no ok"], vocab_size=262)
    shape = dataclasses.replace(
        policies.toy_config(len(tokenizer), 64, "float32"), width=32, layers=1
    )
    model = policies.transformer.language_model(shape)
    params = model.init(jax.random.key(0))
    plain = policies.Policy(model, params, tokenizer, 64)
    return added_tokens.add_special_token(plain, RESET, jax.random.key(1))


def test_pairs_as_tokens_have_the_whole_strings_in_their_loss(policy):
    row = Preference([{"role": "user", "content": "how?"}], "no", "ok")
    pairs = backtracking.backtracking(policy.tokenizer).data([row], seed=0).pairs
    tokenizer = tokenizers.copy_with_options(
        policy.tokenizer, TokenizationOptions(None, keep_special=True)
    )
    examples, report = tokenize(pairs, tokenizer, context=64)
    assert report.usable == 3
    reset, end = reset_id(tokenizer), tokenizer.eos_token_id
    ids = lambda text: tokenizer(text, add_special_tokens=False).input_ids
    chosen, rejected = examples[0].sequences
    prompt = chosen.prompt_length
    assert chosen.tokens[prompt:].tolist() == [*ids("o"), reset, *ids("no"), end]
    assert rejected.tokens[prompt:].tolist() == [*ids("ok"), end]
    assert chosen.mask[prompt:].all() and rejected.mask[prompt:].all()


def sampled(policy, **settings):
    prompts = [Prompt([{"role": "user", "content": t}]) for t in ("how?", "no", "ok?")]
    params = SamplingParams(max_new_tokens=8, samples=4, **settings)
    key = streams.key(jax.random.key(0), "test")
    tokens = tokenize_prompts(policy, prompts)
    return rollouts.sample_with_params(policy, tokens, key, params)


def test_sampled_log_probs_are_the_trained_ones_with_a_reset_inside(policy):
    """A bias decides what is sampled; the log-probs are the policy's own."""
    prompts = tokenize_prompts(policy, [Prompt([{"role": "user", "content": "how?"}])])
    lengths = np.array([len(prompts.rows[0])], np.int32)
    params = SamplingParams(
        max_new_tokens=8, samples=16, **resets.reset_options(policy, bias=4.0)
    )
    sequences, _, logp = rollouts.sample(
        *(policy, policy.params, prompts.rows[0][None], lengths, jax.random.key(0)),
        params,
    )
    mask = np.asarray(sequences.loss_mask)
    is_reset = (np.asarray(sequences.tokens) == reset_id(policy.tokenizer)) & mask
    assert is_reset.any() and is_reset.sum(axis=1).max() == 1
    trained = rollouts.token_logps(
        policy.model, policy.params, sequences, temperature=1.0
    )
    # float32 logits of two programs
    np.testing.assert_allclose(np.where(mask, trained, 0), np.asarray(logp), atol=2e-5)


def test_a_bias_of_minus_infinity_never_resets(policy):
    forced = sampled(policy, **resets.reset_options(policy, bias=30.0))
    counts = resets.count_resets(policy, forced)
    assert counts.resets.tolist() == [1] * 12  # the first token, and never again
    assert counts.discarded.tolist() == [1] * 12
    assert np.all(forced.lengths >= 2)  # lengths count discarded tokens
    never = sampled(policy, **resets.reset_options(policy, bias=-np.inf))
    counts = resets.count_resets(policy, never)
    assert not counts.resets.any() and not counts.discarded.any()


def test_a_forced_beginning_is_visible_unless_it_is_taken_back(policy):
    prompt = Prompt([{"role": "user", "content": "how?"}])
    prompts = tokenize_prompts(policy, [prompt])
    ids = lambda text: np.array(policy.tokenizer(text).input_ids, np.int32)
    force = lambda prefix, bias: sample_prefilled(
        policy,
        PrefilledPrompts(
            TokenizedPrompts([prompt], [np.concatenate([prompts.rows[0], prefix])]),
            [prefix],
        ),
        jax.random.key(0),
        SamplingParams(max_new_tokens=8, **resets.reset_options(policy, bias=bias)),
    )
    kept = force(ids("ok no"), -np.inf)
    assert kept.texts[0].startswith("ok no") and kept.lengths[0] <= 8
    taken_back = force(ids("ok no"), 30.0)
    raw = resets.answer_tokens(taken_back)[0]
    assert raw[0] == reset_id(policy.tokenizer)
    after = policy.tokenizer.decode(raw[1:], skip_special_tokens=True).strip()
    assert taken_back.texts == [after]
    empty = force(ids(""), -np.inf)
    plain = rollouts.sample_with_params(
        *(policy, TokenizedPrompts([prompt], prompts.rows), jax.random.key(0)),
        SamplingParams(max_new_tokens=8, **resets.reset_options(policy, bias=-np.inf)),
    )
    assert empty.texts == plain.texts


def test_a_chat_takes_back_what_it_showed():
    policy = spelling_policy(f"fi{RESET}no", added=RESET)
    session = ChatSession(policy, ChatSettings(temperature=0.0, max_new_tokens=24))
    pieces = list(session.send("Hi"))
    assert pieces == ["f", "i", Retraction("fi"), "n", "o"]
    assert visible_text(pieces) == "no"
    assert session.messages[-1] == {"role": "assistant", "content": "no"}
    # f, i, [RESET]; n, o, and the end of the turn
    assert (session.turn.tokens, session.turn.discarded) == (6, 3)
    reset = reset_id(policy.tokenizer)
    settings = ChatSettings(
        temperature=0.0, max_new_tokens=4, logit_bias={reset: -np.inf}
    )
    never = list(ChatSession(policy, settings).send("Hi"))
    assert not any(isinstance(piece, Retraction) for piece in never)
