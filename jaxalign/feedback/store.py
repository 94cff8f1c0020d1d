"""The store of a study: one SQLite file of items and of events that are only appended.

An event that `Store.append` has returned is on the disk: it survives the death of the
process and of the machine (`synchronous=FULL`). Others may read beside a writer, and
add items (`items`, `judgements`, `add_items`).
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxalign.feedback.judgements import Event, Item, Judgement, replay
from jaxalign.feedback.schema import check_version, create_tables, user_version

STUDY_FILE = "study.sqlite"
WAIT = 10.0  # s, for another process's transaction


class NewEvent(NamedTuple):
    """An event before it is stored; see `Event`."""

    annotator: str
    type: str
    body: Mapping[str, Any]
    ticket: str = ""


def is_study(folder: Path | str) -> bool:
    """Whether a folder holds a study."""
    return (Path(folder) / STUDY_FILE).is_file()


def items(folder: Path | str) -> dict[str, Item]:
    """The items of a study by id, in the order in which they were added.

    Raises:
      ValueError: there is no study, or one that cannot be read.
    """
    with reading(folder) as connection:
        return {item.id: item for _, _, item in select_items(connection)}


def judgements(folder: Path | str) -> list[Judgement]:
    """What people said of the items, after undo, in the order of time.

    Raises:
      ValueError: there is no study, or one that cannot be read.
    """
    with reading(folder) as connection:
        return replay(select_events(connection))


def rounds(folder: Path | str) -> dict[str, int]:
    """The round in which each item was added, from 0."""
    with reading(folder) as connection:
        return {item.id: number for _, number, item in select_items(connection)}


def settings(folder: Path | str) -> dict[str, Any]:
    """The settings that the study was created with."""
    with reading(folder) as connection:
        rows = connection.execute("SELECT name, value FROM study")
        return {name: json.loads(value) for name, value in rows}


def add_items(folder: Path | str, new: Iterable[Item], *, round: int = 0) -> int:
    """Adds items to a study, which may be served meanwhile; the page shows them.

    Items whose id is there already are left out.

    Returns:
      The number of items that were added.

    Raises:
      ValueError: there is no study, or one that cannot be written.
    """
    with Store(Path(folder)) as store:
        return store.add_items(new, round=round)


class Store:
    """A connection to a study that writes.

    Args:
      folder: of the study.
      create: settings of a new study, where the folder holds none.

    Raises:
      ValueError: there is no study, or one of another version; names the file.
    """

    def __init__(
        self, folder: Path, *, create: Mapping[str, Any] | None = None
    ) -> None:
        self.folder = Path(folder)
        self.path = self.folder / STUDY_FILE
        if create is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        with errors_of(self.path):
            check_exists(self.path, allow_new=create is not None)
            self.connection = sqlite3.connect(
                self.path, timeout=WAIT, isolation_level=None, check_same_thread=False
            )
            try:
                self.prepare(create)
            except BaseException:
                self.connection.close()
                raise

    def prepare(self, create: Mapping[str, Any] | None) -> None:
        """Sets how the file is written, and creates the tables of a new study."""
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        with self.transaction():
            if create is not None and not user_version(self.connection):
                create_tables(self.connection, create)
        check_version(self.connection, self.path)

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; what was appended is on the disk already."""
        self.connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction: all of its writes are stored, or none."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def append(
        self, new: Sequence[NewEvent], items: Iterable[Item] = ()
    ) -> list[Event]:
        """Appends events in one transaction, and returns them once they are stored.

        Args:
          items: of the events, where they are new; they are stored with them.

        Raises:
          sqlite3.IntegrityError: a ticket was used before; nothing is stored.
          ValueError: the file cannot be written.
        """
        now = time.time()
        stored = []
        with errors_of(self.path), self.transaction():
            insert_items(self.connection, items, round=0)
            for annotator, kind, body, ticket in new:
                text = json.dumps(body, ensure_ascii=False)
                cursor = self.connection.execute(
                    "INSERT INTO events (time, annotator, type, ticket, body) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (now, annotator, kind, ticket, text),
                )
                seq = int(cursor.lastrowid or 0)
                body = json.loads(text)  # as it will be read
                stored.append(Event(seq, now, annotator, kind, ticket, body))
        return stored

    def add_items(self, new: Iterable[Item], *, round: int = 0) -> int:
        """Adds items whose id is new, and returns their number."""
        with errors_of(self.path), self.transaction():
            before = self.connection.total_changes
            insert_items(self.connection, new, round=round)
            return self.connection.total_changes - before

    def items(self, after: int = 0) -> Iterator[tuple[int, int, Item]]:
        """The (number, round, item) of the items after a number."""
        return select_items(self.connection, after)

    def events(self, after: int = 0) -> Iterator[Event]:
        """The events after a number."""
        return select_events(self.connection, after)

    def data_version(self) -> int:
        """A number that changes when other connections have written."""
        return int(self.connection.execute("PRAGMA data_version").fetchone()[0])


@contextlib.contextmanager
def reading(folder: Path | str) -> Iterator[sqlite3.Connection]:
    """A connection to a study that reads, beside a writer or without one."""
    path = Path(folder) / STUDY_FILE
    with errors_of(path):
        check_exists(path)
        connection = sqlite3.connect(path, timeout=WAIT)
        try:
            connection.execute("PRAGMA query_only = ON")
            check_version(connection, path)
            yield connection
        finally:
            connection.close()


@contextlib.contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """A context whose database errors are one sentence with the file's name."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        raise ValueError(f"{path}: {error}: not a study, or in use or damaged") from (
            error
        )


def check_exists(path: Path, *, allow_new: bool = False) -> None:
    """Refuses a folder without a study.

    Raises:
      ValueError: names the file, and how a study begins.
    """
    if not path.is_file() and not allow_new:
        raise ValueError(
            f"there is no {path}: python -m experiments.annotate --data FILE --out "
            f"{path.parent} begins a study"
        )


def select_items(
    connection: sqlite3.Connection, after: int = 0
) -> Iterator[tuple[int, int, Item]]:
    """The (number, round, item) of the items after a number, in order."""
    rows = connection.execute(
        "SELECT seq, round, id, body FROM items WHERE seq > ? ORDER BY seq", (after,)
    )
    for seq, number, name, text in rows:
        body = json.loads(text)
        answers = tuple(body.pop("answers"))
        yield seq, number, Item(id=name, answers=answers, **body)


def select_events(connection: sqlite3.Connection, after: int = 0) -> Iterator[Event]:
    """The events after a number, in order."""
    rows = connection.execute(
        "SELECT seq, time, annotator, type, ticket, body FROM events WHERE seq > ? "
        "ORDER BY seq",
        (after,),
    )
    for seq, when, annotator, kind, ticket, body in rows:
        yield Event(seq, when, annotator, kind, ticket, json.loads(body))


def insert_items(
    connection: sqlite3.Connection, new: Iterable[Item], *, round: int
) -> None:
    """Inserts items, but for those whose id is there."""
    for item in new:
        body = item._asdict()
        del body["id"]
        connection.execute(
            "INSERT OR IGNORE INTO items (id, round, body) VALUES (?, ?, ?)",
            (item.id, round, json.dumps(body, ensure_ascii=False)),
        )
