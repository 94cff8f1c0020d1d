"""Tools that a row declares, and the assistant's calls of them, as templates know them.

declared  [{"type": "function", "function": {"name", "description", "parameters"}}]
calls     [{"type": "function", "function": {"name", "arguments": {...}}}]

Read are lists, single objects, and either as JSON in a text; bare functions, without
their "type", are wrapped. Arguments are an object, or JSON of one.
"""

from collections.abc import Mapping
from typing import Any

from jaxalign.data.records import Tools
from jaxalign.data.schemas.checks import MalformedRow, is_empty, parse_json, preview


def parse_tools(value: Any, field: str) -> Tools:
    """The tools of a field.

    Raises:
      Malformed: one is no function with a name.

    >>> parse_tools('[{"name": "time", "parameters": {}}]', "tools")
    ({'type': 'function', 'function': {'name': 'time', 'parameters': {}}},)
    """
    return tuple(
        drop_nulls(wrap_function(tool, f"field '{field}[{k}]'"))
        for k, tool in enumerate(parse_object_list(value, f"field {field!r}"))
    )


def parse_tool_calls(value: Any, at: str) -> list[dict[str, Any]]:
    """The calls in `tool_calls`, `function_call`, or a message that is one.

    Raises:
      Malformed: one is no function with a name, or its arguments are no object.
    """
    calls = []
    for call in parse_object_list(value, at):
        found = wrap_function(call, at)
        function = dict(found["function"])
        given = function.pop("parameters", {})
        function["arguments"] = parse_arguments(function.get("arguments", given), at)
        told = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
        calls.append({**told, "type": "function", "function": function})
    return calls


def parse_object_list(value: Any, at: str) -> list[Any]:
    """The objects of a list, of JSON in a text, or the one object there is."""
    value = [] if is_empty(value) else parse_json(value, at)
    value = [value] if isinstance(value, Mapping) else value
    if not isinstance(value, list):
        raise MalformedRow(f"{at} should be a list of functions")
    return [parse_json(one, at) for one in value]


def wrap_function(value: Any, at: str) -> dict[str, Any]:
    """A function in an object with its type."""
    if not isinstance(value, Mapping):
        raise MalformedRow(f"{at} should be an object with a 'name'")
    if value.get("type") not in (None, "function"):
        raise MalformedRow(f"{at} is of type {preview(value['type'])}, not a function")
    inner = value.get("function")
    if isinstance(inner, Mapping):
        tool = {**value, "type": "function"}
    else:
        inner = {k: v for k, v in value.items() if k not in ("id", "type")}
        tool = {"type": "function", "function": inner}
    if not isinstance(inner.get("name"), str) or not inner["name"]:
        raise MalformedRow(f"{at} should be an object with a 'name'")
    return tool


def drop_nulls(value: Any) -> Any:
    """A schema without the nulls that Parquet puts where other rows have fields.

    >>> drop_nulls({"a": None, "b": [{"c": None, "default": None}]})
    {'b': [{'default': None}]}
    """
    if isinstance(value, list):
        return [drop_nulls(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    meant = ("default", "const", "example")
    return {k: drop_nulls(v) for k, v in value.items() if v is not None or k in meant}


def parse_arguments(value: Any, at: str) -> Mapping[str, Any]:
    """The arguments of a call, from an object or from JSON of one.

    Raises:
      Malformed: they are neither, as half a JSON, which no tool could be called with.
    """
    if value is None or value == "":
        return {}
    found = parse_json(value, f"{at} 'arguments'")
    if not isinstance(found, Mapping):
        raise MalformedRow(
            f"{at} 'arguments' should be an object, not {preview(value)}"
        )
    return found
