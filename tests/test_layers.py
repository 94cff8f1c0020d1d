"""Imports point down: the layers of the library, enforced."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = {
    "lazy": -2,
    "shape_checks": -1,
    "types": 0,
    "messages": 0,
    "atomic_files": 0,
    "masks": 1,
    "batches": 1,
    "sharding": 1,
    "streams": 1,
    "json_files": 1,
    "data": 2,
    "models": 2,
    "estimators": 2,
    "losses": 3,
    "sampling": 3,
    "rewards": 3,
    "training": 4,
    "evaluation": 4,
    "runtime": 5,
    "feedback": 5,
    "pipeline": 6,
    "planning": 7,
}
ABOVE = ("pipeline", "planning")  # which may import data and models
HEAVY = {"tensorflow_datasets", "grain", "transformers", "torch", "flax", "orbax"}


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Every module that a file imports, whichever way it says so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            if module == "jaxalign" or node.level:
                for alias in node.names:
                    yield f"{module}.{alias.name}", node
            else:
                yield module, node


def violations(source: str, package: str) -> Iterator[str]:
    """What a file of this package may not import."""
    tree = ast.parse(source)
    top_level = set(map(id, tree.body))
    for node in tree.body:  # `lazy.module` imports these when they are used
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            top_level |= set(map(id, node.body))
    for name, node in imports(tree):
        if name.startswith("."):
            yield f"relative import {name}"
        if not name.startswith(("jaxalign", "experiments")):
            continue
        if id(node) not in top_level:
            yield f"local import of {name}"
        if name.startswith("experiments"):
            yield f"{package} imports {name}: experiments are above the library"
            continue
        other = (name.split(".") + [""])[1]
        same = other == package
        if other not in LAYERS:
            yield f"{package} imports {name}: not a part of the library"
        elif not same and LAYERS[other] >= LAYERS[package]:
            yield f"{package} imports {name}: not strictly below"
        elif not same and other in ("models", "data") and package not in ABOVE:
            yield f"{package} imports {name}: losses get arrays, the rest a bundle"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            yield f"star import from {node.module}"


def test_every_import_points_down():
    found = [
        f"{path.relative_to(ROOT)}: {violation}"
        for path in sorted((ROOT / "jaxalign").rglob("*.py"))
        if path != ROOT / "jaxalign" / "__init__.py"
        for violation in violations(
            path.read_text(),
            path.relative_to(ROOT / "jaxalign").parts[0][:-3]
            if path.parent == ROOT / "jaxalign"
            else path.relative_to(ROOT / "jaxalign").parts[0],
        )
    ]
    assert not found, "\n".join(found)


def test_the_rule_sees_both_kinds_of_import():
    assert list(violations("import jaxalign.training.step", "losses"))
    assert list(violations("from jaxalign import training", "losses"))
    assert list(violations("from jaxalign.losses import dpo", "sampling"))
    assert list(violations("from jaxalign.models import heads", "training"))
    assert list(violations("def f():\n    from jaxalign import masks", "losses"))
    assert list(violations("from jaxalign.masks import *", "losses"))
    assert list(violations("from .preference import dpo", "losses"))
    assert not list(violations("from jaxalign import masks, types", "losses"))


def test_importing_the_library_loads_only_the_pure_code():
    program = "import sys, jaxalign; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not HEAVY & set(loaded)
