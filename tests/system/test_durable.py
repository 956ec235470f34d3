"""Durable queues: a broker that is killed and started again goes on, and everybody with it."""

import json
import subprocess

from harness import SLOW, SystemTest, environment, free_ports, main, wait_for

JOBS = 20_000 // SLOW
KILLS = 6


class DurableTest(SystemTest):
    def broker_on(self, port, *args):
        """On fixed ports, which the one after it can have again. None: they are taken by now."""
        try:
            return self.broker("--data-dir", self.directory / "data", *args, port=port)
        except AssertionError as error:
            if "is not ready" in str(error) and "another port" in str(error):
                return None
            raise

    def first_broker(self, *args):
        while True:
            port = free_ports(3)
            if broker := self.broker_on(port, *args):
                return port, broker

    def next_broker(self, port, *args):
        return wait_for(lambda: self.broker_on(port, *args), "the ports of the killed broker")

    def check_store(self):
        return subprocess.run([self.program("whippletree-broker"), "store", "check",
                               str(self.directory / "data")], capture_output=True, check=False,
                              text=True, env=environment())

    def test_killed_again_and_again(self):
        """Every job ends once; nobody but the broker has to be started again."""
        port, broker = self.first_broker()
        self.worker(broker, "a", "--queue", "sleep", "--slots", "4")
        self.worker(broker, "b", "--queue", "sleep", "--slots", "4")
        producer = self.producer(broker, "--queue", "sleep", "--output", "jsonl",
                                 jobs=["1ms"] * JOBS)
        for kill in range(1, KILLS + 1):
            wait_for(lambda: len(producer.lines()) > kill * JOBS // (KILLS + 2),
                     f"outcomes before kill {kill}")
            broker.kill()
            broker = self.next_broker(port)
            self.assert_ledger_balances(broker)
            if not producer.running():  # on a machine that was too busy to kill it in time
                break
        self.assertEqual(producer.wait(), 0)
        ledger = subprocess.run([self.program("whippletree-broker"), "ledger", "--broker",
                                 broker.door], capture_output=True, check=False, text=True,
                                env=environment())
        self.assertEqual(ledger.returncode, 0, ledger.stdout + ledger.stderr)
        self.assertRegex(ledger.stdout, rf"(?m)^sleep +{JOBS} +0 +0 +{JOBS} +0 +0 +0  ok$")
        outcomes = [json.loads(line) for line in producer.lines()]
        self.assertEqual(sorted(o["number"] for o in outcomes), list(range(1, JOBS + 1)))
        self.assertEqual({o["outcome"] for o in outcomes}, {"completed"})
        queue = broker.queue("sleep")
        self.assertEqual((queue["accepted"], queue["completed"]), (JOBS, JOBS))
        broker.terminate()
        self.assertEqual(broker.wait(), 0)
        checked = self.check_store()
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        self.assertIn("jobs in runs: 0", checked.stdout)

    def test_a_running_job_is_not_disturbed(self):
        """It is started once, and its result arrives although its broker died meanwhile."""
        port, broker = self.first_broker()
        program = 'read n; echo >>"started-$n"; until [ -e go ]; do sleep 0.05; done; echo $((n*n))'
        self.worker(broker, "w", "--queue", "q", "--slots", "2", "--exec", "sh", "-c", program)
        producer = self.producer(broker, "--queue", "q", "--ordered", jobs=range(1, 7))
        wait_for(lambda: len(list(self.directory.glob("started-*"))) == 2, "running jobs")
        broker.kill()
        again = self.next_broker(port)
        (self.directory / "go").touch()
        self.assertEqual(producer.wait(), 0)
        self.assertEqual(producer.lines(), [str(n * n) for n in range(1, 7)])
        for n in range(1, 7):
            self.assertEqual((self.directory / f"started-{n}").read_text(), "\n")
        self.assert_ledger_balances(again)

    def test_jobs_wait_for_a_broker_without_anybody(self):
        """--no-wait jobs are there after a stop and a start, and a queue may be in memory."""
        config = self.directory / "broker.yaml"
        config.write_text("queues: {fleeting: {durable: false}}\n")
        port, broker = self.first_broker("--config", config)
        for queue in ("kept", "fleeting"):
            self.assertEqual(self.producer(broker, "--queue", queue, "--no-wait",
                                           jobs=range(10)).wait(), 0)
        broker.terminate()
        self.assertEqual(broker.wait(), 0)
        self.assertEqual(broker.event("broker_stopped")["jobs_lost"], 10)
        again = self.next_broker(port, "--config", config)
        self.assertEqual(again.queue("kept")["waiting"], 10)
        self.assertEqual(again.queue("fleeting")["waiting"], 0)
        self.assertEqual(again.event("restored")["jobs"], 10)

    def test_directories_that_cannot_be_used(self):
        """Each is refused with what to do."""
        _, broker = self.first_broker()
        data = str(self.directory / "data")
        self.assertIn("rocksdb", broker.event("broker_started")["store"])

        def refused(*args):
            done = subprocess.run([self.program("whippletree-broker"), "serve", "--port", "0",
                                   "--http-port", "0", *args], capture_output=True, text=True,
                                  check=False, env=environment(), timeout=60 * SLOW)
            self.assertNotEqual(done.returncode, 0)
            return done.stderr

        self.assertIn("another broker", refused("--data-dir", data))
        (self.directory / "file").touch()
        self.assertIn("not a directory", refused("--data-dir", str(self.directory / "file")))
        config = self.directory / "durable.yaml"
        config.write_text("queues: {kept: {durable: true}}\n")
        self.assertIn("add --data-dir DIR", refused("--config", str(config)))
        self.assertNotEqual(self.check_store().returncode, 0)  # while it is in use


if __name__ == "__main__":
    main()
