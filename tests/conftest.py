"""The strict session: 8 CPU devices, rank promotion raises, warnings are errors.

Most of the tests' time goes to the compiler, so it is told to optimise little: the same
operations, in four fifths of the time. (At level 0, ratios are 1 only to rounding.) And
what is compiled is kept, for all workers, processes that tests start, and later runs.
"""

import dataclasses
import gc
import os
import signal
import threading
from pathlib import Path

fast = "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {fast}"

if threading.current_thread() is threading.main_thread():
    # jobs in the background inherit an ignored SIGINT, and those of nohup an ignored
    # SIGHUP, which some tests send
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

import jax  # noqa: E402
import pytest  # noqa: E402

from jaxalign.pipeline import policies  # noqa: E402
from jaxalign.runtime import compilation_cache  # noqa: E402
from tests.support import rota  # noqa: E402

MOST_MAPS = 25_000  # of a process's memory, before compiled programs are freed

compilation_cache.enable(None)

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_addoption(parser):
    parser.addoption(
        "--slow-rota",
        type=int,
        metavar="N",
        help="of the slow tests take N: what changed lately, and some others in turn",
    )


def pytest_xdist_auto_num_workers(config):
    """`-n auto`: as many workers as cores, up to 4, for the memory."""
    return min(os.cpu_count() or 1, 4)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """With `-n`, all tests of a file go to one worker, which compiles them once."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "loadfile"


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow-rota") is not None:
        rota.deselect(config, items, config.getoption("--slow-rota"))


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The folder of real public data; the project ships none of it."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("JAXALIGN_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no public data at {folder}; set JAXALIGN_DATA to its folder")
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_memory_maps():
    """Compiled programs are freed after a file where they map much memory.

    Linux allows a process 65,530 maps, beyond which LLVM aborts.
    """
    yield
    if (maps := Path("/proc/self/maps")).exists():
        if maps.read_bytes().count(b"\n") > MOST_MAPS:
            jax.clear_caches()
            gc.collect()


@pytest.fixture(scope="session", autouse=True)
def small_toy_model():
    """`--model toy` is a smaller model in the tests, which compiles in less time.

    Yields the shipped `toy_config`.
    """
    shipped = policies.toy_config
    small = {"width": 32, "hidden": 64, "layers": 2, "heads": 4, "kv_heads": 4}

    def toy_config(*args):
        return dataclasses.replace(shipped(*args), **small, head_dim=8, unroll=0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policies, "toy_config", toy_config)
        yield shipped
