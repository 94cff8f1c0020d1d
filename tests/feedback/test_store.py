"""The store: appended events, undo, versions, readers beside a writer."""

import sqlite3

import pytest

from jaxalign.feedback import judgements, store
from jaxalign.feedback.judgements import Item, Judgement, signed_strength
from jaxalign.feedback.store import NewEvent, Store

ASK = [{"role": "user", "content": "2 + 2?"}]
PAIR = Item("i1", "pair", ASK, ("4", "5"), {"source": ["a", "b"]})


def said(value, item="i1", repeat=0, **fields):
    judgement = Judgement(
        item, "pair", "", 0.0, 2.0, (1, 0), value, levels=8, repeat=repeat, **fields
    )
    return NewEvent("ann", "judgement", judgements.judgement_body(judgement))


@pytest.fixture
def study(tmp_path):
    with Store(tmp_path, create={"levels": 8}) as opened:
        opened.add_items([PAIR, PAIR._replace(id="i2")])
        yield opened


def test_what_is_stored_is_read_beside_the_writer(study):
    study.append([said(2, safe=(True, None), comment="ünï <b>")])
    (judgement,) = store.judgements(study.folder)
    assert judgement.annotator == "ann" and judgement.value == 2
    assert judgement.safe == (True, None) and judgement.comment == "ünï <b>"
    assert judgement.order == (1, 0) and judgement.time > 1e9
    assert store.items(study.folder) == {"i1": PAIR, "i2": PAIR._replace(id="i2")}
    assert store.settings(study.folder) == {"levels": 8}


def test_a_later_judgement_replaces_and_an_undo_takes_back(study):
    study.append([said(2), said(7), said(3, "i2"), said(4, repeat=1)])
    undo = NewEvent("ann", "undo", {"item": "i2", "repeat": 0})
    study.append([undo])
    held = store.judgements(study.folder)
    assert [(j.item, j.value, j.repeat) for j in held] == [("i1", 7, 0), ("i1", 4, 1)]
    study.append([NewEvent("other", "undo", {"item": "i1"})])  # nothing of hers
    assert store.judgements(study.folder) == held
    # the log has all of it: 4 judgements and 2 undos
    assert len(list(study.events())) == 6


def test_signed_strength_of_each_scale():
    # order (1, 0): the left one is answers[1], so position 1 speaks against answers[0]
    strengths = {
        8: [-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5],
        4: [-1.5, -0.5, 0.5, 1.5],
        3: [-1, 0, 1],
        2: [-0.5, 0.5],
    }
    for levels, wanted in strengths.items():
        for order, sign in (((1, 0), 1), ((0, 1), -1)):
            got = [
                signed_strength(
                    Judgement("i", "pair", "a", 0.0, 1.0, order, k + 1, levels=levels)
                )
                for k in range(levels)
            ]
            assert got == [sign * x for x in wanted]
    for value, wanted in (("tie", 0.0), ("both_bad", None), ("skip", None)):
        judgement = Judgement("i", "pair", "a", 0.0, 1.0, (0, 1), value, levels=8)
        assert signed_strength(judgement) == wanted


def test_events_are_neither_changed_nor_deleted(study):
    study.append([said(2)])
    for statement in ("UPDATE events SET time = 0", "DELETE FROM events"):
        with pytest.raises(sqlite3.IntegrityError, match="only appended"):
            study.connection.execute(statement)


def test_a_ticket_is_used_once_and_nothing_of_the_transaction_is_stored(study):
    first = said(2)._replace(ticket="t")
    study.append([first])
    with pytest.raises(sqlite3.IntegrityError):
        study.append([said(3, "i2"), first])
    assert len(store.judgements(study.folder)) == 1


def test_items_are_added_once_and_beside_a_server(study):
    new = [PAIR, PAIR._replace(id="i3")]
    assert store.add_items(study.folder, new, round=1) == 1
    assert [item.id for _, _, item in study.items(after=2)] == ["i3"]
    assert store.rounds(study.folder) == {"i1": 0, "i2": 0, "i3": 1}


def test_what_is_no_study_is_refused_by_name(tmp_path, study):
    with pytest.raises(ValueError, match="there is no .*experiments.annotate"):
        store.judgements(tmp_path / "other")
    with pytest.raises(ValueError, match="there is no"):
        Store(tmp_path / "other")
    assert not (tmp_path / "other").exists()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / store.STUDY_FILE).write_text("no database " * 100)
    with pytest.raises(ValueError, match="text/study.sqlite: file is not a database"):
        store.items(tmp_path / "text")
    study.connection.execute("PRAGMA user_version = 7")
    with pytest.raises(ValueError, match="version 7 of the schema, and this program 1"):
        store.items(study.folder)


def test_full_synchronization_and_wal(study):
    assert study.connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert study.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
