"""Text -> batch: file formats, row schemas, tokenizers, packing, the toy world."""

from jaxalign import lazy

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
