"""Text -> batch: file formats, row schemas, tokenizers, packing, the toy world."""
