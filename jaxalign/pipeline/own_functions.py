"""Functions of the user's own that `--reward` names, loaded from a file or a module.

FILE.py:FUNCTION          a function in a Python file
PACKAGE.MODULE:FUNCTION   a function in a module that can be imported
"""

import functools
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxalign import messages
from jaxalign.rewards import reward_registry

Function = Callable[..., Any]
NAME = r"[^\W\d]\w*"
MODULE = re.compile(rf"{NAME}(\.{NAME})*:{NAME}")
OTHER_KINDS = ("programmed", "judge")


def is_function_name(reward: str) -> bool:
    """Whether `--reward` names a function of the user's own.

    >>> is_function_name("my.py:brief"), is_function_name("pack.module:brief")
    (True, True)
    >>> is_function_name("gsm8k:strict"), is_function_name("runs/reward")
    (False, False)
    """
    kind, _, _ = reward.partition(":")
    if kind in OTHER_KINDS or reward_registry.is_known(reward):
        return False
    place = reward.rpartition(":")[0] or reward
    return place.endswith(".py") or MODULE.fullmatch(reward) is not None


def load_function(reward: str) -> Function:
    """The function that a name stands for; its file or module is executed.

    Args:
      reward: FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION.

    Raises:
      ValueError: no such file, module or function (names near ones), or an error in
        the file (names its line).
    """
    place, _, name = reward.rpartition(":")
    if not place:
        raise ValueError(f"--reward {reward}: name its function, {reward}:FUNCTION")
    if not place.endswith(".py"):
        module = import_module(reward, place)
    else:
        path = Path(place)
        if not path.is_file():
            folder = path.parent
            near = [p.name for p in folder.glob("*.py")] if folder.is_dir() else []
            hint = messages.did_you_mean(path.name, near)
            raise ValueError(
                f"--reward {reward}: there is no file {place}; {hint}expected "
                "FILE.py:FUNCTION"
            )
        module = execute_file(path.resolve(), reward, path.stat().st_mtime_ns)
    found = getattr(module, name, None)
    if not callable(found):
        what = "is no function" if hasattr(module, name) else "does not exist"
        functions = [
            other
            for other, value in vars(module).items()
            if callable(value) and not other.startswith("_")
        ]
        hint = messages.did_you_mean(name, functions)
        known = ", ".join(functions) or "none"
        raise ValueError(
            f"--reward {reward}: {name} {what} in {place}; {hint}its functions: {known}"
        )
    return found


def import_module(reward: str, name: str) -> ModuleType:
    """Imports the module of a reward.

    Raises:
      ValueError: it does not exist, or raised an error (names its line).
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not is_within(name, error.name):
            raise import_error(reward, error) from error
        known = [*OTHER_KINDS, *reward_registry.REWARDS]
        hint = messages.did_you_mean(name, known)
        raise ValueError(
            f"--reward {reward}: there is no module {error.name}; {hint}a reward is "
            f"FILE.py:FUNCTION, PACKAGE.MODULE:FUNCTION, or one of {', '.join(known)}"
        ) from error
    except (Exception, SystemExit) as error:
        raise import_error(reward, error) from error


def is_within(name: str, package: str) -> bool:
    """Whether a module is the package or a part of it."""
    return name == package or name.startswith(package + ".")


@functools.cache
def execute_file(path: Path, reward: str, modified: int) -> ModuleType:
    """Executes a Python file as a module, which may import its neighbors.

    Args:
      path: absolute.
      reward: that names the file, for messages.
      modified: time of the file's last change, in ns: a changed file is executed again.

    Raises:
      ValueError: an error in the file; names its line.
    """
    name = f"jaxalign_own_reward_{path.stem}_{abs(hash((path, modified))):x}"
    if name in sys.modules:  # two functions of one file share its state
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"--reward {reward}: {path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise import_error(reward, error) from error
    return module


def import_error(reward: str, error: BaseException) -> ValueError:
    """The error for a file that fails while it is imported."""
    return ValueError(f"--reward {reward}: {describe_error(error)}")


def describe_error(error: BaseException) -> str:
    """An exception of the user's code with the line that raised it.

    The line is the innermost one outside the libraries, in one sentence such as
    "KeyError: 'level' (my.py:12)".
    """
    text = messages.one_line(error)
    kind = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{kind}: {error.msg} ({error.filename}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if not is_library(frame.filename)]
    place = f" ({outside[-1].filename}:{outside[-1].lineno})" if outside else ""
    return f"{kind}{place}" if text == kind else f"{kind}: {text}{place}"


def is_library(file: str) -> bool:
    """Whether a file belongs to Python, an installed package or this library."""
    if file.startswith("<"):
        return True
    parts = Path(file).parts
    own = Path(__file__).resolve().parents[1]
    standard = Path(traceback.__file__).parent
    return (
        "site-packages" in parts
        or Path(file).is_relative_to(own)
        or Path(file).is_relative_to(standard)
    )
