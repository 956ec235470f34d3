"""A producer and a worker in plain Python, written from docs/protocol.md: what it calls the least.

Needs pyzmq, protobuf, and wire_pb2 made by `protoc --python_out`. An object belongs to one thread.
"""

import collections
import random
import time

import wire_pb2 as wire
import zmq

UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, OUT_OF_RANGE, UNAVAILABLE = 2, 3, 4, 11, 14
Outcome = collections.namedtuple("Outcome", "kind result code message attempts")
Update, Item = wire.StreamUpdate, wire.ReportItem


class Refused(Exception):
    """The broker said GIVE_UP."""


class JobFailed(Exception):
    """What a handler raises; the code says whether the job is tried again."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def parts(run):
    """The payloads or results of a run."""
    at = 0
    for size in run.sizes:
        yield run.block[at:at + size]
        at += size


class Peer:
    """A session at the door; begun again whenever it breaks."""

    def __init__(self, door, role, name):
        self.address, self.base_name = door, name
        self.hello = wire.Hello(role=role, name=self.fresh_name(), software="whippletree_client.py",
                                process=random.randrange(1, 2**64))
        self.door = self.data = self.welcome = None
        self.heard = self.beat = 0

    def fresh_name(self):
        return f"{self.base_name}-{random.getrandbits(64):016x}"

    def connect(self, kind, port, old):
        if old:
            old.close(0)
        socket = zmq.Context.instance().socket(kind)
        socket.linger = 1000
        socket.connect(f"tcp://{self.address.rpartition(':')[0]}:{port}")
        return socket

    def send(self, socket, **body):
        try:
            secret = self.welcome.secret if self.welcome else 0
            envelope = wire.Envelope(version=1, secret=secret, **body)
            socket.send(envelope.SerializeToString(), zmq.NOBLOCK)
        except zmq.Again:
            pass  # as if it was lost on the way: everything is sent again until it is acknowledged

    def receive(self, seconds):
        """The next message at the door: what it is, and its body. None, None if there is none."""
        if not self.door.poll(max(0, seconds) * 1000):
            return None, None
        envelope = wire.Envelope.FromString(self.door.recv())
        kind = envelope.WhichOneof("body")
        refusal = envelope.refusal
        if envelope.version != 1 or refusal.action == wire.Refusal.GIVE_UP:
            raise Refused(f"{refusal.status.code}: {refusal.status.message}")
        body = kind and getattr(envelope, kind)
        # What a welcome tells counts anew: what this broker does not have of its store was given up.
        here = self.welcome and getattr(body, "session", None) == self.welcome.session
        if here and envelope.commit > self.hello.commit or kind == "welcome" and body.store_id:
            self.hello.commit, self.hello.receipt = envelope.commit, envelope.receipt
        return kind, body

    def say_hello(self):
        """A new session, on fresh connections."""
        wait, kind = 0.5, None
        while kind != "welcome":
            self.door = self.connect(zmq.DEALER, self.address.rpartition(":")[2], self.door)
            self.hello.attempt += 1
            self.describe()
            self.send(self.door, hello=self.hello)
            until = time.monotonic() + wait * random.uniform(0.8, 1.2)
            while kind != "welcome" and time.monotonic() < until:
                kind, body = self.receive(until - time.monotonic())
            wait = min(2 * wait, 5)
        self.hello.store_id = body.store_id or self.hello.store_id
        self.welcome, self.hello.broker_start = body, body.broker_start
        port = body.submit_port if self.hello.role == wire.PRODUCER else body.complete_port
        self.data = self.connect(zmq.PUSH, port, self.data)
        self.heard, self.beat = time.monotonic(), 0
        self.welcomed(body)

    def turn(self, seconds):
        """Takes the next message, if one comes in time, and keeps the session alive."""
        now = time.monotonic()
        if not self.welcome or now > self.heard + self.welcome.lease_duration_ms / 1000:
            self.say_hello()
        if now >= self.beat:
            self.beat = now + self.welcome.heartbeat_interval_ms / 1000
            self.send(self.door, heartbeat=wire.Heartbeat(**self.news()))
        kind, body = self.receive(min(seconds, self.beat - now))
        if kind == "refusal" and body.action == wire.Refusal.SAY_HELLO:
            self.say_hello()
        elif getattr(body, "session", None) == self.welcome.session and kind != "welcome":
            self.heard = time.monotonic()
            self.take(kind, body)

    def close(self):
        if self.welcome:
            self.send(self.door, goodbye=wire.Goodbye(session=self.welcome.session))
            self.door.close()
            self.data.close(0)
            self.welcome = self.door = self.data = None


class Stream:
    """The jobs of one `submit`: payload i is number base + i of its queue."""

    def __init__(self):
        self.base = self.next = 1  # next: the lowest number not known to be accepted
        self.payloads, self.outcomes = [], []  # an outcome is None until it is there

    def begin(self, update, welcome):
        """In a new session credit and ordinals are counted anew."""
        self.jobs_limit = update.jobs_limit if update else welcome.first_jobs_limit
        self.bytes_limit = update.bytes_limit if update else welcome.first_bytes_limit
        self.bytes = 0  # accepted ones in this session
        self.ordinal, self.again, self.wait, self.full = 1, 0, 1, False

    def put(self, number, outcome):
        i = number - self.base
        if 0 <= i < len(self.outcomes) and self.outcomes[i] is None:
            self.outcomes[i] = outcome

    def lose(self, end, why):
        for number in range(self.base, end):
            self.put(number, Outcome("UNKNOWN", None, UNAVAILABLE, why, 0))


class Producer(Peer):
    """Submits jobs and waits for what became of them."""

    def __init__(self, door, name="python"):
        super().__init__(door, wire.PRODUCER, name)
        self.streams = {}

    def submit(self, queue, payloads, **options):
        """The outcomes of the jobs, in their order. Options are those of wire.JobOptions."""
        self.turn(0)
        if queue not in self.streams:
            self.streams[queue] = Stream()
            self.streams[queue].begin(None, self.welcome)
        stream = self.streams[queue]
        stream.base, stream.payloads = stream.next, list(payloads)
        stream.outcomes, stream.again, stream.wait = [None] * len(stream.payloads), 0, 1
        if any(len(p) > self.welcome.payload_bytes_max for p in stream.payloads):
            raise ValueError("payload too large")
        while None in stream.outcomes:
            if stream.again <= time.monotonic():
                self.send_run(queue, stream, options)
            self.turn(min(1, stream.again - time.monotonic()))
        return stream.outcomes

    def send_run(self, queue, stream, options):
        """One run of what is not accepted, as much as the credit allows."""
        run, size = [], stream.bytes
        jobs_max = min(1 if stream.full else 65536, max(0, stream.jobs_limit + 1 - stream.next))
        for payload in stream.payloads[stream.next - stream.base:][:jobs_max]:
            size += len(payload)
            if run and size > stream.bytes_limit:
                break
            run.append(payload)
        stream.again = time.monotonic() + stream.wait
        stream.wait = min(2 * stream.wait, 8)
        if run:
            self.send(self.data, submit=wire.Submit(
                session=self.welcome.session, queue=queue, first=stream.next, options=options,
                run=wire.Run(sizes=map(len, run), block=b"".join(run))))

    def news(self):
        return {"session": self.welcome.session}

    def describe(self):
        del self.hello.streams[:]
        for queue, s in self.streams.items():
            wanted = s.base + s.outcomes.index(None) if None in s.outcomes else s.next
            self.hello.streams.add(queue=queue, next=s.next, wanted=wanted)

    def welcomed(self, welcome):
        updates = {update.queue: update for update in welcome.streams if not update.follow_on}
        for queue, stream in list(self.streams.items()):
            stream.begin(updates.get(queue), welcome)
            if queue in updates:
                self.update(updates[queue], stream, True)

    def update(self, update, stream, first=False):
        if update.state == Update.REFUSED:
            for number in range(stream.base, stream.base + len(stream.outcomes)):
                stream.put(number, Outcome("REJECTED", None, update.status.code,
                                           update.status.message, 0))
            self.streams.pop(update.queue, None)
        elif update.state == Update.GONE and None not in stream.outcomes:
            self.streams.pop(update.queue, None)  # nothing is lost; the next submit begins anew
        elif update.state == Update.GONE:
            stream.lose(stream.next, update.status.message)
            stream.base, stream.next = 1 - (stream.next - stream.base), 1
            self.streams = {update.queue: stream}  # the others begin again too
            self.hello.name = self.fresh_name()
            self.say_hello()
        elif update.next >= stream.next:
            accepted, stream.next = stream.next, update.next
            if first and update.state == Update.LOST:
                stream.lose(stream.next, "the broker was restarted")
            if not first:
                stream.bytes += sum(map(len, stream.payloads[accepted - stream.base:
                                                             stream.next - stream.base]))
                stream.jobs_limit = max(stream.jobs_limit, update.jobs_limit)
                stream.bytes_limit = max(stream.bytes_limit, update.bytes_limit)
            was_full, stream.full = stream.full, update.state == Update.FULL
            if stream.next > accepted:
                stream.again, stream.wait = time.monotonic() + stream.full, 1
            elif update.state == Update.GAP or was_full and not stream.full:
                stream.again = 0

    def take(self, kind, body):
        if kind == "stream_updates":
            for update in body.streams:
                if update.queue in self.streams:
                    self.update(update, self.streams[update.queue])
        elif kind == "outcomes" and body.queue in self.streams:
            stream = self.streams[body.queue]
            for ordinal, r in enumerate(body.ranges, body.first_ordinal):
                if ordinal == stream.ordinal:
                    stream.ordinal += 1
                    results = list(parts(r.results)) or [None] * r.count
                    for number, result in enumerate(results, r.first):
                        stream.put(number, Outcome(wire.OutcomeRange.Kind.Name(r.kind), result,
                                                   r.status.code, r.status.message, r.attempts))
            ack = wire.StreamAck(queue=body.queue, next=stream.ordinal)
            self.send(self.door, outcome_ack=wire.OutcomeAck(session=body.session, streams=[ack]))


# A payload in a worker, and where it belongs: the lease and the index in it.
Job = collections.namedtuple("Job", "token secret index payload timeout")


class Worker(Peer):
    """Runs jobs one at a time in the thread that sends heartbeats: each must be quicker than the
    broker's lease duration."""

    def __init__(self, door, name="python"):
        super().__init__(door, wire.WORKER, name)
        self.jobs, self.items = [], []  # the jobs that are here; reports without acknowledgement
        self.draining = False

    def serve(self, queue, handler, stop=lambda: False):
        """Runs handler(payload) -> result for each job, until stop() and all is reported."""
        self.queue = queue
        while self.jobs or self.items or not stop():
            self.draining = stop()
            self.turn(0 if self.jobs else 0.1)
            if self.jobs:
                self.run(self.jobs[0], handler)
            if self.items and time.monotonic() >= self.again:
                self.again, self.wait = time.monotonic() + self.wait, min(2 * self.wait, 8)
                for ordinal, item in enumerate(self.items, self.first):
                    self.report(ordinal, item)
        self.close()

    def run(self, job, handler):
        item = Item(token=job.token, secret=job.secret, first=job.index, count=1)
        start = time.monotonic()
        try:
            result = handler(job.payload)
            if 0 < job.timeout < time.monotonic() - start:
                raise JobFailed(DEADLINE_EXCEEDED, "timeout")
            if len(result) > self.welcome.result_bytes_max:
                raise JobFailed(OUT_OF_RANGE, "result too large")
            item.kind, item.results.block = Item.COMPLETED, result
            item.results.sizes.append(len(result))
        except Exception as error:
            item.kind = Item.FAILED
            item.status.code, item.status.message = getattr(error, "code", UNKNOWN), str(error)
        if job in self.jobs:  # else its lease ended meanwhile
            self.jobs.remove(job)
            if not self.items:
                self.again, self.wait = time.monotonic() + 1, 2
            self.items.append(item)
            self.report(self.first + len(self.items) - 1, item)

    def report(self, ordinal, item):
        self.send(self.data, report=wire.Report(first_ordinal=ordinal, items=[item], **self.news()))

    def credit(self):
        return [wire.Credit(queue=self.queue, jobs_limit=self.received + 1 - bool(self.jobs))]

    def news(self):
        return {"session": self.welcome.session, "credits": self.credit(),
                "deliveries_next": self.deliveries_next, "draining": self.draining}

    def describe(self):
        # Deliveries and reports are counted anew in each session.
        self.received, self.first, self.deliveries_next, self.ahead = 0, 1, 1, set()
        self.hello.slots = 1
        del self.hello.credits[:], self.hello.leases[:], self.hello.lease_secrets[:]
        self.hello.credits.extend(self.credit())
        for token, secret in {(mine.token, mine.secret) for mine in self.jobs + self.items}:
            self.hello.leases.append(token)
            self.hello.lease_secrets.append(secret)

    def welcomed(self, welcome):
        self.jobs = [job for job in self.jobs if job.token in welcome.leases_kept]
        self.items = [item for item in self.items if item.token in welcome.leases_kept]
        self.again, self.wait = 0, 1

    def take(self, kind, body):
        if kind == "report_ack" and body.next > self.first:
            del self.items[:body.next - self.first]
            self.first, self.again, self.wait = body.next, time.monotonic() + 1, 2
        elif kind == "deliveries":
            for ordinal, delivery in enumerate(body.deliveries, body.first_ordinal):
                if ordinal < self.deliveries_next or ordinal in self.ahead:
                    continue
                self.ahead.add(ordinal)
                while self.deliveries_next in self.ahead:
                    self.ahead.remove(self.deliveries_next)
                    self.deliveries_next += 1
                payloads = list(parts(delivery.run)) if delivery.token else []
                self.received += len(payloads)
                for index, payload in zip(delivery.indexes or range(len(payloads)), payloads):
                    self.jobs.append(Job(delivery.token, delivery.secret, index, payload,
                                         delivery.options.timeout_ms / 1000))
