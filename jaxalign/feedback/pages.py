"""The HTML of a study: pages by template, and the card of an item."""

import functools
import json
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxalign import lazy
from jaxalign.feedback.judgements import Item, Judgement
from jaxalign.feedback.markup import message_html, to_html
from jaxalign.feedback.settings import Settings

if TYPE_CHECKING:
    import jinja2
else:
    jinja2 = lazy.module("jinja2")

FOLDER = Path(__file__).parent
LETTERS = string.ascii_uppercase
STATIC = {
    "annotate.css": "text/css",
    "annotate.js": "text/javascript",
    "arena.js": "text/javascript",
    "common.js": "text/javascript",
    "judging.js": "text/javascript",
    "ranking.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
ROLES = {
    "user": "User",
    "assistant": "Assistant",
    "system": "System prompt",
    "developer": "System prompt",
    "tool": "Tool result",
}


@functools.cache
def environment() -> "jinja2.Environment":
    """The templates; what they are given is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["letters"] = LETTERS
    return made


def render(template: str, /, **values: Any) -> str:
    """A template of the folder `templates`, filled in."""
    return environment().get_template(f"{template}.html.jinja").render(**values)


@functools.cache
def static_file(name: str) -> bytes:
    """A file of the folder `static`.

    Raises:
      KeyError: there is none of this name.
    """
    if name not in STATIC:
        raise KeyError(name)
    return (FOLDER / "static" / name).read_bytes()


def card(item: Item, order: tuple[int, ...], settings: Settings) -> str:
    """An item as HTML, its answers in an order."""
    return render(
        "card",
        kind=item.kind,
        messages=[
            (ROLES.get(m["role"], m["role"]), m["role"], message_html(m))
            for m in item.prompt
        ],
        answers=[to_html(item.answers[i]) for i in order],
        safety=settings.safety,
        ratings=item.kind == "rating",
    )


def gold_text(item: Item, judgement: Judgement, right: bool) -> str:
    """What a gold item with feedback tells: the expected answer, as it was shown."""
    gold = item.gold or {}
    order = judgement.order
    if "best" in gold:
        wanted = f"{LETTERS[order.index(gold['best'])]} is better"
    elif "ranks" in gold:
        shown = [(gold["ranks"][i], LETTERS[place]) for place, i in enumerate(order)]
        wanted = " > ".join(
            " = ".join(letter for rank, letter in shown if rank == level)
            for level in sorted({rank for rank, _ in shown})
        )
    else:
        wanted = ", ".join(
            f"{LETTERS[place]} {gold['ratings'][i]}" for place, i in enumerate(order)
        )
    verdict = "You agree with the expected answer" if right else "Expected"
    reason = f" {gold['reason']}" if gold.get("reason") else ""
    return f"{verdict}: {wanted}.{reason}"


def page_settings(settings: Settings) -> str:
    """What the page's script needs to know of the settings, as JSON."""
    return json.dumps(
        {
            "kind": settings.kind,
            "levels": settings.levels,
            "ties": settings.ties,
            "bothBad": settings.both_bad,
            "safety": settings.safety,
            "breakAfter": settings.break_after,
        }
    )
