"""Rollouts -> rewards: learned, of texts by name, mixed, judged; shaping."""
