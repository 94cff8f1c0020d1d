"""Patterns of parameter names: matches, training of a part, and errors."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from jaxalign.models import param_filter
from jaxalign.training import objectives, state, step

KEY = jax.random.key(0)


def names(params, pattern):
    return {".".join(path) for path in param_filter.matching_leaves(params, pattern)}


@pytest.mark.parametrize(
    "pattern, meant",
    [
        ("embed", {"embed"}),
        ("embed|unembed", {"embed", "unembed"}),
        ("*embed", {"embed", "unembed"}),
        ("norm", {"norm.scale"}),
        ("attention.out", {"blocks.attention.out"}),
        ("*_norm", {"blocks.attention_norm.scale", "blocks.feed_forward_norm.scale"}),
        (
            "attention.*",
            {f"blocks.attention.{n}" for n in ("query", "key", "value", "out")},
        ),
    ],
)
def test_a_pattern_matches_whole_names(params, pattern, meant):
    assert names(params, pattern) == meant
    # the same tree inside a larger one, such as PPO's
    inside = names({"policy": params}, pattern)
    assert inside == {f"policy.{name}" for name in meant}


@pytest.mark.parametrize(
    "pattern, rows",
    [("[1:]", (1, 3)), ("[:2]", (0, 2)), ("[-1:]", (2, 3)), ("[0:1]", (0, 1))],
)
def test_a_range_selects_layers(params, pattern, rows):
    trainable = param_filter.select_trainable(
        params, f"blocks{pattern}.attention.query|norm"
    )
    query = params["blocks"]["attention"]["query"]
    np.testing.assert_array_equal(
        trainable["blocks"]["attention"]["query"], query[slice(*rows)]
    )
    assert set(trainable) == {"blocks", "norm"}


@pytest.mark.parametrize("pattern", ["embed", "blocks[1:]|norm", "attention.key[:1]"])
def test_merging_the_selected_parameters_is_the_identity(params, pattern):
    trainable = param_filter.select_trainable(params, pattern)
    chex.assert_trees_all_equal(
        param_filter.merge_trainable(params, trainable, pattern), params
    )
    # and what is put is there, and nothing else has changed
    zeros = jax.tree.map(jnp.zeros_like, trainable)
    new = param_filter.merge_trainable(params, zeros, pattern)
    chex.assert_trees_all_equal(param_filter.select_trainable(new, pattern), zeros)
    apart = [
        np.sum(np.asarray(x) != y)
        for x, y in zip(jax.tree.leaves(new), jax.tree.leaves(params), strict=True)
    ]
    assert sum(apart) == sum(x.size for x in jax.tree.leaves(trainable))


@pytest.mark.slow
def test_only_matching_parameters_train(tiny, params, rows):
    """Frozen layers: neither change nor optimizer state, and the gradient of the rest
    is that of full finetuning."""
    pattern = "blocks[1:].attention.value|norm"
    whole = jax.tree_util.Partial(
        lambda p, new: param_filter.merge_trainable(p, new, pattern), params
    )
    optimizer = optax.sgd(1.0, momentum=0.9)
    update = step.make_step(objectives.sft(tiny), optimizer, merge=whole)
    start = param_filter.select_trainable(params, pattern)
    current = state.create(start, optimizer, KEY)
    sizes = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
    assert sizes(current.opt_state) == sizes(start) == 2 * 24 * 3 * 8 + 24
    current, _ = update(current, rows)
    everything = step.make_step(objectives.sft(tiny), optax.sgd(1.0))
    full, _ = everything(state.create(params, optax.sgd(1.0), KEY), rows)
    # another program adds up the same float32 products
    chex.assert_trees_all_close(
        current.params,
        param_filter.select_trainable(full.params, pattern),
        rtol=1e-4,
        atol=1e-5,
    )
    after = flatten_dict(param_filter.merge_trainable(params, current.params, pattern))
    before = flatten_dict(params)
    changed = {path for path in before if np.any(after[path] != before[path])}
    assert changed == {("blocks", "attention", "value"), ("norm", "scale")}
    value = ("blocks", "attention", "value")
    np.testing.assert_array_equal(after[value][0], before[value][0])


@pytest.mark.parametrize(
    "pattern, message",
    [
        ("embedding", "matches 'embedding': did you mean .*embed"),
        ("embed|feed_foward.up", "'feed_foward.up': did you mean feed_forward.up"),
        ("xyzzy", "'xyzzy'; there are blocks.attention.key"),
        ("blocks[7:]", r"'blocks\[7:\]' selects none of the 3 layers"),
        ("embed[1:]", "embed has none"),
        ("attention.key|key", "blocks.attention.key is matched twice"),
    ],
)
def test_bad_patterns(params, pattern, message):
    with pytest.raises(ValueError, match=message):
        param_filter.select_trainable(params, pattern)
