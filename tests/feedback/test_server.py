"""A server in a process of its own: killed between answers, and under load."""

import asyncio
import collections

import pytest

pytest.importorskip("starlette", reason="the extra feedback is not installed")
pytest.importorskip("uvicorn", reason="the extra feedback is not installed")

from jaxalign.feedback import store
from tests.feedback.browsers import serving
from tests.feedback.crowds import Annotator, judge_all, percentile


def stored_by_ticket(folder):
    """The values of the events of judgements by ticket; each ticket comes once."""
    with store.reading(folder) as connection:
        events = [e for e in store.select_events(connection) if e.type == "judgement"]
    tickets = collections.Counter(event.ticket for event in events)
    assert set(tickets.values()) <= {1}
    return {event.ticket: event.body["value"] for event in events}


def test_what_was_acknowledged_survives_the_death_of_the_server(tmp_path):
    with serving(tmp_path, items=60, overlap=2) as server:
        people = [Annotator(server.url, f"p{n}", think=0.02) for n in range(6)]

        async def kill_twice():
            for _ in range(2):
                await asyncio.sleep(0.4)
                server.kill()
                await asyncio.to_thread(server.start)

        async def run():
            await asyncio.gather(judge_all(people), kill_twice())

        asyncio.run(run())
        assert sum(one.retries for one in people) > 0  # somebody was interrupted
        stored = stored_by_ticket(tmp_path)
        for one in people:
            for ticket, value in one.acknowledged:
                assert stored[ticket] == value
        # 60 items of 2 judgements each: nothing lost, nothing twice
        said = store.judgements(tmp_path)
        assert len(said) == len(stored) == 120
        assert len({(j.annotator, j.item) for j in said}) == 120
        assert set(collections.Counter(j.item for j in said).values()) == {2}


@pytest.mark.slow
def test_fifty_annotators_and_five_thousand_judgements(tmp_path, capsys):
    with serving(tmp_path, items=1000, overlap=5) as server:
        people = [Annotator(server.url, f"p{n}", think=0.5) for n in range(50)]
        asyncio.run(asyncio.wait_for(judge_all(people), timeout=300))
        stored = stored_by_ticket(tmp_path)
        acknowledged = [pair for one in people for pair in one.acknowledged]
        assert len(acknowledged) == len(stored) == 5000
        assert all(stored[ticket] == value for ticket, value in acknowledged)
        counts = collections.Counter(j.item for j in store.judgements(tmp_path))
        assert len(counts) == 1000 and set(counts.values()) == {5}
    seconds = [x for one in people for x in one.seconds]
    with capsys.disabled():
        shown = [f"{1e3 * percentile(seconds, q):.0f}" for q in (0.5, 0.95, 0.99)]
        print(f"\nanswers take (p50, p95, p99) {', '.join(shown)} ms")
    assert percentile(seconds, 0.95) < 0.1
