"""A study of people's judgements: its items from data, its models, its statistics."""
