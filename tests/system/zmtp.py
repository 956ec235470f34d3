"""Just enough of ZeroMQ's wire protocol (ZMTP 3.0, NULL) and of protobuf's to misuse them on purpose.

Everything is spelt out byte by byte, so that a test can send what no library would.
"""

import socket
import struct

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
MORE, LONG, COMMAND = 1, 2, 4


def frame(body, flags=0):
    if len(body) > 255:
        return bytes([flags | LONG]) + struct.pack(">Q", len(body)) + body
    return bytes([flags, len(body)]) + body


def ready(socket_type):
    value = socket_type.encode()
    return frame(b"\x05READY" + b"\x0bSocket-Type" + struct.pack(">I", len(value)) + value, COMMAND)


class Connection:
    """One end of a connection; `sock` is a connected TCP socket."""

    def __init__(self, sock, socket_type):
        self.sock = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(GREETING)
        assert len(self._read(64)) == 64
        sock.sendall(ready(socket_type))

    @classmethod
    def connect(cls, host, port, socket_type, seconds=30):
        sock = socket.create_connection((host, port), seconds)
        try:
            return cls(sock, socket_type)
        except BaseException:
            sock.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def _read(self, size):
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise ConnectionResetError("closed by the other end")
            data += more
        return data

    def send(self, *parts):
        *first, last = parts
        self.sock.sendall(b"".join([*(frame(part, MORE) for part in first), frame(last)]))

    def receive(self):
        """The parts of the next message; commands are passed over."""
        parts = []
        while True:
            flags = self._read(1)[0]
            size = struct.unpack(">Q", self._read(8))[0] if flags & LONG else self._read(1)[0]
            body = self._read(size)
            if flags & COMMAND:
                continue
            parts.append(body)
            if not flags & MORE:
                return parts


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def message(*fields):
    """A protobuf message of (number, value) pairs: whole numbers, or bytes for all else."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def fixed64(number, value):
    """A field of eight bytes."""
    return varint(number << 3 | 1) + value


def fields(data):
    """The fields of a protobuf message, in order: (number, value) pairs."""
    found = []
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = number()
        kind = key & 7
        if kind == 0:
            found.append((key >> 3, number()))
            continue
        size = {1: 8, 5: 4}.get(kind) or number()
        found.append((key >> 3, data[at:at + size]))
        at += size
    return found


def parse(data):
    """The same: {number: last value}."""
    return dict(fields(data))
