"""Every state of the page: axe finds nothing, nothing overflows, no script runs."""

import pytest

from jaxalign.feedback import store
from jaxalign.feedback.judgements import Item
from tests.feedback import browsers
from tests.feedback.browsers import open_browser, resize, serving
from tests.feedback.studies import begin, make_items
from tests.feedback.test_browser import Page

pytestmark = [
    pytest.mark.skipif(not browsers.INSTALLED, reason=browsers.REASON),
    pytest.mark.slow,
]
axe = pytest.importorskip("axe_selenium_python", reason="axe is not installed")

HOSTILE = """<script>window.hit = 1</script><img src=x onerror="window.hit = 1">
[click](javascript:window.hit=1) ![picture](http://127.0.0.1:1/x.png)
<svg onload="window.hit=1"><style>body { display: none }</style>
<iframe srcdoc="<script>parent.hit=1</script>"></iframe> </div></section></main>

# Heading

```html
<script>window.hit = 1</script>
```

| a | b |
|---|---|
| 1 | %s |
""" % ("wide" * 80)
ASK = [{"role": "user", "content": HOSTILE}]
STATES = {
    "pairwise": ({"ties": True, "both_bad": True}, 2, "2"),
    "safety": ({"safety": True, "levels": 4}, 2, "1a"),
    "three": ({"levels": 3}, 2, "\ue014"),
    "ranking": ({"kind": "ranking"}, 4, "dc=a"),
    "rating": ({"kind": "rating"}, 3, "6"),
}


@pytest.fixture(scope="module")
def browser():
    driver = open_browser()
    yield driver
    driver.quit()


def check(driver, name):
    """Axe at both widths, light and dark; no overflow, no script, no requests."""
    for width, height in ((360, 740), (1600, 900)):
        for dark in (False, True):
            resize(driver, width, height, dark=dark)
            tool = axe.Axe(driver)
            tool.inject()
            found = tool.run()["violations"]
            bad = [
                (v["id"], v["impact"], [n["html"][:80] for n in v["nodes"]])
                for v in found
                if v["impact"] in ("serious", "critical")
            ]
            assert not bad, (name, width, dark, bad)
            wider = "return document.documentElement.scrollWidth - innerWidth"
            assert driver.execute_script(wider) <= 0, (name, width)
    assert driver.execute_script("return window.hit") is None
    assert (
        driver.find_elements("css selector", "main img, iframe, svg, main style") == []
    )


@pytest.mark.parametrize("name", STATES)
def test_judging(browser, tmp_path, name):
    options, count, keys = STATES[name]
    kind = {"pairwise": "pair"}.get(
        options.get("kind", "pairwise"), options.get("kind")
    )
    answers = tuple(f"{HOSTILE} {k}" for k in range(count))
    begin(tmp_path, [Item(f"i{n}", kind, ASK, answers) for n in range(3)], **options)
    with serving(tmp_path, **options) as server:
        browser.get(server.url)
        check(browser, "login")
        page = Page(browser, server.url)
        page.enter("<b>Ann</b>")
        page.wait(lambda: page.find("#card .prompt"))
        page.keys(keys)
        check(browser, name)
        link = page.find("#card a")
        assert [a.get_attribute("href") for a in link] in (
            [],
            [None] * len(link),
        ) or all(
            not (a.get_attribute("href") or "").startswith("javascript") for a in link
        )
        for dialog, key in (("help", "?"), ("skip", "s"), ("pause", "p")):
            page.keys(key)
            page.wait(lambda d=dialog: page.find(f"#{d}-dialog[open]"))
            check(browser, dialog)
            page.keys("\ue00c")
            page.wait(lambda d=dialog: not page.find(f"#{d}-dialog[open]"))
        browser.get(server.url + "dashboard")
        page.wait(lambda: page.find("table"))
        check(browser, "dashboard")


def test_the_arena(browser, tmp_path):
    with serving(tmp_path, kind="arena") as server:
        page = Page(browser, server.url)
        page.enter("Ann")
        check(browser, "empty arena")
        page.keys(HOSTILE.replace("\n", " ") + "\n")
        page.wait(lambda: page.find("#votes:not([hidden])"))
        check(browser, "arena")
        page.keys("\ue00c4")
        page.wait(lambda: page.find("#reveal:not([hidden])"))
        check(browser, "vote")


def test_guidelines_gold_and_a_comment(browser, tmp_path):
    options = {"guidelines": "# Look at\n\n- truth", "gold_share": 1.0}
    options |= {"gold_feedback": True, "break_after": 1e-9}
    items = make_items(3) + [
        item._replace(id=f"g{n}", gold={"best": 0, "reason": "<i>So it is.</i>"})
        for n, item in enumerate(make_items(1))
    ]
    begin(tmp_path, items, **options)
    with serving(tmp_path, **options) as server:
        page = Page(browser, server.url)
        page.enter("Ann")
        page.wait(lambda: page.find("#guidelines-dialog[open]"))
        assert "truth" in page.text("#guidelines-dialog")
        check(browser, "guidelines")
        page.keys("1")  # goes nowhere while they are read
        page.keys("\ue007")
        page.wait(lambda: not page.find("dialog[open]"))
        page.done(0, of=4)
        page.judge("1", 1, of=4)
        page.wait(lambda: page.find("#gold-dialog[open]"))
        text = page.text("#gold-text")
        assert "is better. <i>So it is.</i>" in text
        check(browser, "gold")
        page.keys("\ue007")
        page.wait(lambda: not page.find("dialog[open]"))
        assert page.find("#undo:disabled")
        page.keys("cwhy")
        check(browser, "comment")
        page.keys("\ue00c4\ue007")
        page.done(2, of=4)
        page.wait(lambda: "A break?" in page.text("#status"))
    (first, second) = store.judgements(tmp_path)
    assert first.is_gold and second.comment == "why" and second.value == 4
