"""Reward benchmarks: rows, scores, numbers and report."""
