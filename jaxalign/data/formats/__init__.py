"""File formats: files -> rows, each with its location."""
