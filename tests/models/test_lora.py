"""LoRA: a new adapter equals its base, and every adapter its merged weights."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from jaxalign import sampling, sharding
from jaxalign.batches import from_lengths
from jaxalign.models import heads, int8, lazy_weights, lora, param_filter
from jaxalign.training import objectives, state, step

KEY = jax.random.key(0)
SEVEN = {f"attention.{n}" for n in ("query", "key", "value", "out")} | {
    f"feed_forward.{n}" for n in ("gate", "up", "down")
}


@pytest.fixture(scope="module")
def adapter(params):
    """Factors that are not at their start: b is not 0."""
    factors = lora.init(KEY, params, rank=4)
    noise = lambda x: 0.1 * np.random.default_rng(1).normal(size=x.shape)
    return jax.tree.map(lambda x: x + noise(x).astype(np.float32), factors)


@pytest.fixture(scope="module")
def logits(tiny, rows):
    compiled = jax.jit(
        lambda params: (
            tiny.hidden(params, rows.tokens, rows.positions, rows.segments)
            @ tiny.unembed(params)
        )
    )
    return lambda params: np.asarray(compiled(params))


def train(base, params, batch, objective, optimizer, steps=1):
    """The state after some steps on an adapter."""
    whole = jax.tree_util.Partial(
        lambda base, adapter: lora.attach(base, adapter, scale=0.5), base
    )
    update = step.make_step(objective, optimizer, merge=whole)
    current = state.create(params, optimizer, KEY)
    losses = []
    for _ in range(steps):
        current, metrics = update(current, batch)
        losses.append(float(metrics["loss"]))
    return current, losses


def test_weight_and_gradients_by_hand():
    """W' = W + 2 a b; with loss sum(G * W'): da = 2 G b', db = 2 a' G."""
    base = {"w": jnp.array([[1.0, 2.0], [3.0, 4.0]])}
    factors = {"w": {"a": jnp.array([[1.0], [-1.0]]), "b": jnp.array([[0.5, 2.0]])}}
    attached = lora.attach(base, factors, scale=2.0)["w"]
    # a b = [[.5, 2], [-.5, -2]]
    np.testing.assert_array_equal(attached, [[2.0, 6.0], [2.0, 0.0]])
    gradient = jnp.array([[1.0, 0.0], [2.0, 3.0]])

    def loss(factors):
        return jnp.sum(gradient * lora.attach(base, factors, scale=2.0)["w"])

    grads = jax.grad(loss)(factors)["w"]
    # G b' = [.5, 1 + 6];  a' G = [1 - 2, 0 - 3]
    np.testing.assert_array_equal(grads["a"], [[1.0], [14.0]])
    np.testing.assert_array_equal(grads["b"], [[-2.0, -6.0]])


def test_matrices_of_the_pattern_get_factors(params):
    factors = lora.init(KEY, params, rank=2)
    assert {".".join(p[1:3]) for p in flatten_dict(factors)} == SEVEN
    out = factors["blocks"]["attention"]["out"]
    # 3 layers, 6 heads of 8 to a width of 24
    assert out["a"].shape == (3, 48, 2) and out["b"].shape == (3, 2, 24)
    few = lora.init(KEY, params, rank=2, targets="query|embed")
    assert {p[:-1] for p in flatten_dict(few)} == {
        ("embed",),
        ("blocks", "attention", "query"),
    }
    assert not any(np.any(x) for p, x in flatten_dict(factors).items() if p[-1] == "b")


def test_first_factor_is_normal_with_variance_one_over_inputs():
    base = {"w": jnp.zeros((400, 50))}
    a = lora.init(KEY, base, rank=50, targets="w")["w"]["a"]
    # standard error of the std of 20,000 numbers: 0.5 %
    np.testing.assert_allclose(np.std(a), 400**-0.5, rtol=0.02)
    assert not np.array_equal(
        a, lora.init(jax.random.key(1), base, rank=50, targets="w")["w"]["a"]
    )


def test_a_new_adapter_leaves_the_model_unchanged_to_the_bit(params, logits):
    factors = lora.init(KEY, params, rank=4, targets=f"{param_filter.MATRICES}|embed")
    attached = lora.attach(params, factors, scale=2.0)
    np.testing.assert_array_equal(logits(attached), logits(params))


def test_attached_equals_merged(params, adapter, logits):
    attached = lora.attach(params, adapter, scale=0.5)
    merged = lora.merge(attached)
    chex.assert_trees_all_equal_shapes_and_dtypes(merged, params)
    query = lambda tree: np.asarray(tree["blocks"]["attention"]["query"])
    factors = jax.tree.map(np.asarray, adapter["blocks"]["attention"]["query"])
    change = 0.5 * np.einsum("lir,lro->lio", factors["a"], factors["b"])
    np.testing.assert_allclose(
        query(merged), query(params) + change.reshape(3, 24, 6, 8), rtol=1e-5, atol=1e-6
    )
    # the same numbers, whose float32 products another program adds up
    np.testing.assert_allclose(logits(attached), logits(merged), rtol=1e-4, atol=1e-4)
    assert np.abs(logits(merged) - logits(params)).max() > 0.1


def test_generation_equals_that_of_the_merged_model(tiny, params, adapter):
    attached = lora.attach(params, adapter, scale=0.5)
    prompts, lengths = np.array([[3, 4, 5], [6, 7, 0]], np.int32), np.array([3, 2])
    greedy = sampling.SamplingParams(max_new_tokens=6, temperature=0.0)
    run = lambda model, p: sampling.generate(model, p, prompts, lengths, KEY, greedy)
    ours, theirs = run(tiny, attached), run(tiny, lora.merge(attached))
    np.testing.assert_array_equal(ours.tokens, theirs.tokens)
    np.testing.assert_allclose(ours.logp, theirs.logp, rtol=1e-4, atol=1e-5)
    assert not np.array_equal(ours.logp, run(tiny, params).logp)
    prepared = tiny.prepare(attached)
    assert not any(
        map(
            lazy_weights.is_lazy,
            jax.tree.leaves(prepared, is_leaf=lazy_weights.is_lazy),
        )
    )


def test_only_the_adapter_trains(tiny, params, rows):
    """The rest has neither gradient nor optimizer state, and is not donated."""
    factors = lora.init(KEY, params, rank=2, targets="query")
    before = jax.tree.map(np.array, params)
    optimizer = optax.adam(1e-2)
    after, losses = train(
        params, factors, rows, objectives.sft(tiny), optimizer, steps=3
    )
    assert losses[2] < losses[0]
    chex.assert_trees_all_equal(jax.tree.map(np.asarray, params), before)
    chex.assert_trees_all_equal_structs(after.params, factors)
    assert all(np.any(x != y) for x, y in pairs_of(after.params, factors))
    # two moments an entry of a [3 24 2] and b [3 2 48], and the counter
    size = sum(x.size for x in jax.tree.leaves(after.opt_state))
    assert size == 2 * (3 * 24 * 2 + 3 * 2 * 48) + 1
    merged = lora.merge(lora.attach(params, after.params, scale=0.5))
    changed = {
        path
        for path, leaf in flatten_dict(merged).items()
        if not np.array_equal(leaf, flatten_dict(params)[path])
    }
    assert changed == {("blocks", "attention", "query")}


def pairs_of(*trees):
    return zip(*map(jax.tree.leaves, trees), strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("base_kind", ["float32", "int8"])
def test_eight_devices_equal_one(tiny, params, adapter, base_kind):
    tokens = np.random.default_rng(0).integers(0, 22, (8, 9)).astype(np.int32)
    rows = from_lengths(tokens, np.full(8, 9, np.int32), np.ones(8, np.int32))
    objective, optimizer = objectives.sft(tiny), optax.sgd(1.0)
    quantize = int8.quantize_params if base_kind == "int8" else lambda tree: tree
    after_on_one, loss_on_one = train(
        quantize(params), adapter, rows, objective, optimizer, steps=2
    )
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    base = quantize(sharding.place(params, tiny.specs(), mesh))
    factors = lora.init(KEY, base, rank=4)
    chex.assert_trees_all_equal(
        jax.device_get(factors), jax.device_get(lora.init(KEY, params, rank=4))
    )
    spread = jax.tree.map(
        lambda x, like: jax.device_put(x, like.sharding), adapter, factors
    )
    with jax.set_mesh(mesh):
        after, loss_on_eight = train(
            base,
            spread,
            sharding.place_batch(rows, mesh),
            objective,
            optimizer,
            steps=2,
        )
        merged = lora.merge(lora.attach(base, after.params, scale=0.5))
    np.testing.assert_allclose(loss_on_one, loss_on_eight, rtol=1e-4)
    # float32 sums in another order, over two steps
    chex.assert_trees_all_close(
        jax.device_get(after_on_one.params),
        jax.device_get(after.params),
        rtol=1e-3,
        atol=1e-5,
    )
    assert jax.tree.structure(merged) == jax.tree.structure(params)
    for x, y in pairs_of(after.params, spread):
        assert x.sharding.is_equivalent_to(y.sharding, x.ndim)


@pytest.mark.slow
def test_a_head_trains_in_full_with_an_adapter(tiny, params, rows):
    model = heads.scalar_model(tiny.config)
    base = model.from_trunk(KEY, params)
    factors = lora.init(KEY, base, rank=2) | param_filter.select_trainable(base, "head")
    whole = lambda p: lora.attach(base, p, scale=1.0)
    score = lambda p: model.scores(whole(p), rows.tokens, rows.positions, rows.segments)
    score = jax.jit(score)
    grads = jax.grad(lambda p: jnp.sum(score(p) ** 2))(factors)
    chex.assert_trees_all_equal_structs(grads, factors)
    assert np.any(grads["head"]["weight"]) and grads["head"]["bias"] != 0
    doubled = factors | {"head": jax.tree.map(lambda x: 2 * x, factors["head"])}
    np.testing.assert_allclose(score(doubled), 2 * score(factors), rtol=1e-5, atol=1e-6)


def test_scale():
    assert lora.scale(16, 32.0) == 2.0
    assert lora.scale(16, 32.0, rank_stabilized=True) == 8.0


@pytest.mark.slow
def test_temporaries_are_those_of_a_layer(variant, draw, rows):
    """With remat, merging late needs no copy of all the layers' matrices."""
    model = variant(layers=8, width=64, hidden=256, remat="full")
    params = draw(model)
    factors = lora.init(KEY, params, rank=2)
    objective = objectives.sft(model)

    def temporaries(attach):
        gradient = jax.grad(lambda a, base: objective(attach(base, a), rows)[0])
        compiled = jax.jit(gradient).lower(factors, params).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    late = temporaries(lambda base, a: lora.attach(base, a, scale=1.0))
    whole = temporaries(
        lambda base, a: lazy_weights.materialize(lora.attach(base, a, scale=1.0))
    )
    matrices = sum(
        x.nbytes
        for path, x in flatten_dict(params).items()
        if lazy_weights.is_matrix(path, x) and path[0] == "blocks"
    )
    # merged beforehand there are the matrices and their gradients beside
    assert whole > late + 1.5 * matrices
    assert late < matrices


class TestBadInput:
    """Each names the leaf, the pattern or the shape."""

    def test_a_pattern_without_matches(self, params):
        with pytest.raises(
            ValueError, match="'atention.query'.*did you mean attention"
        ):
            lora.init(KEY, params, rank=2, targets="atention.query")

    def test_a_pattern_without_matrices(self, params):
        with pytest.raises(ValueError, match="matches no matrices"):
            lora.init(KEY, params, rank=2, targets="norm")
        with pytest.raises(ValueError, match="of all layers"):
            lora.init(KEY, params, rank=2, targets="blocks[1:]")

    @pytest.mark.parametrize("rank", [0, 25])
    def test_a_rank_that_does_not_fit(self, params, rank):
        with pytest.raises(
            ValueError, match=f"rank is {rank}; .*attention.*a rank of 1 to 24"
        ):
            lora.init(KEY, params, rank=rank, targets="attention.key")

    def test_an_adapter_of_another_model(self, params, draw, variant):
        other = lora.init(KEY, draw(variant(width=32)), rank=2)
        with pytest.raises(ValueError, match=r"attention.*\(3, 32, 2\).*\(3, 24, 2\)"):
            lora.attach(params, other, scale=1.0)
        unknown = {"blocks": {"attention": {"quary": {"a": 0, "b": 0}}}}
        with pytest.raises(ValueError, match="no .*quary, .*: did you mean"):
            lora.attach(params, unknown, scale=1.0)

    def test_bfloat16_base_keeps_float32_factors(self, variant, draw):
        model = variant(dtype="bfloat16", param_dtype="bfloat16")
        base = draw(model)
        factors = lora.init(KEY, base, rank=2)
        assert {x.dtype for x in jax.tree.leaves(factors)} == {jnp.dtype("float32")}
        merged = lora.merge(lora.attach(base, factors, scale=1.0))
        chex.assert_trees_all_equal(merged, base)
