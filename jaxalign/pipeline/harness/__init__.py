"""EleutherAI's evaluation harness on a policy."""
