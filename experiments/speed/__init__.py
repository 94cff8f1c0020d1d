"""Seconds of each stage: per step, against peers, at Llama shapes, of tokenization.

Which loss is *better* is another question: see `experiments.benchmark`.
"""
