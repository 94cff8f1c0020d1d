"""No cost grows faster than it must, and costs grow as they do by hand."""

import pytest

from experiments.speed import scaling
from jaxalign import sharding
from jaxalign.planning import hlo_counts

SIZES = {"length": 1024, "batch": 16, "vocabulary": 16_384, "samples": 4}
MOST = {"length": 2.0, "batch": 1.0, "vocabulary": 1.0, "samples": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("axis", SIZES)
def test_no_cost_grows_faster_than_it_must(axis):
    sizes = [SIZES[axis], 2 * SIZES[axis]]
    costs = [scaling.cost(axis, size) for size in sizes]
    for field in scaling.Cost._fields:
        grown = scaling.exponent(sizes, [getattr(cost, field) for cost in costs])
        # chunks of logits are rounded up, and so are buffers
        assert 0 < grown < MOST[axis] + 0.02, field


def operations(axis, sizes):
    mesh = sharding.make_mesh({"data": 1})
    return [
        hlo_counts.matmul_flops(scaling.step(axis, n, mesh).jaxpr.jaxpr) for n in sizes
    ]


def test_operations_are_in_proportion():
    one, two, three = operations("batch", [4, 8, 12])
    assert (two, three) == (2 * one, 3 * one)
    # by hand, of another 4096 words: 4 products with the unembedding, of every token
    one, two = operations("vocabulary", [4096, 8192])
    rows, length = scaling.FIRST["batch"], scaling.FIRST["length"]
    assert two - one == 4 * 2 * 4096 * 256 * rows * (length - 1)


def test_attention_alone_is_quadratic_in_length():
    # eight blocks of queries see 9/16 of all pairs: from 1024 tokens on, the rest of
    # each difference is linear, so the second difference is attention's
    a, b, c = operations("length", [1024, 2048, 3072])
    shape, rows = scaling.SHAPE, scaling.FIRST["batch"]
    pairs = 2 * 1024**2 * 9 / 16  # of length^2: 9 - 2 * 4 + 1 = 2
    # scores and what is read, forward, again for remat, and twice going backward
    products = 2 * 2 * shape.heads * shape.head_dim * 4
    by_hand = rows * shape.layers * pairs * products
    assert c - 2 * b + a == by_hand


def test_too_few_points_are_refused(tmp_path):
    with pytest.raises(ValueError, match="--points 1"):
        scaling.main(scaling.Config(points=1))
