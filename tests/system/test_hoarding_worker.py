"""A worker that says that it lives, and nothing of its jobs, keeps none of them."""

import threading
import time

import harness
from wire_client import client

LEASE_SECONDS = 2
GRACE_SECONDS = 5


class Hoarder(client.Worker):
    """Takes all it can get, and reports nothing until `release`."""

    released = False

    def credit(self):
        return [client.wire.Credit(queue=self.queue, jobs_limit=1_000_000, held_max=1_000_000,
                                   service_time_ns=1000)]

    def describe(self):
        super().describe()
        self.hello.slots = 2

    def hoard(self, queue, stop):
        self.queue = queue
        while not stop():
            self.turn(0.1)
            if self.released and self.jobs:
                self.run(self.jobs[0], lambda payload: b"late")


class HoardingWorkerTest(harness.SystemTest):
    def hoard(self, broker, queue):
        """A hoarder that works in a thread until the end of the test."""
        hoarder, stop, errors = Hoarder(broker.door, "hoarder"), threading.Event(), []

        def run():
            try:
                hoarder.hoard(queue, stop.is_set)
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()

        def end():
            stop.set()
            thread.join()
            self.assertEqual(errors, [])
        self.addCleanup(end)
        harness.wait_for(lambda: "hoarder" in broker.workers(), "the hoarder")
        return hoarder

    def test_its_jobs_are_done_by_others(self):
        broker = self.broker("--lease", f"{LEASE_SECONDS}s", "--retry-backoff", "10ms..10ms")
        hoarder = self.hoard(broker, "echo")
        producer = self.producer(broker, "--queue", "echo", "--timeout", "2s", "--ordered",
                                 jobs=range(3000))
        harness.wait_for(lambda: broker.queue("echo")["leased"] == 3000, "it has all of them")
        self.worker(broker, "real", "--queue", "echo", "--handler", "echo")
        begin = time.monotonic()
        self.assertEqual(producer.wait(), 0)
        self.assertEqual(producer.lines(), [str(i) for i in range(3000)])
        # Half of what it holds is asked back, then the rest, while two starts time out.
        print(f"all done {time.monotonic() - begin:.1f} s after a real worker came")
        self.assertLess(time.monotonic() - begin, (2 + 3 * GRACE_SECONDS) * harness.SLOW + 10)
        self.assertEqual(broker.counter("jobs_overdue"), 2)
        self.assertEqual(broker.counter("jobs_not_handed_back"), 2998)
        self.assertEqual(broker.workers()["hoarder"]["state"], "stuck")
        self.assertIsNotNone(broker.event("worker_stuck"))

        # Once it says something of what it had, it is given jobs.
        hoarder.released = True
        harness.wait_for(lambda: broker.workers()["hoarder"]["state"] == "active", "an answer")
        harness.wait_for(lambda: broker.counter("stale_completions") > 0, "late reports")
        self.assertEqual(broker.queue("echo")["completed"], 3000)

    def test_a_queue_that_only_such_a_worker_serves_says_so(self):
        broker = self.broker("--lease", "1s", "--retry-backoff", "10ms..10ms")
        self.hoard(broker, "q")
        self.producer(broker, "--queue", "q", "--timeout", "100ms", "--no-wait", jobs=range(2))
        harness.wait_for(lambda: broker.queue("q")["retries"] == 2, "the end of their time")
        harness.wait_for(lambda: broker.queue("q").get("gate") == "workers stuck", "the gate")


if __name__ == "__main__":
    harness.main()
