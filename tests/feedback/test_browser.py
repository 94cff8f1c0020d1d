"""A study in a real browser, by keyboard: undo, reload, tabs, a dead server."""

import re

import pytest

from jaxalign.feedback import store
from tests.feedback import browsers
from tests.feedback.browsers import open_browser, resize, serving

pytestmark = pytest.mark.skipif(not browsers.INSTALLED, reason=browsers.REASON)
pytest.importorskip("starlette", reason="the extra feedback is not installed")


@pytest.fixture(scope="module")
def browser():
    driver = open_browser()
    yield driver
    driver.quit()


@pytest.fixture
def visit(browser, tmp_path):
    """A function that serves a study, enters, and gives the server and the page."""
    stack = []

    def enter(**options):
        context = serving(tmp_path, **options)
        server = context.__enter__()
        stack.append(context)
        page = Page(browser, server.url)
        page.enter("Ann")
        return server, page

    yield enter
    for context in stack:
        context.__exit__(None, None, None)
    first, *others = browser.window_handles
    for handle in others:
        browser.switch_to.window(handle)
        browser.close()
    browser.switch_to.window(first)


class Page:
    """What a person does at the keyboard, and sees."""

    def __init__(self, driver, url):
        self.driver, self.url = driver, url

    def enter(self, name):
        self.driver.delete_all_cookies()
        self.driver.get(self.url)
        self.driver.find_element("id", "name").send_keys(name + "\n")
        self.wait(lambda: self.find("#card, #turns"))

    def find(self, selector):
        return self.driver.find_elements("css selector", selector)

    def text(self, selector):
        return " ".join(element.text for element in self.find(selector))

    def keys(self, text):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(text).perform()

    def wait(self, condition, seconds=40):
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(
            self.driver,
            seconds,
            poll_frequency=0.03,
            ignored_exceptions=[StaleElementReferenceException],
        )
        return wait.until(lambda _: condition())

    def done(self, count, of=12):
        self.wait(lambda: self.text("#count") == f"{count} of {of}")

    @property
    def question(self):
        return re.search(r"question \d+", self.text(".prompt"))[0]

    def judge(self, key, count, of=12):
        """Presses a key, and waits until so many are saved."""
        self.keys(key)
        self.done(count, of)


def test_a_whole_study_by_keyboard(visit, tmp_path):
    _, page = visit(items=12, ties=True)
    page.done(0)
    page.judge("1", 1)
    page.judge("8", 2)
    page.judge("t", 3)
    third = page.question
    page.judge("3", 4)
    page.judge("u", 3)  # undo: the same item again
    assert page.question == third
    page.judge("6", 4)
    page.keys("s")  # skip, for the second reason
    page.wait(lambda: page.find("#skip-dialog[open]"))
    page.judge("2", 5)
    # arrows from the middle: 4 is barely A, two to the left is 2
    page.keys("\ue012")
    page.keys("\ue012\ue012")
    page.judge("\ue007", 6)
    page.keys("c")
    page.keys("a comment with 1 and u\ue00c")
    page.keys("5")
    page.judge("\ue007", 7)
    before = page.question
    page.driver.refresh()  # in the middle
    page.done(7)
    assert page.question == before
    page.driver.get("about:blank")
    page.driver.back()
    page.done(7)
    assert page.question == before
    for count in range(8, 13):
        page.judge("4", count)
    page.wait(lambda: "All done" in page.text("#empty"))
    page.find("#undo-last")[0].click()  # also of the last one
    page.done(11)
    page.judge("4", 12)
    said = store.judgements(tmp_path)
    values = [j.value for j in said]
    assert values == [1, 8, "tie", 6, "skip", 2, 5] + [4] * 5
    assert len({j.item for j in said}) == 12
    assert said[4].reason == "The prompt is unclear"
    assert said[6].comment == "a comment with 1 and u"
    assert all(0 < j.seconds < 60 for j in said)
    said = [e for e in page.driver.get_log("browser") if e["level"] != "INFO"]
    assert [e for e in said if "favicon" not in str(e)] == []


@pytest.mark.slow
def test_two_tabs_of_one_person_lose_nothing_and_count_nothing_twice(visit, tmp_path):
    _, page = visit(items=12)
    page.done(0)
    driver = page.driver
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    resize(driver, 1200, 900)
    driver.get(page.url)
    page.done(0)
    stale = page.question
    page.judge("1", 1)
    page.judge("2", 2)
    second = driver.current_window_handle
    driver.switch_to.window(first)
    # what this tab shows was answered in the other one
    page.wait(lambda: page.find("#card .prompt"))
    page.keys("7")
    page.wait(lambda: page.text("#count") in ("2 of 12", "3 of 12"))
    page.wait(lambda: page.question != stale)
    count = int(page.text("#count").split()[0])
    said = store.judgements(tmp_path)
    assert len(said) == count == len({j.item for j in said})
    assert [j.value for j in said][:2] == [1, 2]
    driver.switch_to.window(second)
    for _ in range(20):  # the first key finds out that the page is old
        page.keys("3")
        page.wait(lambda: page.text("#status, #empty"))
        if page.text("#count") == "12 of 12":
            break
    said = store.judgements(tmp_path)
    assert len(said) == 12 == len({j.item for j in said})


def test_a_server_that_is_killed_loses_nothing(visit, tmp_path):
    server, page = visit(items=12)
    page.done(0)
    page.judge("1", 1)
    page.judge("2", 2)
    server.kill()
    page.keys("3")
    page.wait(lambda: "does not answer" in page.text("#problem"))
    assert [j.value for j in store.judgements(tmp_path)] == [1, 2]
    page.keys("4")  # goes nowhere while nothing is saved
    server.start()
    page.done(3)
    assert page.text("#problem") == ""
    assert [j.value for j in store.judgements(tmp_path)] == [1, 2, 3]
    page.judge("5", 4)
    assert [j.value for j in store.judgements(tmp_path)] == [1, 2, 3, 5]


@pytest.mark.slow
def test_a_ranking_by_keys_and_by_dragging(visit, tmp_path):
    from selenium.webdriver import ActionChains

    _, page = visit(items=2, kind="ranking", answers=4)
    page.done(0, of=2)
    page.keys("dca=b")
    page.wait(lambda: page.text("#ranking").split() == list("D>C>A=B"))
    page.judge("\ue007", 1, of=2)
    (judgement,) = store.judgements(tmp_path)
    assert [judgement.value[i] for i in judgement.order] == [3, 3, 2, 1]
    # drag C and A into the box, then D before A
    for letter in "CAB":
        chip = next(x for x in page.find("#pool .chip") if x.text == letter)
        box = page.find("#ranking")[0]
        ActionChains(page.driver).drag_and_drop(chip, box).perform()
    chip = next(x for x in page.find("#pool .chip") if x.text == "D")
    target = next(x for x in page.find("#ranking .chip") if x.text == "A")
    drag = ActionChains(page.driver).click_and_hold(chip)
    drag.move_to_element_with_offset(target, -15, 0).release().perform()
    letters = [x.text for x in page.find("#ranking .chip")]
    assert len(letters) == 4
    assert letters.index("D") == letters.index("A") - 1
    page.keys("\ue007")
    page.done(2, of=2)
    judgement = store.judgements(tmp_path)[1]
    ranks = [judgement.value[i] for i in judgement.order]
    assert ranks == [letters.index(letter) + 1 for letter in "ABCD"]


@pytest.mark.slow
def test_ratings_and_safety_by_keys(visit, tmp_path):
    _, page = visit(items=1, kind="rating", safety=True)
    page.done(0, of=1)
    page.keys("72")
    page.keys("abb\ue007")
    page.done(1, of=1)
    (judgement,) = store.judgements(tmp_path)
    assert [judgement.value[i] for i in judgement.order] == [7, 2]
    assert [judgement.safe[i] for i in judgement.order] == [True, False]


@pytest.mark.slow
def test_a_battle_of_two_turns_and_one_of_one(visit, tmp_path):
    _, page = visit(kind="arena")
    for turns in (2, 1):
        for turn in range(turns):
            page.keys(f"prompt {turn} <img src=x onerror=alert(1)>\n")
            page.wait(lambda: page.find("#votes:not([hidden])"))
            page.wait(lambda n=turn: len(page.find(".turn")) == n + 1)
        assert "tiny" not in page.text(".letter, #reveal")
        page.driver.refresh()  # the battle waits for its vote
        page.wait(lambda n=turns: len(page.find(".turn")) == n)
        page.keys("\ue00c1")  # Escape leaves the message
        page.wait(lambda: page.find("#reveal:not([hidden])"))
        assert re.search("A is (tiny|large), B is (tiny|large)", page.text("#names"))
        assert not page.find("img")
        page.keys("\ue007")  # New battle has the focus
        page.wait(lambda: not page.find(".turn"))
    said, items = store.judgements(tmp_path), store.items(tmp_path)
    assert [(j.kind, j.value, j.levels) for j in said] == [
        ("battle", 1, 2),
        ("pair", 1, 2),
    ]
    pair = items[said[1].item]
    assert sorted(pair.fields["source"]) == ["large", "tiny"]
    assert pair.prompt[0]["content"].startswith("prompt 0 <img")
    for name, answer in zip(pair.fields["source"], pair.answers, strict=True):
        assert answer.startswith(f"**{name[::-1]}** says: prompt 0")
