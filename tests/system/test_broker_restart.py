"""A broker that is killed: nobody else has to be restarted, and nobody is left in the dark."""

import json

from harness import SystemTest, free_ports, main, wait_for

CAPACITY = 100


class BrokerRestartTest(SystemTest):
    def broker_on(self, port, *args):
        """On fixed ports, which the one after it can have again. None: they are taken by now."""
        try:
            return self.broker("--queue-capacity", CAPACITY, "--lease", "2s", *args, port=port)
        except AssertionError as error:
            if "is not ready" in str(error) and "in use" in str(error):
                return None
            raise

    def first_broker(self):
        while True:
            port = free_ports(3)
            if broker := self.broker_on(port):
                return port, broker

    def second_broker(self, port):
        return wait_for(lambda: self.broker_on(port), "the ports of the killed broker")

    def test_killed_and_started_again(self):
        """Accepted jobs end as unknown, the others are sent again; the worker comes back by itself."""
        port, broker = self.first_broker()
        program = 'read n; : >"started-$n"; until [ -e go ]; do sleep 0.05; done; echo $((n*n))'
        worker = self.worker(broker, "w", "--queue", "q", "--slots", "2", "--exec", "sh", "-c",
                             program)
        producer = self.producer(broker, "--queue", "q", "--output", "jsonl", jobs=range(1, 301))
        wait_for(lambda: broker.queue("q")["full"] and
                 len(list(self.directory.glob("started-*"))) == 2, "a full queue and running jobs")
        self.assertEqual(broker.queue("q")["accepted"], CAPACITY)
        broker.kill()
        (self.directory / "go").touch()

        again = self.second_broker(port)
        self.assertEqual(producer.wait(), 1)
        outcomes = [json.loads(line) for line in producer.lines()]
        unknown = [o for o in outcomes if o["outcome"] == "unknown"]
        completed = {o["number"]: o["result"] for o in outcomes if o["outcome"] == "completed"}
        self.assertEqual(sorted(o["number"] for o in unknown), list(range(1, CAPACITY + 1)))
        self.assertEqual({(o["status"], o["error"]) for o in unknown},
                         {("UNAVAILABLE", "outcome unknown: the broker restarted, and the queue was in "
                           "memory (see whippletree-broker serve --data-dir)")})
        self.assertEqual(completed, {n: f"{n * n}\n" for n in range(CAPACITY + 1, 301)})
        self.assertEqual(len(outcomes), 300)
        self.assertIn("job 1 (1-1) unknown: UNAVAILABLE: outcome unknown: the broker restarted",
                      producer.stderr())
        queue = again.queue("q")
        self.assertEqual((queue["accepted"], queue["completed"]), (200, 200))
        self.assert_ledger_balances(again)

        later = self.producer(again, "--queue", "q", "--ordered", jobs=range(50))
        self.assertEqual(later.wait(), 0)
        self.assertEqual(later.lines(), [str(n * n) for n in range(50)])
        self.assertTrue(worker.running())
        self.assertEqual(list(again.workers()), ["w"])

    def test_away_for_longer_than_a_lease(self):
        """Idle peers wait for it; nothing is lost where nothing was accepted."""
        port, broker = self.first_broker()
        self.worker(broker, "w", "--queue", "q", "--handler", "square")
        producer = self.start("open", ["sh", "-c", f'(echo 1; until [ -e more ]; do sleep 0.05; done; '
                              f'echo 2) | "$0" submit --queue q --broker {broker.door}',
                              self.program("whippletree-producer")])
        wait_for(lambda: producer.lines() == ["1"], "the first result")
        broker.kill()
        wait_for(lambda: "connection lost" in producer.stderr(), "the producer to notice")
        (self.directory / "more").touch()
        self.second_broker(port)
        self.assertEqual(producer.wait(), 0)
        self.assertEqual(producer.lines(), ["1", "4"])


if __name__ == "__main__":
    main()
