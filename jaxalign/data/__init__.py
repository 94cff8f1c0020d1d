"""Text -> batch: file formats, row schemas, tokenizers, packing, the toy world."""

import os

from jaxalign import lazy

# transformers would say at each start that it misses PyTorch, which nothing here needs
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "chat": "chat",
        "loader": "loader",
        "packing": "packing",
        "read": "readers",
        "readers": "readers",
        "records": "records",
        "tokenize": "tokenize",
        "tokenizer": "tokenizer",
        "toy_world": "toy_world",
    },
)
