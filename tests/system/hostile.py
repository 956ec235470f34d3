"""Peers that hold others up, each in one way, for as long as a test lets them.

Everything goes to the loopback address of a broker that the test started, and is bounded by the end
of the test.
"""

import contextlib
import random
import socket
import threading

import careless
import zmtp
from raw_peers import (ITEMS_MAX, MIB, PRODUCER, RANGES_MAX, WORKER, Careless, Refused,
                       envelope, packed)

SHARED = "shared"  # the queue that it uses with others


class Hostile(Careless):
    """Acts in a thread of its own until it is closed; `rounds` counts what it has done."""

    def __init__(self, broker, seed=1):
        super().__init__(broker, seed)
        self.until = float("inf")
        self.stopped = threading.Event()
        self.rounds = 0
        self.thread = threading.Thread(target=self.loop, daemon=True)

    def start(self):
        """When this returns, what it holds others up with has begun."""
        with contextlib.suppress(OSError, Refused):
            self.prepare()
        self.thread.start()

    def loop(self):
        while not self.stopped.is_set():
            try:
                self.act()
                self.rounds += 1
            except (OSError, Refused) as error:
                self.error = error  # it was shown the door: it comes again
                self.stopped.wait(0.05)
                with contextlib.suppress(OSError, Refused):
                    self.prepare()

    def prepare(self):
        pass

    def close(self):
        self.stopped.set()
        self.thread.join(60)
        super().close()


class Canceller(Hostile):
    """Cancels with as many ranges as fit, descending: of jobs that are there, and that are not."""

    def prepare(self):
        self.peer_ = self.peer(PRODUCER)
        for i in range(15):
            self.pour(self.peer_.data, [self.peer_.submit(SHARED, 1 + i * 65_536, 65_536, 0,
                                                          zmtp.message((5, 1 << 50)))])
        self.ranges = []
        for last in (983_040, 200_000):
            for begin in range(last, 0, -2 * RANGES_MAX):
                firsts = range(begin, max(0, begin - 2 * RANGES_MAX), -2)
                self.ranges.append(self.peer_.envelope(
                    9, (2, SHARED.encode()), (3, packed(firsts)),
                    (4, b"\1" * len(firsts))))

    def act(self):
        self.pour(self.peer_.data, self.ranges)
        self.pour(self.peer_.door, [self.peer_.envelope(2)])
        self.stopped.wait(0.5)


class HoardingWorker(Hostile):
    """Takes all jobs that it gets, heartbeats, and never reports."""

    def prepare(self):
        credit = zmtp.message((1, SHARED.encode()), (2, 1 << 40), (3, 1000), (4, 1000))
        self.peer_ = self.peer(WORKER, (9, 16), (10, credit))

    def act(self):
        next_ordinal = 1
        self.peer_.door.sock.settimeout(0.2)
        while not self.stopped.is_set():
            with contextlib.suppress(socket.timeout):
                answer = self.peer_.receive()
                if 15 in answer:
                    fields = zmtp.fields(answer[15])
                    next_ordinal = dict(fields)[2] + sum(1 for n, _ in fields if n == 3)
            self.pour(self.peer_.door, [self.peer_.envelope(2, (3, next_ordinal))])
            self.stopped.wait(0.1)


class UnreadingProducer(Hostile):
    """Submits as much as it may, heartbeats, and never takes an outcome."""

    def prepare(self):
        self.peer_ = self.peer(PRODUCER)
        self.first = 1

    def act(self):
        self.pour(self.peer_.data, [self.peer_.submit(SHARED, self.first, 200, 1000)])
        self.pour(self.peer_.door, [self.peer_.envelope(2)])
        self.peer_.door.sock.settimeout(0.05)
        with contextlib.suppress(socket.timeout):
            while True:
                answer = self.peer_.receive()
                if 13 in answer:
                    self.first = zmtp.parse(zmtp.parse(answer[13])[2]).get(2, self.first)


class NameFlood(Hostile):
    """Says hello under one new name after the other."""

    def prepare(self):
        self.door = self.connect("door", "DEALER")
        self.count = 0
        self.hellos(17_000)

    def hellos(self, count):
        self.pour(self.door, (envelope(3, zmtp.message(
            (1, PRODUCER), (2, b"%s-%d" % (self.label.encode(), self.count + i)), (4, 1)))
            for i in range(count)))
        self.count += count

    def act(self):
        self.hellos(1_000)
        self.stopped.wait(0.2)


class NameFloodOfConnections(NameFlood):
    """The same, each name on a connection of its own."""

    def prepare(self):
        self.count = 0

    def act(self):
        for _ in range(50):
            with zmtp.Connection.connect(self.broker.host, self.broker.ports["door"],
                                         "DEALER") as self.door:
                self.hellos(1)
                self.door.receive()


class DescriptorFlood(Hostile):
    """Connects to all sockets and keeps what it is given."""

    connections = 1_500

    def prepare(self):
        self.held = []
        self.fill()

    def fill(self):
        for i in range(self.connections - len(self.held)):
            name = ("door", "submit", "complete")[i % 3]
            try:
                sock = socket.create_connection((self.broker.host, self.broker.ports[name]), 5)
                sock.sendall(zmtp.GREETING)
                self.held.append(sock)
            except OSError:
                break

    def act(self):
        self.fill()
        self.stopped.wait(0.2)

    def close(self):
        super().close()
        for sock in self.held:
            sock.close()


class DripFedHttp(Hostile):
    """Sends HTTP requests a byte at a time, on many connections."""

    def prepare(self):
        self.socks = [None] * 20

    def act(self):
        host, _, port = self.broker.http.rpartition(":")
        for i, sock in enumerate(self.socks):
            try:
                if sock is None:
                    sock = self.socks[i] = socket.create_connection((host, int(port)), 5)
                    sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
                sock.sendall(b"x")
            except OSError:
                if sock:
                    sock.close()
                self.socks[i] = None
        self.stopped.wait(0.2)

    def close(self):
        super().close()
        for sock in self.socks:
            if sock:
                sock.close()


class SlowHttpReader(Hostile):
    """Asks for the metrics over and over and does not read them."""

    def prepare(self):
        self.peer(PRODUCER, *[(8, zmtp.message((1, b"metric-%d" % i))) for i in range(1_000)])
        self.socks = []

    def act(self):
        host, _, port = self.broker.http.rpartition(":")
        if len(self.socks) < 20:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self.socks.append(sock)
            sock.settimeout(5)
            sock.connect((host, int(port)))
            sock.sendall(f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        self.stopped.wait(0.05)

    def close(self):
        super().close()
        for sock in self.socks:
            sock.close()


class UnreadStatus(Hostile):
    """Asks for the status of many queues, and reads no answer."""

    def prepare(self):
        self.peer(PRODUCER, *[(8, zmtp.message((1, b"status-%d" % i))) for i in range(2_000)])
        self.door = self.connect("door", "DEALER")
        self.door.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    def act(self):
        self.pour(self.door, (envelope(7, zmtp.message((1, i), (2, b""))) for i in range(1, 100)))
        self.stopped.wait(0.2)


class GiantReports(Hostile):
    """Sends the largest reports, about jobs that it never had."""

    def prepare(self):
        self.peer_, self.items = careless.giant_report(self)
        self.ordinal = 1

    def act(self):
        head = zmtp.message(self.peer_.said, (2, self.ordinal))
        self.pour(self.peer_.data, [envelope(10, head + self.items) + self.peer_.secret])
        self.ordinal += ITEMS_MAX
        self.pour(self.peer_.door, [self.peer_.envelope(2)])
        self.stopped.wait(0.2)


class Garbage(Hostile):
    """Random bytes in valid frames, on all sockets."""

    def prepare(self):
        self.random = random.Random(1)
        kinds = {"door": "DEALER", "submit": "PUSH", "complete": "PUSH"}
        self.connections = [self.connect(name, kind) for name, kind in kinds.items()]
        self.frames = [self.random.randbytes(self.random.randrange(200)) for _ in range(1_000)]

    def act(self):
        for connection in self.connections:
            self.pour(connection, self.frames)
        self.stopped.wait(0.05)


class EmptyEntries(Hostile):
    """The largest frames at the door, of entries that have no bytes; and larger ones."""

    def act(self):
        body = zmtp.message((8, b"")) * (8 * MIB)
        for size in (MIB - 64, 15 * MIB):
            self.pour(self.connect("door", "DEALER"), [envelope(3, body[:size])] * 4)
            self.stopped.wait(0.2)


class Wakeful(Hostile):
    """Heartbeats as fast as it can."""

    def prepare(self):
        self.peer_ = self.peer(PRODUCER)
        self.beats = [self.peer_.envelope(2)] * 1_000

    def act(self):
        self.pour(self.peer_.door, self.beats)
        self.peer_.door.sock.settimeout(1)
        for _ in self.beats:
            self.peer_.receive()


ALL = [kind for kind in list(globals().values())
       if isinstance(kind, type) and issubclass(kind, Hostile) and kind is not Hostile]


def lasting(kind, broker):
    """A context in which one of this kind acts."""
    peer = kind(broker)
    peer.start()
    return contextlib.closing(peer)
