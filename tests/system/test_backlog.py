"""What is durable and larger than its share of the memory waits on the disk, and comes out as it went in."""

import os
import signal

from harness import SANITIZED, SLOW, SystemTest, main, wait_for

JOBS = 300_000 // SLOW
LIMIT = 64 << 20
# What a queue keeps in memory.
SHARE = LIMIT // 16
LINE_BYTES = 100


class BacklogTest(SystemTest):
    def broker_here(self):
        policy = self.directory / "broker.yaml"
        policy.write_text("queues: {big: {batch: {max_jobs: 1000}}}\n")
        return self.broker("--data-dir", self.directory / "data", "--memory-limit", "64MiB",
                           "--config", policy)

    def write_input(self):
        path = self.directory / "input"
        with open(path, "w") as out:
            for i in range(JOBS):
                out.write(f"{i:09} ".ljust(LINE_BYTES, "x") + "\n")
        self.assertGreater(os.path.getsize(path), 7 * SHARE // SLOW)
        return path

    def check_memory(self, broker):
        if not SANITIZED:  # their own memory would be counted
            self.assertLess(broker.memory_peak_bytes(), 1.5 * LIMIT)

    def test_comes_out_as_it_went_in(self):
        path = self.write_input()
        broker = self.broker_here()
        producer = self.producer(broker, "--queue", "big", "--no-wait", str(path))
        self.assertEqual(producer.wait(), 0)
        queue = broker.queue("big")
        self.assertEqual((queue["accepted"], queue["waiting"]), (JOBS, JOBS))
        self.assertGreater(queue["stored_jobs"], JOBS // 2 if SLOW == 1 else 0)
        self.assertFalse(queue["full"])
        self.check_memory(broker)
        broker.kill()

        broker = self.broker_here()
        queue = broker.queue("big")
        self.assertEqual(queue["waiting"], JOBS)
        self.check_memory(broker)
        got = self.directory / "got"
        # One slot, so that the order of the calls is that of the queue.
        self.worker(broker, "w", "--queue", "big", "--slots", "1", "--exec", "tee", "-a", str(got))
        wait_for(lambda: broker.queue("big")["completed"] == JOBS, "the end of the backlog")
        with open(path) as sent, open(got) as received:
            for number, (a, b) in enumerate(zip(sent, received, strict=True)):
                self.assertEqual(a, b, f"line {number}")
        self.check_memory(broker)
        self.assert_ledger_balances(broker)
        self.assertEqual(broker.counter("jobs_lost"), 0)

    def test_outcomes_that_nobody_reads(self):
        """The jobs go on, whatever they bring, and all of it is told in the end."""
        jobs = 6000 // SLOW
        broker = self.broker_here()
        path = self.directory / "input"
        path.write_text("".join(f"{i:06} ".ljust(20_000, "x") + "\n" for i in range(jobs)))
        producer = self.producer(broker, "--queue", "q", "--name", "slow", "--ordered", str(path))
        wait_for(lambda: broker.queue("q")["accepted"] == jobs, "all jobs to be accepted")
        producer.signal(signal.SIGSTOP)
        self.worker(broker, "w", "--queue", "q", "--handler", "echo")
        wait_for(lambda: broker.queue("q")["completed"] == jobs, "all jobs to end")
        self.assertEqual(broker.counter("producers_stopped"), 0)
        self.assertGreater(broker.counter("outcomes_stored"), jobs // 2 if SLOW == 1 else 0)
        self.check_memory(broker)
        producer.signal(signal.SIGCONT)
        self.assertEqual(producer.wait(), 0)
        with open(path) as sent:
            self.assertEqual(producer.lines(), sent.read().splitlines())
        self.assertEqual(broker.counter("outcomes_lost"), 0)
        self.assert_ledger_balances(broker)


if __name__ == "__main__":
    main()
