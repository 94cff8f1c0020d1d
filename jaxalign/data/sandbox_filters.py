"""Filters and methods that chat templates may use, each with its work.

Those that no template needs and that have no bound (`center`, `ljust`, `random`, ...)
are left out.
"""

import functools
import json
import re
from collections.abc import Callable
from typing import Any, Protocol

from jinja2 import sandbox

from jaxalign.data.sandbox_syntax import BudgetExceeded

CALL_WORK = 256  # the work of a call, in characters
FILTERS = (
    *("abs", "attr", "batch", "capitalize", "dictsort", "e", "escape", "first"),
    *("float", "format", "groupby", "indent", "int", "items", "join", "last", "list"),
    *("lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse"),
    *("round", "safe", "select", "selectattr", "slice", "sort", "string", "sum"),
    *("title", "tojson", "truncate", "unique", "upper", "urlencode"),
)
FREE_FILTERS = ("count", "d", "default", "length")  # filters that take no time
# filters that read all of a value
FULL_READ_FILTERS = frozenset(
    ("capitalize", "e", "escape", "groupby", "sort", "string", "title", "tojson")
) | {"unique", "urlencode"}
# and those whose work depends on their arguments
METERED_FILTERS = FULL_READ_FILTERS | {
    "join",
    "sum",
    "replace",
    "format",
    "indent",
    "batch",
    "slice",
}
METERED_FILTERS |= {"round", "truncate"}
ALLOWED_METHODS: Any = {
    str: (
        *("capitalize", "casefold", "count", "endswith", "find", "format", "index"),
        *("isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier"),
        *("islower", "isnumeric", "isspace", "istitle", "isupper", "join", "lower"),
        *("lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind"),
        *("rindex", "rpartition", "rsplit", "rstrip", "split", "splitlines"),
        *("startswith", "strip", "swapcase", "title", "upper"),
    ),
    dict: ("copy", "get", "items", "keys", "values"),
    list: ("copy", "count", "index"),
    tuple: ("count", "index"),
}.items()
METHODS = {kind: frozenset(names) for kind, names in ALLOWED_METHODS}


class WorkMeter(Protocol):
    """The budget that work is charged to: `sandbox.Environment`."""

    remaining: int

    def charge(self, work: int) -> None: ...
    def charge_value(self, value: Any) -> Any: ...


def check_method_allowed(kind: type, name: str) -> None:
    """Refuses methods that templates do not need, or whose results have no bound.

    Raises:
      SecurityError: names the method.
    """
    if name not in METHODS[kind]:
        raise sandbox.SecurityError(f"{kind.__name__}.{name} may not be called")


def charge_method(budget: WorkMeter, owner: str, name: str, args: Any) -> Any:
    """Charges for a text's method before the call.

    Returns:
      The arguments, with lists for generators.
    """
    check_method_allowed(str, name)
    work = len(owner) // 16
    if name == "replace":
        work += (1 + owner.count(args[0])) * len(args[1])
    elif name == "join":
        args = (budget.charge_value(list(args[0])),)
        work += len(owner) * len(args[0])
    budget.charge(work)
    return args


def charge_format(budget: WorkMeter, template: str, values: tuple[Any, ...]) -> None:
    """Charges for formatting values by `%` or `str.format`.

    Raises:
      BudgetExceeded: a format whose width is a value, or too little remains.
    """
    if re.search(r"%[^a-zA-Z%]*\*|\{[^{}]*\{[^{]", template.replace("{{", "")):
        raise BudgetExceeded("a format whose width is another value")
    widths = sum(int(width[:9]) for width in re.findall(r"\d+", template))
    before = budget.remaining
    budget.charge_value(list(values))
    work = before - budget.remaining
    places = template.count("%") + template.count("{")
    budget.charge(len(template) + widths + work * places)


def metered_filter(budget: WorkMeter, name: str, function: Callable[..., Any]) -> Any:
    """A filter that charges for its input before the call, for its output after it."""
    at = 1 if hasattr(function, "jinja_pass_arg") else 0
    is_metered = name in METERED_FILTERS

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        value = args[at]
        work = CALL_WORK
        if isinstance(value, str):
            work += len(value) // 16
        elif isinstance(value, list | tuple | dict | range):
            per_item = sum(
                len(o) // 16 for o in args[at + 1 :] if isinstance(o, str | list)
            )
            work += len(value) * (CALL_WORK // 2 + per_item)
        budget.charge(work)
        if is_metered:
            if name == "join":
                value = list(value)
                args = (*args[:at], value, *args[at + 1 :])
            charge_filter(budget, name, value, (*args[at + 1 :], *kwargs.values()))
        result = function(*args, **kwargs)
        if isinstance(result, str | list):
            budget.charge(len(result))
        return result

    return call


def charge_filter(
    budget: WorkMeter, name: str, value: Any, arguments: tuple[Any, ...]
) -> None:
    """Charges for a filter's output where it may be larger than the value."""
    if name == "join":
        between = str(arguments[0]) if arguments else ""
        budget.charge(len(budget.charge_value(value)) * len(between))
    elif name in FULL_READ_FILTERS:
        budget.charge_value(value)
    elif name == "sum":
        if arguments and not isinstance(arguments[-1], int | float | str):
            raise BudgetExceeded("a sum of what are no numbers")
    elif name == "replace":
        old, new = str(arguments[0]), str(budget.charge_value(arguments[1]))
        count = str(budget.charge_value(value)).count(old)
        budget.charge((1 + count) * len(new))
    elif name == "format":
        charge_format(budget, str(value), arguments)
    elif name == "indent":
        wide = [len(o) if isinstance(o, str) else abs(int(o)) for o in arguments]
        budget.charge((1 + str(value).count("\n")) * sum(wide))
    elif name in ("batch", "slice", "round", "truncate"):
        budget.charge(sum(abs(n) for n in arguments if isinstance(n, int)))


def tojson(
    x: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """JSON without HTML escapes, as in transformers."""
    if len(str(indent or "")) > 2 or len(str(separators)) > 64:
        raise BudgetExceeded("tojson with a wide indent or long separators")
    return json.dumps(
        x,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
