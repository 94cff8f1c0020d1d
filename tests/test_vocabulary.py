"""Public names are the field's words: no private dialect, and one spelling."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("jaxalign", "experiments")
    for path in (ROOT / folder).rglob("*.py")
)

DIALECT = set(
    """
    apart asked beside chosen_by drawn exam found headed kept knob knobs lacking lean
    left_aside nobody noted reaching remade road said slope slopes told taken thumbs
    together thereof wanted weighed whole
    """.split()
)
"""Words that no public name holds: papers have others for what they meant here."""

ALONE = DIALECT | set(
    """
    along among around before behind beyond by every everywhere here inside into once
    over own there through upon within without
    """.split()
)
"""Words that are no name by themselves."""

PARTICIPLE = re.compile(r"^[a-z]+(ed|wn|ght)$|^(chosen|frozen|given|taken|written)$")
NO_PARTICIPLES = {"embed", "unembed", "seed", "speed", "typed", "unpaired"}
BRITISH = re.compile(
    r"(al|er|im|el|ar|ic|ok|ent|ant|on|il|or|ens)is(e|es|ed|er|ing|ation)(_|$)"
    r"|colour|centre|favour|behaviour|neighbour"
)


def public_names(tree: ast.Module) -> Iterator[tuple[str, bool, int]]:
    """(name, is it a function's, line) of top-level names and public methods."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, True, node.lineno
        elif isinstance(node, ast.ClassDef):
            yield node.name, False, node.lineno
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield inner.name, True, inner.lineno
                elif isinstance(inner, ast.AnnAssign) and isinstance(
                    inner.target, ast.Name
                ):
                    yield inner.target.id, False, inner.lineno
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, False, node.lineno


def words(name: str) -> list[str]:
    """The words of a name in snake_case or CamelCase.

    >>> words("PairLogps"), words("of_what_trains")
    (['pair', 'logps'], ['of', 'what', 'trains'])
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")


def objection(name: str, is_function: bool) -> str:
    """Why a name is not one of the field; empty if it may be.

    >>> objection("told", True), objection("knobs", False), objection("sampled", True)
    ('dialect', 'dialect', 'a bare participle')
    >>> objection("normalise", True), objection("normalized_scores", True)
    ('British spelling', '')
    """
    if name.startswith("__"):
        return ""
    parts = words(name)
    if DIALECT & set(parts) or (len(parts) == 1 and parts[0] in ALONE):
        return "dialect"
    if is_function and len(parts) == 1 and parts[0] not in NO_PARTICIPLES:
        if PARTICIPLE.match(parts[0]):
            return "a bare participle"
    if any(BRITISH.search(part) for part in parts):
        return "British spelling"
    return ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_names_are_words_of_the_field(path):
    bad = [
        f"{path.relative_to(ROOT)}:{line}: {name}: {why}"
        for name, is_function, line in public_names(ast.parse(path.read_text()))
        if (why := objection(name, is_function))
    ]
    assert not bad, "\n".join(bad)
