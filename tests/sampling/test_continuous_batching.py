"""Continuous batching: the answers of `generate`, in as few steps as slots allow."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import estimators, sampling, sharding
from jaxalign.models import transformer
from jaxalign.models.config import ModelConfig
from jaxalign.models.families import registry
from jaxalign.models.rope import RopeScaling
from jaxalign.sampling import SamplingParams, prefill, slots
from tests.support import quick
from tests.support.families import FAMILIES

CONFIG = ModelConfig(
    vocab_size=40,
    width=16,
    hidden=32,
    layers=1,
    heads=2,
    kv_heads=2,
    head_dim=8,
    context=24,
    logit_cap=3.0,
)
PROMPTS, WIDTH, NEW, SAMPLES = 8, 6, 7, 3
STOPS = (3, 5, 8)
KEY = jax.random.key(7)


@pytest.fixture(autouse=True, scope="module")
def small_chunks():
    """Prompts of 1 to 6 tokens are read in one chunk or two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefill, "CHUNK", 4)
        yield


@pytest.fixture(scope="module")
def model():
    return transformer.language_model(CONFIG)


@pytest.fixture(scope="module")
def params(model):
    new = model.init(jax.random.key(0))
    return {**new, "embed": 3.0 * new["embed"]}


@pytest.fixture(scope="module")
def prompts():
    tokens = np.random.default_rng(0).integers(0, 40, (PROMPTS, WIDTH))
    return tokens.astype(np.int32), np.array([6, 1, 3, 5, 2, 6, 4, 3], np.int32)


def settings_of(**fields):
    return SamplingParams(**{"stop_tokens": STOPS, "max_new_tokens": NEW, **fields})


def serve(model, params, prompts, *, rows, row_ids=None, **fields):
    settings = settings_of(**fields)
    return sampling.serve(
        model, params, *prompts, KEY, settings, rows=rows, row_ids=row_ids
    )


def generate(model, params, prompts, samples=1, **fields):
    tokens, lengths = (x.repeat(samples, axis=0) for x in prompts)
    return sampling.generate(model, params, tokens, lengths, KEY, settings_of(**fields))


@pytest.fixture(scope="module")
def expected(model, params, prompts):
    """Three answers to each prompt, as `generate` samples them."""
    return generate(model, params, prompts, samples=SAMPLES)


def assert_same(actual, expected):
    """The same tokens; log-probs in another order of float32 sums."""
    np.testing.assert_array_equal(actual.tokens, expected.tokens)
    np.testing.assert_array_equal(actual.mask, expected.mask)
    np.testing.assert_allclose(actual.logp, expected.logp, atol=2e-5)


SLOW = [pytest.param(rows, marks=pytest.mark.slow) for rows in (1, 99)]


@pytest.mark.parametrize("rows", [5, *SLOW])
def test_answers_equal_those_of_generate(model, params, prompts, expected, rows):
    """24 answers in one slot, in a few, and all at once."""
    actual = serve(model, params, prompts, rows=rows, samples=SAMPLES)
    assert_same(actual, expected)
    assert len(set(np.asarray(actual.mask).sum(axis=1).tolist())) > 3
    if rows == 5:  # the same programs
        greedy = {"samples": SAMPLES, "temperature": 0.0}
        actual = serve(model, params, prompts, rows=rows, **greedy)
        assert_same(actual, generate(model, params, prompts, **greedy))


def test_an_answer_depends_on_its_id_alone(model, params, prompts, expected):
    order = np.random.default_rng(1).permutation(PROMPTS)
    ids = (order[:, None] * SAMPLES + np.array([2, 0, 1])).reshape(-1)
    # tokens behind a prompt are padding, whatever they are
    tokens = np.where(np.arange(WIDTH) < prompts[1][:, None], prompts[0], 39)
    shuffled = tokens[order].astype(np.int32), prompts[1][order]
    actual = serve(model, params, shuffled, rows=5, samples=SAMPLES, row_ids=ids)
    assert_same(actual, jax.tree.map(lambda x: x[ids], expected))


def test_sampled_logp_is_what_training_computes(model, params, prompts):
    fields = {"temperature": 0.7, "top_k": 9, "top_p": 0.9}
    samples = serve(model, params, prompts, rows=3, **fields)
    assert_same(samples, generate(model, params, prompts, **fields))
    batch = sampling.join(*prompts, samples)
    read = jax.jit(model.hidden)
    hidden = read(params, batch.tokens, batch.positions, batch.segments)
    logp = estimators.next_token_logprobs(
        hidden, model.unembed(params), batch.tokens, logit_cap=3.0, temperature=0.7
    )
    mask = np.asarray(samples.mask)
    np.testing.assert_allclose(
        np.asarray(samples.logp)[mask],
        np.asarray(logp)[np.asarray(batch.loss_mask)],
        atol=1e-4,
    )
    assert not np.asarray(samples.logp)[~mask].any()


MESHES = [{"data": 2, "fsdp": 2, "tensor": 2}, {"data": 8}]


@pytest.mark.parametrize("shape", quick.only(MESHES[:1], MESHES), ids=str)
def test_eight_devices_serve_what_one_does(model, params, prompts, expected, shape):
    mesh = sharding.make_mesh(shape)
    with jax.set_mesh(mesh):
        spread = sharding.place(params, model.specs(), mesh)
        placed = sharding.place_batch(prompts, mesh)
        # 12 slots: 3 of each of 4 devices, or 2 of each of 8
        actual = serve(model, spread, placed, rows=12, samples=SAMPLES)
        assert len(actual.tokens.sharding.device_set) == 8
        assert not actual.tokens.sharding.is_fully_replicated
        assert_same(actual, expected)


@pytest.mark.slow
def test_prompts_that_do_not_divide_are_one_shard(model, params, prompts, expected):
    few = tuple(x[:7] for x in prompts)
    with jax.set_mesh(sharding.make_mesh({"data": 8})):
        assert slots.row_shards(8) == 8 and slots.row_shards(7) == 1
        actual = serve(model, params, few, rows=4, samples=SAMPLES)
    assert_same(actual, jax.tree.map(lambda x: x[: 7 * SAMPLES], expected))


@pytest.fixture
def recorded(bigram):
    """The fake, and the tokens per row of each of its calls."""
    calls = []

    def extend(params, tokens, cache):
        jax.debug.callback(lambda: calls.append(tokens.shape[1]))
        return plain.extend(params, tokens, cache)

    plain = bigram(context=64)
    return plain._replace(extend=extend), calls


def count_calls(recorded, counting, sizes, rows):
    """Decode steps, and prefills, of the fake for answers of these sizes."""
    model, calls = recorded
    # 10 ends an answer, and v + 1 follows v
    prompts = np.stack([np.zeros_like(sizes), 10 - sizes], axis=1).astype(np.int32)
    actual = sampling.serve(
        model,
        counting,
        prompts,
        np.full(len(sizes), 2, np.int32),
        KEY,
        SamplingParams(max_new_tokens=10, temperature=0.0, stop_tokens=(10,)),
        rows=rows,
    )
    jax.effects_barrier()
    np.testing.assert_array_equal(np.asarray(actual.mask).sum(axis=1), sizes)
    return calls.count(1), calls.count(2)


def test_steps_by_hand(recorded, counting):
    # reading a prompt gives the first token, so an answer takes a step less: one slot
    # has 7 for 6 steps; the other 2, 3, 2 and 4 for 1 + 2 + 1 + 3 = 7, where batches
    # of two would take 6 + 2 + 3
    sizes = np.array([7, 2, 3, 2, 4])
    assert count_calls(recorded, counting, sizes, rows=2) == (7, 5)


def test_steps_are_few_where_lengths_are_skewed(recorded, counting):
    sizes = np.minimum(np.random.default_rng(0).geometric(0.4, 160), 9)
    sizes[::16] = 10
    steps, reads = count_calls(recorded, counting, sizes, rows=8)
    assert reads == 160 / 2  # two of eight slots at once
    least = (sizes - 1).sum() / 8
    # idle until the second is free: an eighth of the slots at most, and at the end
    assert least <= steps < least * 8 / 7 + 10
    in_batches = np.max(sizes.reshape(-1, 8), axis=1) - 1
    assert steps < 0.6 * in_batches.sum()


@pytest.mark.slow
def test_windows_and_long_contexts_are_served(prompts, params):
    """With longrope keys are turned by the width of the cache: as wide as before."""
    stretched = RopeScaling(
        "longrope", original_context=8, short=(1.0,) * 4, long=(2.0,) * 4
    )
    changes = {"window": 3, "rope_scaling": stretched}
    model = transformer.language_model(dataclasses.replace(CONFIG, **changes))
    assert_same(serve(model, params, prompts, rows=3), generate(model, params, prompts))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_served(name, prompts):
    kind = {"architectures": [registry.FAMILIES[name].language], "model_type": name}
    model = transformer.language_model(
        registry.read_config(FAMILIES[name] | kind, name)
    )
    params = model.init(jax.random.key(0))
    fields = {"max_new_tokens": 12, "stop_tokens": tuple(range(8))}
    actual = serve(model, params, prompts, rows=3, **fields)
    assert_same(actual, generate(model, params, prompts, **fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, "rows is 0; it must be at least 1"),
        ({"row_ids": np.arange(3)}, "got 3 row_ids for 2 answers"),
        ({"max_new_tokens": 14}, "answers of up to 14 tokens do not fit .* 16"),
    ],
)
def test_requests_that_cannot_be_served_are_refused(bigram, counting, change, message):
    prompts = np.ones((2, 3), np.int32), np.array([2, 3], np.int32)
    request = {"rows": 2, "max_new_tokens": 2} | change
    with pytest.raises(ValueError, match=message):
        serve(bigram(), counting, prompts, **request)


def test_a_cache_with_layers_first_is_refused(bigram, counting):
    """Such as scanned layers have."""
    stacked = lambda rows, slots: {"keys": jnp.zeros((4, rows, slots))}
    model = bigram()._replace(init_cache=stacked)
    prompts = np.ones((2, 3), np.int32), np.array([2, 3], np.int32)
    with pytest.raises(ValueError, match=r"rows first.*\(4, 3, 2\) for 3 rows"):
        serve(model, counting, prompts, rows=2)
