"""Benchmarks: how fast, against whom, and how far from the floor."""
