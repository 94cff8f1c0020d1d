"""Supervisors of processes that need no JAX: who was lost, said last, in seconds."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from jaxalign.runtime import peers
from tests.support import small_runs

# The child prints its process id, then does what the test wants.
PROGRAM = """
import os, signal, sys, time, types

package = sys.modules["jaxalign"] = types.ModuleType("jaxalign")
package.__path__ = ["jaxalign"]  # the package itself imports JAX, which takes seconds
from jaxalign.runtime import supervisor

setting, body = sys.argv[1:3]
supervisor.supervise(setting)
print(os.getpid(), flush=True)
exec(body)
"""
SLEEP = "time.sleep(60)"
STACK = (
    "sys.stderr.write('F0101 00:00:00.1 7 client.h:8] Terminating process\\n"
    "*** Check failure stack trace: ***\\n    @ 0x7f tsl::Fatal()\\n');"
    "sys.stderr.flush(); time.sleep(0.3); os.abort()"
)
FAILS = (
    "sys.stderr.write('error: bad.jsonl:3: no chosen\\n'); sys.stderr.flush();"
    "os._exit(1)"
)
LOST_OTHERS = FAILS.replace("bad.jsonl:3: no chosen", "Connection closed by peer")
HANDLES = (
    "signal.signal(signal.SIGTERM, lambda *_: os._exit(0));"
    "signal.signal(signal.SIGINT, lambda *_: os._exit(130)); time.sleep(60)"
)


def free_port():
    """A port whose successor is free too, as supervisors need."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port


@contextlib.contextmanager
def started(*bodies):
    """Supervised processes; gives each with its child's process id."""
    port, count = free_port(), len(bodies)
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", PROGRAM]
                    + [f"127.0.0.1:{port},{count},{i}", body],
                    cwd=small_runs.ROOT,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for i, body in enumerate(bodies)
        ]
        children = [int(process.stdout.readline()) for process in processes]
        time.sleep(2 * peers.RETRY)  # until all are connected
        yield processes, children
        for process in processes:
            process.kill()


def ends(processes, seconds=10.0):
    """What each wrote to stderr, and its exit status."""
    deadline = time.monotonic() + seconds
    return [
        (process.communicate(timeout=deadline - time.monotonic())[1], process.poll())
        for process in processes
    ]


def lost(process, reason):
    return (
        f"error: process {process} of 2 was lost ({reason}); start all of them again "
        "with --resume\n"
    )


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("parent", [False, True])
def test_a_killed_process_is_named_by_the_other(victim, parent):
    with started(SLEEP, SLEEP) as (processes, children):
        pid = processes[victim].pid if parent else children[victim]
        os.kill(pid, signal.SIGKILL)
        results = ends(processes)
    reason = "killed, or its host cannot be reached" if parent else "killed by SIGKILL"
    assert results[1 - victim] == (lost(victim, reason), 1)
    assert results[victim][1] == (-signal.SIGKILL if parent else 137)
    for child in children:  # none is left behind
        assert not is_running(child)


def test_the_stack_of_the_others_is_dropped():
    """JAX aborts a process that has lost another, at about the same time."""
    dies = "time.sleep(0.3); os.kill(os.getpid(), signal.SIGKILL)"
    with started(dies, STACK) as (processes, _):
        results = ends(processes)
    assert results[1] == (lost(0, "killed by SIGKILL"), 1)


@pytest.mark.parametrize("bodies", [(FAILS, LOST_OTHERS), (LOST_OTHERS, FAILS)])
def test_the_first_cause_is_named_and_its_sentence_stays(bodies):
    with started(*bodies) as (processes, _):
        results = ends(processes)
    cause = bodies.index(FAILS)
    assert results[cause] == ("error: bad.jsonl:3: no chosen\n", 1)
    assert results[1 - cause] == (lost(cause, "error: bad.jsonl:3: no chosen"), 1)


def test_one_alone_aborts_with_a_sentence():
    with started(STACK, SLEEP) as (processes, _):
        results = ends(processes)
    own = "error: process 0 of 2 was killed by SIGABRT; start all of them again with"
    assert results[0] == (f"{own} --resume\n", 134)
    assert results[1] == (lost(0, "killed by SIGABRT"), 1)


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_and_statuses_are_forwarded(number, status):
    with started(HANDLES, HANDLES) as (processes, _):
        for process in processes:
            process.send_signal(number)
        assert [code for _, code in ends(processes)] == [status, status]


def test_a_run_that_ends_well_passes_on_what_it_wrote():
    body = "sys.stderr.write('warning: x\\nE0101 00:00:00 y\\nz'); sys.exit()"
    with started(body, body) as (processes, _):
        assert ends(processes) == [("warning: x\nE0101 00:00:00 y\nz\n", 0)] * 2


def test_it_can_be_turned_off(monkeypatch):
    monkeypatch.setenv("JAXALIGN_SUPERVISOR", "0")
    with started("print(os.getppid(), flush=True)") as (processes, children):
        assert children == [processes[0].pid]


def is_running(pid):
    """Whether a process is there; a dead one may still wait for its parent."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return False
        except FileNotFoundError:
            return False
        time.sleep(0.05)
    return True
