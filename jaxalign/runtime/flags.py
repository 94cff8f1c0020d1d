"""Validation of flags: the range of each number, checked before any computation.

A flag's range depends on its name and type, since a name has one meaning everywhere; a
class with another range has it in RANGES. Every numeric flag needs a range.
"""

import contextlib
import contextvars
import dataclasses
import functools
import math
import numbers
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from jaxalign.sharding import MESH_AXES

MAX_COUNT = 2**31 - 1  # indices have 32 bits


class Range(NamedTuple):
    """An interval of numbers.

    Attributes:
      low, high: its bounds.
      above: whether it excludes `low`.
      below: whether it excludes `high`.
      infinite: whether it includes positive infinity.
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False
    infinite: bool = False

    def contains(self, number: float) -> bool:
        """Whether a number lies in the interval."""
        if abs(number) == math.inf:
            return self.infinite and number > 0
        above = number > self.low if self.above else number >= self.low
        below = number < self.high if self.below else number <= self.high
        return above and below  # NaN: neither

    def __str__(self) -> str:
        if not math.isfinite(self.low):
            return "below infinity"
        low = f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        if not math.isfinite(self.high):
            return low
        low = low if self.above else f"from {self.low:g}"
        return f"{low} {'to below' if self.below else 'to'} {self.high:.15g}"


COUNT, FROM_0, FROM_2 = Range(1, MAX_COUNT), Range(0, MAX_COUNT), Range(2, MAX_COUNT)
POSITIVE, NOT_NEGATIVE, SHARE = Range(0, above=True), Range(0), Range(0, 1)
LIMIT = Range(0, above=True, infinite=True)
ANY = Range(-math.inf)
SEED = Range(0, 2**32 - 1)  # JAX keeps the last 32 bits only


def ranges_of(span: Range, names: str) -> dict[str, Range]:
    """The same range for several names, separated by spaces."""
    return dict.fromkeys(names.split(), span)


INTEGER_RANGES: dict[str, Range] = {
    **ranges_of(SEED, "seed held_out_seed"),
    **ranges_of(COUNT, "context save_every keep batch micro_batches minibatches"),
    **ranges_of(
        COUNT, "epochs max_new_tokens lora_rank eval_prompts prompts samples draws"
    ),
    **ranges_of(COUNT, "annotators held_out_prompts seeds rounds ptx_batch"),
    **ranges_of(COUNT, "length rows workers new_tokens prompt max_row_chars"),
    **ranges_of(
        FROM_0, "warmup value_warmup slots skip_nonfinite first_prompt first steps"
    ),
    **ranges_of(FROM_0, "examples thoughts pairs"),
    **ranges_of(FROM_2, "normalize_samples highest answers best_of points"),
    **ranges_of(FROM_0, "eval_every patience"),
    **ranges_of(COUNT, "eval_rows top_k stride"),
}
FLOAT_RANGES: dict[str, Range] = {
    "held_out": Range(0, 1, below=True),
    "warmup": SHARE,
    **ranges_of(Range(0, 0.5, below=True), "label_smoothing flip_rate"),
    **ranges_of(
        NOT_NEGATIVE, "learning_rate value_learning_rate weight_decay temperature"
    ),
    **ranges_of(
        NOT_NEGATIVE,
        "stall_after beta lam gamma alpha center entropy_weight safety_weight",
    ),
    **ranges_of(NOT_NEGATIVE, "ptx_weight missing_eos_penalty temperatures"),
    **ranges_of(NOT_NEGATIVE, "desirable_weight undesirable_weight"),
    **ranges_of(
        POSITIVE, "lora_alpha eval_temperature label_temperature tau betas epochs"
    ),
    **ranges_of(POSITIVE, "eps clip kl_target kl_horizon kl_gain score_clip"),
    **ranges_of(LIMIT, "clip_norm value_clip logp_gap kl_stop"),
    **ranges_of(ANY, "delta"),
    **ranges_of(Range(0, 1, above=True), "top_p"),
}


Value = TypeVar("Value")


def resumable(default: Value) -> Value:
    """A configuration field that a resumed run may change: it computes the same."""
    field: Any = dataclasses.field(default=default, metadata={"resumable": True})
    return typing.cast(Value, field)


def resumable_fields(config: type) -> frozenset[str]:
    """The names of the fields that a resumed run may change.

    A subclass that gives such a field another default does not change that.
    """
    fields = [
        field
        for base in config.__mro__
        for field in vars(base).get("__dataclass_fields__", {}).values()
    ]
    return frozenset(f.name for f in fields if f.metadata.get("resumable"))


class ValidatedConfig:
    """A configuration that validates its fields when it is created.

    Paths may be given as text. A command line creates inner configurations before the
    outer one: there validation is deferred, so that messages have the full flag names.
    """

    RANGES: ClassVar[Mapping[str, Range]] = {}
    """Ranges of fields whose name has another range elsewhere."""

    def __post_init__(self) -> None:
        own: type = type(self)
        for name, kinds in field_types(own).items():
            value = getattr(self, name)
            if isinstance(value, str) and Path in kinds:
                object.__setattr__(self, name, Path(value))
        if not validation_deferred.get():
            validate(self)


validation_deferred = contextvars.ContextVar("validation_deferred", default=False)


@contextlib.contextmanager
def defer_validation() -> Iterator[None]:
    """A context in which configurations are created without validation."""
    before = validation_deferred.set(True)
    try:
        yield
    finally:
        validation_deferred.reset(before)


@functools.cache
def field_types(config: type) -> dict[str, tuple[Any, ...]]:
    """The possible types of each field; for a tuple, the types of its elements."""
    hints = typing.get_type_hints(config)

    def kinds(hint: Any) -> tuple[Any, ...]:
        origin, inner = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Union, types.UnionType):
            return tuple(kind for each in inner for kind in kinds(each))
        return kinds(inner[0]) if origin is tuple else (hint,)

    fields = dataclasses.fields(config)
    return {field.name: kinds(hints[field.name]) for field in fields}


def range_of(config: type, name: str) -> Range | None:
    """The range of a numeric field; None for other fields.

    Raises:
      LookupError: the table lacks the field.
    """
    kinds = field_types(config)[name]
    if int not in kinds and float not in kinds:
        return None
    for base in config.__mro__:
        if name in vars(base).get("RANGES", {}):
            span: Range = vars(base)["RANGES"][name]
            return span
    return (FLOAT_RANGES if float in kinds else INTEGER_RANGES)[name]


def validate(config: Any, prefix: str = "") -> None:
    """Refuses invalid values of flags, of inner configurations too.

    Args:
      prefix: the prefix of the flags' names, such as `ppo.`.

    Raises:
      ValueError: names the flag, its value, and the valid values.
    """
    own: type = type(config)
    optional = {field.name for field in dataclasses.fields(own) if field.default == ""}
    for name, kinds in field_types(own).items():
        value, flag = getattr(config, name), f"--{prefix}{name}".replace("_", "-")
        if isinstance(value, ValidatedConfig):
            validate(value, f"{prefix}{name}.")
            continue
        if isinstance(value, str) and not value.strip() and name not in optional:
            raise ValueError(f"{flag} {value!r} is empty")
        if isinstance(value, Path):
            validate_path(flag, value)
        span = range_of(own, name)
        for one in value if isinstance(value, tuple) else (value,):
            if span is not None and not (one is None and type(None) in kinds):
                validate_number(flag, one, span, whole=float not in kinds)
        for options in (k for k in kinds if typing.get_origin(k) is Literal):
            known = typing.get_args(options)
            if value not in known and not (value is None and type(None) in kinds):
                raise ValueError(f"{flag} is {', '.join(known)}, not {value!r}")
    if isinstance(getattr(config, "mesh", None), str):
        parse_mesh(config.mesh, f"--{prefix}mesh")


def validate_path(flag: str, path: Path) -> None:
    """Refuses a path that is not UTF-8 text, which other libraries need.

    Raises:
      ValueError: names the flag.
    """
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{flag} {str(path)!r} is not UTF-8 text") from error


def validate_number(flag: str, value: Any, span: Range, *, whole: bool) -> None:
    """Refuses a value outside the range.

    Args:
      whole: whether it must be an integer.

    Raises:
      ValueError: names the flag and the range.
    """
    kind = numbers.Integral if whole else numbers.Real
    has_type = isinstance(value, kind) and not isinstance(value, bool)
    if not has_type or not span.contains(value) or not (whole or fits_float(value)):
        noun = "a whole number" if whole else "a number"
        raise ValueError(f"{flag} {value!r:.40}: it should be {noun} {span}")


def fits_float(value: Any) -> bool:
    """Whether a number is in the range of floats."""
    try:
        return not math.isnan(float(value))
    except OverflowError:
        return False


@contextlib.contextmanager
def prefix_errors(flag: str) -> Iterator[None]:
    """A context whose ValueErrors begin with the name of a flag.

    Args:
      flag: its name, or its name and value.

    Raises:
      ValueError: the error of the context, with the prefix.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{flag}: {error}") from error


def parse_mesh(text: str, flag: str = "--mesh") -> dict[str, int] | None:
    """The mesh shape in `data=2,fsdp=4`; None for an empty text.

    Raises:
      ValueError: names the flag, and the invalid part of it.

    >>> parse_mesh("data=2,fsdp=4")
    {'data': 2, 'fsdp': 4}
    """
    if not text:
        return None
    shape: dict[str, int] = {}
    for part in text.split(","):
        axis, _, size = (each.strip() for each in part.partition("="))
        wrong = f"{flag} takes AXIS=SIZE,..., such as data=2; got {part!r}"
        if axis not in MESH_AXES:
            raise ValueError(f"{wrong}: the axes are {', '.join(MESH_AXES)}")
        if axis in shape:
            raise ValueError(f"{wrong}: {axis} is there twice")
        if not (
            size.isascii() and size.isdecimal() and 0 < int(size[:19]) <= MAX_COUNT
        ):
            raise ValueError(f"{wrong}: SIZE is a whole number, 1 or more")
        shape[axis] = int(size)
    return shape
