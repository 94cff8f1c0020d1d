"""Ctrl-C: one line, exit status 130, and a run that goes on where it was."""

import signal
import subprocess
import sys
import time

import pytest

from jaxalign.runtime.preemption import PreemptionHandler
from jaxalign.training import metrics
from tests.support import kill, small_runs


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_runs.prepare(tmp_path_factory.mktemp("interrupts"))


def interrupted(base, out, gaps, **told):
    """A run that is interrupted once it has logged a step, and again after each gap.

    Returns what it wrote to stderr, and its exit status.
    """
    run = subprocess.Popen(
        small_runs.command_line(base, out, "sft", mesh="data=1", **told),
        env=small_runs.environment(base),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = out / "sft" / "metrics.jsonl"
    while run.poll() is None and not (log.exists() and '"loss"' in log.read_text()):
        time.sleep(0.01)
    for gap in (0.0, *gaps):
        time.sleep(gap)
        run.send_signal(signal.SIGINT)
    return run.communicate()[1], run.returncode


def test_once_saves_and_resumes(base, tmp_path):
    err, status = interrupted(base, tmp_path, (), steps=2000, save_every=1000)
    assert status == 130 and err.count("\n") == 1, err
    (last,) = kill.saved_steps(tmp_path / "sft")
    assert err.startswith(f"interrupted, saved after step {last - 1}"), err
    steps = [line["step"] for line in metrics.read_steps(tmp_path / "sft")]
    assert steps == list(range(last))


@pytest.mark.slow
@pytest.mark.parametrize("save_every", [1, 1000])
@pytest.mark.parametrize("gaps", [(0.0,), (0.005,), (0.05,), (0.0, 0.0), (0.02, 0.02)])
def test_twice_and_during_a_save_is_one_line_and_loses_nothing(
    base, tmp_path, gaps, save_every
):
    told = {"steps": 500, "save_every": save_every}
    err, status = interrupted(base, tmp_path, gaps, **told)
    assert status == 130 and err.count("\n") == 1, err
    assert err.startswith("interrupted")
    last = max(kill.saved_steps(tmp_path / "sft"), default=0)
    told |= {"steps": last + 2, "resume": True, "extend": True, "mesh": "data=1"}
    line = small_runs.command_line(base, tmp_path, "sft", **told)
    subprocess.run(line, env=small_runs.environment(base), check=True)
    assert kill.saved_steps(tmp_path / "sft")[-1] == last + 2


def test_during_imports_is_one_line():
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "experiments.sft", "--help"],
        cwd=small_runs.ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as run:
        others = []
        for line in run.stderr:  # of -X importtime, one for each module
            if "import time:" not in line:
                others.append(line)
            elif line.split("|")[-1].strip() == "numpy":
                run.send_signal(signal.SIGINT)
    assert run.returncode == 130
    assert others == ["interrupted\n"]


class TestHandler:
    """What each signal does, by where the run is."""

    @pytest.fixture
    def handler(self):
        self.shown = []
        handler = PreemptionHandler(self.shown.append)
        before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
        handler.install()
        yield handler
        handler.restore()
        assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]

    def test_outside_the_loop_it_ends_at_once(self, handler):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(signal.SIGTERM)
        assert ended.value.code == 0

    def test_in_a_step_the_first_waits_and_the_second_does_not(self, handler):
        handler.in_loop = True
        signal.raise_signal(signal.SIGINT)
        assert handler.should_stop(3) and len(self.shown) == 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt) as ended:
            handler.stop("saved after step 3")
        assert ended.value.__notes__ == ["saved after step 3"]

    def test_sigterm_waits_for_the_step_however_often(self, handler):
        handler.in_loop = True
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        assert handler.should_stop(3)
        with pytest.raises(SystemExit):
            handler.stop("saved after step 3")

    def test_while_files_are_written_all_wait(self, handler):
        with handler.defer_signals():
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGTERM)
        assert handler.requested and handler.interrupted and not self.shown
