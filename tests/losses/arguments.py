"""Arguments for any loss or estimator, made from the shapes in its signature."""

import inspect

import numpy as np

from jaxalign.losses import divergence
from jaxalign.shape_checks import array_annotations

AXES = {"T": 3, "K": 3, "N": 3, "V": 5}
# Where 0.3 is out of range, or no number.
SPECIAL = {
    "theta": 1.5,
    "n": 2,
    "max_ratio": 3.0,
    "score": divergence.forward_kl_score,
    "levels": 4,
    "thresholds": (0.5,),
}


def layouts(loss):
    """The axes and the dtype of each array argument: ("*B T", "Float")."""
    signature = inspect.signature(loss)
    arrays = {}
    for name, parameter in signature.parameters.items():
        options = array_annotations(parameter.annotation)
        if options and len({option.dim_str for option in options}) == 1:
            dtype = options[0].__name__.partition("[")[0]
            if options[0].dim_str:
                arrays[name] = options[0].dim_str, dtype
    return arrays


def arguments_of(loss, shape):
    """Its arrays, of this leading shape: the same numbers for every shape of a size."""
    rng = np.random.default_rng(0)
    size = int(np.prod(shape))
    arrays = []
    for layout, dtype in layouts(loss).values():
        rest = tuple(AXES[axis] for axis in layout.split()[1:])
        if dtype == "Float":
            flat = rng.uniform(-3.0, -0.5, (size, *rest)).astype(np.float32)
        elif dtype == "Bool" and rest:
            flat = np.broadcast_to(np.arange(*rest) < 2, (size, *rest))
        elif dtype == "Bool":
            flat = np.arange(size) % 2 == 0
        elif rest:
            flat = np.broadcast_to(np.arange(*rest), (size, *rest))
        else:
            flat = np.arange(size) % 3 - 1
        arrays.append(flat.reshape(*shape, *rest))
    return arrays


def hyperparameters_of(loss):
    """Numbers for all else without a default: positional ones, and by keyword."""
    positional, keywords = [], {}
    for name, parameter in inspect.signature(loss).parameters.items():
        if name in layouts(loss) or parameter.default is not inspect.Parameter.empty:
            continue
        value = SPECIAL.get(name, 0.3)
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            keywords[name] = value
        else:
            positional.append(value)
    return positional, keywords


def is_float(array):
    """Whether a gradient can be taken."""
    return np.issubdtype(array.dtype, np.floating)
