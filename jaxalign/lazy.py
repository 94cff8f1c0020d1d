"""Public names of a package that load their module when they are first used."""

import importlib
import importlib.util
import sys
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
