"""Data and models together: data sets, policies, rollouts, rewards, evaluation."""
