"""Connections between the supervisors of a run: which process was lost, and why.

Process 0 listens beside JAX's coordinator, on the next port; the others connect. A
supervisor reports how its process ended; a closed connection reports a supervisor that
was killed. Process 0 decides which loss was the first cause, and sends it to all.
"""

import contextlib
import json
import socket
import time
from typing import NamedTuple

GRACE = 1.0  # seconds in which further reports may name an earlier cause
RETRY = 0.5  # seconds between attempts to connect
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}


class Loss(NamedTuple):
    """A process that ended before the run did.

    Attributes:
      rank: 0 for a process that was killed, 1 for one that failed, 2 for one whose
        failure may follow from the loss of another: the lowest is the cause.
      process: its index.
      reason: how it ended, for a message.
    """

    rank: int
    process: int
    reason: str


class Connection:
    """A socket that carries JSON values, one a line; never waits."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        self.is_open = True
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():  # where the system has them
            if hasattr(socket, name):
                option = getattr(socket, name)
                sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def send(self, *value: object) -> None:
        """Sends a value; what a closed connection cannot take is dropped."""
        with contextlib.suppress(OSError):
            self.sock.sendall(json.dumps(value).encode() + b"\n")

    def receive(self) -> list[list[object]]:
        """The values that have arrived; `is_open` tells whether more may come."""
        try:
            while data := self.sock.recv(65536):
                self.buffer += data
            self.is_open = False
        except BlockingIOError:
            pass
        except OSError:
            self.is_open = False
        *lines, self.buffer = self.buffer.split(b"\n")
        values = []
        for line in lines:
            with contextlib.suppress(ValueError):
                values.append(json.loads(line))
        return [value for value in values if isinstance(value, list) and value]

    def close(self) -> None:
        """Closes the socket."""
        self.sock.close()


class Hub:
    """The connections of process 0 with all others.

    Attributes:
      verdict: the loss that ends the run, once it is decided.
    """

    def __init__(self, port: int, count: int) -> None:
        dual = socket.has_dualstack_ipv6()
        self.server = socket.create_server(
            ("", port),
            family=socket.AF_INET6 if dual else socket.AF_INET,
            dualstack_ipv6=dual,
        )
        self.server.setblocking(False)
        self.count = count
        self.connections: dict[Connection, int] = {}  # process; -1 until it says hello
        self.ended: set[int] = set()
        self.losses: list[Loss] = []
        self.since = 0.0
        self.verdict: Loss | None = None

    def poll(self) -> None:
        """Reads what has arrived, and decides on a verdict."""
        with contextlib.suppress(OSError):
            while True:
                self.connections[Connection(self.server.accept()[0])] = -1
        for connection in self.connections:
            self.read(connection)
        if self.losses and time.monotonic() - self.since > GRACE:
            self.decide()

    def read(self, connection: Connection) -> None:
        """Reads what one process sent: hello, then how it ended."""
        for kind, *values in connection.receive():
            if kind == "hello":
                self.connections[connection] = int(values[0])  # type: ignore[call-overload]
                continue
            self.ended.add(self.connections[connection])
            if kind == "lost":
                self.report(Loss(*values))  # type: ignore[arg-type]
        process = self.connections[connection]
        if not connection.is_open and process >= 0 and process not in self.ended:
            self.ended.add(process)
            self.report(Loss(0, process, "killed, or its host cannot be reached"))

    def report(self, loss: Loss) -> None:
        """Records a loss."""
        if not self.losses:
            self.since = time.monotonic()
        self.losses.append(loss)

    def decide(self) -> None:
        """Chooses the cause among the losses, and sends it to all processes."""
        missing = set(range(1, self.count)) - set(self.connections.values())
        if missing and min(self.losses).rank == 2:
            self.report(Loss(1, min(missing), "not started"))
        if self.verdict is None:
            self.verdict = min(self.losses, key=lambda loss: loss.rank)
            for connection in self.connections:
                connection.send("lost", *self.verdict)

    def finish(self) -> None:
        """Tells the others that process 0 has ended well."""
        for connection in self.connections:
            connection.send("done")


class Spoke:
    """The connection of another process with process 0; see `Hub`."""

    def __init__(self, host: str, port: int, process: int) -> None:
        self.address = (host, port)
        self.process = process
        self.connection: Connection | None = None
        self.tried = 0.0
        self.reported: Loss | None = None
        self.ended = False
        self.verdict: Loss | None = None

    def connect(self) -> None:
        """Connects, or tries again later."""
        if time.monotonic() - self.tried < RETRY:
            return
        self.tried = time.monotonic()
        with contextlib.suppress(OSError):
            sock = socket.create_connection(self.address, timeout=1.0)
            self.connection = Connection(sock)
            self.connection.send("hello", self.process)
            if self.reported is not None:
                self.connection.send("lost", *self.reported)

    def poll(self) -> None:
        """Connects, and reads what has arrived."""
        if self.connection is None:
            self.connect()
        if self.connection is None or self.ended or self.verdict:
            return
        for kind, *loss in self.connection.receive():
            if kind == "lost":
                self.verdict = Loss(*loss)  # type: ignore[arg-type]
            self.ended = True
        if not (self.connection.is_open or self.ended):
            reason = "killed, or its host cannot be reached"
            self.verdict = Loss(0, 0, reason)

    def report(self, loss: Loss) -> None:
        """Reports how the own process ended."""
        self.reported = loss
        if self.connection is not None:
            self.connection.send("lost", *loss)

    def finish(self) -> None:
        """Reports that the own process ended well."""
        if self.connection is not None:
            self.connection.send("done")
