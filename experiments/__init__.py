"""Experiments: one question each, one module each, `python -m experiments.NAME`."""

import os

# transformers would say at each start that it misses PyTorch, which nothing here needs
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
# XLA would raise an alarm, with advice on how to dump a program, where it compiles for
# minutes, as it does for large models; the progress bar says that it compiles. What
# ends a process is shown still, and TF_CPP_MIN_LOG_LEVEL=1 shows all
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
