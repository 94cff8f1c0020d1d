"""One small tokenizer for all tests of the data."""

import json
from pathlib import Path

import pytest

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
def templated(tokenizer):
    """A function: a copy of the tokenizer with another chat template."""

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
    """The real tokenizer of a base model: a beginning token, no chat template."""
    return tokenizers.load(public_data / "stories260K" / "hf")


@pytest.fixture(scope="session")
def jsonl():
    """A function: writes rows (or raw lines) to a file of JSON lines."""

    def write(path, *rows):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def cases():
    """The folder of inputs that failed once; the project ships none of it."""
    folder = Path(__file__).parents[2].parent / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    return folder
