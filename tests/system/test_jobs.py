"""Job names, dead jobs and single jobs: real processes, a durable broker that is killed meanwhile."""

import json
import subprocess

from harness import PATIENCE, SystemTest, environment, free_ports, main, wait_for


class JobsTest(SystemTest):
    def start_broker(self, port=None):
        """The first one, or the next one on the ports of one that was killed."""
        def one():
            try:
                at = port or free_ports(3)
                self.port = at
                return self.broker("--data-dir", self.directory / "data", port=at)
            except AssertionError as error:
                if "is not ready" in str(error) and "another port" in str(error):
                    return None
                raise
        return wait_for(one, "a broker with ports of its own")

    def ask(self, broker, *args, code=0):
        """What `whippletree-broker ARGS --json` prints, as objects; its errors if it is to fail."""
        done = subprocess.run([self.program("whippletree-broker"), *map(str, args), "--broker",
                               broker.door, "--json"], capture_output=True, check=False, text=True,
                              timeout=2 * PATIENCE, env=environment())
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        if code != 0:
            return done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_a_named_job_is_run_once(self):
        """By two producers, twice in one input, and over a crash of the broker."""
        broker = self.start_broker()
        names = [f"name {n % 50}\tpayload {n}" for n in range(100)]
        first = self.producer(broker, "--queue", "q", "--job-names", "--no-wait", jobs=names)
        self.assertEqual(first.wait(), 0)
        self.assertEqual(broker.queue("q")["accepted"], 50)
        self.assertEqual(broker.queue("q")["job_names"], 50)
        broker.kill()
        broker = self.start_broker(self.port)
        self.worker(broker, "w", "--queue", "q", "--handler", "echo")
        again = self.producer(broker, "--queue", "q", "--job-names", "--output", "jsonl",
                              "--ordered", jobs=names[:10] + ["fresh\tpayload"])
        self.assertEqual(again.wait(), 0)
        outcomes = [json.loads(line) for line in again.lines()]
        self.assertEqual([o["outcome"] for o in outcomes], ["repeated"] * 10 + ["completed"])
        self.assertEqual(outcomes[0]["status"], "ALREADY_EXISTS")
        self.assertRegex(outcomes[0]["error"], r'^job \d+-1 has the name "name 0" already$')
        self.assertIn("1 completed, 10 repeated", again.stderr())
        wait_for(lambda: broker.queue("q")["completed"] == 51, "the jobs of the first producer")
        self.assertEqual(broker.queue("q")["accepted"], 51)
        self.assert_ledger_balances(broker)

    def test_a_named_producer_that_runs_again_tells_of_its_dead_jobs(self):
        """Its first run failed, and said so; the second one has nothing to do and fails too."""
        broker = self.start_broker()
        self.worker(broker, "w", "--queue", "q", "--exec", "sh")
        for start in (1, 2):
            producer = self.producer(broker, "--queue", "q", "--name", "n", "--max-attempts", "1",
                                     jobs=["echo good", "exit 1"])
            self.assertEqual(producer.wait(), 1)
            if start == 1:
                broker.kill()
                broker = self.start_broker(self.port)
        self.assertIn('whippletree-producer: not all jobs that "n" has submitted before have '
                      "completed: 1 dead; see whippletree-broker dead list\n", producer.stderr())

    def test_a_named_producer_refuses_another_input(self):
        """Else what differs in the part that it skips would never be run."""
        broker = self.start_broker()
        self.worker(broker, "w", "--queue", "q", "--handler", "echo")
        def run(jobs):
            return self.producer(broker, "--queue", "q", "--name", "n", jobs=jobs)

        self.assertEqual(run(["a", "b", "c"]).wait(), 0)
        other = run(["a", "B", "c", "d"])
        self.assertEqual(other.wait(), 2)
        self.assertEqual(other.stderr().splitlines()[-1], "whippletree-producer: this is not the "
                         'input that "n" has submitted before: they differ within the first 3 '
                         "jobs; give the same input again, or another --name to submit all of it")
        shorter = run(["a", "b"])
        self.assertEqual(shorter.wait(), 2)
        self.assertEqual(shorter.stderr().splitlines()[-1], "whippletree-producer: the input has 1 "
                         'job fewer than "n" has submitted before; give the same input again, or '
                         "another --name to submit all of it")
        broker.kill()
        broker = self.start_broker(self.port)
        self.assertEqual(run(["A", "b", "c"]).wait(), 2)
        longer = run(["a", "b", "c", "d"])
        self.assertEqual(longer.wait(), 0)
        self.assertEqual(longer.lines(), ["d"])

    def test_dead_jobs_are_kept_requeued_and_dropped(self):
        """With their payload and history, over a crash; the ledger adds up."""
        broker = self.start_broker()
        program = 'read n; [ -e mended ] && echo "$n" && exit; exit 1'
        worker = self.worker(broker, "w", "--queue", "q", "--exec", "sh", "-c", program)
        producer = self.producer(broker, "--queue", "q", "--max-attempts", "1",
                                 jobs=["one", "two", "three"])
        self.assertEqual(producer.wait(), 1)
        worker.terminate()
        worker.wait()
        broker.kill()
        broker = self.start_broker(self.port)
        dead = self.ask(broker, "dead", "list", "--queue", "q")
        self.assertEqual(len(dead), 3)
        ids = [job["id"] for job in dead]
        (one,) = self.ask(broker, "dead", "show", ids[0])
        self.assertIn(one["payload"].strip(), ("one", "two", "three"))
        self.assertEqual(len(one["history"]), 1)
        self.assertEqual(one["attempts"], 1)
        (requeued,) = self.ask(broker, "dead", "requeue", ids[0])
        (job,) = self.ask(broker, "jobs", "show", requeued["requeued_as"])
        self.assertEqual((job["state"], job["attempts"]), ("waiting", 0))
        self.assertEqual(job["requeue_of"], ids[0])
        self.assertIn("is kept", self.ask(broker, "dead", "show", ids[0], code=4))
        (self.directory / "mended").touch()
        self.worker(broker, "w2", "--queue", "q", "--exec", "sh", "-c", program)
        wait_for(lambda: broker.queue("q")["completed"] == 1, "the requeued job")
        self.assertEqual(len(self.ask(broker, "dead", "drop", "--queue", "q")), 2)
        self.assertEqual(self.ask(broker, "dead", "list"), [])
        queue = broker.queue("q")
        self.assertEqual((queue["accepted"], queue["dead"], queue["dead_kept"]), (4, 3, 0))
        self.assert_ledger_balances(broker)

    def test_single_jobs_are_shown_and_cancelled(self):
        broker = self.start_broker()
        producer = self.producer(broker, "--queue", "q", "--output", "jsonl", jobs=range(3))
        wait_for(lambda: broker.queue("q")["waiting"] == 3, "waiting jobs")
        (line,) = self.ask(broker, "jobs", "list", "--queue", "q")
        self.assertEqual((line["jobs"], line["state"]), (3, "waiting"))
        stream = line["id"].partition("-")[0]
        (job,) = self.ask(broker, "jobs", "cancel", f"{stream}-2")
        self.assertEqual(job["state"], "cancelled")
        self.assertIn("has ended", self.ask(broker, "jobs", "cancel", f"{stream}-2", code=4))
        self.assertIn("knows no job", self.ask(broker, "jobs", "show", "999-1", code=4))
        self.assertIn("such as 3-17", self.ask(broker, "jobs", "show", "x", code=2))
        self.worker(broker, "w", "--queue", "q", "--handler", "echo")
        self.assertEqual(producer.wait(), 1)
        kinds = {o["number"]: o["outcome"] for o in map(json.loads, producer.lines())}
        self.assertEqual(kinds, {1: "completed", 2: "cancelled", 3: "completed"})
        self.assert_ledger_balances(broker)


if __name__ == "__main__":
    main()
