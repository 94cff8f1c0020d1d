"""Battles: who may ask and vote, failures of models, and a restart before the vote."""

import json
import time

import pytest

pytest.importorskip("starlette", reason="the extra feedback is not installed")
pytest.importorskip("httpx2", reason="httpx2 is not installed")

from jaxalign.feedback import store
from tests.feedback.studies import served


def model(name, *, fails=False, delay=0.0):
    def answer(conversation):
        said = [message["content"] for message in conversation]
        assert [m["role"] for m in conversation] == ["user", "assistant"] * (
            len(said) // 2
        ) + ["user"]
        yield f"{name} "
        time.sleep(delay)
        if fails and len(said) > 1:
            raise ValueError("the context of 64 tokens is full")
        yield f"after {len(said)}: {said[-1]}"

    return answer


def arena(folder, *names, **options):
    models = {name: model(name, **options) for name in names or ("one", "two")}
    return served(folder, app={"answerers": models}, kind="arena", levels=2)


def ask(client, text, battle=None):
    reply = client.post("/arena/turn", json={"battle": battle, "text": text})
    return [json.loads(line) for line in reply.text.splitlines()]


def test_pieces_come_by_turns_and_the_names_after_the_vote(tmp_path):
    with arena(tmp_path) as client:
        ann = client("ann")
        *pieces, last = ask(ann, "hello")
        # each model gives two pieces, in turn: left or right first, no name with them
        places = [piece["place"] for piece in pieces]
        assert len(places) == 4 and places[:2] == places[2:] and set(places) == {0, 1}
        assert set(last) == {"battle", "turn"}
        vote = {"battle": last["battle"], "value": "both_bad", "seconds": 2}
        names = ann.post("/arena/vote", json=vote).json()["names"]
        shown = ["".join(p["text"] for p in pieces if p["place"] == k) for k in (0, 1)]
        assert [text.split()[0] for text in shown] == names
        (item,) = store.items(tmp_path).values()
        (judgement,) = store.judgements(tmp_path)
        assert [item.fields["source"][i] for i in judgement.order] == names
        assert judgement.value == "both_bad" and judgement.probability == 1.0
        assert [item.answers[i] for i in judgement.order] == shown


def test_the_pair_of_three_models_has_probability_a_third(tmp_path):
    with arena(tmp_path, "a", "b", "c") as client:
        last = ask(client("ann"), "hello")[-1]
        vote = {"battle": last["battle"], "value": "tie", "seconds": 2}
        assert client("ann").post("/arena/vote", json=vote).status_code == 200
    assert store.judgements(tmp_path)[0].probability == pytest.approx(1 / 3)


def test_battles_of_others_and_old_ones(tmp_path):
    with arena(tmp_path) as client:
        ann, bob = client("ann"), client("bob")
        first = ask(ann, "hello")[-1]["battle"]
        for battle in (first, "x", 3, [], None):
            vote = {"battle": battle, "value": "left", "seconds": 1}
            assert bob.post("/arena/vote", json=vote).status_code == 404
        turn = {"battle": first, "text": "x"}
        assert bob.post("/arena/turn", json=turn).status_code == 404
        for value in ("x", None, 1, {}):
            vote = {"battle": first, "value": value, "seconds": 1}
            assert ann.post("/arena/vote", json=vote).status_code == 422
        for text in ("", " ", 3, None, "x" * 20_001):
            assert ann.post("/arena/turn", json={"text": text}).status_code == 422
        surrogate = {"content-type": "application/json"}
        body = b'{"text": "\\ud800"}'
        reply = ann.post("/arena/turn", content=body, headers=surrogate)
        assert reply.status_code == 422
        second = ask(ann, "again")[-1]["battle"]
        assert second != first
        vote = {"battle": first, "value": "left", "seconds": 1}
        assert ann.post("/arena/vote", json=vote).status_code == 404
    assert store.judgements(tmp_path) == []


def test_a_model_that_fails_loses_no_turn_before(tmp_path):
    with arena(tmp_path, fails=True) as client:
        ann = client("ann")
        battle = ask(ann, "hello")[-1]["battle"]
        assert ask(ann, "more", battle)[-1] == {
            "error": "the context of 64 tokens is full"
        }
        state = ann.get("/arena/state").json()
        assert state["battle"] == battle and len(state["turns"]) == 1
        vote = {"battle": battle, "value": "right", "seconds": 1}
        assert ann.post("/arena/vote", json=vote).status_code == 200
    (item,) = store.items(tmp_path).values()
    assert item.kind == "pair" and item.fields["turns"] == 1


def test_a_battle_waits_for_its_vote_over_a_restart(tmp_path):
    with arena(tmp_path) as client:
        battle = ask(client("ann"), "hello")[-1]["battle"]
        ask(client("ann"), "more", battle)
    with arena(tmp_path) as client:
        ann = client("ann")
        state = ann.get("/arena/state").json()
        assert state["battle"] == battle and len(state["turns"]) == 2
        assert "after 3: more" in state["turns"][1]["answers"][0]
        vote = {"battle": battle, "value": "left", "seconds": 1}
        assert ann.post("/arena/vote", json=vote).status_code == 200
        assert ann.get("/arena/state").json() == {
            "battle": None,
            "turns": [],
            "votes": 1,
        }
    (item,) = store.items(tmp_path).values()
    assert item.kind == "battle"
    assert [m["role"] for m in item.fields["conversations"][0]] == [
        *("user", "assistant"),
        *("user", "assistant"),
    ]
    # a model that is not served any more: a vote is possible, a turn is not
    with arena(tmp_path, "two", "three") as client:
        ann = client("ann")
        battle = ask(ann, "hello")[-1]["battle"]
    with arena(tmp_path, "four", "five") as client:
        ann = client("ann")
        turn = {"battle": battle, "text": "x"}
        assert ann.post("/arena/turn", json=turn).status_code == 409
        vote = {"battle": battle, "value": "left", "seconds": 1}
        assert ann.post("/arena/vote", json=vote).status_code == 200


def test_statistics_that_fail_leave_the_dashboard(tmp_path):
    def fail(items, judgements):
        raise ValueError("<b>no</b> numbers")

    with served(tmp_path, app={"statistics": fail}) as client:
        text = client("ann").get("/dashboard").text
        assert "This could not be computed: &lt;b&gt;no&lt;/b&gt; numbers" in text
