"""The queue: its answers are `generate`'s, in as many steps as its slots need."""

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
from jaxalign.sampling import prefill, shares
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
def small_pieces():
    """Prompts of 1 to 6 tokens are read in one piece or two."""
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


def serve(model, params, prompts, **knobs):
    knobs = {"stop_tokens": STOPS, "max_new_tokens": NEW, **knobs}
    return sampling.serve(model, params, *prompts, KEY, **knobs)


def generate(model, params, prompts, samples=1, **knobs):
    knobs = {"stop_tokens": STOPS, "max_new_tokens": NEW, **knobs}
    tokens, lengths = (x.repeat(samples, axis=0) for x in prompts)
    return sampling.generate(model, params, tokens, lengths, KEY, **knobs)


@pytest.fixture(scope="module")
def alike(model, params, prompts):
    """Three answers to each prompt, as `generate` samples them."""
    return generate(model, params, prompts, samples=SAMPLES)


def check_same(found, expected):
    """The same tokens; log-probs in another order of float32 sums."""
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_array_equal(found.mask, expected.mask)
    np.testing.assert_allclose(found.logp, expected.logp, atol=2e-5)


SLOW = [pytest.param(rows, marks=pytest.mark.slow) for rows in (1, 99)]


@pytest.mark.parametrize("rows", [5, *SLOW])
def test_answers_are_those_of_generate(model, params, prompts, alike, rows):
    """24 answers in one slot, in a few, and all at once."""
    found = serve(model, params, prompts, rows=rows, samples=SAMPLES)
    check_same(found, alike)
    assert len(set(np.asarray(found.mask).sum(axis=1).tolist())) > 3
    if rows == 5:  # the same programs
        told = {"samples": SAMPLES, "temperature": 0.0}
        greedy = serve(model, params, prompts, rows=rows, **told)
        check_same(greedy, generate(model, params, prompts, **told))


def test_an_answer_is_its_ids_whoever_else_is_asked(model, params, prompts, alike):
    order = np.random.default_rng(1).permutation(PROMPTS)
    ids = (order[:, None] * SAMPLES + np.array([2, 0, 1])).reshape(-1)
    # what lies behind a prompt is nothing
    tokens = np.where(np.arange(WIDTH) < prompts[1][:, None], prompts[0], 39)
    asked = tokens[order].astype(np.int32), prompts[1][order]
    found = serve(model, params, asked, rows=5, samples=SAMPLES, row_ids=ids)
    check_same(found, jax.tree.map(lambda x: x[ids], alike))


def test_sampled_logp_is_what_training_computes(model, params, prompts):
    knobs = {"temperature": 0.7, "top_k": 9, "top_p": 0.9}
    samples = serve(model, params, prompts, rows=3, **knobs)
    check_same(samples, generate(model, params, prompts, **knobs))
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
def test_eight_devices_serve_what_one_does(model, params, prompts, alike, shape):
    mesh = sharding.make_mesh(shape)
    with jax.set_mesh(mesh):
        spread = sharding.place(params, model.specs(), mesh)
        placed = sharding.place_batch(prompts, mesh)
        # 12 slots: 3 of each of 4 devices, or 2 of each of 8
        found = serve(model, spread, placed, rows=12, samples=SAMPLES)
        assert len(found.tokens.sharding.device_set) == 8
        assert not found.tokens.sharding.is_fully_replicated
        check_same(found, alike)


@pytest.mark.slow
def test_prompts_that_do_not_divide_are_one_queue(model, params, prompts, alike):
    few = tuple(x[:7] for x in prompts)
    with jax.set_mesh(sharding.make_mesh({"data": 8})):
        assert shares.shard_count(8) == 8 and shares.shard_count(7) == 1
        found = serve(model, params, few, rows=4, samples=SAMPLES)
    check_same(found, jax.tree.map(lambda x: x[: 7 * SAMPLES], alike))


@pytest.fixture
def watched(bigram):
    """The fake, and how many tokens of each row it was given, call after call."""
    calls = []

    def extend(params, tokens, cache):
        jax.debug.callback(lambda: calls.append(tokens.shape[1]))
        return plain.extend(params, tokens, cache)

    plain = bigram(context=64)
    return plain._replace(extend=extend), calls


def counted(watched, counting, sizes, rows):
    """How often the fake decodes, and reads prompts, for answers of these sizes."""
    model, calls = watched
    # 10 ends an answer, and v + 1 follows v
    prompts = np.stack([np.zeros_like(sizes), 10 - sizes], axis=1).astype(np.int32)
    found = sampling.serve(
        model,
        counting,
        prompts,
        np.full(len(sizes), 2, np.int32),
        KEY,
        rows=rows,
        max_new_tokens=10,
        temperature=0.0,
        stop_tokens=(10,),
    )
    jax.effects_barrier()
    np.testing.assert_array_equal(np.asarray(found.mask).sum(axis=1), sizes)
    return calls.count(1), calls.count(2)


def test_steps_by_hand(watched, counting):
    # reading a prompt gives the first token, so an answer takes a step less: one slot
    # has 7 for 6 steps; the other 2, 3, 2 and 4 for 1 + 2 + 1 + 3 = 7, where batches
    # of two would take 6 + 2 + 3
    sizes = np.array([7, 2, 3, 2, 4])
    assert counted(watched, counting, sizes, rows=2) == (7, 5)


def test_steps_are_few_where_lengths_are_skewed(watched, counting):
    sizes = np.minimum(np.random.default_rng(0).geometric(0.4, 160), 9)
    sizes[::16] = 10
    steps, reads = counted(watched, counting, sizes, rows=8)
    assert reads == 160 / 2  # two of eight slots at once
    least = (sizes - 1).sum() / 8
    # idle until the second is free: an eighth of the slots at most, and at the end
    assert least <= steps < least * 8 / 7 + 10
    in_batches = np.max(sizes.reshape(-1, 8), axis=1) - 1
    assert steps < 0.6 * in_batches.sum()


@pytest.mark.slow
def test_windows_and_long_contexts_are_served(prompts, params):
    """With longrope keys are turned by the width of the cache: as wide as before."""
    stretched = RopeScaling("longrope", original=8, short=(1.0,) * 4, long=(2.0,) * 4)
    changes = {"window": 3, "rope_scaling": stretched}
    model = transformer.language_model(dataclasses.replace(CONFIG, **changes))
    check_same(serve(model, params, prompts, rows=3), generate(model, params, prompts))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_served(name, prompts):
    told = {"architectures": [registry.FAMILIES[name].language], "model_type": name}
    model = transformer.language_model(
        registry.read_config(FAMILIES[name] | told, name)
    )
    params = model.init(jax.random.key(0))
    knobs = {"max_new_tokens": 12, "stop_tokens": tuple(range(8))}
    found = serve(model, params, prompts, rows=3, **knobs)
    check_same(found, generate(model, params, prompts, **knobs))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rows": 0}, "rows is 0"),
        ({"samples": 0}, "0 row_ids are given for 0 answers"),
        ({"row_ids": np.arange(3)}, "3 row_ids are given for 2 answers"),
        ({"max_new_tokens": 14}, "up to 3 tokens and 14 new ones do not fit .* 16"),
        ({"temperature": -1.0}, "temperature -1.0 is negative"),
    ],
)
def test_what_cannot_be_served_is_refused(bigram, counting, change, says):
    told = (np.ones((2, 3), np.int32), np.array([2, 3], np.int32), KEY)
    knobs = {"rows": 2, "max_new_tokens": 2} | change
    with pytest.raises(ValueError, match=says):
        sampling.serve(bigram(), counting, *told, **knobs)


def test_a_cache_by_layers_is_refused(bigram, counting):
    """Such as scanned layers have."""
    stacked = lambda rows, slots: {"keys": jnp.zeros((4, rows, slots))}
    model = bigram()._replace(init_cache=stacked)
    prompts = np.ones((2, 3), np.int32), np.array([2, 3], np.int32)
    with pytest.raises(ValueError, match=r"rows first.*\(4, 3, 2\) for 3 rows"):
        serve(model, counting, prompts, rows=2)
