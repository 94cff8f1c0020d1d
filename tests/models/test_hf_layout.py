"""From the axes of a file to ours: what lies where, and how little is read."""

import numpy as np
import pytest

from jaxalign.models.hf_layout import AxisSlice, TensorMapping, read_blocks

SIZES = {"d": 4, "h": 3, "e": 2, "q": 3, "f": 5, "g": 2, "o": 1}


def weight(axes, part=None, layer=None):
    return TensorMapping(("leaf",), layer, "name", axes, SIZES, part)


def whole(axes):
    return tuple(slice(0, SIZES[axis]) for axis in axes)


class Counted:
    """A tensor that knows how many of its numbers were read."""

    def __init__(self, tensor):
        self.tensor, self.read = tensor, 0

    def __getitem__(self, cuts):
        self.read += self.tensor[cuts].size
        return self.tensor[cuts]


# by hand: which number of the tensor is at [1, 2, 1] (or [1, 2]) of the leaf
@pytest.mark.parametrize(
    ("axes", "part", "place"),
    [
        # row (2, 1) is 2 * 2 + 1 = 5, column 1: 5 * 4 + 1
        ("(h e) d -> d h e", None, 21),
        # row (2, 1, 1) is (2 * 3 + 1) * 2 + 1 = 15, column 1
        ("(h q e) d -> d h e", AxisSlice("q", 1, 2), 61),
        # row (2, 2, 1) is (2 * 3 + 2) * 2 + 1 = 17, column 1
        ("(q h e) d -> d h e", AxisSlice("q", 2, 3), 69),
        # row 1, column (1, 2, 1) = (1 * 3 + 2) * 2 + 1 = 11 of 18
        ("d (q h e) -> d h e", AxisSlice("q", 1, 2), 29),
        # row (1, 2) is 1 * 5 + 2 = 7, column 1
        ("(g f) d -> d f", AxisSlice("g", 1, 2), 29),
        # of three heads the last two: row (1 + 1) * 2 + 0 = 4, column 1
        ("(h e) d -> d h e", AxisSlice("h", 1, 3), 17),
    ],
)
def test_every_part_is_read_and_written_in_its_place(axes, part, place):
    one = weight(axes, part)
    tensor = np.arange(np.prod(one.shape)).reshape(one.shape)
    region = list(whole(one.here))
    if part and part.axis in one.here:
        region[one.here.index(part.axis)] = slice(0, part.stop - part.start)
    leaf = one.from_file(tensor, tuple(region))
    at = (1, 1, 0) if part == AxisSlice("h", 1, 3) else (1, 2, 1)
    assert leaf[at[: leaf.ndim]] == place
    # any part of the leaf is that part of the tensor
    cut = (slice(1, 3), slice(1, 2), slice(0, 2))[: leaf.ndim]
    np.testing.assert_array_equal(one.from_file(tensor, cut), leaf[cut])
    back = np.full_like(tensor, -1)
    one.outward(leaf, back)
    kept = back >= 0
    assert kept.sum() == leaf.size
    np.testing.assert_array_equal(back[kept], tensor[kept])


def test_scalars_and_single_rows():
    row = np.arange(4).reshape(1, 4)
    np.testing.assert_array_equal(weight("o d -> d").from_file(row, whole("d")), row[0])
    assert weight("o -> ").from_file(np.array([7]), ()) == 7


@pytest.mark.parametrize("most", [1, 16, 48, 10**6])
def test_blocks_cover_a_part_once_and_read_nothing_else(most):
    """Two of four layers; heads 1 and 2 of three, of 4 * 2 * 2 float32 numbers."""
    tensors = [Counted(np.random.default_rng(i).normal(size=(6, 4))) for i in range(4)]
    weights = [weight("(h e) d -> d h e", layer=i) for i in range(4)]
    region = (slice(1, 3), slice(0, 4), slice(1, 3), slice(0, 2))
    source = lambda weight: tensors[weight.layer]
    found, count = np.full((2, 4, 2, 2), np.nan, np.float32), 0
    for at, block in read_blocks(weights, region, most, np.float32, source):
        places = tuple(slice(a, a + n) for a, n in zip(at, block.shape, strict=True))
        assert np.isnan(found[places]).all()
        found[places] = block
        # at least one head, at least what was asked for
        assert block.nbytes <= max(most, 4 * 2 * 4)
        count += 1
    expected = np.stack([x.tensor.reshape(3, 2, 4) for x in tensors[1:3]])
    expected = expected.transpose(0, 3, 1, 2)[:, :, 1:3]
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert [x.read for x in tensors] == [0, 16, 16, 0]
    # layers of 64 bytes, heads of 32
    assert count == {1: 4, 16: 4, 48: 4, 10**6: 1}[most]
