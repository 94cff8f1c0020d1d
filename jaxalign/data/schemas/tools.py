"""Tool declarations and tool calls, in the form that chat templates take.

declared  [{"type": "function", "function": {"name", "description", "parameters"}}]
calls     [{"type": "function", "function": {"name", "arguments": {...}}}]

Accepted are lists and single objects, also as JSON text; functions without their
"type" are wrapped. Arguments are an object, or JSON of one.
"""

from collections.abc import Mapping
from typing import Any

from jaxalign.data.records import Tools
from jaxalign.data.row_errors import MalformedRow
from jaxalign.data.schemas.checks import is_empty, parse_json, preview


def parse_tools(value: Any, field: str) -> Tools:
    """Parse the tool declarations of a field.

    Raises:
      MalformedRow: an entry is not a function with a name.

    >>> parse_tools('[{"name": "time", "parameters": {}}]', "tools")
    ({'type': 'function', 'function': {'name': 'time', 'parameters': {}}},)
    """
    return tuple(
        drop_nulls(wrap_function(tool, f"field '{field}[{k}]'"))
        for k, tool in enumerate(parse_object_list(value, f"field {field!r}"))
    )


def parse_tool_calls(value: Any, name: str) -> list[dict[str, Any]]:
    """Parse `tool_calls`, a `function_call`, or a message that is a call.

    Args:
      name: name of the value in error messages.

    Raises:
      MalformedRow: an entry is not a function with a name, or its arguments are not an
        object.
    """
    calls = []
    for call in parse_object_list(value, name):
        wrapped = wrap_function(call, name)
        function = dict(wrapped["function"])
        parameters = function.pop("parameters", {})
        arguments = function.get("arguments", parameters)
        function["arguments"] = parse_arguments(arguments, name)
        call_id = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
        calls.append({**call_id, "type": "function", "function": function})
    return calls


def parse_object_list(value: Any, name: str) -> list[Any]:
    """Parse a list of objects or a single object, each possibly as JSON text."""
    value = [] if is_empty(value) else parse_json(value, name)
    value = [value] if isinstance(value, Mapping) else value
    if not isinstance(value, list):
        raise MalformedRow(f"{name} is {preview(value)}; expected a list of functions")
    return [parse_json(entry, name) for entry in value]


def wrap_function(value: Any, name: str) -> dict[str, Any]:
    """Wrap a function in an object with its type, if it is not wrapped yet."""
    if not isinstance(value, Mapping):
        raise MalformedRow(
            f"{name} is {preview(value)}; expected an object with a 'name'"
        )
    if value.get("type") not in (None, "function"):
        raise MalformedRow(
            f"{name} has type {preview(value['type'])}; expected 'function'"
        )
    inner = value.get("function")
    if isinstance(inner, Mapping):
        tool = {**value, "type": "function"}
    else:
        inner = {k: v for k, v in value.items() if k not in ("id", "type")}
        tool = {"type": "function", "function": inner}
    if not isinstance(inner.get("name"), str) or not inner["name"]:
        raise MalformedRow(f"{name} has no 'name'; expected an object with a 'name'")
    return tool


def drop_nulls(value: Any) -> Any:
    """Remove the nulls of a schema, which Parquet adds for fields of other rows.

    >>> drop_nulls({"a": None, "b": [{"c": None, "default": None}]})
    {'b': [{'default': None}]}
    """
    if isinstance(value, list):
        return [drop_nulls(entry) for entry in value]
    if not isinstance(value, Mapping):
        return value
    nullable = ("default", "const", "example")
    return {
        k: drop_nulls(v) for k, v in value.items() if v is not None or k in nullable
    }


def parse_arguments(value: Any, name: str) -> Mapping[str, Any]:
    """Parse the arguments of a call, from an object or from JSON of one.

    Raises:
      MalformedRow: the value is neither; truncated JSON, for instance.
    """
    if value is None or value == "":
        return {}
    arguments = parse_json(value, f"{name} 'arguments'")
    if not isinstance(arguments, Mapping):
        raise MalformedRow(
            f"{name} 'arguments' is {preview(value)}; expected an object"
        )
    return arguments
