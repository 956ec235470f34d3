"""A client written in another language from docs/protocol.md and protos/wire.proto alone works with
the broker and with the programs: what it needs to know is in these two."""

import threading

import harness
from wire_client import client


def square(payload):
    return str(int(payload) ** 2).encode()


def numbers(count):
    return [str(i).encode() for i in range(1, count + 1)]


class Losing:
    """Mixed into a client: every so many messages one is lost, and the connection with it."""

    seen = 0

    def take(self, kind, body):
        self.seen += 1
        if self.seen % self.every == 0:
            self.say_hello()
        else:
            super().take(kind, body)

    def send(self, socket, **body):
        self.seen += "submit" in body or "report" in body
        if self.seen % self.every or "hello" in body:
            super().send(socket, **body)


class LosingProducer(Losing, client.Producer):
    every = 5


class LosingWorker(Losing, client.Worker):
    every = 200


class ForgottenProducer(client.Producer):
    """Says hello under a name that the broker does not know, as if it was away for too long."""

    def take(self, kind, body):
        super().take(kind, body)
        if kind == "stream_updates" and self.hello.attempt == 1:
            self.hello.name = self.fresh_name()
            self.say_hello()


class DeafProducer(client.Producer):
    """Sends heartbeats and reads no outcomes before it is told to; `stop` ends its submit."""

    def __init__(self, *args):
        super().__init__(*args)
        self.listens, self.stop = threading.Event(), threading.Event()

    def turn(self, seconds):
        if self.stop.is_set():
            raise InterruptedError
        super().turn(seconds)

    def take(self, kind, body):
        if kind != "outcomes" or self.listens.is_set():
            super().take(kind, body)


class PythonClient(harness.SystemTest):

    def serving(self, worker, queue, handler):
        """Runs a Python worker in a thread until the function returned is called."""
        stop, errors = threading.Event(), []

        def serve():
            try:
                worker.serve(queue, handler, stop.is_set)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()

        def end():
            stop.set()
            thread.join(harness.PATIENCE)
            self.assertFalse(thread.is_alive(), "the worker does not stop")
            self.assertEqual(errors, [])

        self.addCleanup(stop.set)
        return end

    def producer_of(self, broker, kind=client.Producer):
        producer = kind(broker.door)
        self.addCleanup(producer.close)
        return producer

    def assert_squares(self, outcomes, count):
        self.assertEqual([o.result for o in outcomes], [square(n) for n in numbers(count)])
        self.assertEqual({o.kind for o in outcomes}, {"COMPLETED"})

    def test_python_producer_and_python_worker(self):
        """1000 jobs, and 1000 more in the same stream; each is run once."""
        broker = self.broker()
        calls = []
        end = self.serving(client.Worker(broker.door), "q", lambda p: calls.append(p) or square(p))
        producer = self.producer_of(broker)
        self.assert_squares(producer.submit("q", numbers(1000)), 1000)
        self.assert_squares(producer.submit("q", numbers(1000)), 1000)
        end()
        self.assertEqual(len(calls), 2000)
        self.assert_ledger_balances(broker)
        # The goodbye was understood.
        harness.wait_for(lambda: not broker.status()["workers"], "the worker to be gone")

    def test_python_producer_and_cpp_worker(self):
        """The worker takes many at a time and reports neighbours together."""
        broker = self.broker()
        self.worker(broker, "w", "--queue", "q", "--handler", "square")
        self.assert_squares(self.producer_of(broker).submit("q", numbers(1000)), 1000)
        self.assert_ledger_balances(broker)

    def test_cpp_producer_and_python_worker(self):
        """The program prints what the Python worker made of 1000 jobs."""
        broker = self.broker()
        end = self.serving(client.Worker(broker.door), "q", square)
        producer = self.producer(broker, "--queue", "q", "--ordered", jobs=range(1, 1001))
        self.assertEqual(producer.wait(), 0)
        self.assertEqual(producer.lines(), [square(n).decode() for n in numbers(1000)])
        end()

    def test_failures(self):
        """INVALID_ARGUMENT is the end of a job, UNAVAILABLE is tried again; each payload and result
        is bytes of any kind, also none."""
        broker = self.broker("--retry-backoff", "10ms..5m")
        calls = []

        def handler(payload):
            calls.append(payload)
            if payload == b"bad":
                raise client.JobFailed(client.INVALID_ARGUMENT, "no such thing")
            if payload == b"hopeless" or payload == b"later" and calls.count(payload) < 3:
                raise client.JobFailed(client.UNAVAILABLE, "not now")
            return payload

        end = self.serving(client.Worker(broker.door), "q", handler)
        outcomes = self.producer_of(broker).submit(
            "q", [b"bad", b"later", b"hopeless", b"", b"\xff\0"], max_attempts=4)
        end()
        self.assertEqual(outcomes, [
            ("DEAD", None, client.INVALID_ARGUMENT, "no such thing", 1),
            ("COMPLETED", b"later", 0, "", 3),
            ("DEAD", None, client.UNAVAILABLE, "not now", 4),
            ("COMPLETED", b"", 0, "", 1),
            ("COMPLETED", b"\xff\0", 0, "", 1)])
        self.assertEqual((calls.count(b"bad"), calls.count(b"hopeless")), (1, 4))

    def test_rejected_run(self):
        """Options that the broker does not accept come back as outcomes, and the stream goes on."""
        broker = self.broker()
        end = self.serving(client.Worker(broker.door), "q", square)
        producer = self.producer_of(broker)
        rejected = producer.submit("q", numbers(2), max_attempts=1001)
        self.assertEqual([(o.kind, o.code) for o in rejected],
                         2 * [("REJECTED", client.INVALID_ARGUMENT)])
        self.assert_squares(producer.submit("q", numbers(3)), 3)
        end()

    def test_refused_queue(self):
        config = self.directory / "broker.yaml"
        config.write_text("queues: {q: {}}\nunknown_queues: refuse")
        broker = self.broker("--config", config)
        end = self.serving(client.Worker(broker.door), "q", square)
        producer = self.producer_of(broker)
        for _ in range(2):
            outcomes = producer.submit("late", numbers(2))
            self.assertEqual([o.kind for o in outcomes], 2 * ["REJECTED"])
            self.assertIn('there is no queue "late"', outcomes[0].message)
        self.assert_squares(producer.submit("q", numbers(3)), 3)
        end()

    def test_full_queue(self):
        """A queue with room for 50: the producer waits whenever the broker says so."""
        broker = self.broker("--queue-capacity", "50")
        end = self.serving(client.Worker(broker.door), "q", square)
        self.assert_squares(self.producer_of(broker).submit("q", numbers(1000)), 1000)
        end()

    def test_a_producer_that_reads_no_outcomes_stops_alone(self):
        """Its jobs wait for it, in the broker, for as long as it likes; those of others in the same
        queue go on. When it reads, so do its own."""
        broker = self.broker("--memory-limit", "64MiB")
        self.worker(broker, "w", "--queue", "shared", "--handler", "echo")
        deaf, outcomes, jobs = DeafProducer(broker.door), [], 4000

        def submit():
            try:
                outcomes.extend(deaf.submit("shared", [b"%8192d" % i for i in range(jobs)]))
            except InterruptedError:
                pass

        thread = threading.Thread(target=submit, daemon=True)
        self.addCleanup(thread.join, harness.PATIENCE)
        self.addCleanup(deaf.stop.set)
        thread.start()
        stopped = harness.wait_for(lambda: broker.event("producer_stopped"), "it to be stopped")
        self.assertTrue(stopped["producer"].startswith("python-"))
        for _ in range(3):
            other = self.producer(broker, "--queue", "shared", "--ordered", jobs=range(1000))
            self.assertEqual(other.wait(), 0)
            self.assertEqual(other.lines(), [str(n) for n in range(1000)])
        self.assertLess(broker.queue("shared")["completed"], 3000 + jobs)
        self.assertLess(broker.status()["memory_used_bytes"], 32 << 20)
        deaf.listens.set()
        thread.join(harness.PATIENCE)
        self.assertEqual([o.result for o in outcomes], [b"%8192d" % i for i in range(jobs)])
        self.assertIsNotNone(broker.event("producer_resumed"))
        self.assert_ledger_balances(broker)

    def test_large_payloads(self):
        """More than the credit of 1 MiB at a time, and single payloads larger than it."""
        broker = self.broker()
        end = self.serving(client.Worker(broker.door), "q", lambda p: p[-3:])
        outcomes = self.producer_of(broker).submit(
            "q", [bytes(size) + b"%03d" % i for i, size in enumerate([400_000, 3_000_000] * 8)])
        end()
        self.assertEqual([o.result for o in outcomes], [b"%03d" % i for i in range(16)])

    def test_lost_connections(self):
        """Messages get lost and sessions begin anew all the time on both sides. No job is lost, and
        none is accepted twice or run twice."""
        broker = self.broker()
        calls = []
        worker, producer = LosingWorker(broker.door), self.producer_of(broker, LosingProducer)
        end = self.serving(worker, "q", lambda p: calls.append(p) or square(p))
        for _ in range(10):
            self.assert_squares(producer.submit("q", numbers(100)), 100)
        end()
        self.assertGreater(worker.hello.attempt, 3)
        self.assertGreater(producer.hello.attempt, 5)
        self.assertEqual(sorted(calls, key=int), sorted(10 * numbers(100), key=int))
        queue = broker.queue("q")
        self.assertEqual((queue["accepted"], queue["completed"]), (1000, 1000))
        self.assert_ledger_balances(broker)

    def test_session_lost_while_a_job_runs(self):
        """The hello names the lease, the broker keeps it, and the result counts: one attempt."""
        broker = self.broker()
        worker = client.Worker(broker.door)
        calls = []

        def handler(payload):
            calls.append(payload)
            if int(payload) % 10 == 0:
                worker.say_hello()
            return square(payload)

        end = self.serving(worker, "q", handler)
        outcomes = self.producer_of(broker).submit("q", numbers(100))
        end()
        self.assert_squares(outcomes, 100)
        self.assertEqual({o.attempts for o in outcomes}, {1})
        self.assertEqual(len(calls), 100)

    def test_forgotten_stream(self):
        """What was accepted has no outcome; under another name the producer goes on."""
        broker = self.broker()
        producer = self.producer_of(broker, ForgottenProducer)
        outcomes = producer.submit("q", numbers(10))
        self.assertEqual([(o.kind, o.code) for o in outcomes],
                         10 * [("UNKNOWN", client.UNAVAILABLE)])
        self.assertEqual(producer.hello.attempt, 3)
        end = self.serving(client.Worker(broker.door), "q", square)
        self.assert_squares(producer.submit("q", numbers(10)), 10)
        end()

    def test_broker_restart(self):
        """What a restarted broker does not know any more is told; worker and producer go on."""
        port = harness.free_ports(3)
        broker = self.broker("--lease", "1s", port=port)
        broker_now = [broker]

        def handler(payload):
            if payload == b"5":
                broker_now[0].kill()
                broker_now[0] = self.broker("--lease", "1s", port=port)
                return b""
            return square(payload)

        end = self.serving(client.Worker(broker.door), "q", handler)
        producer = self.producer_of(broker)
        outcomes = producer.submit("q", numbers(10))
        self.assertEqual([o.result for o in outcomes[:3]], [b"1", b"4", b"9"])
        self.assertEqual([(o.kind, o.code) for o in outcomes[5:]],
                         5 * [("UNKNOWN", client.UNAVAILABLE)])
        self.assert_squares(producer.submit("q", numbers(4)), 4)
        end()

    def test_commits_of_the_store(self):
        """Whoever was told of something durable says so in the next hello."""
        broker = self.broker("--data-dir", self.directory / "data")
        worker, producer = client.Worker(broker.door), self.producer_of(broker)
        end = self.serving(worker, "q", square)
        self.assert_squares(producer.submit("q", numbers(3)), 3)
        told = producer.hello.commit
        self.assertGreater(told, 0)
        producer.say_hello()
        self.assertGreaterEqual(producer.hello.commit, told)
        end()
        self.assertGreater(worker.hello.commit, 0)
        self.assertEqual(worker.hello.store_id, producer.hello.store_id)


if __name__ == "__main__":
    harness.main()
