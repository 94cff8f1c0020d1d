"""Untrusted chat templates, rendered within a work budget.

As transformers renders them: jinja's immutable sandbox with trimmed blocks, loop
controls, `{% generation %}`, `tojson`, `raise_exception`, `strftime_now`. Beyond that,
all work of a template is charged to a budget for each text: rounds of loops, calls, and
the characters and elements that it makes, before they are made. So nested loops,
`'a' * 2000000000`, `9 ** 9 ** 9` and their like end in one sentence at once, while the
templates of published models stay far below the limit.
"""

import datetime
import functools
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import jinja2
import jinja2.ext
from jinja2 import nodes, runtime, sandbox, utils

from jaxalign.data.sandbox_budget import WORK_LIMIT, Budget
from jaxalign.data.sandbox_filters import (
    CALL_WORK,
    FILTERS,
    FREE_FILTERS,
    METHODS,
    charge_format,
    charge_method,
    check_method_allowed,
    metered_filter,
    tojson,
)
from jaxalign.data.sandbox_syntax import (
    BudgetExceeded,
    GenerationTag,
    MeteringCodeGenerator,
    MeteringTransformer,
)

DICT_ATTRIBUTES = frozenset(dir(dict))
WORK_PER_CHARACTER = 32  # for each character of the messages


class RenderedTemplate(NamedTuple):
    """A text, and its spans, [start, stop), inside `{% generation %}`."""

    text: str
    assistant_spans: Sequence[tuple[int, int]]


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    today: datetime.date,
    marks: bool = False,
    **variables: Any,
) -> RenderedTemplate:
    """Renders one conversation.

    Args:
      messages: plain JSON values.
      today: the day that `strftime_now` shows, at midnight.
      marks: find the spans inside `{% generation %}`.
      variables: tools, add_generation_prompt, the texts of special tokens.

    Raises:
      BudgetExceeded: the template does more work than its budget.
      jinja2.TemplateError and others: whatever the template raises.
    """
    content = sum([len(message["content"]) for message in messages])
    with LOCK:
        ENVIRONMENT.remaining = WORK_LIMIT + WORK_PER_CHARACTER * content
        return ENVIRONMENT.run(
            compile_template(template),
            marks=marks,
            messages=messages,
            strftime_now=functools.partial(format_date, today),
            **variables,
        )


@functools.lru_cache
def compile_template(template: str) -> jinja2.Template:
    """Compiles a template; its constants are computed within the budget too."""
    return ENVIRONMENT.from_string(template)


def format_date(today: datetime.date, form: str) -> str:
    """The day in the form of `strftime`."""
    if len(form) > 256 or re.search(r"%[^a-zA-Z%]*\d{3}", form):
        raise BudgetExceeded("strftime_now with a form that is too long")
    return datetime.datetime(today.year, today.month, today.day).strftime(form)


def raise_exception(message: str) -> None:
    """Raises a template's own error; templates call it `raise_exception`."""
    raise jinja2.TemplateError(str(message)[:1000])


class DictConstructor:
    """`dict` in templates: callable, but no class, whose attributes would be unsafe."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


class Environment(Budget, sandbox.ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox with a work budget.

    Attributes:
      position: characters of the text so far.
      assistant_spans: spans inside `{% generation %}`, [start, stop) in characters.
    """

    intercepted_binops = frozenset(("+", "*", "**", "%"))  # no constants, either
    code_generator_class = MeteringCodeGenerator
    position = 0

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[GenerationTag, jinja2.ext.loopcontrols],
            finalize=self.charge_output,
        )
        self.assistant_spans: list[tuple[int, int]] = []
        functions = self.filters | {"tojson": tojson}
        self.filters = {
            name: metered_filter(self, name, functions[name]) for name in FILTERS
        }
        self.filters |= {name: functions[name] for name in FREE_FILTERS}
        self.filters |= {"trim": self.trim}
        self.filters |= {
            f"{method.__name__} ": method
            for method in (self.charge_loop, self.charge_value, self.charge_scan)
        }
        self.globals |= {"raise_exception": raise_exception, "dict": DictConstructor()}
        self.globals |= {"namespace": utils.Namespace, "strftime_now": format_date}
        del self.globals["lipsum"]
        del self.tests["upper"], self.tests["lower"]
        self.known_globals = {id(each) for each in self.globals.values()}

    def _parse(self, source: str, name: Any, filename: Any) -> nodes.Template:
        return cast(
            nodes.Template,
            MeteringTransformer().visit(super()._parse(source, name, filename)),
        )

    def run(
        self, template: jinja2.Template, *, marks: bool, **variables: Any
    ) -> RenderedTemplate:
        """Runs a template with these variables."""
        output = template.root_render_func(template.new_context(variables))
        if not marks:
            return RenderedTemplate("".join(output), ())
        self.position, self.assistant_spans = 0, []
        parts = []
        for part in output:
            self.position += len(part)
            parts.append(part)
        return RenderedTemplate("".join(parts), self.assistant_spans)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        self, function = __self, __obj
        owner = getattr(function, "__self__", None)
        kind = type(owner)
        self.charge(CALL_WORK * (1 + len(args)))
        if kind in METHODS:
            if kwargs:
                for name in ("_loop_vars", "_block_vars"):  # jinja's own
                    kwargs.pop(name, None)
            if isinstance(owner, str):
                args = charge_method(self, owner, function.__name__, args)
            else:
                check_method_allowed(kind, function.__name__)
            result = function(*args, **kwargs)
        elif self.may_call(function, owner):
            result = __context.call(function, *args, **kwargs)
        else:
            raise sandbox.SecurityError(f"{str(function)[:60]} may not be called")
        kind = type(result)
        if kind is str or kind is list:
            self.charge(len(result))
        elif kind is dict or kind is utils.Namespace:
            self.charge_container(result)
        return result

    def may_call(self, function: Any, owner: Any) -> bool:
        """Whether a function that is not a method of a value may be called."""
        ours = (runtime.Macro, runtime.BlockReference, runtime.Undefined)
        helpers = (
            runtime.LoopContext,
            utils.Cycler,
            utils.Joiner,
            jinja2.ext.Extension,
        )
        return (
            isinstance(function, (*ours, utils.Joiner, functools.partial))
            or isinstance(owner, helpers)
            or id(function) in self.known_globals
            or getattr(function, "__name__", "") == "format"
        )

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`obj.attribute`; a shortcut for fields of messages, as jinja reads it."""
        if type(obj) is dict and attribute not in DICT_ATTRIBUTES and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def wrap_str_format(self, value: Any) -> Any:
        """jinja's safe `str.format`, metered."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None
        if value.__name__ != "format":
            raise BudgetExceeded("format_map")

        def format(*args: Any, **kwargs: Any) -> str:
            charge_format(self, value.__self__, (*args, *kwargs.values()))
            return str(wrapped(*args, **kwargs))

        return format


ENVIRONMENT = Environment()
LOCK = threading.Lock()
