"""The page over HTTP: who sees what, answers, undo, and what is refused."""

import pytest

pytest.importorskip("starlette", reason="the extra feedback is not installed")
pytest.importorskip("httpx2", reason="httpx2 is not installed")

from jaxalign.feedback import store
from tests.feedback.studies import answer, make_items, served


def test_a_judgement_is_stored_as_it_was_shown(tmp_path):
    with served(tmp_path, make_items(2)) as client:
        ann = client("ann")
        state = ann.get("/state").json()
        assert len(state["cards"]) == 2 and state["done"] == 0 and state["left"] == 2
        html = state["cards"][0]["html"]
        reply = answer(ann, 2, comment="clear", seconds=1e9)
        assert reply.status_code == 200 and reply.json()["done"] == 1
        # what is on the disk now, while the server runs
        (judgement,) = store.judgements(tmp_path)
        assert judgement.item == "i0" and judgement.value == 2
        assert judgement.annotator == "ann" and judgement.comment == "clear"
        assert judgement.levels == 8 and judgement.probability == 1.0
        assert 0 <= judgement.seconds < 60  # no more than have passed
        places = [html.index(f"i0 a{k}") for k in judgement.order]
        assert places == sorted(places)
        assert reply.json()["cards"][0]["ticket"] == state["cards"][1]["ticket"]


def test_undo_shows_the_same_item_in_the_same_order(tmp_path):
    with served(tmp_path, make_items(3)) as client:
        ann = client("ann")
        first = ann.get("/state").json()["cards"][0]
        following = answer(ann, 1).json()
        assert following["undo"]
        body = {"ticket": following["cards"][0]["ticket"]}
        undone = ann.post("/undo", json=body).json()
        assert undone["cards"][0]["html"] == first["html"] and undone["done"] == 0
        assert undone["cards"][1]["ticket"] == following["cards"][0]["ticket"]
        assert store.judgements(tmp_path) == []
        # the same request again takes nothing more back
        assert ann.post("/undo", json=body).status_code == 409
        assert answer(ann, 8).json()["done"] == 1
        assert [j.value for j in store.judgements(tmp_path)] == [8]
        # of two judgements it takes one back, however often it comes
        state = answer(ann, 2).json()
        body = {"ticket": state["cards"][0]["ticket"] if state["cards"] else None}
        assert ann.post("/undo", json=body).json()["done"] == 1
        again = ann.post("/undo", json=body)
        assert again.status_code == 409 and again.json()["done"] == 1
        state = ann.get("/state").json()
        body = {"ticket": state["cards"][0]["ticket"]}
        assert ann.post("/undo", json=body).json()["done"] == 0
        answer(ann, 8)
        # and all the way back, twice over
        for _ in range(2):
            answer(ann, 3)
            for left in (1, 0):
                state = ann.get("/state").json()
                body = {"ticket": state["cards"][0]["ticket"]}
                state = ann.post("/undo", json=body)
                assert state.status_code == 200 and state.json()["done"] == left
            answer(ann, 5)
        assert not client("bob").get("/state").json()["undo"]


def test_an_answer_that_comes_again_counts_once(tmp_path):
    with served(tmp_path, make_items(3)) as client:
        ann = client("ann")
        ticket = ann.get("/state").json()["cards"][0]["ticket"]
        assert answer(ann, 4, ticket).status_code == 200
        assert answer(ann, 4, ticket).status_code == 200  # the reply was lost
        other = answer(ann, 5, ticket)  # another tab
        assert other.status_code == 409 and "another tab" in other.json()["note"]
        assert other.json()["cards"]
        assert [j.value for j in store.judgements(tmp_path)] == [4]


def test_items_go_to_so_many_people_and_to_nobody_twice(tmp_path):
    with served(tmp_path, make_items(4), overlap=2) as client:
        people = [client(f"p{n}") for n in range(4)]
        for _ in range(10):
            for one in people:
                state = one.get("/state").json()
                if state["cards"]:
                    assert (
                        answer(one, 1, state["cards"][0]["ticket"]).status_code == 200
                    )
        by_item = {}
        for judgement in store.judgements(tmp_path):
            by_item.setdefault(judgement.item, []).append(judgement.annotator)
        assert sorted(by_item) == ["i0", "i1", "i2", "i3"]
        for names in by_item.values():
            assert len(names) == len(set(names)) == 2
        # each side was shown left once, as two people saw it
        orders = {}
        for judgement in store.judgements(tmp_path):
            orders.setdefault(judgement.item, set()).add(judgement.order)
        assert all(seen == {(0, 1), (1, 0)} for seen in orders.values())


def test_rankings_and_ratings_are_by_answer_index(tmp_path):
    with served(tmp_path / "a", make_items(1, "ranking", 4), kind="ranking") as client:
        # D > C > A = B in the shown places; gaps in the numbers do not matter
        assert answer(client("ann"), [4, 4, 2, 1]).status_code == 200
        (judgement,) = store.judgements(tmp_path / "a")
        shown = [judgement.value[i] for i in judgement.order]
        assert shown == [3, 3, 2, 1] and sorted(judgement.order) == [0, 1, 2, 3]
    with served(tmp_path / "b", make_items(1, "rating", 2), kind="rating") as client:
        ann = client("ann")
        for bad in ([8, 1], [1], [0, 1], [True, 1], "tie", 3, [1.5, 2]):
            assert answer(ann, bad).status_code == 422
        assert answer(ann, [7, 2]).status_code == 200
        (judgement,) = store.judgements(tmp_path / "b")
        assert [judgement.value[i] for i in judgement.order] == [7, 2]


def test_ties_both_bad_and_safety_where_they_are_asked(tmp_path):
    with served(tmp_path / "a", make_items(3)) as client:
        ann = client("ann")
        for value in ("tie", "both_bad", 0, 9, True, None, "x", 1.0, [1]):
            assert answer(ann, value).status_code == 422, value
        assert answer(ann, "skip", reason="unclear").status_code == 200
        (judgement,) = store.judgements(tmp_path / "a")
        assert judgement.value == "skip" and judgement.reason == "unclear"
    options = {"ties": True, "both_bad": True, "safety": True}
    with served(tmp_path / "b", make_items(3), **options) as client:
        ann = client("ann")
        assert answer(ann, "tie").status_code == 422  # nothing about safety
        assert answer(ann, "tie", safe=[True, False]).status_code == 200
        assert answer(ann, "both_bad", safe=[False, False]).status_code == 200
        assert answer(ann, "skip").status_code == 200
        tie, bad, _ = store.judgements(tmp_path / "b")
        assert [tie.safe[i] for i in tie.order] == [True, False]
        assert tie.value == "tie" and bad.value == "both_bad"


def test_gold_with_feedback_and_without(tmp_path):
    gold = [
        item._replace(id=f"g{item.id}", gold={"best": 0, "reason": "It is right."})
        for item in make_items(2)
    ]
    for folder, tells in (("a", True), ("b", False)):
        settings = {"gold_share": 1.0, "gold_feedback": tells}
        with served(tmp_path / folder, make_items(2) + gold, **settings) as client:
            ann = client("ann")
            reply = answer(ann, 1).json()
            (judgement,) = store.judgements(tmp_path / folder)
            assert judgement.is_gold
            right = judgement.order == (0, 1)
            if tells:
                assert reply["gold"]["right"] == right and not reply["undo"]
                letter = "A" if right else "B"
                assert f"{letter} is better. It is right." in reply["gold"]["text"]
            else:
                assert reply["gold"] is None and reply["undo"]
            for _ in range(3):
                assert answer(ann, 1).status_code == 200
            assert ann.get("/state").json()["cards"] == []
            assert len(store.judgements(tmp_path / folder)) == 4


def test_repeats_come_later_and_swapped(tmp_path):
    with served(tmp_path, make_items(10), repeat=1.0) as client:
        ann = client("ann")
        while ann.get("/state").json()["cards"]:
            assert answer(ann, 1).status_code == 200
        said = store.judgements(tmp_path)
        assert len(said) == 20
        place = {(j.item, j.repeat): n for n, j in enumerate(said)}
        order = {(j.item, j.repeat): j.order for j in said}
        for n in range(10):
            assert order[f"i{n}", 1] == order[f"i{n}", 0][::-1]
            assert place[f"i{n}", 1] > place[f"i{n}", 0] + 1


def test_items_that_are_added_meanwhile_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxalign.feedback.study.LOOK", 0.0)
    with served(tmp_path, make_items(1)) as client:
        ann = client("ann")
        answer(ann, 1)
        assert ann.get("/state").json()["cards"] == []
        assert store.add_items(tmp_path, make_items(2), round=1) == 1
        (card,) = ann.get("/state").json()["cards"]
        assert "question 1" in card["html"]


def test_a_restart_goes_on_with_the_same_item_and_takes_the_old_answer(tmp_path):
    with served(tmp_path, make_items(3)) as client:
        ann = client("ann")
        before = answer(ann, 1).json()
        cookies = dict(ann.cookies)
    with served(tmp_path, make_items(3)) as client:
        ann = client()
        ann.cookies.update(cookies)  # the secret is the study's
        assert ann.get("/state").json()["cards"] == before["cards"]
        assert answer(ann, 2, before["cards"][0]["ticket"]).json()["done"] == 2
    assert [j.value for j in store.judgements(tmp_path)] == [1, 2]
