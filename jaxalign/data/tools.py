"""Tools that a row declares, and the assistant's calls of them, as templates know them.

declared  [{"type": "function", "function": {"name", "description", "parameters"}}]
calls     [{"type": "function", "function": {"name", "arguments": {...}}}]

Read are lists, single objects, and either as JSON in a text; bare functions, without
their "type", are wrapped. Arguments that are JSON of an object become that object.
"""

import json
from collections.abc import Mapping
from typing import Any

from jaxalign.data.fields import Malformed, absent, parsed
from jaxalign.data.records import Tools


def declared(value: Any, field: str) -> Tools:
    """The tools of a field.

    Raises:
      Malformed: one is no function with a name.

    >>> declared('[{"name": "time", "parameters": {}}]', "tools")
    ({'type': 'function', 'function': {'name': 'time', 'parameters': {}}},)
    """
    return tuple(
        wrapped(tool, f"field '{field}[{k}]'")
        for k, tool in enumerate(listed(value, f"field {field!r}"))
    )


def calls_of(value: Any, at: str) -> list[dict[str, Any]]:
    """The calls in `tool_calls`, `function_call`, or a message that is one.

    Raises:
      Malformed: one is no function with a name.
    """
    calls = []
    for call in listed(value, at):
        call = wrapped(call, at)
        function = dict(call["function"])
        given = function.pop("parameters", {})
        function["arguments"] = arguments_of(function.get("arguments", given))
        calls.append({**call, "function": function})
    return calls


def listed(value: Any, at: str) -> list[Any]:
    """The objects of a list, of JSON in a text, or the one object there is."""
    value = [] if absent(value) else parsed(value, at)
    value = [value] if isinstance(value, Mapping) else value
    if not isinstance(value, list):
        raise Malformed(f"{at} should be a list of functions")
    return [parsed(one, at) for one in value]


def wrapped(value: Any, at: str) -> dict[str, Any]:
    """A function in an object with its type; an `id` stays where it was."""
    if not isinstance(value, Mapping):
        raise Malformed(f"{at} should be an object with a 'name'")
    outer = {"id": value.get("id")} if isinstance(value.get("id"), str) else {}
    function = value.get("function")
    if not isinstance(function, Mapping):
        function = {k: v for k, v in value.items() if k not in ("id", "type")}
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise Malformed(f"{at} should be an object with a 'name'")
    return {**outer, "type": "function", "function": function}


def arguments_of(value: Any) -> Any:
    """The arguments of a call: an object, where the text is JSON of one."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return found if isinstance(found, Mapping) else value
    return value
