"""Attacks run against a policy: worlds of requests, attempts, and their report."""
