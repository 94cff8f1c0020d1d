"""Models and data sets of a hub, by an explicit name: `--model ORG/NAME`.

What is fetched is data: no code and no pickle. It is kept where huggingface_hub keeps
it, and environment variables are its own: HF_ENDPOINT, HF_HOME, HF_TOKEN,
HF_HUB_OFFLINE.
"""

import functools
import os
import re
from pathlib import Path
from typing import Any, Literal

from jaxalign.runtime import distributed

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
SNAPSHOT = re.compile(r".*/models--([\w.-]+?)--([\w.-]+)/snapshots/[^/]+/?")
FILE_PATTERNS: dict[str, dict[str, list[str]]] = {
    "model": {
        "allow_patterns": ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"],
        "ignore_patterns": ["*/*"],  # the same weights in other forms
    },
    "dataset": {
        "allow_patterns": ["*.parquet", "*.jsonl", "*.jsonl.gz", "*.jsonl.zst"],
    },
}


def is_name(text: str) -> bool:
    """Whether a text means something of a hub: ORG/NAME, and no path of this machine.

    Where there is a folder ORG, a name in it that is not there is a slip.

    >>> is_name("Qwen/Qwen3-0.6B"), is_name("./Qwen/x"), is_name("a/b/c")
    (True, False, False)
    """
    local = Path(text).exists() or Path(text.partition("/")[0]).is_dir()
    return NAME.fullmatch(text) is not None and not local


def model_folder(name: str) -> Path:
    """The folder of the model that `--model` names, fetched if it lies on a hub.

    Raises:
      ValueError: it cannot be fetched; says how to.
    """
    return download("model", name) if is_name(name) else Path(name)


def public_name(model: str) -> str:
    """The ORG/NAME of a model whose folder here is a snapshot of it, else what it was.

    >>> public_name("/x/hub/models--org--base/snapshots/0123"), public_name("runs/a")
    ('org/base', 'runs/a')
    """
    snapshot = SNAPSHOT.fullmatch(model)
    return f"{snapshot[1]}/{snapshot[2]}" if snapshot else model


def data_path(name: str) -> str:
    """The path of the data that `--data` names, fetched if they lie on a hub.

    Raises:
      ValueError: they cannot be fetched, or hold no file that is read.
    """
    if not is_name(name):
        return name
    folder = download("dataset", name)
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        wanted = ", ".join(FILE_PATTERNS["dataset"]["allow_patterns"])
        raise ValueError(f"--data {name} holds no {wanted} on the hub")
    return os.path.commonpath([path.parent for path in files])


@functools.cache
def download(kind: Literal["model_folder", "dataset"], name: str) -> Path:
    """What a hub has under a name, here; of many processes the first fetches it.

    Raises:
      ValueError: it cannot be fetched; with the command that would.
    """
    folder, wrong = Path(), ""
    if distributed.is_first():
        folder, wrong = download_snapshot(kind, name)
    distributed.barrier(f"when {name} is fetched")
    if not distributed.is_first():
        folder, wrong = download_snapshot(kind, name, local_files_only=True)
    if wrong:
        flag = {"model": "--model", "dataset": "--data"}[kind]
        of = " --repo-type dataset" if kind == "dataset" else ""
        place = f"{kind}s/{name.rpartition('/')[2]}"
        raise ValueError(
            f"{flag} {name} is no folder of this machine and cannot be fetched "
            f"({wrong}); where there is a network: hf download {name}{of} --local-dir "
            f"{place}, and then here: {flag} {place}"
        )
    distributed.print_line(f"{name}: revision {folder.name}, kept in {folder}")
    return folder


def download_snapshot(kind: str, name: str, **others: Any) -> tuple[Path, str]:
    """A snapshot's folder, and what went wrong, if anything did."""
    import huggingface_hub  # slow to import, and mostly not needed

    huggingface_hub.logging.set_verbosity_error()
    try:
        told = {"repo_type": kind} | FILE_PATTERNS[kind] | others
        return Path(huggingface_hub.snapshot_download(name, **told)), ""
    except Exception as error:  # of many kinds, of it and of what it is made of
        cause = error.__cause__ or error
        text = " ".join(str(cause).split()) or type(cause).__name__
        return Path(), text if len(text) < 200 else f"{text[:200]} ..."
