"""Annotation files, their scale, and the report on their agreement."""
