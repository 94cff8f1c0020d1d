"""Texts of models as HTML: Markdown without any HTML of theirs, and sanitized.

The texts are hostile input. HTML in them is shown as it stands, images are links (a
picture from elsewhere would tell who reads), and links open no more than a page.
"""

import functools
import html
import json
import re
from typing import TYPE_CHECKING, Any

from jaxalign import lazy

if TYPE_CHECKING:
    import markdown_it
    import nh3
else:
    markdown_it = lazy.module("markdown_it")
    nh3 = lazy.module("nh3")

MAX_MARKDOWN = 50_000  # characters; longer texts are shown as they stand
TAGS = set(
    "a blockquote br code del em h1 h2 h3 h4 h5 h6 hr li ol p pre s strong table tbody "
    "td th thead tr ul".split()
)
ATTRIBUTES = {"a": {"href"}, "ol": {"start"}, "code": {"class"}}
SCHEMES = {"http", "https", "mailto"}
HEADING = re.compile(r"<(/?)h([1-6])>")


@functools.cache
def renderer() -> "markdown_it.MarkdownIt":
    """The Markdown parser: CommonMark with tables and strikethrough, without HTML."""
    parser = markdown_it.MarkdownIt("commonmark", {"html": False, "breaks": True})
    return parser.enable(["table", "strikethrough"]).disable(["image", "html_inline"])


@functools.lru_cache(maxsize=4096)
def to_html(text: str) -> str:
    """A text as HTML that may stand in a page.

    >>> to_html("**4** <script>alert(1)</script>")
    '<p><strong>4</strong> &lt;script&gt;alert(1)&lt;/script&gt;</p>\\n'
    """
    if not text.strip():
        return '<p class="empty">(empty)</p>'
    if len(text) > MAX_MARKDOWN:
        return f"<pre>{html.escape(text)}</pre>"
    cleaned: str = nh3.clean(
        renderer().render(text),
        tags=TAGS,
        attributes=ATTRIBUTES,
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    # headings of a text are below those of the page; wide blocks scroll by keyboard
    cleaned = HEADING.sub(lambda m: f"<{m[1]}h{min(int(m[2]) + 3, 6)}>", cleaned)
    return cleaned.replace("<pre>", '<pre tabindex="0">')


def message_html(message: dict[str, Any]) -> str:
    """A message of a conversation as HTML, its tool calls and reasoning included."""
    parts = []
    content = message.get("content") or ""
    if reasoning := message.get("reasoning_content"):
        parts.append(to_html(str(reasoning)) + "<hr>")
    if not isinstance(content, str):
        content = f"```json\n{json.dumps(content, indent=1, ensure_ascii=False)}\n```"
    calls = message.get("tool_calls")
    if content or not calls:
        parts.append(to_html(content))
    if calls:
        text = json.dumps(calls, indent=1, ensure_ascii=False)
        parts.append(f'<pre tabindex="0">{html.escape(text)}</pre>')
    return "".join(parts)
