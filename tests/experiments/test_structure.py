"""experiments/ holds programs, and each has the same shape."""

import ast
import dataclasses
import functools
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import experiments

FOLDER = Path(experiments.__file__).parent
PROGRAMS = sorted(
    [path for path in FOLDER.glob("*.py") if not path.stem.startswith("__")]
    + [path for path in FOLDER.glob("*/__main__.py")]
    + [path for path in FOLDER.glob("studies/*.py") if path.stem != "__init__"]
)
COMPOSE = {"rlhf", "rounds", "methods", "rejection_sampling", "benchmark", "evaluate"}
COMPOSE |= {"studies"}
"""Experiments that run others as stages, of which they take `main`, `Config` and
`check`, which refuses a configuration; they may share the code that composes them."""


def module_name(path: Path) -> str:
    parts = path.relative_to(FOLDER.parent).with_suffix("").parts
    return ".".join(parts)


def is_inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def imported(path: Path) -> dict[str, str]:
    """The modules of experiments that a file imports: local name -> module."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                file = FOLDER.parent / inner.replace(".", "/")
                exists = file.is_dir() or file.with_suffix(".py").is_file()
                found[alias.asname or alias.name] = inner if exists else node.module
        elif isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: alias.name for alias in node.names}
    return {
        name: module
        for name, module in found.items()
        if is_inside(module, "experiments") and module != "experiments"
    }


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_has_a_docstring_a_config_and_a_main(path):
    module = importlib.import_module(module_name(path))
    assert module.__doc__ and "python -m " + module_name(path).removesuffix(
        ".__main__"
    ) in (module.__doc__), "the docstring holds the command"
    assert dataclasses.is_dataclass(module.Config)
    assert module.Config.__dataclass_params__.frozen
    assert callable(module.main)
    assert 'if __name__ == "__main__":' in path.read_text()


@pytest.mark.parametrize(
    "path", sorted(FOLDER.rglob("*.py")), ids=lambda path: module_name(path)
)
def test_experiments_import_each_other_for_whole_stages_alone(path):
    mine = module_name(path).split(".")[1] if path.parent != FOLDER else path.stem
    for name, module in imported(path).items():
        if module.split(".")[1:2] == [mine]:
            continue  # parts of one package
        assert mine in COMPOSE, f"{path.name} imports {module}"
        used = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == name
        }
        stage = module.split(".")[1] not in COMPOSE
        assert not stage or used <= {"main", "Config", "check"}, (
            f"{path.name}: {used} of {module}"
        )


def test_imports_have_at_most_three_levels():
    files = {module_name(path): path for path in FOLDER.rglob("*.py")}

    @functools.cache
    def level(name: str) -> int:
        below = [m for m in imported(files[name]).values() if m in files and m != name]
        return 1 + max(map(level, below), default=0)

    assert {name: level(name) for name in files if level(name) > 3} == {}


def test_the_index_names_every_program():
    done = subprocess.run(
        [sys.executable, "-m", "experiments"],
        capture_output=True,
        text=True,
        check=True,
        cwd=FOLDER.parent,
    )
    listed = [line.split()[0] for line in done.stdout.splitlines() if "  " in line]
    names = [
        path.parent.name if path.stem == "__main__" else path.stem for path in PROGRAMS
    ]
    assert sorted(set(listed) & set(names)) == sorted(names)
