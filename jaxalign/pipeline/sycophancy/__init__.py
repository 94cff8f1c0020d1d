"""Protocols of sycophancy on any model: prompts, items, sampling, reports."""
