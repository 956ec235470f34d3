"""Processes that stand still for a while, and then go on as if nothing had happened."""

import json
import signal
import time

import zmtp
from harness import SystemTest, main, wait_for


class PauseTest(SystemTest):
    def test_worker_beyond_its_lease(self):
        """Its jobs are run by another, each has one outcome, and it is taken on again."""
        broker = self.broker("--lease", "1s", "--retry-backoff", "10ms..5m")
        paused = self.worker(broker, "paused", "--queue", "q", "--slots", "4", "--handler", "sleep")
        producer = self.producer(broker, "--queue", "q", "--output", "jsonl", jobs=["2s"] * 8)
        wait_for(lambda: broker.queue("q")["leased"] >= 4, "running jobs")
        paused.signal(signal.SIGSTOP)
        wait_for(lambda: broker.event("leases_expired", jobs=4), "the end of the leases")
        self.worker(broker, "other", "--queue", "q", "--slots", "4", "--handler", "sleep")
        self.assertEqual(producer.wait(), 0)
        paused.signal(signal.SIGCONT)
        wait_for(lambda: broker.workers().get("paused", {}).get("state") == "active",
                 "the worker to be back")

        outcomes = [json.loads(line) for line in producer.lines()]
        self.assertEqual(sorted(o["number"] for o in outcomes), list(range(1, 9)))
        self.assertEqual({o["outcome"] for o in outcomes}, {"completed"})
        self.assertEqual({o["worker"].rpartition("-")[0] for o in outcomes}, {"other"})
        self.assertEqual(sum(o["attempts"] == 2 for o in outcomes), 4)
        queue = broker.queue("q")
        self.assertEqual((queue["accepted"], queue["completed"]), (8, 8))

        last = self.producer(broker, "--queue", "q", jobs=["10ms"] * 20)
        self.assertEqual(last.wait(), 0)
        self.assert_ledger_balances(broker)

    def test_completion_that_comes_too_late(self):
        """A worker that insists on a lease that has ended: counted, logged, without effect."""
        broker = self.broker("--lease", "2s", "--retry-backoff", "10ms..5m")
        credit = zmtp.message((1, b"q"), (2, 1))
        hello = [(1, 2), (2, b"late"), (9, 1), (10, credit)]
        producer = self.producer(broker, "--queue", "q", "--output", "jsonl", jobs=["x"])
        with zmtp.Connection.connect(broker.host, broker.ports["door"], "DEALER") as door, \
                zmtp.Connection.connect(broker.host, broker.ports["complete"], "PUSH") as complete:
            def say_hello(*more):
                door.send(zmtp.message((1, 1), (3, zmtp.message(*hello, *more))))
                welcome = self.receive(door, 11)
                return welcome[1], welcome[18]  # the session: its number and its secret

            def report(session, secret):
                results = zmtp.message((1, b"\x04"), (2, b"late"))
                item = zmtp.message((1, 2), (2, token), (4, 1), (5, results))
                item += zmtp.fixed64(9, lease_secret)
                body = zmtp.message((1, session), (2, 1), (3, item))
                complete.send(zmtp.message((1, 1), (10, body)) + zmtp.fixed64(25, secret))

            session = say_hello((4, 1))
            delivery = zmtp.parse(self.receive(door, 15)[3])
            token, lease_secret = delivery[1], delivery[12]
            wait_for(lambda: broker.event("leases_expired"), "the end of the lease")
            self.worker(broker, "other", "--queue", "q", "--handler", "upper")
            self.assertEqual(producer.wait(), 0)
            report(*session)
            wait_for(lambda: broker.counter("frames_of_other_sessions") == 1, "it to be counted")
            held = (11, zmtp.message((0, token))[1:]), (16, lease_secret)
            report(*say_hello((4, 2), *held))
            wait_for(lambda: broker.counter("stale_completions") == 1, "it to be counted")
        self.assertIsNotNone(broker.event("stale_completion", worker="late", token=token, jobs=1))
        outcome = json.loads(producer.stdout())
        self.assertEqual((outcome["result"], outcome["attempts"]), ("X", 2))
        self.assertEqual(broker.queue("q")["completed"], 1)
        self.assert_ledger_balances(broker)

    @staticmethod
    def receive(door, body):
        """The next message of this kind."""
        while True:
            envelope = zmtp.parse(door.receive()[0])
            if body in envelope:
                return zmtp.parse(envelope[body])

    def test_broker_beyond_the_lease(self):
        """Who pauses is the broker: nobody's lease ends for that, nothing runs twice."""
        broker = self.broker("--lease", "1s")
        for name in ("a", "b"):
            self.worker(broker, name, "--queue", "q", "--slots", "2", "--handler", "sleep")
        producer = self.producer(broker, "--queue", "q", "--output", "jsonl", jobs=["20ms"] * 200)
        wait_for(lambda: broker.queue("q")["completed"] >= 20, "outcomes")
        broker.signal(signal.SIGSTOP)
        time.sleep(3)  # the pause itself
        broker.signal(signal.SIGCONT)
        self.assertEqual(producer.wait(), 0)
        outcomes = [json.loads(line) for line in producer.lines()]
        self.assertEqual(sorted(o["number"] for o in outcomes), list(range(1, 201)))
        self.assertEqual({o["attempts"] for o in outcomes}, {1})
        self.assertIsNotNone(broker.event("broker_paused"))
        self.assertIsNone(broker.event("leases_expired"))
        queue = broker.queue("q")
        self.assertEqual((queue["completed"], queue["retries"]), (200, 0))

    def test_producer_beyond_the_lease(self):
        """Outcomes that came meanwhile are kept for it."""
        broker = self.broker("--lease", "1s")
        self.worker(broker, "w", "--queue", "q", "--slots", "2", "--handler", "sleep")
        producer = self.producer(broker, "--queue", "q", "--ordered", jobs=["20ms"] * 100)
        wait_for(lambda: broker.queue("q")["completed"] >= 10, "outcomes")
        producer.signal(signal.SIGSTOP)
        wait_for(lambda: broker.event("producer_left", reason="silent for too long"), "its loss")
        wait_for(lambda: broker.queue("q")["completed"] == 100, "the end of the work")
        producer.signal(signal.SIGCONT)
        self.assertEqual(producer.wait(), 0)
        self.assertEqual(producer.lines(), ["20ms"] * 100)


if __name__ == "__main__":
    main()
