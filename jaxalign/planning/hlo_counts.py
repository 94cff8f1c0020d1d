"""FLOPs of a traced program and collectives of its compiled text.

Loops count as often as they run. XLA's own `cost_analysis` counts the body of a loop
once, whatever its length, and scanned layers are such a loop.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jax.extend import core

TYPES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2}
TYPES |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
SHAPE = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\]")
KINDS = "all-gather|reduce-scatter|all-reduce|all-to-all|collective-permute"
INSTRUCTION = re.compile(rf"^\s*(?:ROOT )?%\S+ = (.*?) ({KINDS})\(")
CALLED = re.compile(r"(?:calls|to_apply|body)=%([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{(.*?)\}")


def matmul_flops(jaxpr: core.Jaxpr) -> float:
    """Operations of a program's matrix products, on all devices together.

    Two for each multiplication and addition. A conditional counts as its most
    expensive branch, a `while` loop as often as the largest integer in its condition.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            left: Any = equation.invars[0].aval
            result: Any = equation.outvars[0].aval
            inner = math.prod(left.shape[i] for i in contracted)
            total += 2.0 * inner * math.prod(result.shape)
        elif name == "cond":
            total += max(matmul_flops(branch.jaxpr) for branch in params["branches"])
        elif name == "while":
            total += loop_bound(params["cond_jaxpr"].jaxpr) * matmul_flops(
                params["body_jaxpr"].jaxpr
            )
        else:
            times = params["length"] if name == "scan" else 1
            total += times * sum(matmul_flops(inner) for inner in inner_jaxprs(params))
    return total


def inner_jaxprs(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    """The jaxprs nested in an equation."""
    for value in params.values():
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value


def loop_bound(jaxpr: core.Jaxpr) -> int:
    """The largest integer that a loop condition compares with; 1 without any."""
    numbers = [1]
    for equation in jaxpr.eqns:
        literals = [x.val for x in equation.invars if isinstance(x, core.Literal)]
        numbers += [
            int(x) for x in literals if np.issubdtype(np.asarray(x).dtype, np.integer)
        ]
        numbers += [loop_bound(inner) for inner in inner_jaxprs(equation.params)]
    return max(numbers)


class Collective(NamedTuple):
    """A communication of a compiled program.

    Attributes:
      kind: its name in XLA.
      sent: bytes that each device sends per run, by ring algorithms.
      groups: the devices that communicate with each other [groups size].
      times: number of runs.
    """

    kind: str
    sent: float
    groups: np.ndarray
    times: float

    @property
    def total(self) -> float:
        """Bytes that each device sends in all runs."""
        return self.sent * self.times

    def cross_domain_fraction(self, domain: int) -> float:
        """The fraction of those bytes that leaves a domain of this many devices.

        Of S bytes for each of n devices in d domains, a domain needs S * (d - 1) / d of
        others; its n / d devices share them: S * (d - 1) / n, where a ring sends
        S * (n - 1) / n.
        """
        homes = [len(set(group)) for group in (self.groups // domain).tolist()]
        return (max(homes) - 1) / max(self.groups.shape[1] - 1, 1)


def collectives(text: str, devices: int) -> list[Collective]:
    """The collectives of a compiled program, parsed from its text.

    Args:
      devices: number of devices that it runs on.
    """
    bodies = computations(text)
    collectives_by_key: dict[str, Collective] = {}

    def visit(name: str, times: int) -> None:
        for line in bodies[name]:
            matched = INSTRUCTION.match(line)
            if matched:
                shapes, kind = matched.groups()
                # TPUs have pieces of one collective in several places: one channel
                channel = re.search(r"channel_id=(\d+)", line)
                key = (
                    channel.group() if channel else f"{name} {len(collectives_by_key)}"
                )
                groups = replica_groups(line, devices)
                sent = array_bytes(shapes) * ring_fraction(kind, groups.shape[1])
                sent /= 2 if is_widened(line, bodies[name], bodies) else 1
                collectives_by_key[key] = Collective(kind, sent, groups, times)
                continue
            inner = times * trip_count(line, bodies) if " while(" in line else times
            called = CALLED.findall(line)
            for branches in BRANCHES.findall(line):
                called += [branch.strip(" %") for branch in branches.split(",")]
            for other in called:
                visit(other, inner)

    visit("ENTRY", 1)
    return list(collectives_by_key.values())


def is_widened(line: str, around: list[str], bodies: dict[str, list[str]]) -> bool:
    """Whether the CPU compiler converted bfloat16 to float32 only for this collective.

    Sums are marked "promoted"; gathered operands come from a converting fusion.
    """
    if "_promoted" in line:
        return True
    operand = re.search(rf" = f32.* (?:{KINDS})\((%[\w.\-]+)", line)
    if not operand:
        return False
    source = [other for other in around if f"{operand.group(1)} = " in other]
    called = [name for other in source for name in CALLED.findall(other)]
    return any("bf16[" in inner for name in called for inner in bodies[name])


def computations(text: str) -> dict[str, list[str]]:
    """The lines of each computation by its name; the main one's is ENTRY."""
    bodies: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" "):
            name = "ENTRY" if line.startswith("ENTRY") else line.split()[0].strip("%")
            lines = bodies.setdefault(name, [])
        else:
            lines.append(line)
    return bodies


def trip_count(line: str, bodies: dict[str, list[str]]) -> int:
    """Trip count of a `while`: XLA's annotation, or else from its condition."""
    known = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
    if known:
        return int(known.group(1))
    condition = re.search(r"condition=%([\w.\-]+)", line)
    return largest_constant(condition.group(1), bodies) if condition else 1


def largest_constant(name: str, bodies: dict[str, list[str]]) -> int:
    """The largest integer in a computation and those that it calls."""
    numbers = [1]
    for line in bodies[name]:
        numbers += [int(n) for n in re.findall(r"s32\[\]\S* constant\((\d+)\)", line)]
        numbers += [largest_constant(other, bodies) for other in CALLED.findall(line)]
    return max(numbers)


def array_bytes(shapes: str) -> int:
    """Bytes of the arrays in a type.

    >>> array_bytes("(f32[2,3]{1,0}, bf16[4])")
    32
    """
    sizes = [
        TYPES[kind] * math.prod(map(int, filter(None, shape.split(","))))
        for kind, shape in SHAPE.findall(shapes)
    ]
    return sum(sizes)


def ring_fraction(kind: str, size: int) -> float:
    """Bytes that a device sends in a ring, as a fraction of its result's bytes."""
    return {
        "all-gather": (size - 1) / size,
        "reduce-scatter": size - 1.0,
        "all-reduce": 2 * (size - 1) / size,
        "all-to-all": (size - 1) / size,
        "collective-permute": 1.0,
    }[kind]


def replica_groups(line: str, devices: int) -> np.ndarray:
    """The groups of devices of a collective [groups size].

    XLA writes them as lists, as reshaped and transposed ranges, or by mesh axes:

    >>> replica_groups("replica_groups={{0,1},{2,3}}", 4).tolist()
    [[0, 1], [2, 3]]
    >>> replica_groups("replica_groups=[2,2]<=[2,2]T(1,0)", 4).tolist()
    [[0, 2], [1, 3]]
    >>> replica_groups("replica_groups=mesh['a'=2,'b'=2] {'a'}", 4).tolist()
    [[0, 2], [1, 3]]
    """
    numbers = lambda text: [int(n) for n in re.findall(r"\d+", text)]
    pairs = re.search(r"source_target_pairs=\{(\{.*?\})\}", line)
    if pairs:
        return np.array(numbers(pairs.group(1))).reshape(-1, 2)
    mesh = re.search(
        r"replica_groups=mesh\[(.*?)\](?:, device_ids=\((.*?)\))? \{(.*?)\}", line
    )
    if mesh and ":" in mesh.group(3):
        raise ValueError(f"groups of parts of a mesh axis are not read: {mesh.group()}")
    if mesh:
        axes = dict(re.findall(r"'(\w+)'=(\d+)", mesh.group(1)))
        ids = device_order(mesh.group(2), devices).reshape(
            [int(n) for n in axes.values()]
        )
        named_axes = [
            list(axes).index(axis) for axis in re.findall(r"'(\w+)'", mesh[3])
        ]
        size = math.prod(ids.shape[axis] for axis in named_axes)
        ends = range(-len(named_axes), 0)
        return np.moveaxis(ids, named_axes, list(ends)).reshape(-1, size)
    ranges = re.search(r"replica_groups=\[([\d,]+)\]<=(\S+)", line)
    if ranges:
        return device_order(ranges.group(2), devices).reshape(numbers(ranges.group(1)))
    listed = re.search(r"replica_groups=\{(\{.*?\})\}", line)
    if listed:
        groups = listed.group(1).count("{")
        return np.array(numbers(listed.group(1))).reshape(groups, -1)
    return np.arange(devices).reshape(1, -1)


def device_order(order: str | None, devices: int) -> np.ndarray:
    """The devices in an order such as `[2,4]T(1,0)`: a range, reshaped, transposed."""
    shape, _, axes = (order or "").partition("T")
    sizes = [int(n) for n in re.findall(r"\d+", shape)] or [devices]
    ids = np.arange(devices).reshape(sizes)
    return ids.transpose([int(n) for n in re.findall(r"\d+", axes)]) if axes else ids
