"""MT-Bench: its files, the judge's prompts, judgements and report."""
