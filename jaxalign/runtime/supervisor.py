"""The supervisor of each process of a distributed run: reports which process was lost.

JAX aborts a process that has lost another, with a C++ stack and after up to a minute.
Here the run itself is a child. Its parent learns of a lost process from the other
parents (`peers`), ends the child, withholds the stack, and prints one sentence last.
It forwards signals and the exit status. JAXALIGN_SUPERVISOR=0 runs without it.
"""

import contextlib
import os
import re
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

from jaxalign.runtime.peers import GRACE, Hub, Loss, Spoke

POLL = 0.05  # seconds
PATIENCE = 3.0  # seconds for which lines are withheld: a lost peer may explain them
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# The first line of an error or of a C++ stack.
FAULT = re.compile(
    rb"error: |interrupted|[EF]\d{4} \d\d:|\*\*\* |terminate called|Fatal Python error"
)
# Errors of a process that has lost another.
CONSEQUENCE = re.compile(
    rb"lost the others|[Cc]onnection (closed|reset)|Broken pipe|[Gg]loo|heartbeat|"
    rb"[Cc]oordination|distributed service|[Bb]arrier|DEADLINE_EXCEEDED|UNAVAILABLE|"
    rb"NCCL"
)
INTERRUPTED = 130  # the exit status after Ctrl-C
EXPLANATION = "start all of them again with --resume"
control: int | None = None  # of the child: a pipe to its parent


def supervise(setting: str) -> None:
    """Forks the run's process: returns in the child, and never in the parent.

    Args:
      setting: JAXALIGN_DISTRIBUTED; see `distributed.join`. Where it is 1, the child
        calls `join` once it knows the others.
    """
    global control
    if os.environ.get("JAXALIGN_SUPERVISOR") == "0" or not hasattr(os, "fork"):
        return
    errors, child_errors = os.pipe()
    joined, child_control = os.pipe()
    alive, parent_alive = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        for end in (child_errors, child_control, alive):
            os.close(end)
        Supervisor(pid, errors, joined, setting).run()
    for end in (errors, joined, parent_alive):
        os.close(end)
    os.dup2(child_errors, 2)
    control = child_control
    threading.Thread(target=die_with_parent, args=(alive,), daemon=True).start()


def die_with_parent(alive: int) -> None:
    """Kills this process once its parent has ended: the pipe is then closed."""
    os.read(alive, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def join(address: str, count: int, process: int) -> None:
    """Sends the parent the numbers of processes, where only JAX knows them."""
    if control is not None:
        os.write(control, f"{address},{count},{process}\n".encode())


class Supervisor:
    """The parent of a run's process: forwards its stderr, and ends with its status."""

    def __init__(self, pid: int, errors: int, joined: int, setting: str) -> None:
        """Args:

        pid: of the child.
        errors: the child's stderr.
        joined: the child's call of `join`.
        setting: JAXALIGN_DISTRIBUTED.
        """
        self.pid = pid
        self.errors = errors
        self.joined = joined
        self.process, self.count = 0, 0
        self.peers: Hub | Spoke | None = None
        self.line = b""  # the last, unfinished one
        self.withheld: list[bytes] = []  # lines of stderr from the first fault on
        self.since = 0.0
        for end in (errors, joined):
            os.set_blocking(end, False)
        for number in FORWARDED:
            signal.signal(number, self.forward)
        self.connect(setting)

    def forward(self, number: int, frame: FrameType | None) -> None:
        """Forwards a signal to the child."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def connect(self, setting: str) -> None:
        """Opens the connection with the other supervisors; without one, only waits."""
        match = re.fullmatch(r"\[?(.+?)\]?:(\d+),(\d+),(\d+)", setting.strip())
        if match is None or self.peers is not None:
            return
        host, port = match[1], int(match[2]) + 1
        self.count, self.process = int(match[3]), int(match[4])
        with contextlib.suppress(OSError, OverflowError):  # such as a port in use
            self.peers = (
                Spoke(host, port, self.process)
                if self.process
                else Hub(port, self.count)
            )

    def run(self) -> NoReturn:
        """Waits for the child's end or for the loss of another process."""
        status = None
        while status is None:
            self.poll()
            if self.peers is not None and self.peers.verdict is not None:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self.exit_lost(self.peers.verdict)
            pid, wait_status = os.waitpid(self.pid, os.WNOHANG)
            status = os.waitstatus_to_exitcode(wait_status) if pid else None
            if status is None:
                time.sleep(POLL)
        self.poll()
        if status == 0:
            self.release()
            if self.peers is not None:
                self.peers.finish()
            os._exit(0)
        self.exit_failed(status)

    def poll(self) -> None:
        """Forwards the child's stderr, and reads the messages of the peers."""
        self.read_errors()
        if self.withheld and time.monotonic() - self.since > PATIENCE:
            self.release()
        with contextlib.suppress(BlockingIOError):
            self.connect(os.read(self.joined, 4096).decode())
        if self.peers is not None:
            self.peers.poll()

    def read_errors(self) -> None:
        """Forwards whole lines of the child's stderr, up to the first fault."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.errors, 65536):
                self.line += data
        *lines, self.line = self.line.split(b"\n")
        for line in lines:
            if not self.withheld and not FAULT.match(line):
                write(line + b"\n")
                continue
            if not self.withheld:
                self.since = time.monotonic()
            self.withheld.append(line)

    def release(self) -> None:
        """Forwards the withheld lines."""
        rest = [self.line] if self.line else []
        write(b"".join(line + b"\n" for line in (*self.withheld, *rest)))
        self.withheld, self.line = [], b""

    def exit_failed(self, status: int) -> NoReturn:
        """Exits after the child has failed, by its own fault or by that of another."""
        own = Loss(self.rank(status), self.process, self.reason(status))
        if self.peers is not None:
            verdict = self.verdict_on(own)
            same = verdict is None or verdict.reason == own.reason
            if verdict and not same and status != INTERRUPTED:
                self.exit_lost(verdict)
        if status < 0 and not any(
            line.startswith(b"error: ") for line in self.withheld
        ):
            self.withheld = []
            name = (
                f"process {self.process} of {self.count}"
                if self.count
                else "this process"
            )
            write(f"error: {name} was {own.reason}; {EXPLANATION}\n".encode())
        self.release()
        os._exit(status if status > 0 else 128 - status)

    def verdict_on(self, own: Loss) -> Loss | None:
        """Reports the child's end, and waits for the decision on the cause of all."""
        assert self.peers is not None
        self.peers.report(own)
        end = time.monotonic() + 2 * GRACE
        while self.peers.verdict is None and time.monotonic() < end:
            time.sleep(POLL)
            self.peers.poll()
        return self.peers.verdict

    def rank(self, status: int) -> int:
        """How likely the child's end is the cause of the others'; see `Loss`."""
        if status < 0 and status != -signal.SIGABRT:
            return 0
        consequence = status < 0 or CONSEQUENCE.search(b"\n".join(self.withheld))
        return 2 if consequence else 1

    def reason(self, status: int) -> str:
        """The reason of the child's end, as text."""
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        errors = [line for line in self.withheld if FAULT.match(line)]
        text = errors[-1].decode(errors="replace") if errors else f"status {status}"
        return text.partition(" (JAXALIGN_TRACEBACK")[0]

    def exit_lost(self, loss: Loss) -> NoReturn:
        """Exits because another process was lost; withheld lines are dropped."""
        write(
            f"error: process {loss.process} of {self.count} was lost ({loss.reason}); "
            f"{EXPLANATION}\n".encode()
        )
        os._exit(1)


def write(text: bytes) -> None:
    """Writes to stderr."""
    with contextlib.suppress(OSError):
        os.write(2, text)
