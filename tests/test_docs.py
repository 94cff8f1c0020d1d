"""Generated documentation is up to date, and links in documents lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.support import api_index

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path for folder in (ROOT, ROOT / "docs") for path in folder.glob("*.md")
)


def test_the_index_of_public_names_is_that_of_the_code():
    written = (ROOT / "docs" / "api.md").read_text()
    assert written == api_index.markdown(), "python -m tests.support.api_index"


def test_every_public_name_has_a_description():
    assert "|  |" not in api_index.markdown()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text())
    files = [link for link in links if not re.match(r"\w+:", link)]
    assert [link for link in files if not (path.parent / link).exists()] == []


def test_the_glossary_is_in_alphabetical_order():
    text = (ROOT / "docs" / "glossary.md").read_text()
    terms = [term.lower() for term in re.findall(r"^- \*\*(.+?)\*\*", text, re.M)]
    assert len(terms) > 30 and terms == sorted(terms)
