"""Families of models as Hugging Face writes them: config.json and names of tensors."""
