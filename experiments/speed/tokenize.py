"""How fast pairs are tokenised, beside `tokenizers` itself, and in what memory.

    python -m experiments.speed.tokenize --pairs 1000000

Ours is the whole way of a file into tokenised data on disk: JSON, layouts, the chat
template, masks, checks, writing, by so many processes, their start included. Theirs is
`encode_batch` alone, on the conversations as text, two a pair, made before and not
timed. The ratios are our tokens a second over theirs, of the clock and of CPU time
(which other work on the machine disturbs less); both count the tokens of the pairs. The
peak is of all processes of our part together.

On two CPU cores, start of the processes included: a million pairs of 89 tokens a
conversation 0.91 of theirs in 0.85 GiB; 150,000 made-up pairs of 218 tokens 1.08.
"""

import concurrent.futures
import dataclasses
import itertools
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import rich

from jaxalign.data import readers, templates, token_cache
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Preference, answer_content
from jaxalign.data.tokenize import conversations
from jaxalign.runtime import cli, flags


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(flags.ValidatedConfig):
    """Tokenising beside `tokenizers`."""

    RANGES: ClassVar = {"workers": flags.FROM_0}
    pairs: int = 20_000
    """Pairs to tokenise."""
    data: str | None = None
    """A file of pairs, repeated or cut to so many; made-up words unless told."""
    model: str | None = None
    """A folder with a tokenizer; or else one of 8192 tokens is trained on the data."""
    context: int = 4096
    """Longest sequence."""
    workers: int = os.cpu_count() or 1
    """Processes that tokenise; 0: this one does."""
    out: Path | None = None
    """A JSON file to write."""


def main(config: Config) -> dict[str, float]:
    """Measures both, prints the numbers and returns them."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file = folder / "pairs.jsonl"
        with file.open("w") as lines:
            lines.writelines(json.dumps(row) + "\n" for row in rows(config))
        if config.model is None:
            some = itertools.islice(readers.stream(file, Preference), 2000)
            pairs = [(p.chosen, p.rejected) for p in some]
            texts = [answer_content(answer) for pair in pairs for answer in pair]
            trained = tokenizers.train(texts, vocab_size=8192)
            trained.save_pretrained(folder / "tokenizer")
        model = Path(config.model or folder / "tokenizer")
        found = alone(file, model, folder / "stored", config)
        found["their_seconds"], found["their_cpu_seconds"] = theirs(file, model)
    found["tokens_per_s"] = found["tokens"] / found["seconds"]
    found["their_tokens_per_s"] = found["tokens"] / found["their_seconds"]
    found["ratio"] = found["their_seconds"] / found["seconds"]
    found["cpu_ratio"] = found["their_cpu_seconds"] / found["cpu_seconds"]
    rich.print({name: round(number, 3) for name, number in found.items()})
    if config.out is not None:
        config.out.write_text(json.dumps(found, indent=2))
    return found


def rows(config: Config) -> Iterator[dict[str, Any]]:
    """So many pairs, of a file or of made-up words."""
    if config.data is not None:
        pairs, _ = readers.read(config.data, Preference)
        for k in range(config.pairs):
            pair = pairs[k % len(pairs)]
            # no two alike, or they would be tokenised once
            asked = [*pair.prompt[:-1], numbered(pair.prompt[-1], k)]
            yield {
                "prompt": asked,
                "chosen": f"{pair.chosen} {k}",
                "rejected": f"{pair.rejected} {k}",
            }
        return
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    words = ["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(20_000)]
    for _ in range(config.pairs):
        texts = []
        for _ in range(3):
            drawn = rng.zipf(1.2, rng.integers(40, 120)) % len(words)
            texts.append(" ".join(words[k] for k in drawn))
        yield dict(zip(("prompt", "chosen", "rejected"), texts, strict=True))


def numbered(message: dict[str, str], k: int) -> dict[str, str]:
    """The message, with a number at its end."""
    return message | {"content": f"{message['content']} {k}"}


def alone(*arguments: Any) -> dict[str, float]:
    """`ours`, in a process of its own, so that the peak is of nothing else."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(ours, *arguments).result()


def ours(file: Path, model: Path, folder: Path, config: Config) -> dict[str, float]:
    """Tokenises a file to disk: seconds, tokens, and the peak of memory in GiB."""
    tokenizer = tokenizers.load(model)
    start = time.perf_counter()
    records = readers.stream(file, Preference)
    written = token_cache.write(
        folder, records, tokenizer, context=config.context, workers=config.workers
    )
    taken = time.perf_counter() - start
    used = [
        resource.getrusage(who)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    # of all children the largest peak is known
    peak = own_peak() + config.workers * used[1].ru_maxrss
    return {
        "pairs": len(written),
        "tokens": int(written.sequence_ends[-1]),
        "seconds": taken,
        "cpu_seconds": sum(u.ru_utime + u.ru_stime for u in used),
        "peak_gib": peak / 2**20,
    }


def own_peak() -> int:
    """The largest memory of this process, in KiB; `getrusage` counts its parent too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    values = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(values["VmHWM"].split()[0])


def theirs(file: Path, model: Path) -> tuple[float, float]:
    """Seconds, by the clock and of CPU time, of `encode_batch` on the same pairs."""
    tokenizer = tokenizers.load(model)
    seconds, cpu_seconds = 0.0, 0.0
    for piece in token_cache.record_chunks(readers.stream(file, Preference)):
        talks = [talk for pair in piece for talk in conversations(pair)]
        wholes = templates.render_conversations(tokenizer, talks, prompt=False)
        texts = [whole.text for whole in wholes]
        start, cpu_start = time.perf_counter(), time.process_time()
        tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
        seconds += time.perf_counter() - start
        cpu_seconds += time.process_time() - cpu_start
    return seconds, cpu_seconds


if __name__ == "__main__":
    cli.run_command(main, Config)
