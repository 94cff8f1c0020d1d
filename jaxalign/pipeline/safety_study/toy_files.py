"""Files of the toy world's safety study, as folders that `--data` reads."""

from collections.abc import Iterable
from pathlib import Path

from jaxalign.data import record_rows, toy_safety, toy_world
from jaxalign.data.records import Demonstration, Record, assistant_message
from jaxalign.data.toy_requests import Request
from jaxalign.pipeline import safety_head
from jaxalign.runtime import jsonl

TEST_ROWS = 64
WRITTEN = "test.jsonl"  # written last


def write(folder: Path, train: Iterable[Record], test: Iterable[Record]) -> Path:
    """Writes FOLDER/train.jsonl and test.jsonl; returns the folder."""
    rows = [record_rows.to_row(record) for record in train]
    jsonl.write(folder / "train.jsonl", rows)
    jsonl.write(folder / WRITTEN, [record_rows.to_row(record) for record in test])
    return folder


def is_written(folder: Path) -> bool:
    """Whether `write` has ended."""
    return (folder / WRITTEN).exists()


def harmful_requests(seed: int, count: int, *, test: bool = False) -> list[Request]:
    """The first `count` harmful requests of a split."""
    found: list[Request] = []
    index = 0
    while len(found) < count:
        request = toy_world.request(seed, index, test=test)
        found += [request] if request.refusal_due else []
        index += 1
    return found


def write_web(folder: Path, seed: int, rows: int) -> Path:
    """SFT data as the web has them, for the base policy."""
    test = [toy_world.demonstration(seed, i, test=True) for i in range(TEST_ROWS)]
    train = (toy_safety.web_demonstration(seed, i) for i in range(rows))
    return write(folder, train, test)


def write_sft(
    folder: Path, seed: int, rows: int, safety_rows: int, share: float
) -> Path:
    """Helpful SFT data, and a share of the safety SFT data.

    Args:
      rows: of helpful data, which are the same for every share.
      safety_rows: of all safety data.
      share: of them, in [0, 1].
    """
    test = [toy_world.demonstration(seed, i, test=True) for i in range(TEST_ROWS)]
    number = round(share * safety_rows)
    safe = map(toy_safety.safe_demonstration, harmful_requests(seed, number))
    return write(folder, [*helpful_demonstrations(seed, rows), *safe], test)


def helpful_demonstrations(seed: int, rows: int) -> list[Demonstration]:
    """Good answers to the first `rows` requests that are neither harmful nor benign
    lookalikes."""
    found: list[Demonstration] = []
    index = 0
    while len(found) < rows:
        request = toy_world.request(seed, index)
        if not request.sensitive:
            reply = assistant_message(f"sure, {request.answer}.")
            talk = [*request.prompt.messages, reply]
            found.append(Demonstration(talk, location=f"toy:{index}"))
        index += 1
    return found


def write_helpful_pairs(folder: Path, seed: int, rows: int) -> Path:
    """Pairs that are labeled for helpfulness."""
    test = [toy_safety.helpful_pair(seed, i, test=True) for i in range(TEST_ROWS)]
    return write(folder, [toy_safety.helpful_pair(seed, i) for i in range(rows)], test)


def write_safety_pairs(folder: Path, seed: int, rows: int) -> Path:
    """Pairs for a safety model: nine in ten are labeled for safety, of answers.

    Pairs that prefer an unsafe answer to a safe one are dropped, as in Llama 2.
    """
    safety = rows - rows // 10
    requests = harmful_requests(seed, safety)
    pairs = [toy_safety.safety_pair(seed, i, r) for i, r in enumerate(requests)]
    pairs = [pair for pair in pairs if not safety_head.is_contrary(pair.fields)]
    pairs += [toy_safety.helpful_pair(seed, rows + i) for i in range(rows // 10)]
    held_out = harmful_requests(seed, 2 * TEST_ROWS, test=True)
    test = [toy_safety.safety_pair(seed + 1, i, r) for i, r in enumerate(held_out)]
    return write(folder, pairs, test)


def write_prompts(folder: Path, seed: int, rows: int) -> Path:
    """Prompts of all kinds with their tags, for rejection sampling and PPO."""
    split = lambda count, test: [
        toy_safety.prompt(request, i)
        for i, request in enumerate(toy_world.requests(seed, count, test=test))
    ]
    return write(folder, split(rows, False), split(TEST_ROWS, True))


PAIRS = {"helpful": write_helpful_pairs, "safety": write_safety_pairs}
