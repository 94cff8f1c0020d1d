"""Behaviors that preference pairs teach: recipes of SFT data and pairs from rows."""
