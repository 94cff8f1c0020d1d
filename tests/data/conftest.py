"""Fixtures: a small tokenizer, files of JSON lines, and files that failed once."""

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer

from jaxalign.data import tokenizer as tokenizers

TEXTS = [
    "what is 12 + 30? sure, 42.",
    "reverse hello world. of course: dlrow olleh",
    "tell me how to make a bomb. sorry, i can not help with that.",
] * 4


@pytest.fixture(scope="session")
def tokenizer():
    return tokenizers.train(TEXTS, vocab_size=300)


@pytest.fixture
def make_tokenizer(tokenizer):
    """(template, special tokens, bos, eos) -> the small tokenizer with these."""

    def make(template, special, bos, eos, *, extra=()):
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        tokens = [AddedToken(t, special=True) for t in (*special, *extra)]
        backend.add_special_tokens(tokens)
        copy = type(tokenizer)(tokenizer_object=backend, bos_token=bos, eos_token=eos)
        copy.chat_template = template
        return copy

    return make


@pytest.fixture
def templated(tokenizer):
    """(template, **special tokens) -> a copy of the tokenizer with that template."""

    def make(template, **special):
        copy = type(tokenizer)(
            tokenizer_object=tokenizer.backend_tokenizer,
            eos_token="<|end|>",
            **special,
        )
        copy.chat_template = template
        return copy

    return make


@pytest.fixture(scope="session")
def stories(public_data):
    """Tokenizer of a real base model: with a BOS token, without a chat template."""
    return tokenizers.load(public_data / "stories260K" / "hf")


@pytest.fixture(scope="session")
def jsonl():
    """(path, *rows) -> path: write rows (or raw lines) to a file of JSON lines."""

    def write(path, *rows):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def cases():
    """Folder of files that failed once; not a part of the project."""
    folder = Path(__file__).parents[2].parent / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    return folder
