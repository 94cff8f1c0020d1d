"""Downloads of models and data sets from a hub, by name: `--model ORG/NAME`.

Only data files are downloaded, no code and no pickle, into huggingface_hub's cache. Its
environment variables apply: HF_ENDPOINT, HF_HOME, HF_TOKEN, HF_HUB_OFFLINE.
"""

import functools
import os
import re
from pathlib import Path
from typing import Any, Literal

from jaxalign import messages
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
    """Whether a text is the name of a repository on a hub, ORG/NAME, and no local path.

    With a local folder ORG, it is the path of a missing file in it.

    >>> is_name("Qwen/Qwen3-0.6B"), is_name("./Qwen/x"), is_name("a/b/c")
    (True, False, False)
    """
    local = Path(text).exists() or Path(text.partition("/")[0]).is_dir()
    return NAME.fullmatch(text) is not None and not local


def model_folder(name: str) -> Path:
    """The folder of `--model`, downloaded if it is the name of a model on a hub.

    Raises:
      ValueError: the download fails; has the command that downloads it.
    """
    return download("model", name) if is_name(name) else Path(name)


def public_name(model: str) -> str:
    """The ORG/NAME of a snapshot's folder in the hub's cache; other names unchanged.

    >>> public_name("/x/hub/models--org--base/snapshots/0123"), public_name("runs/a")
    ('org/base', 'runs/a')
    """
    snapshot = SNAPSHOT.fullmatch(model)
    return f"{snapshot[1]}/{snapshot[2]}" if snapshot else model


def data_path(name: str) -> str:
    """The path of `--data`, downloaded if it is the name of a data set on a hub.

    Raises:
      ValueError: the download fails, or has no file of a known format.
    """
    if not is_name(name):
        return name
    folder = download("dataset", name)
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        formats = ", ".join(FILE_PATTERNS["dataset"]["allow_patterns"])
        raise ValueError(f"--data {name} has no file of {formats} on the hub")
    return os.path.commonpath([path.parent for path in files])


@functools.cache
def download(kind: Literal["model", "dataset"], name: str) -> Path:
    """The local folder of a hub's repository; of many processes the first downloads.

    Raises:
      ValueError: the download fails; has the command that downloads it.
    """
    folder, failure = Path(), ""
    if distributed.is_first():
        folder, failure = download_snapshot(kind, name)
    distributed.barrier(f"after the download of {name}")
    if not distributed.is_first():
        folder, failure = download_snapshot(kind, name, local_files_only=True)
    if failure:
        flag = {"model": "--model", "dataset": "--data"}[kind]
        of = " --repo-type dataset" if kind == "dataset" else ""
        place = f"{kind}s/{name.rpartition('/')[2]}"
        raise ValueError(
            f"{flag} {name} is no folder of this machine and cannot be downloaded "
            f"({failure}); with a network: hf download {name}{of} --local-dir "
            f"{place}, and then here: {flag} {place}"
        )
    distributed.print_line(f"{name}: revision {folder.name}, in {folder}")
    return folder


def download_snapshot(kind: str, name: str, **others: Any) -> tuple[Path, str]:
    """The folder of a snapshot, and the reason of a failure, empty without one."""
    import huggingface_hub  # slow to import, and mostly not needed

    huggingface_hub.logging.set_verbosity_error()
    try:
        arguments = {"repo_type": kind} | FILE_PATTERNS[kind] | others
        return Path(huggingface_hub.snapshot_download(name, **arguments)), ""
    except Exception as error:  # of many types
        cause = error.__cause__ or error
        return Path(), messages.one_line(cause, 200)
