"""Text -> batch: file formats, row schemas, tokenizers, packing, the toy world."""

import os

# transformers would say at each start that it misses PyTorch, which nothing here needs
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
