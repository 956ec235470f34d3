"""What the broker tells: its log, its pages over HTTP, its status; and that their numbers agree."""

import json
import re
import subprocess
import urllib.request

from harness import BIN, PATIENCE, SystemTest, environment, main, wait_for

JOBS = 100_000
LEDGER = ("waiting", "leased", "completed", "dead", "cancelled", "expired")
# Fields that an event has whenever it appears.
FIELDS = {
    "broker_started": {"version", "door", "submit", "complete", "http", "store", "disk_reserve",
                       "insecure", "memory_limit", "queue_capacity", "queue_bytes", "payload_max",
                       "lease", "max_attempts", "peers_max", "config", "queues_named"},
    "producer_joined": {"producer", "session", "again"},
    "producer_left": {"producer", "session", "reason"},
    "worker_joined": {"worker", "session", "slots", "queues", "leases_kept", "again"},
    "worker_left": {"worker", "session", "reason", "leased"},
    "worker_draining": {"worker", "leased"},
    "leases_expired": {"worker", "leases", "jobs", "reason"},
    "jobs_retried": {"queue", "jobs", "first", "attempts", "delay_ms", "status", "error"},
    "jobs_dead": {"queue", "jobs", "first", "attempts", "status", "error"},
    "queue": {"queue", "accepted", "waiting", "leased", "completed", "dead", "cancelled",
              "in_per_s", "out_per_s", "workers", "gate"},
    "broker_stopped": {"jobs_lost", "uptime_ms"},
}
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)')


class LogsMetricsTest(SystemTest):
    def get(self, broker, path):
        with urllib.request.urlopen(f"http://{broker.http}{path}", timeout=PATIENCE) as response:
            return response.read().decode()

    def test_log_tells_the_story(self):
        """Joins, deaths, retries, a lost and a draining worker; one JSON object a line."""
        broker = self.broker("--lease", "1s", "--retry-backoff", "10ms..5m", "--max-attempts", "3")
        lost = self.worker(broker, "lost", "--queue", "slow", "--slots", "1", "--handler", "sleep")
        self.worker(broker, "fails", "--queue", "bad", "--handler", "fail")
        self.producer(broker, "--queue", "slow", "--no-wait", jobs=["1h"])
        dead = self.producer(broker, "--queue", "bad", "--output", "jsonl", jobs=["x"])
        self.assertEqual(dead.wait(), 1)
        outcome = json.loads(dead.stdout())
        self.assertEqual((outcome["outcome"], outcome["status"], outcome["attempts"]),
                         ("dead", "UNAVAILABLE", 3))
        wait_for(lambda: broker.queue("slow")["leased"] == 1, "a running job")
        lost.kill()
        wait_for(lambda: broker.event("leases_expired", jobs=1), "the expired lease")
        drains = self.worker(broker, "drains", "--queue", "slow", "--slots", "1", "--handler",
                             "sleep")
        wait_for(lambda: broker.queue("slow")["leased"] == 1, "the job to run again")
        drains.terminate()
        wait_for(lambda: broker.event("worker_draining", leased=1), "a draining worker")
        drains.terminate()
        self.assertEqual(drains.wait(), 130)
        wait_for(lambda: broker.event("queue", queue="slow", waiting=1, gate="no worker"),
                 "the summary of the queue")
        broker.terminate()
        self.assertEqual(broker.wait(), 0)

        events = broker.events()
        for event in events:
            self.assertEqual(list(event)[:3], ["time", "level", "event"])
            self.assertRegex(event["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            fields = set(event) - {"time", "level", "event"}
            self.assertEqual(fields, FIELDS.get(event["event"]), event)
        self.assertEqual(set(FIELDS) - {event["event"] for event in events}, set())
        self.assertTrue(broker.event("leases_expired")["worker"].startswith("lost-"))
        self.assertEqual(broker.event("jobs_dead")["error"], "fail: attempt 3 failed")
        self.assertEqual(broker.event("jobs_retried", queue="bad")["attempts"], 1)
        self.assertEqual(broker.event("broker_stopped")["jobs_lost"], 1)

    def test_no_line_for_a_job(self):
        """Neither when all is well nor when every job fails."""
        broker = self.broker()
        good = self.worker(broker, "good", "--queue", "q", "--handler", "square")
        producer = self.producer(broker, "--queue", "q", jobs=range(JOBS))
        self.assertEqual(producer.wait(), 0)
        self.assertLess(len(broker.events()), 50)
        bad = self.worker(broker, "bad", "--queue", "bad", "--handler", "fail")
        producer = self.producer(broker, "--queue", "bad", "--max-attempts", "1",
                                 jobs=range(JOBS // 10))
        self.assertEqual(producer.wait(), 1)
        wait_for(lambda: broker.event("suppressed", queue="bad"), "the count of what is left out")
        self.assertLess(len(broker.events()), 300)
        for quiet in (good, bad):
            self.assertLess(len(quiet.events()), 20)
        self.assertLess(len(producer.stderr().splitlines()), 40)

    def test_pages_and_status_agree(self):
        """/metrics parses; status says the same, as JSON and as a table; the ledger balances."""
        broker = self.broker("--max-attempts", "1")
        worker = self.worker(broker, "w", "--queue", "square", "--queue", "fail", "--slots", "3")
        self.assertEqual(self.producer(broker, "--queue", "square", jobs=range(10)).wait(), 0)
        self.assertEqual(self.producer(broker, "--queue", "fail", jobs=range(4)).wait(), 1)
        self.assertEqual(self.producer(broker, "--queue", "alone", "--no-wait",
                                       jobs=range(3)).wait(), 0)
        cancelled = self.producer(broker, "--queue", "alone", jobs=range(2))
        wait_for(lambda: broker.queue("alone")["accepted"] == 5, "accepted jobs")
        cancelled.terminate()
        self.assertEqual(cancelled.wait(), 130)
        self.assertEqual(self.get(broker, "/healthz"), "ok\n")

        self.assert_ledger_balances(broker)
        queues = {queue["name"]: queue for queue in broker.status()["queues"]}
        self.assertEqual({name: [queue[part] for part in LEDGER] for name, queue in queues.items()},
                         {"square": [0, 0, 10, 0, 0, 0], "fail": [0, 0, 0, 4, 0, 0],
                          "alone": [3, 0, 0, 0, 2, 0]})
        self.assertEqual(queues["alone"]["gate"], "no worker")

        samples = {}
        for line in self.get(broker, "/metrics").splitlines():
            if line.startswith("#"):
                self.assertRegex(line, r"^# (HELP|TYPE) whippletree_[a-z_]+ ")
                continue
            match = SAMPLE.fullmatch(line)
            self.assertIsNotNone(match, line)
            float(match[3])
            samples[line.rpartition(" ")[0]] = float(match[3])
        text = " ".join(samples)
        for name in ("square", "fail", "alone"):
            self.assertIn(f'queue="{name}"', text)
        values = {name: sorted(value for key, value in samples.items()
                               if f'queue="{name}"' in key and "completed" in key)
                  for name in ("square", "alone")}
        self.assertEqual(values, {"square": [10], "alone": [0]})

        table = subprocess.run([BIN / "whippletree-broker", "status", "--broker", broker.door],
                               capture_output=True, text=True, timeout=PATIENCE, check=True,
                               env=environment()).stdout
        rows = {}
        for line in table.splitlines():
            if line.strip():
                rows.setdefault(line.split()[0], line.split())
        self.assertEqual(rows["square"][1:8], ["10", "0", "0", "10", "0", "0", "0"])
        self.assertEqual(rows["fail"][1:8], ["4", "0", "0", "0", "4", "0", "0"])
        self.assertEqual(rows["alone"][1:8], ["5", "3", "0", "0", "0", "2", "0"])
        self.assertEqual(rows[broker.status()["workers"][0]["name"]][1:5],
                         ["active", "3", "10", "4"])
        page = self.get(broker, "/")
        self.assertIn("square", page)
        self.assertTrue(worker.running())


if __name__ == "__main__":
    main()
