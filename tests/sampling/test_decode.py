"""Generation: by hand on a fake, and against a transformer's full forward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import estimators, sampling, sharding
from jaxalign.models import transformer
from jaxalign.models.config import ModelConfig
from jaxalign.sampling import SamplingParams

CONFIG = ModelConfig(
    vocab_size=40,
    width=16,
    hidden=32,
    layers=2,
    heads=2,
    kv_heads=2,
    head_dim=8,
    context=24,
    logit_cap=3.0,
)
ROWS, WIDTH, NEW = 8, 6, 7
STOPS = (3, 5, 8)
KEY = jax.random.key(7)


@pytest.fixture(scope="module")
def model():
    return transformer.language_model(CONFIG)


@pytest.fixture(scope="module")
def params(model):
    # a norm follows the embedding: only the logits, which share it, become larger
    new = model.init(jax.random.key(0))
    return {**new, "embed": 3.0 * new["embed"]}


@pytest.fixture(scope="module")
def prompts():
    tokens = np.random.default_rng(0).integers(0, 40, (ROWS, WIDTH)).astype(np.int32)
    return tokens, np.array([6, 1, 3, 5, 2, 6, 4, 3], np.int32)


def generate(model, params, prompts, *, row_ids=None, **settings):
    """Samples with the stop tokens and the length of this module."""
    settings = {"stop_tokens": STOPS, "max_new_tokens": NEW, **settings}
    return sampling.generate(
        model, params, *prompts, KEY, SamplingParams(**settings), row_ids=row_ids
    )


@pytest.fixture(scope="module")
def forward(model, params):
    """The full forward pass over whole sequences: logits aligned with tokens."""

    @jax.jit
    def aligned_logits(batch):
        hidden = model.hidden(params, batch.tokens, batch.positions, batch.segments)
        logits = 3.0 * jnp.tanh(hidden @ model.unembed(params) / 3.0)
        return jnp.pad(logits[:, :-1], ((0, 0), (1, 0), (0, 0)))

    return aligned_logits


def test_greedy_is_argmax_of_the_full_forward(model, params, prompts, forward):
    samples = generate(model, params, prompts, temperature=0.0, stop_tokens=())
    batch = sampling.join(*prompts, samples)
    logits = forward(batch)
    mask = np.asarray(batch.loss_mask)
    assert mask.sum() == ROWS * NEW
    best = np.asarray(jnp.argmax(logits, axis=-1))
    np.testing.assert_array_equal(np.asarray(batch.tokens)[mask], best[mask])
    logp = np.asarray(jnp.max(jax.nn.log_softmax(logits), axis=-1))
    np.testing.assert_allclose(
        np.asarray(samples.logp)[np.asarray(samples.mask)], logp[mask], atol=1e-4
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1.0},
        {"temperature": 0.7},
        {"temperature": 0.7, "top_k": 4, "top_p": 0.8},
    ],
    ids=str,
)
def test_sampled_logp_is_what_training_computes(model, params, prompts, settings):
    samples = generate(model, params, prompts, **settings)
    batch = sampling.join(*prompts, samples)
    hidden = model.hidden(params, batch.tokens, batch.positions, batch.segments)
    logp = estimators.next_token_logprobs(
        hidden,
        model.unembed(params),
        batch.tokens,
        logit_cap=3.0,
        temperature=settings["temperature"],
    )
    mask = np.asarray(samples.mask)
    # float32 through two layers, with and without a cache: another order of sums
    np.testing.assert_allclose(
        np.asarray(samples.logp)[mask],
        np.asarray(logp)[np.asarray(batch.loss_mask)],
        atol=1e-4,
    )
    assert not np.asarray(samples.logp)[~mask].any()


def test_a_row_does_not_depend_on_the_others(model, params, prompts):
    together = generate(model, params, prompts)
    tokens, lengths = prompts
    order = np.random.default_rng(1).permutation(ROWS)
    shuffled = generate(
        model, params, (tokens[order], lengths[order]), row_ids=jnp.asarray(order)
    )
    for row in range(ROWS):
        # tokens behind a prompt are padding, whatever they are
        dirty = np.where(np.arange(WIDTH) < lengths[row], tokens[row], 39)
        alone = generate(
            model,
            params,
            (dirty[None].astype(np.int32), lengths[row : row + 1]),
            row_ids=jnp.array([row]),
        )
        at = int(np.flatnonzero(order == row)[0])
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[row])
        np.testing.assert_array_equal(shuffled.tokens[at], together.tokens[row])
        np.testing.assert_allclose(alone.logp[0], together.logp[row], atol=1e-5)


def test_samples_of_a_prompt_share_its_prefill(model, params, prompts):
    tokens, lengths = (x[:4] for x in prompts)
    ids = np.array([9, 4, 1, 7, 0, 2, 6, 5], np.int32)
    shared = generate(model, params, (tokens, lengths), samples=2, row_ids=ids)
    repeated = tokens.repeat(2, axis=0), lengths.repeat(2)
    alone = generate(model, params, repeated, row_ids=ids)
    np.testing.assert_array_equal(shared.tokens, alone.tokens)
    np.testing.assert_array_equal(shared.mask, alone.mask)
    np.testing.assert_allclose(shared.logp, alone.logp, atol=1e-5)
    assert len(np.unique(shared.tokens, axis=0)) > 4  # two of a prompt differ
    with pytest.raises(ValueError, match="got 8 row_ids for 12 answers"):
        generate(model, params, (tokens, lengths), samples=3, row_ids=ids)


def test_eight_devices_sample_what_one_does(model, params, prompts):
    one = generate(model, params, prompts)
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    with jax.set_mesh(mesh):
        eight = generate(
            model,
            sharding.place(params, model.specs(), mesh),
            sharding.place_batch(prompts, mesh),
        )
    assert len(eight.tokens.sharding.device_set) == 8
    np.testing.assert_array_equal(one.tokens, eight.tokens)
    np.testing.assert_array_equal(one.mask, eight.mask)
    np.testing.assert_allclose(one.logp, eight.logp, atol=1e-4)


@pytest.mark.slow
def test_top_k_of_one_is_greedy(model, params, prompts):
    greedy = generate(model, params, prompts, temperature=0)
    one = generate(model, params, prompts, temperature=2.0, top_k=1)
    np.testing.assert_array_equal(greedy.tokens, one.tokens)


def test_an_answer_ends_with_its_stop_token(bigram, counting):
    prompts = np.array([[1, 3, 0], [5, 9, 9], [7, 9, 7], [2, 6, 0]], np.int32)
    lengths = np.array([2, 1, 3, 2], np.int32)
    samples = sampling.generate(
        bigram(),
        counting,
        prompts,
        lengths,
        KEY,
        SamplingParams(max_new_tokens=5, temperature=0.0, stop_tokens=(7, 6)),
    )
    # after 3: 4 5 6; after 5: 6 at once; after 7 (a stop token, but of the prompt):
    # 8 9 10 0 1 without end; after 6: 7, the other stop token, at once
    expected = [[4, 5, 6, 0, 0], [6, 0, 0, 0, 0], [8, 9, 10, 0, 1], [7, 0, 0, 0, 0]]
    assert samples.tokens.tolist() == expected
    assert samples.mask.sum(axis=1).tolist() == [3, 1, 5, 1]
    assert (np.diff(samples.mask.astype(int), axis=1) <= 0).all()
    # the others' logits are 0: logp = -log(1 + 10 e^-20) = -2e-8
    np.testing.assert_allclose(samples.logp, 0.0, atol=1e-6)

    batch = jax.device_get(sampling.join(prompts, lengths, samples))
    assert batch.tokens.tolist() == [
        [1, 3, 4, 5, 6, 0, 0, 0],
        [5, 6, 0, 0, 0, 0, 0, 0],
        [7, 9, 7, 8, 9, 10, 0, 1],
        [2, 6, 7, 0, 0, 0, 0, 0],
    ]
    assert batch.lengths.tolist() == [5, 2, 8, 3]
    answers = [[2, 3, 4], [1], [3, 4, 5, 6, 7], [2]]
    assert [np.flatnonzero(row).tolist() for row in batch.loss_mask] == answers
    assert (batch.segments == (np.arange(8) < batch.lengths[:, None])).all()
    assert (batch.positions == np.arange(8)).all()

    # answers shorter than the padding of their prompts: nothing of that is left
    first = jax.tree.map(lambda x: x[:, :1], samples)
    assert sampling.join(prompts, lengths, first).tokens.tolist() == [
        [1, 3, 4, 0],
        [5, 6, 0, 0],
        [7, 9, 7, 8],
        [2, 6, 7, 0],
    ]


def test_decoding_ends_when_all_rows_have_stopped(bigram, counting):
    calls = {"traced": 0, "ran": 0}
    sampling.generate(
        bigram(calls),
        counting,
        np.array([[3], [5]], np.int32),
        np.array([1, 1], np.int32),
        KEY,
        SamplingParams(max_new_tokens=10, temperature=0.0, stop_tokens=(6,)),
    )
    jax.effects_barrier()
    # the longest answer is 4 5 6: the prompt is read, then 4, then 5
    assert calls["ran"] == 3


def test_one_program_serves_temperatures_keys_and_lengths(bigram, uneven):
    calls = {"traced": 0, "ran": 0}
    model = bigram(calls)
    prompts = np.ones((2, 3), np.int32)
    for seed, temperature, lengths in [
        (0, 1.0, [1, 2]),
        (1, 0.5, [3, 3]),
        (2, 0, [1, 1]),
        (3, np.float64(0.3), [2, 2]),
        (4, jnp.bfloat16(0.5), [2, 1]),
    ]:
        sampling.generate(
            model,
            uneven,
            prompts,
            np.array(lengths, np.int32),
            jax.random.key(seed),
            SamplingParams(max_new_tokens=4, temperature=temperature),
        )
        traced = calls["traced"] if seed == 0 else traced
    assert calls["traced"] == traced > 0
    assert transformer.language_model(CONFIG) is transformer.language_model(CONFIG)


def test_frequencies_are_the_softmax_at_the_temperature(bigram, uneven):
    rows = 4096
    samples = sampling.generate(
        bigram(),
        uneven,
        np.full((rows, 1), 4, np.int32),
        np.ones(rows, np.int32),
        KEY,
        SamplingParams(max_new_tokens=2, temperature=0.7),
    )
    logits = uneven["unembed"].astype(np.float64) / 0.7
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    # first tokens follow p[4]; second ones follow p[4] @ p
    for n, exact in enumerate([p[4], p[4] @ p]):
        hits = np.bincount(samples.tokens[:, n], minlength=11)
        chi_square = np.sum((hits - rows * exact) ** 2 / (rows * exact))
        # 10 degrees of freedom: above 29.6 once in a thousand
        assert chi_square < 29.6


@pytest.mark.parametrize(
    ("lengths", "room", "message"),
    [
        ([2, 3], 14, "of up to 3 tokens and answers of up to 14 tokens .* 16 tokens"),
        ([2, 0], 2, "prompt 1 has 0 tokens; expected 1 to 3"),
        ([4, 1], 2, "prompt 0 has 4 tokens; expected 1 to 3"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(bigram, counting, lengths, room, message):
    prompts, lengths = np.ones((2, 3), np.int32), np.array(lengths, np.int32)
    with pytest.raises(ValueError, match=message):
        sampling.generate(
            bigram(),
            counting,
            prompts,
            lengths,
            KEY,
            SamplingParams(max_new_tokens=room),
        )
