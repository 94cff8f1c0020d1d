"""The benchmarks: their arithmetic by hand, and one command at a tiny size."""

import json
import platform
import subprocess
import sys

import numpy as np
import pytest

from experiments.speed import __main__ as speed
from experiments.speed import device, peers, scaling
from jaxalign.planning import flops, workloads
from jaxalign.planning.workloads import Size

TINY = device.SHAPES["tiny"]


def test_weights_by_hand():
    # a layer: query and out 64 * 2 * 32 each, key and value 64 * 32 each, and three
    # matrices 64 * 128; two layers, and the head 256 * 64
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128
    assert flops.matmul_params(TINY) == 2 * layer + 256 * 64
    assert flops.matmul_params(TINY, head=False) == 2 * layer


def test_forward_flops_by_hand():
    # two operations a weight and token; attention: queries by keys and weights by
    # values, 2 * T * T * H * E each, causal half, per layer
    tokens, length = 3 * 10, 10
    attention = 2 * 3 * (2 * 2 * length * length * 2 * 32) / 2
    expected = 2 * flops.matmul_params(TINY) * tokens + attention
    assert flops.forward_flops(TINY, 3, length) == expected


def test_score_flops_by_hand():
    # the first of two layers, and of the second key and value
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128
    attention = 2 * 2 * 10 * 10 * 2 * 32 / 2
    expected = 3 * (10 * 2 * (layer + 2 * 64 * 32) + attention)
    assert flops.scalar_forward_flops(TINY, 3, 10) == expected


def test_keys_seen_where_a_prompt_is_shared():
    # prompts of 4 and answers of 2: 8 keys of the prompt, and each answer 4 + 4 + 2
    np.testing.assert_allclose(flops.shared_prompt_keys(4, 2), (8 + 2 * 10) / 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_every_work_runs(name):
    size = Size(rows=4, length=16, prompt=4, prompts=2, new_tokens=4)
    work = workloads.WORKLOADS[name](TINY, size)
    taken = workloads.seconds(work.run, steps=1, warmup=1)
    assert len(taken) == 1 and taken[0] > 0 and work.flops > 0 and work.tokens > 0


@pytest.mark.slow
def test_device_fills_the_table(tmp_path, capsys):
    config = device.Config(
        models=("tiny",),
        workloads=("sft", "generate"),
        rows=4,
        length=16,
        prompts=2,
        prompt=8,
        new_tokens=4,
        steps=1,
        out=tmp_path / "rows.json",
    )
    rows = device.main(config)
    assert json.loads((tmp_path / "rows.json").read_text()) == rows
    assert [row["work"] for row in rows] == ["sft", "generate"]
    for row in rows:
        np.testing.assert_allclose(
            row["mfu"], row["floor_s"] / row["seconds"], rtol=1e-6
        )
        assert row["floor_s"] < row["seconds"]
    with pytest.raises(ValueError, match="unknown"):
        device.main(device.Config(models=("700b",)))


def test_peers_reads_a_scripts_last_line(tmp_path):
    (tmp_path / "script.py").write_text(
        'print("x"); print(\'{"seconds_per_step": 2}\')'
    )
    found = peers.last_line([sys.executable, "script.py"], tmp_path)
    assert found == {"seconds_per_step": 2}
    (tmp_path / "bad.py").write_text('raise SystemExit("no torch here")')
    with pytest.raises(ValueError, match="no torch here"):
        peers.last_line([sys.executable, "bad.py"], tmp_path)


def test_help_is_one_command():
    helps = (
        ("speed", "--help", "--help-device"),
        ("speed", "--help-device", "--device.models"),
        ("speed.device", "--help", "--models"),
    )
    for module, asked, flag in helps:
        command = [sys.executable, "-m", f"experiments.{module}", asked]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert flag in done.stdout


def test_the_measurement_that_is_named_is_made(monkeypatch):
    measure = lambda config: ("scaling", config.points)
    monkeypatch.setitem(speed.MEASUREMENTS, "scaling", measure)
    config = speed.Config(measurement="scaling", scaling=scaling.Config(points=3))
    assert speed.main(config) == ("scaling", 3)


def test_peers_that_are_missing_are_refused(tmp_path):
    config = peers.Config(scripts=tmp_path, python=tmp_path / "python")
    with pytest.raises(ValueError, match="python does not exist: give --scripts"):
        peers.compare(config)


def test_freed_memory_is_kept():
    """In a process of its own, since it cannot be undone."""
    code = "from jaxalign.runtime import allocator as a; print(a.reuse_freed_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    glibc = platform.libc_ver()[0] == "glibc"
    assert done.stdout.strip() == str(glibc), done.stderr
