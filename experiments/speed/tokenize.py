"""Tokens per second from a file of pairs to disk, beside `tokenizers`, and peak memory.

    python -m experiments.speed.tokenize --pairs 1000000

Ours is the whole path from a file to tokenized data on disk: JSON, row schemas, chat
template, masks, checks and writing, in `--workers` processes, their start included.
Theirs is `encode_batch` alone, on the conversations as text, two per pair, rendered
before and not timed. The ratios are our tokens per second over theirs, by the clock and
by CPU time (which other load on the machine disturbs less); both count the tokens of
the pairs. The peak is of all processes of our part together.

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
from jaxalign.runtime import cli, config_file, flags


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(flags.ValidatedConfig):
    """The pairs, the tokenizer and the processes."""

    RANGES: ClassVar = {"workers": flags.FROM_0}
    pairs: int = 20_000
    """Pairs to tokenize."""
    data: str | None = None
    """A file of pairs, repeated or truncated to `--pairs`; by default random words."""
    model: str | None = None
    """A folder with a tokenizer; by default one of 8192 tokens is trained."""
    context: int = 4096
    """Tokens of the longest sequence."""
    workers: int = os.cpu_count() or 1
    """Processes that tokenize; with 0, this one does."""
    out: Path | None = None
    """A JSON file to write; FILE.config.yaml beside it has the flags."""


def main(config: Config) -> dict[str, float]:
    """Measures both, prints the numbers and returns them."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
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
        numbers = in_own_process(file, model, folder / "stored", config)
        numbers["their_seconds"], numbers["their_cpu_seconds"] = theirs(file, model)
    numbers["tokens_per_s"] = numbers["tokens"] / numbers["seconds"]
    numbers["their_tokens_per_s"] = numbers["tokens"] / numbers["their_seconds"]
    numbers["ratio"] = numbers["their_seconds"] / numbers["seconds"]
    numbers["cpu_ratio"] = numbers["their_cpu_seconds"] / numbers["cpu_seconds"]
    rich.print({name: round(number, 3) for name, number in numbers.items()})
    if config.out is not None:
        config.out.write_text(json.dumps(numbers, indent=2))
        config_file.write_sidecar(config.out, config)
    return numbers


def rows(config: Config) -> Iterator[dict[str, Any]]:
    """`config.pairs` pairs, from a file or of random words."""
    if config.data is not None:
        pairs, _ = readers.read(config.data, Preference)
        for k in range(config.pairs):
            pair = pairs[k % len(pairs)]
            # all different, since equal texts would be tokenized once
            prompt = [*pair.prompt[:-1], append_number(pair.prompt[-1], k)]
            yield {
                "prompt": prompt,
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
            ranks = rng.zipf(1.2, rng.integers(40, 120)) % len(words)
            texts.append(" ".join(words[k] for k in ranks))
        yield dict(zip(("prompt", "chosen", "rejected"), texts, strict=True))


def append_number(message: dict[str, str], k: int) -> dict[str, str]:
    """The message with a number appended."""
    return message | {"content": f"{message['content']} {k}"}


def in_own_process(*arguments: Any) -> dict[str, float]:
    """`ours` in a process of its own, so that the peak memory is its alone."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(ours, *arguments).result()


def ours(file: Path, model: Path, folder: Path, config: Config) -> dict[str, float]:
    """Tokenizes a file to disk: seconds, tokens, and peak memory in GiB."""
    tokenizer = tokenizers.load(model)
    start = time.perf_counter()
    records = readers.stream(file, Preference)
    written = token_cache.write(
        folder, records, tokenizer, context=config.context, workers=config.workers
    )
    elapsed = time.perf_counter() - start
    used = [
        resource.getrusage(who)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    # getrusage gives the largest peak among the children
    peak = own_peak() + config.workers * used[1].ru_maxrss
    return {
        "pairs": len(written),
        "tokens": int(written.sequence_ends[-1]),
        "seconds": elapsed,
        "cpu_seconds": sum(u.ru_utime + u.ru_stime for u in used),
        "peak_gib": peak / 2**20,
    }


def own_peak() -> int:
    """The peak memory of this process, in KiB; `getrusage` includes its parent's."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    values = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(values["VmHWM"].split()[0])


def theirs(file: Path, model: Path) -> tuple[float, float]:
    """Seconds by the clock and of CPU time of `encode_batch` on the same pairs."""
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
