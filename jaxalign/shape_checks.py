"""The check of shapes and dtypes behind `types.typed`, and its one-line errors."""

import functools
import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast, get_args

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np

from jaxalign import lazy

if TYPE_CHECKING:
    import beartype
else:
    beartype = lazy.module("beartype")


Function = TypeVar("Function", bound=Callable[..., Any])


def typed(function: Function) -> Function:
    """Check shapes and dtypes against a function's annotations, while tracing.

    A compiled call pays nothing; an eager call pays a little. `(B,) - (B, 1)` becomes
    an error where broadcasting would give a `(B, B)` loss. Arguments annotated as
    arrays may also be numbers, numpy scalars or (nested) lists: they become arrays.

    Raises:
      TypeError: shapes or dtypes that disagree, in one line with the names of the
        function and its arguments.

    >>> Numbers = jaxtyping.Float[jax.Array | np.ndarray, "*B"]
    >>> @typed
    ... def gap(a: Numbers, b: Numbers) -> Numbers:
    ...     return a - b
    >>> gap([3.0, 1.0], [1.0, 1.0]).tolist()
    [2.0, 0.0]
    >>> gap(np.zeros(8), np.zeros(7))
    Traceback (most recent call last):
    TypeError: gap: a [8] and b [7] differ
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        checked, signature, conversions = prepare(function)
        positional = tuple(conversions.values())
        values = list(args)
        for i, conversion in enumerate(positional[: len(args)]):
            if conversion is not None:
                values[i] = as_array(args[i], conversion)
        for name, x in kwargs.items():
            conversion = conversions.get(name)
            if conversion is not None:
                kwargs[name] = as_array(x, conversion)
        try:
            return checked(*values, **kwargs)
        except TypeError as error:
            try:
                arguments = signature.bind(*values, **kwargs).arguments
            except TypeError as wrong:
                raise TypeError(f"{function.__name__}: {wrong}") from None
            if not isinstance(error, jaxtyping.TypeCheckError):
                raise
            text = disagreement(signature, arguments) or short_message(str(error))
            raise TypeError(f"{function.__name__}: {text}") from None

    return cast(Function, call)


@functools.cache
def prepare(
    function: Callable[..., Any],
) -> tuple[Callable[..., Any], inspect.Signature, dict[str, "Conversion | None"]]:
    """The checked function, its signature, and the conversions of its arguments.

    Made at the first call: for all functions at import, it would take half a second.
    """
    checked = jaxtyping.jaxtyped(typechecker=beartype.beartype)(function)
    signature = inspect.signature(function)
    conversions = {
        name: array_conversion(parameter.annotation, f"{function.__name__}: {name}")
        for name, parameter in signature.parameters.items()
    }
    return checked, signature, conversions


class Conversion(NamedTuple):
    """The conversion of an argument to an array.

    Attributes:
      label: the names of the function and the argument, for messages.
      floating: integers become floats.
      numbers: not only lists are converted, but also numbers.
    """

    label: str
    floating: bool
    numbers: bool


def array_annotations(annotation: Any) -> list[Any]:
    """The jaxtyping arrays of an annotation, which may be a union."""
    options = get_args(annotation) or (annotation,)
    return [option for option in options if hasattr(option, "dim_str")]


def array_conversion(annotation: Any, label: str) -> Conversion | None:
    """The conversion that an annotation asks for; None where it has no arrays."""
    arrays = array_annotations(annotation)
    if not any(array.dim_str for array in arrays):
        return None
    floating = all("float32" in array.dtypes for array in arrays)
    return Conversion(label, floating, numbers=float not in get_args(annotation))


def as_array(x: Any, conversion: Conversion) -> Any:
    """Numbers and lists as an array; all else as it is."""
    if isinstance(x, jax.Array) or (isinstance(x, np.ndarray) and x.ndim):
        return x
    number = isinstance(x, int | float | np.generic | np.ndarray)
    if not isinstance(x, list | tuple) and not (number and conversion.numbers):
        return x
    if conversion.floating and type(x) is int:
        x = float(x)  # as weakly typed as a Python float
    try:
        array = jnp.asarray(x)
    except (TypeError, ValueError) as error:
        first_line = str(error).partition("\n")[0]
        raise TypeError(
            f"{conversion.label} is not an array of numbers: {first_line}"
        ) from None
    if conversion.floating and jnp.issubdtype(array.dtype, jnp.integer):
        array = array.astype(float)
    return array


class Axis(NamedTuple):
    """The size of a named axis, and the argument that has it."""

    size: Any
    argument: str
    layout: str
    shape: tuple[int, ...]


def disagreement(signature: inspect.Signature, arguments: dict[str, Any]) -> str:
    """The first array argument whose shape or dtype disagrees; empty if none does."""
    known: dict[str, Axis] = {}
    for name, x in arguments.items():
        options = array_annotations(signature.parameters[name].annotation)
        if not options or not isinstance(x, jax.Array | np.ndarray):
            continue
        fitting = [option for option in options if str(x.dtype) in option.dtypes]
        if not fitting:
            kind = options[-1].__name__.partition("[")[0].lower()
            return f"{name} is {x.dtype} {brackets(x.shape)}; expected {kind}"
        texts = []
        for layout in dict.fromkeys(option.dim_str for option in fitting):
            text = axis_conflict(name, x.shape, layout, known)
            texts.append(text)
            if not text:
                break
        if all(texts):
            return texts[-1]
    return ""


def axis_conflict(
    name: str, shape: tuple[int, ...], layout: str, known: dict[str, Axis]
) -> str:
    """The conflict of a shape with the known axes; without one, its axes are added."""
    names = layout.split()
    star = next((i for i, axis in enumerate(names) if axis[0] == "*"), None)
    spare = len(shape) - len(names)
    if spare < -1 or (star is None and spare):
        expected = f"[{layout}]" if layout else "a number"
        return f"{name} has shape {brackets(shape)}; expected {expected}"
    sizes: list[Any] = list(shape)
    if star is not None:
        sizes[star : star + spare + 1] = [shape[star : star + spare + 1]]
    for axis, size in zip(names, sizes, strict=True):
        other = known.get(axis, Axis(size, name, layout, shape))
        if other.size != size:
            where = "" if other.layout == layout else f" in {axis.strip('*')}"
            return (
                f"{other.argument} {brackets(other.shape)} and {name} "
                f"{brackets(shape)} differ{where}"
            )
    for axis, size in zip(names, sizes, strict=True):
        known.setdefault(axis, Axis(size, name, layout, shape))
    return ""


def brackets(shape: tuple[int, ...]) -> str:
    """A shape as the docstrings have it: [8 16]."""
    return f"[{' '.join(map(str, shape))}]"


def short_message(text: str) -> str:
    """One line of jaxtyping's report on an argument that is no array, or a result."""
    argument = re.search(r"parameter '(\w+)'", text)
    value = re.search(r"^Actual value: (.*)", text, re.MULTILINE)
    expected = re.search(r"^Expected type: (.*)", text, re.MULTILINE)
    if not value or not expected:
        return text.partition("\n")[0]
    kind = expected[1].removeprefix("<class '").removesuffix("'>.").removesuffix("'>")
    if kind.startswith("typing.Union[float, int"):
        kind = "a number"
    layout = re.search(r"(\w+)\[[\w.]*, '(.*?)'\]", kind)
    if layout and kind != "a number":
        kind = f"{layout[1].lower()} [{layout[2]}]"
    name = argument[1] if argument else "the result"
    return f"{name} is {value[1][:80]}; expected {kind[:80]}"
