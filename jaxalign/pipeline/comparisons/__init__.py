"""Pairs of answers, their judgements, and files of both."""
