"""Tasks of the evaluation harness: by name, or from YAML files; and their evaluation.

Data sets are downloaded with --download only: `datasets`, the library that the harness
reads them with, is offline, and a task whose data set is not on this machine is refused
by name before a model is loaded. HF_DATASETS_OFFLINE or HF_HUB_OFFLINE, 0 or 1, decide
where they are set.
"""

import difflib
import importlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxalign import messages
from jaxalign.pipeline.harness import lm_eval_model

OFFLINE_VARIABLES = ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE")
# of standard errors that the harness bootstraps; of means it has a formula
BOOTSTRAPS = 1000
SUITES = {
    "open_llm": "arc_challenge:25,hellaswag:10,mmlu:5,truthfulqa_mc2:0",
}


class TaskRequest(NamedTuple):
    """A task of `--tasks`.

    Attributes:
      name: of a task, group or tag of the harness, or the path of a YAML file or of a
        folder of them.
      shots: examples in the prompt; None for the task's own number.
    """

    name: str
    shots: int | None = None


class LoadedTasks(NamedTuple):
    """Tasks with their data.

    Attributes:
      items: task and group objects of the harness.
      manager: the harness's index of tasks.
    """

    items: list[Any]
    manager: Any


def parse_tasks(text: str) -> list[TaskRequest]:
    """Tasks with commas between them, each with :SHOTS behind it if it is to differ.

    Raises:
      ValueError: no task, or a number of examples that is none.

    >>> [tuple(request) for request in parse_tasks("hellaswag:10,tasks/mine.yaml")]
    [('hellaswag', 10), ('tasks/mine.yaml', None)]
    """
    requests = []
    for part in text.split(","):
        part = SUITES.get(part.strip(), part)
        for one in filter(None, map(str.strip, part.split(","))):
            name, colon, shots = one.rpartition(":")
            if Path(one).exists() or not colon:
                requests.append(TaskRequest(one))
            elif shots.isdecimal() and name:
                requests.append(TaskRequest(name, int(shots)))
            else:
                raise ValueError(
                    f"--tasks {one}: expected NAME:SHOTS, SHOTS a whole number"
                )
    if not requests:
        raise ValueError(f"--tasks {text!r} names no task")
    return requests


def set_downloads(allowed: bool) -> None:
    """Allows or forbids downloads of data sets, unless the environment decides."""
    if not any(name in os.environ for name in OFFLINE_VARIABLES):
        importlib.import_module("datasets").config.HF_HUB_OFFLINE = not allowed


def load_tasks(
    requests: Sequence[TaskRequest],
    *,
    num_fewshot: int | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> LoadedTasks:
    """Loads tasks and their data.

    Args:
      requests: of `parse_tasks`.
      num_fewshot: examples in the prompts of tasks without a number of their own in
        `requests`; None for each task's default. Tasks that are defined with 0 keep 0.
      note: gets a line where that is not the number that was asked for.

    Raises:
      ImportError: lm_eval is not installed.
      ValueError: an unknown task, or one whose definition or data set cannot be read.
    """
    lm_eval_model.require()
    tasks = importlib.import_module("lm_eval.tasks")
    # it would list the defaults of fields that a task's file leaves out
    logging.getLogger("lm_eval.api.task").setLevel(logging.ERROR)
    folders = [Path(name) for name, _ in requests if Path(name).is_dir()]
    by_name = [name for name, _ in requests if not Path(name).exists()]
    manager = tasks.TaskManager(
        include_path=[str(folder) for folder in folders],
        include_defaults=bool(by_name),  # 14,000 files, which take seconds to read
    )
    items: list[Any] = []
    for request in requests:
        for name in task_names(manager, request.name):
            loaded = load_one(manager, name)
            for task in loaded["tasks"].values():
                shots = num_fewshot if request.shots is None else request.shots
                set_shots(task, shots, note)
            items += top_level(loaded)
    return LoadedTasks(items, manager)


def task_names(manager: Any, name: str) -> list[str]:
    """The harness's names of a requested task: of a folder, of all its files' tasks.

    Tasks of a folder that belong to one of its groups are evaluated as its members.

    Raises:
      ValueError: no task has the name, or the folder holds none.
    """
    path = Path(name)
    if path.is_file():
        return [name]
    if not path.is_dir():
        if name in manager.all_tasks:
            return [name]
        close = difflib.get_close_matches(name, manager.all_tasks, 3)
        hint = f"; close: {', '.join(close)}" if close else ""
        raise ValueError(
            f"--tasks {name}: no task of the harness, file or folder has this name"
            f"{hint} (lm-eval ls tasks lists them)"
        )
    entries = {
        entry.name: entry.cfg or {}
        for entry in manager.task_index.values()
        if entry.yaml_path is not None
        and path.resolve() in Path(entry.yaml_path).resolve().parents
    }
    if not entries:
        raise ValueError(f"--tasks {name}: the folder holds no YAML file of a task")
    members = {
        member if isinstance(member, str) else member.get("task")
        for cfg in entries.values()
        if "group" in cfg and isinstance(cfg.get("task"), list)
        for member in cfg["task"]
    }
    return [entry for entry in entries if entry not in members]


def load_one(manager: Any, name: str) -> Mapping[str, Any]:
    """A task, or the tasks of a group or tag, with their data.

    Raises:
      ValueError: it cannot be read; says whether its data set is missing.
    """
    try:
        loaded: Mapping[str, Any] = manager.load([name])
    except (KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:  # of many types, from many libraries
        why = messages.one_line(error, 200)
        if isinstance(error, ConnectionError):
            raise ValueError(
                f"--tasks {name}: its data set is not on this machine ({why}); "
                "with a network, --download fetches it into the cache of `datasets`, "
                "which may be copied here"
            ) from error
        raise ValueError(f"--tasks {name}: cannot be loaded: {why}") from error
    return loaded


def top_level(loaded: Mapping[str, Any]) -> list[Any]:
    """The tasks and groups that are not members of another loaded group."""
    groups = loaded.get("groups") or {}
    members = {child for group in groups.values() for child in group.child_names}
    tasks = loaded["tasks"]
    return [item for name, item in {**groups, **tasks}.items() if name not in members]


def set_shots(task: Any, shots: int | None, note: Callable[[str], None]) -> None:
    """Sets the number of examples in a task's prompts, as the harness does.

    Args:
      shots: None for the task's own number.
    """
    own = task.get_config("num_fewshot")
    if shots is None or own == shots:
        return
    if own == 0:
        note(f"{task.task_name} is defined with 0 examples in the prompt, and keeps 0")
    else:
        task.set_config(key="num_fewshot", value=shots)


def run_tasks(
    model: Any,
    loaded: LoadedTasks,
    *,
    limit: float | None = None,
    chat_template: bool = False,
    system: str | None = None,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Evaluates a model on tasks by `lm_eval.simple_evaluate`, with its seeds.

    Args:
      model: a `lm_eval_model.HarnessModel`.
      limit: examples of each task: a number, or below 1 a share; None for all.
      chat_template: render prompts by the model's chat template, examples as turns.
      system: a system message.
      cache: the path, less its ending, of a file that keeps each answer, so that an
        interrupted evaluation can go on; None for none.

    Returns:
      The harness's results, as JSON values; `samples` by task has every document.
    """
    # its workers would be forked from a process with threads
    os.environ.setdefault("DISABLE_MULTIPROC", "1")
    harness = importlib.import_module("lm_eval")
    results = harness.simple_evaluate(
        model=model,
        tasks=loaded.items,
        task_manager=loaded.manager,
        limit=int(limit) if limit and limit >= 1 else limit,
        bootstrap_iters=BOOTSTRAPS,
        apply_chat_template=chat_template,
        system_instruction=system or None,
        use_cache=None if cache is None else str(cache),
    )
    serialize = importlib.import_module("lm_eval.utils").handle_non_serializable
    return dict(json.loads(json.dumps(results, default=serialize)))
