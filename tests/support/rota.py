"""Which of the slow tests a run of CI takes: `pytest -m '' --slow-rota N`.

First those that recent commits touched: tests/.../test_NAME.py where it or a file
NAME.py changed. Then others, in an order that the day of the last commit decides, so
that every slow test comes up sooner or later. One test of each file in turn, until
there are N.
"""

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECENT = 8  # hours of commits, before the last one
TOUCHED = 0.75  # of the tests, at most, for what was touched


def choose(
    files: dict[str, list[str]], touched: set[str], number: int, turn: int
) -> set[str]:
    """The names of the tests to run.

    Args:
      files: the slow tests of each file.
      touched: names of modules that changed; test_NAME.py goes with NAME.
      turn: another turn takes other tests.

    >>> files = {"test_a.py": ["a1", "a2"], "test_b.py": ["b1"], "test_c.py": ["c1"]}
    >>> sorted(choose(files, {"b"}, 2, 0)), sorted(choose(files, {"b"}, 2, 1))
    (['a1', 'b1'], ['b1', 'c1'])
    """

    def in_turn(names: Sequence[str]) -> list[str]:
        at = turn % max(len(names), 1)
        return [*names[at:], *names[:at]]

    def stem(file: str) -> str:
        return Path(file).stem.removeprefix("test_")

    mine = [file for file in files if stem(file) in touched]
    others = [file for file in files if stem(file) not in touched]
    first = one_of_each([in_turn(files[f]) for f in in_turn(mine)])
    rest = one_of_each([in_turn(files[f]) for f in in_turn(others)])
    few = first[: max(1, round(TOUCHED * number))]
    return set([*few, *rest, *first][:number])


def one_of_each(queues: Iterable[Sequence[str]]) -> list[str]:
    """The first of each, then the second of each, and so on.

    >>> one_of_each([["a1", "a2", "a3"], ["b1"]])
    ['a1', 'b1', 'a2', 'a3']
    """
    numbered = [(k, x) for queue in queues for k, x in enumerate(queue)]
    return [x for _, x in sorted(numbered, key=lambda pair: pair[0])]


def git(*arguments: str) -> list[str]:
    """The lines that git prints; none where there is no repository."""
    command = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.split("\n") if done.returncode == 0 else []


def recent() -> tuple[set[str], int]:
    """The names of the modules that recent commits changed, and the day's turn."""
    date = int((git("log", "-1", "--format=%ct") or ["0"])[0])
    since = f"--since={date - 3600 * RECENT}"
    changed = git("log", since, "--name-only", "--format=")
    stems = {Path(x).stem.removeprefix("test_") for x in changed if x.endswith(".py")}
    return stems, date // 86_400


def deselect(config: pytest.Config, items: list[pytest.Item], number: int) -> None:
    """Leaves out the slow tests that are not chosen."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    files: dict[str, list[str]] = {}
    for item in slow:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item.nodeid)
    touched, turn = recent()
    chosen = choose(files, touched, number, turn)
    out = [item for item in slow if item.nodeid not in chosen]
    config.hook.pytest_deselected(items=out)
    leave = {item.nodeid for item in out}
    items[:] = [item for item in items if item.nodeid not in leave]
