"""Each pattern with real processes: its results are those of its golden file."""

import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys

from harness import PATIENCE, ROOT, SLOW, SystemTest, environment, main, wait_for

GOLDEN = ROOT / "tests/golden"
TEXTS = sorted((ROOT / "demo/texts").glob("*.txt"))
PATTERNS = ["producer-consumer", "worker-pool", "batch", "fan", "circuit-breaker", "map-reduce",
            "errors", "timeout", "composition"]


def golden(pattern):
    return (GOLDEN / f"{pattern}.txt").read_text().splitlines()


def stat(pid):
    """Fields of a process behind its name, or None."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def children(parent):
    pids = [int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if (fields := stat(pid)) and int(fields[1]) == parent]


def runs(pid):
    fields = stat(pid)
    return fields is not None and fields[0] not in "ZX"


class PatternTest(SystemTest):
    def setUp(self):
        self.demo_broker = self.broker("--config", ROOT / "demo/policies.yaml")

    def workers(self, queue, count, *args):
        for i in range(count):
            self.worker(self.demo_broker, f"{queue}-{i}", "--queue", queue, *args)
        wait_for(lambda: sum(name.startswith(queue) for name in self.demo_broker.workers())
                 == count, f"{count} workers")

    def submit(self, queue, jobs, *args, code=0):
        """Lines of stdout, in the order of the jobs."""
        producer = self.producer(self.demo_broker, "--queue", queue, "--ordered", *args, jobs=jobs)
        self.assertEqual(producer.wait(), code, producer.stderr())
        return producer.lines()

    def outcomes(self, queue, jobs):
        """As in the golden files: number, outcome, and result or status."""
        lines = self.submit(queue, jobs, "--output", "jsonl", code=1)
        return [f"{o['number']} {o['outcome']} {o.get('result', o.get('status'))}"
                for o in map(json.loads, lines)]

    def map_reduce(self, files):
        run = self.start("mapreduce", [self.program("whippletree-producer"), "mapreduce",
                                       "--broker", self.demo_broker.door, "--map-queue",
                                       "demo.map", "--reduce-queue", "demo.reduce", *files])
        self.assertEqual(run.wait(), 0, run.stderr())
        return run.lines()

    def demo(self, *patterns):
        return self.start("demo", [self.program("whippletree-producer"), "demo", "--broker",
                                   self.demo_broker.door, *patterns])

    def test_producer_consumer(self):
        self.workers("demo.producer-consumer", 5, "--slots", "1", "--handler", "square")
        squares = self.submit("demo.producer-consumer", range(1, 26))
        self.assertEqual([f"{n} {square}" for n, square in enumerate(squares, 1)],
                         golden("producer-consumer"))

    def test_worker_pool(self):
        self.workers("demo.worker-pool", 2, "--slots", "5", "--handler", "square")
        results = self.submit("demo.worker-pool", range(2, 101, 2))
        self.assertEqual([f"{i} {result}" for i, result in enumerate(results, 1)],
                         golden("worker-pool"))

    def test_batch(self):
        self.workers("demo.batch", 1, "--slots", "1", "--handler", "product")
        self.assertEqual(self.submit("demo.batch", range(51)), golden("batch"))
        queue = self.demo_broker.queue("demo.batch")
        self.assertEqual((queue["batches"], queue["batches_by_linger"]), (13, 1))

    def test_the_last_batch_of_a_group_waits_for_nobody(self):
        """However long the linger: when the input has ended, nothing will join it."""
        config = self.directory / "broker.yaml"
        config.write_text("queues: {rows: {batch: {max_jobs: 4, linger: 24h}}}")
        self.demo_broker = self.broker("--config", config)
        self.workers("rows", 1, "--exec", "cat")
        rows = [str(n) for n in range(6)]
        self.assertEqual(self.submit("rows", rows, "--group"), rows)
        queue = self.demo_broker.queue("rows")
        self.assertEqual((queue["batches"], queue["batches_by_drain"]), (2, 1))

    def test_map_reduce_reads_pipes(self):
        self.workers("demo.map", 1, "--handler", "words")
        self.workers("demo.reduce", 1, "--handler", "total")
        command = (f'{self.program("whippletree-producer")} mapreduce --broker '
                   f"{self.demo_broker.door} --map-queue demo.map --reduce-queue demo.reduce")
        for files in ("-", "/dev/stdin", "<(cat)"):
            with self.subTest(files):
                run = subprocess.run(["bash", "-c", f"(echo one two; echo two) | {command} {files}"],
                                     capture_output=True, timeout=PATIENCE, check=False,
                                     env=environment())
                self.assertEqual(run.returncode, 0, run.stderr)
                counts = [line.rpartition(b":")[2] for line in run.stdout.splitlines()]
                self.assertEqual(counts, [b"one\t1", b"two\t2"])

    def test_map_reduce_of_an_endless_pipe_can_be_interrupted(self):
        reads, writes = os.pipe()
        with open(reads, "rb") as stdin, open(writes, "wb"):
            run = self.start("mapreduce", [self.program("whippletree-producer"), "mapreduce",
                                           "--broker", self.demo_broker.door, "--map-queue",
                                           "demo.map", "--reduce-queue", "demo.reduce", "-"],
                             stdin=stdin)
            wait_for(lambda: self.demo_broker.status()["producers"] == 1, "the producer")
            run.signal(signal.SIGINT)
            self.assertEqual(run.wait(), 130, run.stderr())

    def test_fan(self):
        beginnings = ["The quick brown fox", "Go concurrency", "Hello, world!", "Once upon a time,"]
        endings = ["jumps over the lazy dog.", "is an open-source programming language.",
                   "is not parallelism.", "keep calm and code on."]
        sentences = [" ".join(pair) for pair in itertools.product(beginnings, endings)]
        self.workers("demo.fan", 3, "--slots", "1", "--handler", "replace")
        self.assertEqual(self.submit("demo.fan", sentences + sentences[:9], "--group"),
                         golden("fan"))

    def test_circuit_breaker(self):
        """The outcomes, and between them what the broker's log says of the breaker."""
        self.workers("demo.breaker", 1, "--slots", "1", "--handler", "flaky")
        outcomes = self.submit("demo.breaker", [1, 1, 1, 1, 0, 1, 0, 0, 1, 1, 0], "--output",
                               "jsonl", code=1)
        lines = []
        state = "closed"
        changes = [e for e in self.demo_broker.events() if e["event"] == "breaker"]
        for outcome in map(json.loads, outcomes):
            number = outcome["number"]
            for change in [c for c in changes if c["state"] == "half-open"
                           and c["ended"] == number - 1]:
                lines.append(f"{state} -> half-open before job {number}")
                state = change["state"]
            lines.append(f"{number} {outcome['outcome']}")
            for change in [c for c in changes if c["state"] != "half-open"
                           and c["ended"] == number - 1]:  # not yet the job that does it
                lines.append(f"{state} -> {change['state']} after job {number}")
                state = change["state"]
        self.assertEqual(lines, golden("circuit-breaker"))

    def test_map_reduce(self):
        self.workers("demo.map", 3, "--slots", "1", "--handler", "words")
        self.workers("demo.reduce", 3, "--slots", "1", "--handler", "total")
        self.assertEqual(self.map_reduce(TEXTS), golden("map-reduce"))

        large = self.directory / "large.txt"
        for argv, output in (([GOLDEN / "large_text.py"], large),
                             ([GOLDEN / "make_map-reduce.py", large], self.directory / "counts")):
            with open(output, "wb") as file:
                subprocess.run([sys.executable, "-B", *argv], stdout=file, check=True)
        self.assertGreaterEqual(large.stat().st_size, 2 << 20)
        self.assertEqual(self.map_reduce([large]),
                         (self.directory / "counts").read_text().splitlines())

    def test_errors(self):
        self.workers("demo.errors", 2, "--slots", "5", "--handler", "seventh")
        self.assertEqual(self.outcomes("demo.errors", range(1, 51)), golden("errors"))

    def test_timeout(self):
        self.workers("demo.timeout", 2, "--slots", "5", "--handler", "sleep")
        durations = ["20ms" if n % 2 == 0 else "10s" for n in range(1, 11)]
        self.assertEqual(self.outcomes("demo.timeout", durations), golden("timeout"))

    def test_demo_of_all_patterns(self):
        """Among these composition, of which a worker of each stage is killed."""
        demo = self.demo("all")
        self.assertEqual(demo.wait(3 * PATIENCE), 0, demo.stderr())
        table = [line.split() for line in demo.lines()[-len(PATTERNS):]]
        self.assertEqual([(row[0], row[-1]) for row in table], [(p, "yes") for p in PATTERNS])
        self.assertIn(golden("composition")[0], demo.stdout())
        self.assertEqual(demo.stdout().count("kill -9"), 3)

    def test_demo_says_what_is_wrong(self):
        """A broker without the demo's policies makes no batches."""
        self.demo_broker = self.broker()
        demo = self.demo("batch")
        self.assertEqual(demo.wait(), 1)
        self.assertRegex(demo.lines()[-1], r"^batch +51 .* NO$")
        self.assertIn('batch: result 1: expected "[0 1 2 3] 0", got "[0] 0"', demo.stderr())
        self.assertIn("was the broker started with --config demo/policies.yaml", demo.stderr())
        self.assertIn("--- batcher-1\n", demo.stderr())

    def test_demo_leaves_no_worker_behind(self):
        """Neither when it is interrupted nor when it is killed; interrupted, it leaves no job."""
        for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
            demo = self.demo("batch")
            wait_for(lambda demo=demo: "[4 5 6 7]" in demo.stdout(), "the second batch")
            workers = children(demo.pid)
            self.assertEqual(len(workers), 1)
            demo.signal(number)
            self.assertEqual(demo.wait(), code)
            wait_for(lambda: not any(map(runs, workers)), "the end of the worker")


class RateTest(SystemTest):
    RATE, BURST, JOBS = 20, 3, 100
    # A program is started by another one some milliseconds after its dispatch; on a machine under
    # load sometimes much later.
    JITTER = 0.3 * SLOW

    def test_no_window_has_more_starts_than_the_rate_allows(self):
        config = self.directory / "broker.yaml"
        config.write_text(f"queues:\n  api: {{rate: {self.RATE}/s, burst: {self.BURST}}}\n")
        broker = self.broker("--config", config)
        starts = self.directory / "starts"
        for i in range(3):
            self.worker(broker, f"w{i}", "--queue", "api", "--slots", "4", "--exec", "sh", "-c",
                        f"date +%s%N >>{starts}")
        wait_for(lambda: len(broker.workers()) == 3, "three workers")
        producer = self.producer(broker, "--queue", "api", jobs=range(self.JOBS))
        self.assertEqual(producer.wait(), 0, producer.stderr())
        self.assertEqual(len(starts.read_text().splitlines()), self.JOBS)
        checked = self.check(starts)
        self.assertEqual(checked.returncode, 0, checked.stdout)
        print(checked.stdout.decode().strip())

    def test_the_check_finds_what_is_too_much(self):
        starts = self.directory / "starts"
        times = [n / self.RATE for n in range(100)]
        starts.write_text("".join(f"{t * 1e9:.0f}\n" for t in times))
        self.assertEqual(self.check(starts).returncode, 0)
        starts.write_text("".join(f"{t * 1e9:.0f}\n" for t in times + [2.5] * 10 * SLOW))
        self.assertEqual(self.check(starts).returncode, 1)

    def check(self, starts):
        return subprocess.run([ROOT / "tests/system/check_rate", str(self.RATE), str(self.BURST),
                               str(self.JITTER), starts], capture_output=True, check=False,
                              env=environment())


class PoisonTest(SystemTest):
    def test_one_job_that_kills_its_worker_costs_no_other_job(self):
        """1,000 jobs in batches of 100; batches whose worker dies are halved until it is alone."""
        config = self.directory / "broker.yaml"
        config.write_text("queues:\n  poison:\n    batch: {max_jobs: 100, linger: 100ms}\n"
                          "    lease: 1s\n    retry: {max_attempts: 2, backoff: 100ms..200ms}\n")
        broker = self.broker("--config", config)
        program = ('jobs=$(cat); case "$jobs" in *poison*) kill -9 $PPID; sleep 60;; esac; '
                   'echo "$jobs"')
        worker = [self.program("whippletree-worker"), "--broker", broker.door, "--queue", "poison",
                  "--slots", "1", "--exec", "sh", "-c", program]
        for i in range(3):
            self.start(f"workers-{i}", ["sh", "-c", 'while :; do "$@"; done', "loop", *worker])
        jobs = [str(n) for n in range(1, 1001)]
        jobs[616] = "poison"
        producer = self.producer(broker, "--queue", "poison", "--output", "jsonl", jobs=jobs)
        self.assertEqual(producer.wait(2 * PATIENCE), 1, producer.stderr())
        outcomes = [json.loads(line) for line in producer.lines()]
        dead = [o["number"] for o in outcomes if o["outcome"] == "dead"]
        completed = {o["number"]: o["result"] for o in outcomes if o["outcome"] == "completed"}
        self.assertEqual(dead, [617])
        self.assertEqual(len(outcomes), 1000)
        self.assertEqual(completed, {n: str(n) for n in range(1, 1001) if n != 617})
        queue = broker.queue("poison")
        self.assertEqual((queue["completed"], queue["dead"]), (999, 1))
        self.assertGreaterEqual(queue["batches_halved"], 6)
        self.assert_ledger_balances(broker)


if __name__ == "__main__":
    main()
