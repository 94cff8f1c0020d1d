"""Filters and methods that chat templates may use, and the work that each of them does.

What no template needs and what has no bound (`center`, `ljust`, `random`, ...) is not
there.
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
# filters that read all that is in a value
FULL_READ_FILTERS = frozenset(
    ("capitalize", "e", "escape", "groupby", "sort", "string", "title", "tojson")
) | {"unique", "urlencode"}
# and those whose work depends on what else they are given
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
    """What counts work: `sandbox.Environment`."""

    left: int

    def spend(self, work: int) -> None: ...
    def weighed(self, value: Any) -> Any: ...


def check_method_allowed(kind: type, name: str) -> None:
    """Refuses methods that templates do not need, and whose results have no bound."""
    if name not in METHODS[kind]:
        raise sandbox.SecurityError(f"{kind.__name__}.{name} may not be called")


def charge_method(budget: WorkMeter, owner: str, name: str, args: Any) -> Any:
    """Counts what a method of a text makes; the arguments, lists for generators."""
    check_method_allowed(str, name)
    made = len(owner) // 16
    if name == "replace":
        made += (1 + owner.count(args[0])) * len(args[1])
    elif name == "join":
        args = (budget.weighed(list(args[0])),)
        made += len(owner) * len(args[0])
    budget.spend(made)
    return args


def charge_format(budget: WorkMeter, form: str, given: tuple[Any, ...]) -> None:
    """Counts what a format makes."""
    if re.search(r"%[^a-zA-Z%]*\*|\{[^{}]*\{[^{]", form.replace("{{", "")):
        raise BudgetExceeded("a format whose width is another value")
    widths = sum(int(width[:9]) for width in re.findall(r"\d+", form))
    before = budget.left
    budget.weighed(list(given))
    weight = before - budget.left
    budget.spend(len(form) + widths + weight * (form.count("%") + form.count("{")))


def metered_filter(budget: WorkMeter, name: str, function: Callable[..., Any]) -> Any:
    """A filter whose work is counted, before and after."""
    at = 1 if hasattr(function, "jinja_pass_arg") else 0

    counts = name in METERED_FILTERS

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        value = args[at]
        spent = CALL_WORK
        if isinstance(value, str):
            spent += len(value) // 16
        elif isinstance(value, list | tuple | dict | range):
            told = sum(
                len(o) // 16 for o in args[at + 1 :] if isinstance(o, str | list)
            )
            spent += len(value) * (CALL_WORK // 2 + told)
        budget.spend(spent)
        if counts:
            if name == "join":
                value = list(value)
                args = (*args[:at], value, *args[at + 1 :])
            charge_filter(budget, name, value, (*args[at + 1 :], *kwargs.values()))
        found = function(*args, **kwargs)
        if isinstance(found, str | list):
            budget.spend(len(found))
        return found

    return counted


def charge_filter(
    budget: WorkMeter, name: str, value: Any, others: tuple[Any, ...]
) -> None:
    """Counts what a filter makes of a value, where that is more than the value."""
    if name == "join":
        between = str(others[0]) if others else ""
        budget.spend(len(budget.weighed(value)) * len(between))
    elif name in FULL_READ_FILTERS:
        budget.weighed(value)
    elif name == "sum":
        if others and not isinstance(others[-1], int | float | str):
            raise BudgetExceeded("a sum of what are no numbers")
    elif name == "replace":
        old, new = str(others[0]), str(budget.weighed(others[1]))
        budget.spend((1 + str(budget.weighed(value)).count(old)) * len(new))
    elif name == "format":
        charge_format(budget, str(value), others)
    elif name == "indent":
        wide = [len(o) if isinstance(o, str) else abs(int(o)) for o in others]
        budget.spend((1 + str(value).count("\n")) * sum(wide))
    elif name in ("batch", "slice", "round", "truncate"):
        budget.spend(sum(abs(n) for n in others if isinstance(n, int)))


def tojson(
    x: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """JSON that escapes no HTML, as transformers has it."""
    if len(str(indent or "")) > 2 or len(str(separators)) > 64:
        raise BudgetExceeded("tojson with a wide indent or long separators")
    return json.dumps(
        x,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
