"""Nothing is confirmed before it is synced, seen from outside: each sync of the broker begins 5 ms
late and leaves a line, and for each confirmation that a peer receives there is a sync that began
after the peer had asked and had returned before the confirmation came. Where the order of things is
what is compared, a slow machine changes nothing."""

import subprocess
import threading
import time

from harness import PATIENCE, ROOT, SANITIZED, SystemTest, main
from wire_client import client

JOBS = 50


class Asked:
    """When each thing was asked for, and when it was confirmed."""

    def __init__(self):
        self.asked, self.confirmed = {}, {}

    def ask(self, what):
        self.asked.setdefault(what, time.monotonic_ns())

    def confirm(self, what):
        self.confirmed.setdefault(what, time.monotonic_ns())


class TimedProducer(client.Producer):
    def send_run(self, queue, stream, options):
        if stream.next - stream.base < len(stream.payloads):  # there is something to send
            self.times.ask(stream.next)
        super().send_run(queue, stream, options)

    def update(self, update, stream, first=False):
        for number in range(stream.next, update.next):
            self.times.confirm(number)
        super().update(update, stream, first)


class TimedWorker(client.Worker):
    def report(self, ordinal, item):
        self.times.ask(ordinal)
        super().report(ordinal, item)

    def take(self, kind, body):
        if kind == "report_ack":
            for ordinal in range(self.first, body.next):
                self.times.confirm(ordinal)
        super().take(kind, body)


class SlowSyncTest(SystemTest):
    def slow_syncs(self):
        """The environment of a broker whose syncs are slow; the file that they leave lines in."""
        library, log = self.directory / "slow_sync.so", self.directory / "syncs"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library,
                        ROOT / "tests/system/slow_sync.c", "-ldl"], check=True)
        env = {"LD_PRELOAD": str(library), "SLOW_SYNC_LOG": str(log)}
        if SANITIZED:  # its library wants to be the first
            env["ASAN_OPTIONS"] = "verify_asan_link_order=0"
        return env, log

    def assert_synced(self, log, times):
        self.assertEqual(len(times.asked), JOBS)
        self.assertEqual(times.asked.keys(), times.confirmed.keys())
        syncs = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
        for what, asked in times.asked.items():
            confirmed = times.confirmed[what]
            self.assertTrue(any(asked <= begin and end <= confirmed for begin, end in syncs),
                            f"{what} was confirmed {(confirmed - asked) / 1e6} ms after it was "
                            "asked for, without a sync")

    def test_jobs_and_results_are_confirmed_after_their_sync(self):
        env, log = self.slow_syncs()
        broker = self.broker("--data-dir", self.directory / "data", env=env)
        producer, worker = TimedProducer(broker.door), TimedWorker(broker.door)
        producer.times, worker.times = Asked(), Asked()
        self.addCleanup(producer.close)
        done = threading.Event()
        thread = threading.Thread(target=worker.serve, daemon=True,
                                  args=("q", lambda payload: payload, done.is_set))
        thread.start()
        self.addCleanup(done.set)
        for i in range(JOBS):
            [outcome] = producer.submit("q", [b"%d" % i])
            self.assertEqual((outcome.kind, outcome.result), ("COMPLETED", b"%d" % i))
        done.set()
        thread.join(PATIENCE)
        self.assertFalse(thread.is_alive(), "the worker does not stop")
        self.assert_synced(log, producer.times)
        self.assert_synced(log, worker.times)
        self.assert_ledger_balances(broker)


if __name__ == "__main__":
    main()
