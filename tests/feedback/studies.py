"""A small study, served in this process."""

import contextlib

from jaxalign.feedback import store
from jaxalign.feedback.app import make_app
from jaxalign.feedback.judgements import Item
from jaxalign.feedback.settings import Settings
from jaxalign.feedback.study import Study

KINDS = {"pairwise": "pair", "ranking": "ranking", "rating": "rating"}


def make_items(count, kind="pairwise", answers=2):
    """Items whose answers name the item and their index: `i0 a0`."""
    return [
        Item(
            f"i{n}",
            KINDS[kind],
            [{"role": "user", "content": f"question {n}"}],
            tuple(f"i{n} a{k}" for k in range(answers)),
            {"source": [f"m{k}" for k in range(answers)]},
        )
        for n in range(count)
    ]


def begin(folder, items, **settings):
    """Settings of a new study of these items."""
    own = Settings(**settings)
    with store.Store(folder, create=own.to_json()) as opened:
        opened.add_items(items)
    return own


@contextlib.contextmanager
def served(folder, items=(), *, app=None, **settings):
    """A function that gives a client for a name, of a study that is served."""
    from starlette.testclient import TestClient

    own = begin(folder, items, **settings)
    study = Study(folder, own)
    with contextlib.ExitStack() as stack:
        made = make_app(study, **(app or {}))
        stack.enter_context(TestClient(made, base_url="http://localhost"))

        def client(name=None, token=""):
            made_client = TestClient(made, base_url="http://localhost")
            if name is not None:
                form = {"name": name, "token": token}
                reply = made_client.post("/login", data=form)
                assert reply.status_code == 200, reply.text
            return made_client

        client.study = study
        yield client


def answer(client, value, ticket=None, **fields):
    """Judges what is shown now; returns the reply."""
    ticket = ticket or client.get("/state").json()["cards"][0]["ticket"]
    body = {"ticket": ticket, "value": value, "seconds": 1.5, **fields}
    return client.post("/answer", json=body)
