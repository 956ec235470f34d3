"""Peers that a test writes byte by byte (zmtp.py), so that they can be broken or careless.

Everything goes to the loopback address of a broker that the test started, bounded in number, bytes
and time.
"""

import contextlib
import random
import struct
import time

import zmtp
from zmtp import varint

MIB = 1 << 20
PRODUCER, WORKER = 1, 2
CHUNK_BYTES = 1 * MIB
# As in common/wire_limits.h: a message of more has no effect.
STREAMS_MAX = 4096
RANGES_MAX = 4096
ITEMS_MAX = 65_536


def envelope(field, body):
    return b"\x08\x01" + varint(field << 3 | 2) + varint(len(body)) + body


def packed(numbers):
    return b"".join(map(varint, numbers))


def run(count, size=0):
    """`count` payloads of `size` bytes."""
    return zmtp.message((1, varint(size) * count), (2, b"x" * (count * size)))


class Refused(Exception):
    """The broker said no."""


class Peer:
    """A session at the door, and a connection for jobs or reports."""

    def __init__(self, broker, role, name, *fields, seconds=20):
        self.broker = broker
        self.role = role
        self.door = zmtp.Connection.connect(broker.host, broker.ports["door"], "DEALER", seconds)
        self.data = None
        self.process = random.getrandbits(63) | 1
        self.name = name
        hello = (zmtp.message((1, role), (2, name.encode())) + b"\x19" +
                 struct.pack("<Q", self.process) + zmtp.message((4, 1), *fields))
        self.door.send(envelope(3, hello))
        answer = self.receive()
        if 11 not in answer:
            self.close()
            raise Refused(answer)
        self.welcome = zmtp.parse(answer[11])
        self.session = self.welcome[1]
        self.payload_max = self.welcome[5]
        self.said = (1, self.session)
        self.secret = b"\xc9\x01" + self.welcome[18]
        self.data = zmtp.Connection.connect(
            broker.host, self.welcome[3 if role == PRODUCER else 4], "PUSH", seconds)

    def receive(self):
        """The next message's fields."""
        return zmtp.parse(self.door.receive()[0])

    def envelope(self, field, *fields):
        """A message that names the session."""
        return envelope(field, zmtp.message(self.said, *fields)) + self.secret

    def submit(self, queue, first, count=1, size=0, options=b"", *more):
        return self.envelope(8, (2, queue.encode()), (3, first), (4, options),
                             (5, run(count, size)), *more)

    def close(self):
        for connection in (self.data, self.door):
            if connection:
                connection.sock.close()


class Careless:
    """What all of them have: one broker, one seed, an end."""

    seconds = 30  # it is given up then: the broker does not take what it sends, which is well
    scale = 1.0   # of what it sends

    def __init__(self, broker, seed=1, scale=1.0):
        self.broker = broker
        self.random = random.Random(f"{type(self).__name__}-{seed}")
        self.scale = scale
        self.stack = contextlib.ExitStack()
        self.until = time.monotonic() + self.seconds
        self.error = None
        self.note = ""

    @property
    def label(self):
        return f"{type(self).__name__}-{self.random.getrandbits(32):08x}"

    def some(self, count):
        return max(1, int(count * self.scale))

    def peer(self, role, *fields, name=None):
        peer = Peer(self.broker, role, name or self.label, *fields)
        self.stack.callback(peer.close)
        return peer

    def connect(self, socket_name, kind):
        connection = zmtp.Connection.connect(self.broker.host, self.broker.ports[socket_name], kind)
        self.stack.callback(connection.sock.close)
        return connection

    def pour(self, connection, messages):
        """Sends them as fast as they are taken. Returns how many were."""
        sock, sent, chunk, size = connection.sock, 0, [], 0
        sock.settimeout(5)

        def flush():
            nonlocal chunk, size
            sock.sendall(b"".join(chunk))
            chunk, size = [], 0

        for message in messages:
            part = zmtp.frame(message)
            chunk.append(part)
            size += len(part)
            sent += 1
            if size >= CHUNK_BYTES:
                flush()
                if time.monotonic() > self.until:
                    break
        flush()
        return sent

    def run(self):
        """All of it. It goes on to exist until close()."""
        try:
            self.act()
        except (OSError, Refused) as error:  # it was shown the door, or is not taken any further
            self.error = error

    def act(self):
        raise NotImplementedError

    def close(self):
        self.stack.close()
