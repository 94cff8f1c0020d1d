"""The strict session: 8 CPU devices, rank promotion raises, warnings are errors."""

import os
from pathlib import Path

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The folder of real public data; the project ships none of it."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("JAXALIGN_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no public data at {folder}; set JAXALIGN_DATA to its folder")
    return folder
