"""Peers that are broken or careless, each with one way to fill the broker's memory.

Everything is sent to the loopback address of a broker that the test started, bounded in number,
bytes and time.
"""

import contextlib
import socket
import threading
import time

import zmtp
from raw_peers import (ITEMS_MAX, MIB, PRODUCER, STREAMS_MAX, WORKER, Careless, Refused,
                       envelope, packed, run, varint)


class EmptyPayloadsWithKeys(Careless):
    """Jobs of no bytes, each with a key of 256 bytes of its own."""

    def act(self):
        peer = self.peer(PRODUCER)
        self.pour(peer.data, (peer.submit("keyed", i, 1, 0, zmtp.message((3, b"%0256d" % i)))
                              for i in range(1, self.some(600_000))))


class OneBytePayloads(Careless):
    """64 MiB of jobs of a byte each, in the largest runs."""

    size = 1

    def act(self):
        peer = self.peer(PRODUCER)
        self.pour(peer.data, (peer.submit(f"bytes-{self.size}-{i // 15}", 1 + i % 15 * 65536, 65536,
                                          self.size)
                              for i in range(self.some(1024))))


class NoBytePayloads(OneBytePayloads):
    """The same of no bytes at all."""

    size = 0


class MixedSmallPayloads(Careless):
    """64 million jobs of one byte on average, whose sizes differ."""

    def act(self):
        peer = self.peer(PRODUCER)
        mixed = zmtp.message((1, b"\0\2" * 32768), (2, b"x" * 65536))
        self.pour(peer.data, (peer.envelope(
            8, (2, b"mixed-%d" % (i // 15)), (3, 1 + i % 15 * 65536), (5, mixed))
            for i in range(self.some(1024))))


class SmallJobsOfDistinctOptions(Careless):
    """Neighbours that do not join: each is a record."""

    def act(self):
        peer = self.peer(PRODUCER)
        options = [zmtp.message((1, 1000)), zmtp.message((1, 2000))]
        self.pour(peer.data, (peer.submit("distinct", i, 1, 1, options[i & 1])
                              for i in range(1, self.some(400_000))))


class UnknownFieldsInOptions(Careless):
    """Each job's options have 64 KiB that nobody knows: 64 MiB a queue, in many queues."""

    def act(self):
        peer = self.peer(PRODUCER)
        unknown = [zmtp.message((1, 1000 + i), (100, bytes([i]) * 65536)) for i in range(2)]
        self.pour(peer.data, (peer.submit(f"unknown-{i % 20}", 1 + i // 20, 1, 1,
                                          unknown[i // 20 & 1])
                              for i in range(self.some(25_000))))


class RejectedRunsWithLargeKeys(Careless):
    """Each queue's jobs are rejected for a key of 14 MiB."""

    def act(self):
        peer = self.peer(PRODUCER)
        options = zmtp.message((3, b"k" * (14 * MIB)))
        self.pour(peer.data, (peer.submit(f"rejected-{i}", 1, 1, 1, options)
                              for i in range(self.some(100))))


class EmptyEntries(Careless):
    """Frames at the door of entries of no bytes, for each kind of entry: as large as are taken,
    and one that is larger."""

    def act(self):
        for field, entry in [(3, 8), (3, 10), (3, 12), (5, 2), (10, 3), (7, 5)]:
            body = varint(entry << 3 | 2) + b"\0"
            door = self.connect("door", "DEALER")
            fits = envelope(field, body * ((MIB - 64) // len(body)))
            with contextlib.suppress(OSError):
                self.pour(door, [fits] * self.some(40) + [fits * 15])


class EmptyEntriesOfData(Careless):
    """The same where jobs and reports are sent."""

    def act(self):
        for name, field, entry in [("submit", 8, 6), ("submit", 20, 3), ("complete", 10, 3),
                                   ("complete", 10, 4)]:
            body = varint(entry << 3 | 2) + b"\0"
            self.pour(self.connect(name, "PUSH"),
                      [envelope(field, body * ((16 * MIB - 64) // len(body)))] * self.some(10))


class LargeSoftware(Careless):
    """Hellos that name a software of 14 MiB."""

    def act(self):
        for _ in range(self.some(100)):
            with contextlib.suppress(Refused):
                self.peer(PRODUCER, (5, b"s" * (14 * MIB)))


class LargeGroupQueues(Careless):
    """Groups are closed that name queues of 14 MiB."""

    def act(self):
        peer = self.peer(PRODUCER)
        count = zmtp.message((1, b"q" * (14 * MIB)), (2, 1))
        self.pour(peer.data, (peer.envelope(20, (2, i), (3, count))
                              for i in range(1, self.some(100))))


class ManyStreams(Careless):
    """Hellos that claim as many streams as they may."""

    def act(self):
        claims = [(8, zmtp.message((1, b"claimed-%d" % i))) for i in range(STREAMS_MAX)]
        for _ in range(self.some(100)):
            self.peer(PRODUCER, *claims)


class ManyNames(Careless):
    """17,000 hellos, each of a name that is new."""

    def act(self):
        door = self.connect("door", "DEALER")
        self.pour(door, (envelope(3, zmtp.message((1, PRODUCER), (2, b"new-%d" % i), (4, 1)))
                         for i in range(self.some(17_000))))


class UnreadStatus(Careless):
    """Asks for the status again and again, and reads nothing."""

    def act(self):
        claims = [(8, zmtp.message((1, b"status-%d" % i))) for i in range(2_000)]
        self.peer(PRODUCER, *claims)
        for _ in range(4):
            door = self.connect("door", "DEALER")
            door.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with contextlib.suppress(OSError):
                self.pour(door, (envelope(7, zmtp.message((1, i), (2, b"")))
                                 for i in range(1, self.some(2_500))))


class DeadShownRepeatedly(Careless):
    """Jobs of 1 MiB die; one of them is asked for 1,000 times in one request."""

    def act(self):
        credit = zmtp.message((1, b"die"), (2, 1 << 40), (3, 100))
        worker = self.peer(WORKER, (9, 1), (10, credit))
        producer = self.peer(PRODUCER)
        self.pour(producer.data, [producer.submit("die", 1, 1, MIB)])
        while True:
            answer = worker.receive()
            if 15 in answer:
                break
        delivery = zmtp.parse(zmtp.parse(answer[15])[3])
        failed = zmtp.message((1, 3), (2, delivery[1]), (4, 1),
                              (6, zmtp.message((1, 3), (2, b"no")))) + b"\x49" + delivery[12]
        self.pour(worker.data, [worker.envelope(10, (2, 1), (3, failed))])
        answer = {}
        while 14 not in answer:
            answer = producer.receive()
        door = self.connect("door", "DEALER")
        stream = zmtp.parse(self.ids(door))
        ids = zmtp.message(*[(3, zmtp.message((1, stream[1]), (2, stream[2])))] * 1000)
        self.pour(door, [envelope(7, zmtp.message((1, 9), (5, zmtp.message((1, 1)) + ids)))])
        door.sock.settimeout(20)
        self.note = f"reply of {len(door.receive()[0]) / MIB:.1f} MiB"

    def ids(self, door):
        """The id of the one that is dead."""
        while True:
            self.pour(door, [envelope(7, zmtp.message((1, 8), (5, zmtp.message((2, b"die")))))])
            reply = zmtp.parse(zmtp.parse(door.receive()[0])[19])
            dead = zmtp.parse(reply[6])
            if 1 in dead:
                return zmtp.parse(dead[1])[1]
            time.sleep(0.05)


class MetricsRanges(Careless):
    """Asks for 2,600 ranges of the metrics."""

    def act(self):
        self.peer(PRODUCER, *[(8, zmtp.message((1, b"metric-%d" % i))) for i in range(500)])
        host, _, port = self.broker.http.rpartition(":")
        ranges = ",".join(["0-"] * 2_600)
        for _ in range(4):
            sock = socket.create_connection((host, int(port)), 20)
            self.stack.callback(sock.close)
            sock.sendall(f"GET /metrics HTTP/1.1\r\nHost: {host}\r\nRange: bytes={ranges}\r\n\r\n"
                         .encode())
            size = 0
            with contextlib.suppress(OSError):
                while more := sock.recv(MIB):
                    size += len(more)
                    if size > 64 * MIB:
                        break


class EmptyQueues(Careless):
    """100,000 queues in which there never is a job."""

    queues = 100_000

    def act(self):
        total = self.some(self.queues)
        for first in range(0, total, 4_000):
            claims = [(8, zmtp.message((1, b"empty-%d" % i)))
                      for i in range(first, min(total, first + 4_000))]
            self.peer(PRODUCER, *claims)


class OutcomesUnread(Careless):
    """Jobs are cancelled at once, one by one; their outcomes are never acknowledged, nor read."""

    def act(self):
        peer = self.peer(PRODUCER)
        peer.door.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        def messages():
            for i in range(self.some(500)):
                first = 1 + i * 2000
                yield peer.submit("unread", first, 2000, 0)
                for parity in range(2):  # neighbours would be one outcome
                    yield peer.envelope(
                        9, (2, b"unread"), (3, packed(range(first + parity, first + 2000, 2))),
                        (4, b"\1" * 1000))

        self.pour(peer.data, messages())


class RejectedUnread(Careless):
    """Each job is rejected, with words about it; nothing is acknowledged."""

    def act(self):
        peer = self.peer(PRODUCER)
        options = zmtp.message((2, 100_000))
        self.pour(peer.data, (peer.submit("refused", i, 1, 0, options)
                              for i in range(1, self.some(400_000))))


class DeliveriesUnread(Careless):
    """A worker that grants a credit without end and reads nothing."""

    def act(self):
        credit = zmtp.message((1, b"hoarded"), (2, 1 << 40), (3, 65_536), (4, 1))
        worker = self.peer(WORKER, (9, 4096), (10, credit))
        worker.door.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer = self.peer(PRODUCER)
        self.pour(peer.data, (peer.submit("hoarded", i, 1, 100, zmtp.message((1, 1000 + i % 2)))
                              for i in range(1, self.some(300_000))))


class ManyGroups(Careless):
    """A job for each of 100,000 groups, which are never closed, from several producers."""

    def act(self):
        for _ in range(4):
            peer = self.peer(PRODUCER)
            with contextlib.suppress(OSError):
                self.pour(peer.data, (peer.submit("grouped", i, 1, 0, zmtp.message((7, i)))
                                      for i in range(1, self.some(110_000))))


class ClosedGroups(Careless):
    """Groups are closed that wait for jobs in as many queues as they may."""

    def act(self):
        peer = self.peer(PRODUCER)
        counts = b"".join(zmtp.message((3, zmtp.message((1, b"%0100d" % i), (2, 1))))
                          for i in range(STREAMS_MAX))
        self.pour(peer.data, (envelope(20, zmtp.message(peer.said, (2, i)) + counts) + peer.secret
                              for i in range(1, self.some(1_000))))


class ManyJobNames(Careless):
    """Jobs with names of 200 bytes, a million of them."""

    def act(self):
        peer = self.peer(PRODUCER)

        def messages():
            for i in range(self.some(500)):
                names = b"".join(b"\x32\xc8\x01%0200d" % n for n in range(i * 2000, i * 2000 + 2000))
                yield envelope(8, zmtp.message(peer.said, (2, b"named"), (3, 1 + i * 2000),
                                               (5, run(2000))) + names) + peer.secret

        self.pour(peer.data, messages())


class ManyDead(Careless):
    """A worker for which every job fails for good, with many words."""

    def act(self):
        credit = zmtp.message((1, b"dying"), (2, 1 << 40), (3, 65_536), (4, 1))
        worker = self.peer(WORKER, (9, 1), (10, credit))
        producer = self.peer(PRODUCER)
        jobs = self.some(100_000)
        pouring = threading.Thread(target=self.submit, args=(producer, jobs), daemon=True)
        pouring.start()
        ended, ordinal, deliveries_next = 0, 1, 1
        status = zmtp.message((1, 3), (2, b"w" * 500))
        worker.door.sock.settimeout(5)
        while ended < jobs and time.monotonic() < self.until:
            answer = worker.receive()
            if 15 not in answer:
                continue
            fields = zmtp.fields(answer[15])
            tokens = [zmtp.parse(value) for number, value in fields if number == 3]
            deliveries_next = dict(fields)[2] + len(tokens)
            items = []
            for delivery in tokens:
                count = len(zmtp.parse(delivery[8])[1])  # sizes below 128: a byte each
                items.append((3, zmtp.message((1, 3), (2, delivery[1]), (4, count), (6, status)) +
                              b"\x49" + delivery[12]))
                ended += count
            self.pour(worker.data, [worker.envelope(10, (2, ordinal), *items,
                                                    (5, deliveries_next))])
            ordinal += len(items)
        pouring.join()

    def submit(self, producer, jobs):
        with contextlib.suppress(OSError):
            self.pour(producer.data, (producer.submit("dying", i, 1, 100)
                                      for i in range(1, jobs + 1)))


class OwnTimes(Careless):
    """Jobs that each have a time of their own: not before one, or not after one."""

    field = 5

    def act(self):
        peer = self.peer(PRODUCER)
        at = (int(time.time()) + 3600) * 1000
        self.pour(peer.data, (peer.submit(f"times-{self.field}", i, 1, 1,
                                          zmtp.message((self.field, at + i)))
                              for i in range(1, self.some(400_000))))


class OwnExpiries(OwnTimes):
    """The same, not after one."""

    field = 6


class UnreadRefusals(Careless):
    """Garbage at the door, the answers to which nobody reads."""

    def act(self):
        for _ in range(8):
            door = self.connect("door", "DEALER")
            door.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with contextlib.suppress(OSError):
                self.pour(door, (b"garbage" for _ in range(self.some(100_000))))


class ManyClaims(Careless):
    """Worker hellos with 1,000 queues each, under new names."""

    def act(self):
        for i in range(self.some(300)):
            credits = [(10, zmtp.message((1, b"served-%d" % q), (2, 100)))
                       for q in range(1_000)]
            self.peer(WORKER, (9, 1), *credits)


class LargePayloads(Careless):
    """Jobs of the largest size in many queues at once."""

    def act(self):
        for _ in range(4):
            peer = self.peer(PRODUCER)
            with contextlib.suppress(OSError):
                self.pour(peer.data, (peer.submit(f"large-{i}", 1, 1, peer.payload_max)
                                      for i in range(self.some(30))))


def giant_report(careless):
    """A worker, and as many items as a report may have, of the largest size: about no lease."""
    credit = zmtp.message((1, b"none"), (2, 1), (3, 1))
    worker = careless.peer(WORKER, (9, 1), (10, credit))
    each = max(0, worker.payload_max // ITEMS_MAX - 32)
    results = zmtp.message((1, varint(each)), (2, b"x" * each))
    item = zmtp.message((3, zmtp.message((1, 2), (2, 77), (4, 1), (5, results))))
    return worker, item * ITEMS_MAX


class GiantReports(Careless):
    """The largest reports, about jobs that it never had, faster than they are looked at."""

    def act(self):
        worker, items = giant_report(self)
        self.pour(worker.data, (envelope(10, zmtp.message(worker.said, (2, 1 + i * ITEMS_MAX)) +
                                         items) + worker.secret for i in range(self.some(40))))


class LargeRuns(Careless):
    """Runs of as many jobs as there may be, of the largest size, in many queues at once."""

    def act(self):
        peer = self.peer(PRODUCER)
        jobs = run(65_536, peer.payload_max // 65_536 - 4)
        self.pour(peer.data, (peer.envelope(8, (2, b"runs-%d" % i), (3, 1), (5, jobs))
                              for i in range(self.some(60))))


ALL = [kind for kind in list(globals().values())
       if isinstance(kind, type) and issubclass(kind, Careless) and kind is not Careless]


def together(kinds, broker, seed=1, scale=1.0):
    """Lets one of each kind act at once; returns them when all have."""
    peers = [kind(broker, seed, scale) for kind in kinds]
    threads = [threading.Thread(target=peer.run, daemon=True) for peer in peers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return peers
