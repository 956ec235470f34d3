"""Many small jobs: every result is there once and right, whoever is killed in between."""

import json

from harness import SystemTest, main, wait_for

JOBS = 100_000


class ManyTest(SystemTest):
    def workers(self, broker, queue, handler):
        for name in ("a", "b"):
            self.worker(broker, name, "--queue", queue, "--slots", "2", "--handler", handler)

    def test_sums_are_exact(self):
        broker = self.broker()
        self.workers(broker, "q", "square")
        producer = self.producer(broker, "--queue", "q", jobs=range(JOBS))
        self.assertEqual(producer.wait(), 0)
        results = [int(line) for line in producer.lines()]
        self.assertEqual(len(results), JOBS)
        self.assertEqual(sum(results), sum(n * n for n in range(JOBS)))
        self.assertEqual(len(set(results)), JOBS)
        queue = broker.queue("q")
        self.assertEqual((queue["accepted"], queue["completed"], queue["retries"]),
                         (JOBS, JOBS, 0))
        self.assert_ledger_balances(broker)

    def test_named_producer_goes_on_where_it_was_killed(self):
        """Its input is not run twice, and between its lives no outcome is lost."""
        broker = self.broker()
        self.workers(broker, "q", "square")
        path = self.directory / "input"
        path.write_text("".join(f"{n}\n" for n in range(JOBS)))
        lives = []
        for wanted in (JOBS // 10, JOBS // 2, None):
            producer = self.producer(broker, "--queue", "q", "--name", "phoenix", "--output",
                                     "jsonl", str(path))
            lives.append(producer)
            if wanted is None:
                break
            wait_for(lambda wanted=wanted: broker.queue("q")["completed"] >= wanted, "outcomes")
            producer.kill()
        self.assertEqual(lives[-1].wait(), 0)

        results = {}
        for producer in lives:
            whole = producer.stdout().split("\n")[:-1]  # the last line may be cut off
            for outcome in map(json.loads, whole):
                self.assertEqual(outcome["outcome"], "completed")
                results[outcome["number"]] = int(outcome["result"])
        missing = [n for n in range(1, JOBS + 1) if n not in results]
        self.assertEqual(len(missing), 0, missing[:10])
        self.assertTrue(all(result == (n - 1) ** 2 for n, result in results.items()))
        queue = broker.queue("q")
        self.assertEqual((queue["accepted"], queue["completed"]), (JOBS, JOBS))

    def test_the_same_name_with_nothing_new(self):
        """Run again after its end it submits nothing and has nothing to wait for."""
        broker = self.broker()
        self.workers(broker, "q", "square")
        for results in ([str(n * n) for n in range(10)], []):
            producer = self.producer(broker, "--queue", "q", "--name", "n", "--ordered",
                                     jobs=range(10))
            self.assertEqual(producer.wait(), 0)
            self.assertEqual(producer.lines(), results)
        self.assertIn("skipping the first 10 jobs of the input", producer.stderr())
        longer = self.producer(broker, "--queue", "q", "--name", "n", jobs=range(12))
        self.assertEqual(longer.wait(), 0)
        self.assertEqual(sorted(longer.lines()), ["100", "121"])
        self.assertEqual(broker.queue("q")["accepted"], 12)


if __name__ == "__main__":
    main()
