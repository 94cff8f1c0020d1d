"""The tables of a study's file, and their version."""

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VERSION = 1
SCHEMA = """
CREATE TABLE study (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE items (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
  round INTEGER NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, annotator TEXT NOT NULL,
  type TEXT NOT NULL, ticket TEXT NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX once ON events (ticket, type) WHERE ticket != '';
CREATE TRIGGER events_stay BEFORE UPDATE ON events
  BEGIN SELECT RAISE(ABORT, 'events are only appended'); END;
CREATE TRIGGER events_remain BEFORE DELETE ON events
  BEGIN SELECT RAISE(ABORT, 'events are only appended'); END;
"""


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Refuses a schema of another version.

    Raises:
      ValueError: names the file and both versions.
    """
    found = user_version(connection)
    if found != VERSION:
        raise ValueError(
            f"{path} has version {found} of the schema, and this program {VERSION}: "
            "read it with the jaxalign that wrote it"
        )


def user_version(connection: sqlite3.Connection) -> int:
    """The version of the schema; 0 of a new file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def create_tables(connection: sqlite3.Connection, values: Mapping[str, Any]) -> None:
    """Creates the tables of a new study, with its settings."""
    for statement in SCHEMA.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    connection.executemany(
        "INSERT INTO study VALUES (?, ?)",
        [(name, json.dumps(value)) for name, value in values.items()],
    )
    connection.execute(f"PRAGMA user_version = {VERSION}")
