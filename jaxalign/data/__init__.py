"""Text -> batch: tokenizers, chats, formats, loading, and the toy world."""
