"""Signals: a worker finishes what it runs and leaves; a producer takes back what it submitted."""

import json
import os
import signal

from harness import SystemTest, group_members, main, wait_for

# Runs until the test lets it, or is killed.
GATED = 'read n; : >"$PWD/started-$n"; until [ -e "$PWD/go" ]; do sleep 0.05; done; echo $((n*n))'


class DrainTest(SystemTest):
    def started(self):
        return len(list(self.directory.glob("started-*")))

    def go(self):
        (self.directory / "go").touch()

    def gated_worker(self, broker, name, *args):
        return self.worker(broker, name, "--queue", "q", *args, "--exec", "sh", "-c", GATED)

    def outcomes(self, producer):
        return [json.loads(line) for line in producer.lines()]

    def test_first_signal_drains(self):
        """Running jobs are finished and confirmed, nothing is retried, others do the rest."""
        broker = self.broker()
        first = self.gated_worker(broker, "first", "--slots", "3")
        producer = self.producer(broker, "--queue", "q", "--output", "jsonl", jobs=range(1, 13))
        wait_for(lambda: self.started() == 3, "three running jobs")
        first.signal(signal.SIGTERM)
        wait_for(lambda: broker.workers()["first"]["state"] == "draining", "the worker to drain")
        second = self.gated_worker(broker, "second", "--slots", "2")
        wait_for(lambda: self.started() == 5, "two running jobs in the other worker")
        self.assertTrue(first.running())
        self.go()
        self.assertEqual(first.wait(), 0)
        self.assertEqual(producer.wait(), 0)
        outcomes = self.outcomes(producer)
        self.assertEqual({o["number"]: o["result"] for o in outcomes},
                         {n: f"{n * n}\n" for n in range(1, 13)})
        self.assertEqual({o["attempts"] for o in outcomes}, {1})
        by_first = [o for o in outcomes if o["worker"].startswith("first")]
        self.assertEqual(len(by_first), 3)
        self.assertEqual(broker.queue("q")["retries"], 0)
        self.assertIsNone(broker.event("leases_expired"))
        self.assertTrue(first.event("worker_ends", reason="drained"))
        left = broker.event("worker_left", reason="said goodbye")
        self.assertEqual(left["leased"], 0)
        self.assertTrue(second.running())

    def test_a_closed_terminal_ends_a_producer_unless_it_is_ignored(self):
        """SIGHUP is like SIGTERM; under nohup it is nothing."""
        broker = self.broker()
        submit = [self.program("whippletree-producer"), "submit", "-q", "q", "--broker", broker.door]
        jobs = 'echo x | "$@"'
        plain = self.start("plain", ["sh", "-c", jobs, "sh", *submit])
        nohup = self.start("nohup", ["sh", "-c", f'trap "" HUP; {jobs}', "sh", *submit])
        wait_for(lambda: broker.queue("q")["waiting"] == 2, "both jobs")
        for process in (plain, nohup):
            for member in group_members(process.pid):
                if member != process.pid:
                    os.kill(member, signal.SIGHUP)
        self.assertEqual(plain.wait(), 130)
        self.assertIn("cancelling the jobs that have no outcome yet", plain.stderr())
        wait_for(lambda: broker.queue("q")["cancelled"] == 1, "the cancelled job")
        self.worker(broker, "w", "--queue", "q", "--handler", "echo")
        self.assertEqual(nohup.wait(), 0)
        self.assertEqual(nohup.lines(), ["x"])

    def test_a_worker_says_at_once_that_its_broker_is_gone(self):
        """Not after a lease of an hour."""
        broker = self.broker("--lease", "1h")
        worker = self.worker(broker, "w", "--queue", "q", "--handler", "echo")
        wait_for(lambda: broker.workers(), "the worker")
        broker.kill()
        wait_for(lambda: worker.event("connection", message="the broker has closed the connection; "
                                      "trying again"), "its word")

    def test_second_signal_hands_back(self):
        """Running programs are killed; the jobs go to another worker at once, not after the lease."""
        broker = self.broker("--lease", "1h")
        first = self.gated_worker(broker, "first", "--slots", "3")
        producer = self.producer(broker, "--queue", "q", "--output", "jsonl", jobs=range(1, 5))
        wait_for(lambda: self.started() == 3, "three running jobs")
        first.signal(signal.SIGTERM)
        wait_for(lambda: broker.workers()["first"]["state"] == "draining", "the worker to drain")
        first.signal(signal.SIGTERM)
        self.assertEqual(first.wait(), 130)
        self.go()
        self.gated_worker(broker, "second", "--slots", "3")
        self.assertEqual(producer.wait(), 0)
        self.assertEqual(sorted(o["number"] for o in self.outcomes(producer)), [1, 2, 3, 4])
        self.assertTrue(all(o["worker"].startswith("second") for o in self.outcomes(producer)))
        self.assertTrue(first.event("worker_ends", reason="stopped"))
        self.assertIsNone(broker.event("leases_expired"))
        self.assert_ledger_balances(broker)

    def test_idle_worker_leaves_at_once(self):
        broker = self.broker()
        worker = self.worker(broker, "w", "--queue", "q", "--handler", "square")
        wait_for(lambda: broker.workers(), "the worker")
        worker.signal(signal.SIGINT)
        self.assertEqual(worker.wait(), 0)
        wait_for(lambda: not broker.workers(), "the worker to be gone")

    def test_worker_that_never_met_a_broker_leaves_too(self):
        broker = self.broker()
        broker.kill()
        worker = self.worker(broker, "w", "--queue", "q", "--handler", "square")
        wait_for(lambda: worker.event("worker_starts"), "its first line")
        wait_for(lambda: worker.event("connection"), "a word about the broker that is not there")
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0)

    def test_interrupted_producer_cancels(self):
        """What waits and what runs is cancelled; the outcome of what was done is still printed."""
        broker = self.broker()
        self.worker(broker, "w", "--queue", "q", "--slots", "2", "--exec", "sh", "-c",
                    'read n; [ "$n" -le 2 ] || { : >"$PWD/started-$n"; sleep 1000; }; echo "$n"')
        producer = self.producer(broker, "--queue", "q", "--output", "jsonl", jobs=range(1, 101))
        wait_for(lambda: self.started() == 2, "two endless jobs")
        producer.signal(signal.SIGINT)
        self.assertEqual(producer.wait(), 130)
        outcomes = self.outcomes(producer)
        self.assertEqual({o["number"] for o in outcomes if o["outcome"] == "completed"}, {1, 2})
        self.assertEqual(sum(o["outcome"] == "cancelled" for o in outcomes), 98)
        self.assertIn("cancelling the jobs that have no outcome yet", producer.stderr())
        queue = broker.queue("q")
        self.assertEqual((queue["completed"], queue["cancelled"]), (2, 98))
        self.assert_ledger_balances(broker)

    def test_second_interrupt_leaves_at_once(self):
        """Even with a broker that does not answer."""
        broker = self.broker()
        producer = self.producer(broker, "--queue", "q", jobs=range(10))
        wait_for(lambda: broker.queue("q")["accepted"] == 10, "accepted jobs")
        broker.signal(signal.SIGSTOP)
        producer.signal(signal.SIGINT)
        wait_for(lambda: "cancelling" in producer.stderr(), "the producer to hear of it")
        producer.signal(signal.SIGINT)
        self.assertEqual(producer.wait(), 130)
        broker.signal(signal.SIGCONT)

    def test_interrupted_producer_does_not_wait_for_a_broker_that_is_gone(self):
        """It says what is unknown, and ends by itself."""
        broker = self.broker()
        producer = self.producer(broker, "--queue", "q", jobs=range(10))
        wait_for(lambda: broker.queue("q")["accepted"] == 10, "accepted jobs")
        broker.kill()
        producer.signal(signal.SIGTERM)
        self.assertEqual(producer.wait(), 130)
        self.assertIn("the broker does not answer: what becomes of 10 jobs is unknown",
                      producer.stderr())

    def test_interrupted_producer_of_a_name_cancels_nothing(self):
        """It can be started again, so its jobs go on."""
        broker = self.broker()
        producer = self.producer(broker, "--queue", "q", "--name", "n", jobs=range(10))
        wait_for(lambda: broker.queue("q")["accepted"] == 10, "accepted jobs")
        producer.signal(signal.SIGTERM)
        self.assertEqual(producer.wait(), 130)
        self.assertIn("interrupted: 10 jobs were accepted and go on, 0 were not", producer.stderr())
        self.assertEqual(broker.queue("q")["waiting"], 10)

    def test_broker_ends_by_signal(self):
        broker = self.broker()
        self.producer(broker, "--queue", "q", "--no-wait", jobs=range(3)).wait()
        broker.signal(signal.SIGTERM)
        self.assertEqual(broker.wait(), 0)
        self.assertEqual(broker.event("broker_stopped")["jobs_lost"], 3)


if __name__ == "__main__":
    main()
