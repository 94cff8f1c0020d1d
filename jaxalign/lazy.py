"""Names and modules that load when they are first used, so that programs start fast."""

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any


def attach(
    package: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package (PEP 562).

    Modules of the package load by their own name, listed or not.

    Args:
      package: its `__name__`.
      names: the public names, each with the module that defines it; a module's own name
        stands for the module.

    Returns:
      The two functions, to be assigned in the package's `__init__`.
    """

    def load(name: str) -> Any:
        module = names.get(name, name)
        path = f"{package}.{module}"
        if name.startswith("__") or importlib.util.find_spec(path) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        loaded = importlib.import_module(path)
        return loaded if module == name else getattr(loaded, name)

    def public() -> list[str]:
        return sorted({*getattr(sys.modules[package], "__all__", ()), *names})

    return load, public


class LazyModule(types.ModuleType):
    """A module that is imported when one of its names is first used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by tools that look at all globals
            raise AttributeError(f"module {self.__name__!r} has not been imported")
        return getattr(importlib.import_module(self.__name__), name)


def module(name: str) -> Any:
    """A module that is slow to import, and is imported when it is first used.

    Annotations that name it are quoted. Type checkers see the import itself::

        if TYPE_CHECKING:
            import grain
        else:
            grain = lazy.module("grain")
    """
    return LazyModule(name)
