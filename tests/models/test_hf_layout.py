"""Axes of files and of parameters: which numbers are which, and how few are read."""

import numpy as np
import pytest

from jaxalign.models.hf_layout import AxisSlice, TensorMapping, read_blocks

SIZES = {"d": 4, "h": 3, "e": 2, "q": 3, "f": 5, "g": 2, "o": 1}


def mapping_of(axes, part=None, layer=None):
    return TensorMapping(("param",), layer, "name", axes, SIZES, part)


def everything(axes):
    return tuple(slice(0, SIZES[axis]) for axis in axes)


class CountedTensor:
    """A tensor that counts how many of its numbers are read."""

    def __init__(self, tensor):
        self.tensor, self.read = tensor, 0

    def __getitem__(self, cuts):
        self.read += self.tensor[cuts].size
        return self.tensor[cuts]


# by hand: which number of the tensor is at [1, 2, 1] (or [1, 2]) of the parameter
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
def test_each_slice_is_read_and_written_in_its_place(axes, part, place):
    mapping = mapping_of(axes, part)
    tensor = np.arange(np.prod(mapping.shape)).reshape(mapping.shape)
    region = list(everything(mapping.param_axes))
    if part and part.axis in mapping.param_axes:
        region[mapping.param_axes.index(part.axis)] = slice(0, part.stop - part.start)
    param = mapping.from_file(tensor, tuple(region))
    at = (1, 1, 0) if part == AxisSlice("h", 1, 3) else (1, 2, 1)
    assert param[at[: param.ndim]] == place
    # any region of the parameter is that of the tensor
    cut = (slice(1, 3), slice(1, 2), slice(0, 2))[: param.ndim]
    np.testing.assert_array_equal(mapping.from_file(tensor, cut), param[cut])
    back = np.full_like(tensor, -1)
    mapping.to_file(param, back)
    written = back >= 0
    assert written.sum() == param.size
    np.testing.assert_array_equal(back[written], tensor[written])


def test_scalars_and_single_rows():
    row = np.arange(4).reshape(1, 4)
    np.testing.assert_array_equal(
        mapping_of("o d -> d").from_file(row, everything("d")), row[0]
    )
    assert mapping_of("o -> ").from_file(np.array([7]), ()) == 7


@pytest.mark.parametrize("max_bytes", [1, 16, 48, 10**6])
def test_blocks_cover_a_region_once_and_read_nothing_else(max_bytes):
    """Two of four layers; heads 1 and 2 of three, of 4 * 2 * 2 float32 numbers."""
    tensors = [
        CountedTensor(np.random.default_rng(i).normal(size=(6, 4))) for i in range(4)
    ]
    mappings = [mapping_of("(h e) d -> d h e", layer=i) for i in range(4)]
    region = (slice(1, 3), slice(0, 4), slice(1, 3), slice(0, 2))
    open_tensor = lambda mapping: tensors[mapping.layer]
    found, count = np.full((2, 4, 2, 2), np.nan, np.float32), 0
    for at, block in read_blocks(mappings, region, max_bytes, np.float32, open_tensor):
        places = tuple(slice(a, a + n) for a, n in zip(at, block.shape, strict=True))
        assert np.isnan(found[places]).all()
        found[places] = block
        # the limit, or one head where that is larger
        assert block.nbytes <= max(max_bytes, 4 * 2 * 4)
        count += 1
    expected = np.stack([x.tensor.reshape(3, 2, 4) for x in tensors[1:3]])
    expected = expected.transpose(0, 3, 1, 2)[:, :, 1:3]
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert [x.read for x in tensors] == [0, 16, 16, 0]
    # layers of 64 bytes, heads of 32
    assert count == {1: 4, 16: 4, 48: 4, 10**6: 1}[max_bytes]
