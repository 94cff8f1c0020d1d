"""Fuzzing of well-formed files in every format: records, or an error of one line.

A mutation is of the bytes (flips, cuts, inserted and deleted pieces, another encoding)
or of the rows before they are written (types swapped, nesting, huge numbers, broken
texts, fields without a name). Whatever comes out, `read` returns records or raises a
ValueError or OSError whose message is one short line that names the file, in little
time and memory.
"""

import json
import random
import resource
import time

import pytest

from jaxalign.data import readers
from jaxalign.data.formats import files
from jaxalign.data.records import Demonstration, Preference, Prompt, Ranking, Unpaired
from tests.data.row_files import COMPRESS, write

KINDS = [Preference, Demonstration, Prompt, Ranking, Unpaired]
TALK = [
    {"role": "user", "content": "q é"},
    {"role": "assistant", "content": "a"},
]
GOOD = [
    {"prompt": "q é", "chosen": "a", "rejected": "b", "margin": 1.5},
    {"messages": TALK, "source": "s", "id": 7},
    {"prompt": "q", "completion": "a", "label": True},
    {"instruction": "q", "input": "", "output": "a", "system": "s"},
    {"prompt": "q", "answers": ["a", "b", "c"]},
    {"prompt": TALK[:1], "chosen": TALK[1:], "rejected": TALK[1:]},
    {"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1},
    {"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": -1},
    {"prompt": "q", "response": "a", "helpfulness": 3},
    {
        "instruction": "q",
        "completions": [
            {"response": r, "overall_score": i} for i, r in enumerate("ab")
        ],
    },
    {
        "info": {"id": "i", "post": "p", "title": "t", "subreddit": "r"},
        "summaries": [{"text": "a"}, {"text": "b"}],
        "choice": 1,
    },
    {
        "prompt": {
            "text": "q",
            "role": "prompter",
            "replies": [{"text": t, "role": "assistant", "rank": 0} for t in "ab"],
        }
    },
    {
        "chosen": "\n\nHuman: q\n\nAssistant: a",
        "rejected": "\n\nHuman: q\n\nAssistant: b",
    },
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
]
SCALARS = [
    None,
    True,
    0,
    -1,
    1e308,
    2**63,
    10**400,
    "",
    " ",
    "x" * 3000,
    "\0",
    "\ud800",
]
SCALARS += [float("nan"), float("inf"), [], {}, [[]], [{}], {"": ""}, "\u2028\r\n\t"]
FORMATS = [e for e in files.ENDINGS if files.uncompressed_ending(e) == e] + [
    f".jsonl{compression}" for compression in COMPRESS
]


def nested(rng, value):
    """A value inside many lists or objects."""
    for _ in range(rng.choice([3, 90, 200])):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def mutated_row(rng, value):
    """A value of JSON with something in it replaced, renamed, nested or removed."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        how = rng.randrange(6)
        if how == 0:
            return {k: v for k, v in value.items() if k != key}
        if how == 1:
            return {rng.choice(["", "\0", "label", key * 99]): value[key]} | value
        return value | {key: mutated_row(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.6:
        at = rng.randrange(len(value))
        return [*value[:at], mutated_row(rng, value[at]), *value[at + 1 :]]
    if rng.random() < 0.1:
        return nested(rng, value)
    return rng.choice(SCALARS)


def mutated_bytes(rng, data):
    """Bytes, changed in one place or in many."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        if not data:
            break
        at = rng.randrange(len(data))
        how = rng.randrange(6)
        if how == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            data[at] = rng.choice(b'\0\xff\x7f\x80"[{]}\\,\r\n9')
        elif how == 2:
            del data[at : at + rng.randrange(1, 40)]
        elif how == 3:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif how == 4:
            piece = data[at : at + rng.randrange(1, 200)]
            data[at:at] = piece * rng.choice([1, 2, 50])
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


def malformed_file(rng, path):
    """Writes a file that is malformed in one way or another."""
    rows = [rng.choice(GOOD)] * rng.choice([1, 3, 40])
    if rng.random() < 0.5:
        at = rng.randrange(len(rows))
        rows = [*rows[:at], mutated_row(rng, rows[at]), *rows[at + 1 :]]
    text = files.uncompressed_ending(path.name) in (".json", ".jsonl", ".ndjson")
    try:
        write(path, rows)
    except Exception:  # what the format cannot hold: as JSON, under its name
        path.write_text("\n".join(map(json.dumps, rows)))
    if not text or rng.random() < 0.5:
        path.write_bytes(mutated_bytes(rng, path.read_bytes()))
    if text and rng.random() < 0.1:
        wrong = rng.choice(["utf-16", "utf-16-be", "utf-32", "latin-1", "utf-7"])
        decoded = path.read_bytes().decode("latin-1")
        path.write_bytes(decoded.encode(wrong))


def check(path, kind, skip):
    """`read` gives records or an error of one short line, in little time and memory."""
    began, before = time.process_time(), peak_memory()
    try:
        records, _ = readers.read(path, kind, skip_bad_rows=skip, max_row_chars=10_000)
    except (ValueError, OSError) as error:
        message = str(error)
        assert str(path) in message and "\n" not in message and "\r" not in message, (
            message
        )
        assert len(message) < 400 + len(str(path)), message
        message.encode()  # no lone surrogate, which no terminal prints
    else:
        assert records
    assert time.process_time() - began < 5.0
    assert peak_memory() - before < 100 * 1024


def peak_memory():
    """The largest memory that this process had so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def fuzz(tmp_path, ending, seeds):
    path = tmp_path / f"rows{ending}"
    for seed in seeds:
        rng = random.Random(f"{ending} {seed}")
        malformed_file(rng, path)
        data = path.read_bytes()
        try:
            check(path, rng.choice(KINDS), rng.random() < 0.5)
        except Exception as error:
            copy = path.with_name(f"seed-{seed}{ending}")
            copy.write_bytes(data)
            raise AssertionError(f"seed {seed}, see {copy}") from error


@pytest.mark.parametrize("ending", FORMATS)
def test_mutated_files_are_records_or_one_sentence(ending, tmp_path):
    fuzz(tmp_path, ending, range(60))


@pytest.mark.slow
@pytest.mark.parametrize("ending", FORMATS)
def test_many_mutated_files_are_records_or_one_sentence(ending, tmp_path):
    fuzz(tmp_path, ending, range(60, 860))
