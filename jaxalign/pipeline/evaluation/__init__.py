"""Models, prompts and answers of programs that evaluate."""
