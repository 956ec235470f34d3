"""One peer holds nobody up: while it does its worst, the jobs of others complete, in its queue and in
another, new peers are welcomed, and status and /healthz are answered."""

import http.client
import os
import resource
import signal
import time

import hostile
from harness import PATIENCE, SystemTest, main
from wire_client import client

ROUNDS = int(os.environ.get("WHIPPLETREE_ROUNDS", "4"))
OTHER = "other"
# In which a round ends, whatever one peer does. It takes some milliseconds on an idle machine.
ROUND_SECONDS = PATIENCE


def _too_late(*_):
    raise AssertionError(f"others were held up for {ROUND_SECONDS} s")


class OnePeerTest(SystemTest):
    def setUp(self):
        signal.signal(signal.SIGALRM, _too_late)
        self.addCleanup(signal.alarm, 0)
        config = self.directory / "config.yaml"
        config.write_text("defaults:\n  timeout: 2s\n  lease: 3s\n")
        self.made = self.broker("--config", config, "--memory-limit", "256MiB")
        for name in ("w1", "w2"):
            self.worker(self.made, name, "--queue", hostile.SHARED, "--queue", OTHER, "--handler",
                        "square")

    def healthz(self):
        host, _, port = self.made.http.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        connection.request("GET", "/healthz", headers={"Host": host})
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()

    def round_trip(self, producer, queue, number):
        outcomes = producer.submit(queue, [str(number).encode()])
        self.assertEqual([(o.kind, o.result) for o in outcomes],
                         [("COMPLETED", str(number * number).encode())], queue)

    def others_go_on(self, kind):
        old = client.Producer(self.made.door)
        for queue in (hostile.SHARED, OTHER):
            self.round_trip(old, queue, 3)
        slowest = 0
        with hostile.lasting(kind, self.made) as attack:
            for i in range(ROUNDS):
                signal.alarm(ROUND_SECONDS)
                began = time.monotonic()
                for queue in (OTHER, hostile.SHARED):
                    self.round_trip(old, queue, i)
                new = client.Producer(self.made.door)  # it is welcomed
                self.round_trip(new, hostile.SHARED, i)
                new.close()
                self.healthz()
                self.assertGreater(self.made.status()["uptime_ms"], 0)
                signal.alarm(0)
                slowest = max(slowest, time.monotonic() - began)
            self.assertTrue(attack.thread.is_alive())
            if os.environ.get("WHIPPLETREE_TELL"):
                print(f"{kind.__name__}: slowest of {ROUNDS} rounds {slowest:.2f} s, it came round "
                      f"{attack.rounds} times, {attack.error}", flush=True)
        old.close()
        self.assertTrue(self.made.running())
        self.assert_ledger_balances(self.made)


def _test_of(kind):
    def test(self):
        self.others_go_on(kind)
    test.__doc__ = kind.__doc__
    return test


for _kind in hostile.ALL:
    setattr(OnePeerTest, f"test_{_kind.__name__}", _test_of(_kind))


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    main()
