"""Batch -> logits: Flax modules inside, pure functions over parameter trees outside."""
