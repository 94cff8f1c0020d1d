"""Row schemas: rows -> records, one module for each part of a row."""
