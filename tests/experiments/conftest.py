"""The smoke run of the main job, whose folders several test files start from."""

import pytest

from experiments import rlhf


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory):
    """The folder of a smoke run of rlhf, and the rows of its table."""
    out = tmp_path_factory.mktemp("smoke")
    return out, rlhf.main(rlhf.Config(smoke=True, out=out, mesh="data=1"))
