"""Producers wait when a queue is full: nothing is lost, memory stays bounded, other queues go on."""

import os
import time

from harness import SANITIZED, SystemTest, main, wait_for

MEMORY_LIMIT_BYTES = 128 << 20
QUEUE_BYTES = MEMORY_LIMIT_BYTES // 8


class BackpressureTest(SystemTest):
    def assert_memory_is_bounded(self, broker):
        self.assertLess(broker.status()["memory_used_bytes"], MEMORY_LIMIT_BYTES)
        if not SANITIZED:
            self.assertLess(broker.memory_peak_bytes(), MEMORY_LIMIT_BYTES)

    def assert_other_queues_go_on(self, broker):
        self.worker(broker, "other", "--queue", "other", "--handler", "square")
        producer = self.producer(broker, "--queue", "other", "--ordered", jobs=range(1000))
        self.assertEqual(producer.wait(), 0)
        self.assertEqual(producer.lines(), [str(n * n) for n in range(1000)])

    def test_ten_times_the_bytes(self):
        """Two producers with ten times what the queue takes, in payloads of 1 to 8 KiB."""
        broker = self.broker("--memory-limit", "128MiB")
        sizes = [1 << 10, 2 << 10, 4 << 10, 8 << 10]
        line = {size: "x" * (size - 9) for size in sizes}
        jobs = 5 * QUEUE_BYTES // (sum(sizes) // len(sizes))
        producers = []
        for number in range(2):
            path = self.directory / f"input-{number}"
            with open(path, "w") as out:
                for i in range(jobs):
                    out.write(f"{number}:{i:06}:{line[sizes[i % len(sizes)]]}\n")
            producers.append(self.producer(broker, "--queue", "big", "--ordered", str(path)))

        queue = wait_for(lambda: broker.queue("big")["full"] and broker.queue("big"), "a full queue")
        self.assert_other_queues_go_on(broker)
        self.assertTrue(all(producer.running() for producer in producers))
        queue = broker.queue("big")
        self.assertGreater(queue["waiting_bytes"], QUEUE_BYTES // 2)
        self.assertLessEqual(queue["waiting_bytes"], QUEUE_BYTES)
        self.assertEqual(queue["waiting"], queue["accepted"])
        self.assert_memory_is_bounded(broker)

        self.worker(broker, "late", "--queue", "big", "--handler", "echo")
        for number, producer in enumerate(producers):
            self.assertEqual(producer.wait(), 0)
            written = os.path.getsize(self.directory / f"input-{number}")
            with open(self.directory / f"input-{number}") as sent, open(producer.out) as got:
                self.assertTrue(all(a == b for a, b in zip(sent, got, strict=True)))
            self.assertEqual(os.path.getsize(producer.out), written)
        self.assert_memory_is_bounded(broker)
        self.assert_ledger_balances(broker)
        self.assertEqual(broker.queue("big")["completed"], 2 * jobs)

    def test_several_full_queues(self):
        """The whole budget in use, then worked off by several workers at once."""
        broker = self.broker("--memory-limit", "128MiB")
        path = self.directory / "input"
        jobs = 3 * QUEUE_BYTES // 1000
        path.write_text("".join(f"{i:0999}\n" for i in range(jobs)))
        queues = ["a", "b", "c", "d"]
        producers = [self.producer(broker, "--queue", queue, "--ordered", str(path))
                     for queue in queues]
        for queue in queues:
            wait_for(lambda queue=queue: broker.queue(queue)["full"], "full queues")
        for queue in queues:
            self.worker(broker, "w-" + queue, "--queue", queue, "--handler", "echo")
        for producer in producers:
            self.assertEqual(producer.wait(), 0)
            self.assertEqual(producer.out.read_bytes(), path.read_bytes())
        self.assert_memory_is_bounded(broker)
        self.assert_ledger_balances(broker)

    def test_ten_times_the_jobs(self):
        """The same by number of jobs, which is never exceeded; --no-wait waits to be accepted."""
        broker = self.broker("--queue-capacity", "500")
        producers = [self.producer(broker, "--queue", "many", "--no-wait", jobs=range(2500))
                     for _ in range(2)]
        wait_for(lambda: broker.queue("many")["full"], "a full queue")
        self.assert_other_queues_go_on(broker)
        queue = broker.queue("many")
        self.assertEqual((queue["accepted"], queue["waiting"]), (500, 500))
        self.assertTrue(all(producer.running() for producer in producers))

        self.worker(broker, "late", "--queue", "many", "--handler", "square")
        for producer in producers:
            self.assertEqual(producer.wait(), 0)
        wait_for(lambda: broker.queue("many")["completed"] == 5000, "all to be done")
        self.assert_ledger_balances(broker)

    def test_outcomes_that_nobody_takes(self):
        """A producer whose output nobody reads holds up its own jobs: neither those of others in its
        queue, nor other queues, nor does it fill the broker's memory."""
        broker = self.broker("--memory-limit", "128MiB", "--lease", "1s")
        path = self.directory / "input"
        jobs = 6 * QUEUE_BYTES // 8192  # three times what the producer itself holds
        path.write_text(("y" * 8191 + "\n") * jobs)
        self.worker(broker, "w", "--queue", "big", "--handler", "echo")
        reader, writer = os.pipe()
        try:
            argv = ["sh", "-c", f'exec "$0" submit --broker {broker.door} --queue big {path} >&{writer}',
                    self.program("whippletree-producer")]
            producer = self.start("unread", argv, pass_fds=[writer])
            wait_for(lambda: broker.event("producer_stopped"), "it to be stopped")
            time.sleep(3)  # several leases: silent it must not be
            self.assertIsNone(broker.event("producer_left", reason="silent for too long"))
            self.assert_other_queues_go_on(broker)
            beside = self.producer(broker, "--queue", "big", "--ordered", jobs=range(1000))
            self.assertEqual(beside.wait(), 0)
            self.assertTrue(producer.running())
            self.assert_memory_is_bounded(broker)
            os.close(writer)
            writer = -1
            lines = 0
            with open(reader) as results:
                reader = -1
                for line in results:
                    self.assertEqual(len(line), 8192)
                    lines += 1
            self.assertEqual(lines, jobs)
            self.assertEqual(producer.wait(), 0)
        finally:
            for fd in (reader, writer):
                if fd >= 0:
                    os.close(fd)


if __name__ == "__main__":
    main()
