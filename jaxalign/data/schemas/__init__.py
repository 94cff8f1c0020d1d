"""Row schemas: rows -> records."""
