"""Garbage on any socket disturbs nobody: it is refused in stated words, counted, and bounded."""

import http.client
import random
import socket
import struct
import time

import zmtp
from harness import SANITIZED, SystemTest, main, wait_for

INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE = 3, 9, 11
UNIMPLEMENTED, UNAUTHENTICATED = 12, 16
NONE, SAY_HELLO, GIVE_UP = 0, 1, 2
NO_ENVELOPE = "malformed message: not an envelope of whippletree.wire"
NO_BODY = "malformed message: no body, or one that this version does not know"
MEMORY_LIMIT_BYTES = 128 << 20
PAYLOAD_BYTES_MAX = 1 << 20
DOOR_FRAME_BYTES_MAX = 1 << 20
KINDS = {"door": "DEALER", "submit": "PUSH", "complete": "PUSH"}


def envelope(field, *body):
    return zmtp.message((1, 1), (field, zmtp.message(*body)))


def hello(*fields):
    return envelope(3, *fields)


class GarbageTest(SystemTest):
    def setUp(self):
        self.random = random.Random(1)
        self.made = self.broker("--memory-limit", f"{MEMORY_LIMIT_BYTES}", "--payload-max",
                                f"{PAYLOAD_BYTES_MAX}")
        self.worker(self.made, "w", "--queue", "square", "--handler", "square")
        self.held = []  # connections that stay open

    def tearDown(self):
        """Whatever came before: jobs run as ever, and memory is bounded."""
        try:
            producer = self.producer(self.made, "--queue", "square", "--ordered", jobs=range(100))
            self.assertEqual(producer.wait(), 0)
            self.assertEqual(producer.lines(), [str(n * n) for n in range(100)])
            if not SANITIZED:
                self.assertLess(self.made.memory_peak_bytes(), MEMORY_LIMIT_BYTES)
            self.assert_ledger_balances(self.made)
            self.made.events()  # all of the log is JSON
        finally:
            for sock in self.held:
                sock.close()

    def connect(self, name):
        return zmtp.Connection.connect(self.made.host, self.made.ports[name], KINDS[name])

    def raw(self, name):
        sock = socket.create_connection((self.made.host, self.made.ports[name]), 30)
        self.held.append(sock)
        return sock

    def test_refusals_at_the_door(self):
        """Each wrong message is answered with what is wrong, and what to do."""
        run = zmtp.message((1, b"\x01"), (2, b"x"))
        for sent, code, message, action in [
                (b"", INVALID_ARGUMENT, NO_ENVELOPE, NONE),
                (b"\xff\xff\xff", INVALID_ARGUMENT, NO_ENVELOPE, NONE),
                (b"GET / HTTP/1.1\r\n\r\n", INVALID_ARGUMENT, NO_ENVELOPE, NONE),
                (zmtp.message((3, b"")), INVALID_ARGUMENT, NO_ENVELOPE, NONE),  # no version
                (zmtp.message((1, 1)), INVALID_ARGUMENT, NO_BODY, NONE),
                (envelope(99), INVALID_ARGUMENT, NO_BODY, NONE),
                (zmtp.message((1, 7), (3, b"")), FAILED_PRECONDITION, "protocol version 7 is not "
                 "supported; whippletree 0.1.0 speaks version 1", GIVE_UP),
                (hello(), INVALID_ARGUMENT, "hello without a role", GIVE_UP),
                (hello((1, 1)), INVALID_ARGUMENT, "a peer's name has 1 to 128 bytes", GIVE_UP),
                (hello((1, 2), (2, b"w")), INVALID_ARGUMENT, "a worker has 1 to 4096 slots",
                 GIVE_UP),
                (hello((1, 2), (2, b"w"), (9, 1)), INVALID_ARGUMENT,
                 "a worker serves 1 to 1024 queues", GIVE_UP),
                (hello((1, 2), (2, b"w"), (9, 1), (10, zmtp.message((1, b"a b")))),
                 INVALID_ARGUMENT, "a queue's name has 1 to 128 of the characters "
                 "A-Z a-z 0-9 . _ - : /", GIVE_UP),
                (envelope(2, (1, 77)), UNAUTHENTICATED, "no such session: say hello", SAY_HELLO),
                (envelope(5, (1, 77)), UNAUTHENTICATED, "no such session: say hello", SAY_HELLO),
                (envelope(8, (1, 77), (3, 1), (5, run)), INVALID_ARGUMENT,
                 "this message does not belong at the door", NONE),
                (envelope(8, (1, 77), (3, 1)), INVALID_ARGUMENT,
                 "this message does not belong at the door", NONE),
                (zmtp.message((1, 1), (3, b""), (3, b"")), INVALID_ARGUMENT,
                 "malformed message: more than one body", NONE),
                (hello((1, 1), (2, b"p"), *[(8, b"")] * 4097), OUT_OF_RANGE, "Hello.streams has "
                 "more than 4096 entries: use fewer, or several messages", GIVE_UP),
                (hello((1, 1), (2, b"p"), (5, b"s" * 257)), OUT_OF_RANGE, "Hello.software has 257 "
                 "bytes, at most 256 are taken: make it shorter", GIVE_UP),
                (hello((1, 1), (2, b"p"), (8, zmtp.message((1, b"q"), (2, 1 << 61)))),
                 OUT_OF_RANGE, "StreamClaim.next is 2305843009213693952, and numbers go up to "
                 "2^60", GIVE_UP)]:
            with self.subTest(sent), self.connect("door") as client:
                client.send(sent)
                answer = zmtp.parse(client.receive()[0])
                refusal = zmtp.parse(answer[12])
                status = zmtp.parse(refusal[1])
                self.assertEqual((status[1], status[2].decode(), refusal.get(2, NONE)),
                                 (code, message, action))
        with self.subTest("several frames"), self.connect("door") as client:
            client.send(b"one", b"two")
            refusal = zmtp.parse(zmtp.parse(client.receive()[0])[12])
            self.assertEqual(zmtp.parse(refusal[1])[2], b"malformed message: not one frame")
        with self.subTest("request of a later version"), self.connect("door") as client:
            client.send(envelope(7, (1, 5)))
            reply = zmtp.parse(zmtp.parse(client.receive()[0])[19])
            error = zmtp.parse(reply[2])
            self.assertEqual((reply[1], error[1], error[2]),
                             (5, UNIMPLEMENTED, b"this broker does not know the request"))

    def test_bytes_that_are_no_zeromq(self):
        """Random bytes, HTTP, and half a greeting, on each socket."""
        for name in KINDS:
            for data in (self.random.randbytes(5000), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                         zmtp.GREETING[:20], zmtp.GREETING + b"\x04\xff", bytes(100_000)):
                sock = self.raw(name)
                try:
                    sock.sendall(data)
                except OSError:
                    pass  # closed in the middle: good

    def test_frames_at_random(self):
        """Many valid frames with nonsense in them: each is counted, few lines are logged."""
        frames = 3000
        for name in KINDS:
            with self.connect(name) as client:
                for _ in range(frames):
                    client.send(self.random.randbytes(self.random.randrange(60)))
                client.send(*[b"part"] * 500)
                # A connection that is closed with unread answers would take unread frames along.
                self.held.append(client.sock.dup())
        wait_for(lambda: self.made.counter("rejected_frames") >= 3 * frames, "all to be counted")
        lines = [event for event in self.made.events() if event["event"] == "rejected_frame"]
        self.assertGreater(len(lines), 0)
        self.assertLess(len(lines), 500)

    def test_sizes_that_are_announced(self):
        """A frame that claims to be too large ends its connection; a slow one is waited for."""
        for name in KINDS:
            beyond = DOOR_FRAME_BYTES_MAX if name == "door" else PAYLOAD_BYTES_MAX + (1 << 20)
            for size in (1 << 62, (1 << 64) - 1, beyond + 1):
                client = self.connect(name)
                self.held.append(client.sock)
                client.sock.sendall(bytes([zmtp.LONG]) + struct.pack(">Q", size) + b"begin")
                with self.assertRaises(ConnectionError):
                    client.receive()
            for _ in range(20):
                client = self.connect(name)
                self.held.append(client.sock)
                client.sock.sendall(bytes([zmtp.LONG]) + struct.pack(">Q", PAYLOAD_BYTES_MAX) +
                                    bytes(100_000))

    def test_floods_that_are_reset(self):
        """Connections that are reset while nobody reads them: libzmq's own heartbeats, if there were
        any, would meet them after 5 s and end the process."""
        flood = zmtp.frame(b"\x08\x01\x12\x02\x08\x05") * 20_000  # a heartbeat of no session
        for port, kind in KINDS.items():
            connections = []
            begin = time.monotonic()
            for i in range(30):
                time.sleep(max(0, begin + 0.02 * i - time.monotonic()))
                connections.append(zmtp.Connection.connect(self.made.host, self.made.ports[port],
                                                           kind))
                connections[-1].sock.setblocking(False)
            while time.monotonic() < begin + 5.3:
                for connection in connections:
                    try:
                        connection.sock.send(flood)
                    except OSError:
                        pass
            for connection in connections:
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                           struct.pack("ii", 1, 0))
                connection.sock.close()
            time.sleep(0.5)
            self.assertTrue(self.made.running())

    def test_endless_handshakes(self):
        """Who connects and says nothing is shown the door after some seconds."""
        silent = [self.raw(name) for name in KINDS for _ in range(50)]
        begin = time.monotonic()
        for sock in silent:
            sock.settimeout(60)
            try:
                while sock.recv(1000):
                    pass
            except ConnectionResetError:
                pass
        self.assertGreater(time.monotonic() - begin, 1)

    def test_http(self):
        """Only GET and HEAD of three pages, only for this machine by name."""
        host, _, port = self.made.http.rpartition(":")
        for data in (self.random.randbytes(2000), b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
                     b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n",
                     b"GET / HTTP/1.1\r\n"):
            sock = socket.create_connection((host, int(port)), 30)
            self.held.append(sock)
            try:
                sock.sendall(data)
            except OSError:
                pass
        for method, path, name, expected in [("GET", "/healthz", host, 200),
                                             ("GET", "/nothing", host, 404),
                                             ("DELETE", "/", host, 405),
                                             ("GET", "/", "attacker.example", 403)]:
            with self.subTest(f"{method} {path} {name}"):
                connection = http.client.HTTPConnection(host, int(port), timeout=60)
                connection.request(method, path, headers={"Host": name})
                self.assertEqual(connection.getresponse().status, expected)
                connection.close()


if __name__ == "__main__":
    main()
