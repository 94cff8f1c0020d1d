"""Rollouts -> rewards: learned scores, programmed text rewards, shaping."""
