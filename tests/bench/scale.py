"""What becomes of the broker's speed, memory and start-up when there is much of something.

Each function measures one group of plan.SCALES and returns figures as judging.judge() takes them.
Where two states are compared, two brokers are there all the time and take turns.
"""

import json
import pathlib
import random
import shutil
import subprocess
import time

import judging
import systems
from systems import Processes, RoundFailed, harness

# So that ten million jobs of 100 bytes fit: bounds, not settings of speed.
ROOM = ("--memory-limit", "16GiB", "--queue-capacity", "20000000", "--queue-bytes", "7GiB")
QUEUES_BUSY = 10
QUEUES_ALL_BUSY = 1000  # a worker serves 1,024 at most
PAYLOAD = 100
ANSWER_WITHIN = 120


class Kept:
    """A broker and a producer that stay for many rounds; see `keep` in whippletree_producer.cc."""

    def __init__(self, root, name, flags=(), window=100_000, queues=1, system="memory"):
        self._processes = Processes(root, name)
        self._flags, self._window, self._queues = flags, window, queues
        self._system = systems.SYSTEMS[system]

    def __enter__(self):
        self._processes.__enter__()
        self.broker, _ = self._system.server(self._processes, *self._flags)
        self.producer = self._processes.driver(
            "bench-producer", "producer", broker=self.broker.door, mode="keep",
            window=self._window, queues=self._queues)
        self._answers = 0
        return self

    def __exit__(self, *error):
        self._processes.__exit__(*error)

    def add_workers(self, processes, in_each=1):
        """`processes` with so many workers in each."""
        self._system.workers(self._processes, self.broker,
                             [{"queues": self._queues}] * processes, in_each)

    def ask(self, command, seconds):
        """Writes a command for the producer; its answer, with a `rate`."""
        self.producer.process.stdin.write(f"{command}\n".encode())
        self.producer.process.stdin.flush()
        self._answers += 1
        harness.wait_for(
            lambda: len(self.producer.lines()) >= self._answers or not self.producer.running(),
            command, seconds + ANSWER_WITHIN)
        if not self.producer.running():
            raise RoundFailed(f"{command}: {self.producer.stderr()}")
        found = json.loads(self.producer.lines()[-1])
        found["rate"] = found["jobs"] / found["seconds"]
        return found

    def turn(self, verb, queue="q0"):
        subprocess.run([harness.BIN / "whippletree-broker", verb, queue, "--broker",
                        self.broker.door], check=True, stdout=subprocess.DEVNULL)


def _waiting(broker):
    return sum(queue["waiting"] for queue in broker.status()["queues"])


def _overhead(before, after, jobs):
    return {"overhead_bytes": (after - before) / jobs - PAYLOAD, "jobs": jobs}


LARGE_PAYLOADS = (10_000, 100_000, 1_000_000, 10_000_000)
BYTES_UNDER_WAY = 64_000_000


def payloads(root, sizes):
    """Large payloads, and results as large, in memory."""
    found = {}
    for size in LARGE_PAYLOADS:
        window = BYTES_UNDER_WAY // size
        with Processes(root, "payloads") as processes:
            figures, _, _ = systems.SYSTEMS["memory"].round(
                processes, "throughput", sizes.seconds, payload=size, window=window,
                batch=max(1, min(100, window // 4)))
        figures["rate"] = figures["jobs"] / figures["seconds"]
        found[f"payload-{size}"] = [figures]
    return found


def backlog(root, sizes):
    """Memory per waiting job, and throughput while so many wait in the same queue."""
    found = {"backlog": [], "backlog-none": []}
    window = sizes.waiting + 100_000
    with Kept(root, "backlog-none", ROOM) as none, Kept(root, "backlog", ROOM, window) as full:
        before = systems.resident_bytes(full.broker.pid)
        found["backlog-fill"] = [full.ask(f"fill {sizes.waiting}", 60)]
        if _waiting(full.broker) != sizes.waiting:
            raise RoundFailed("not all jobs wait")
        after = systems.resident_bytes(full.broker.pid)
        found["waiting-one-producer"] = [_overhead(before, after, sizes.waiting)]
        full.turn("pause")
        for kept in (full, none):
            kept.add_workers(2)
        none.turn("pause")
        for _ in range(sizes.repetitions):
            for name, kept in (("backlog-none", none), ("backlog", full)):
                kept.turn("resume")
                found[name].append(kept.ask(f"flow {sizes.seconds}", sizes.seconds))
                kept.turn("pause")
    return found


def singly(root, sizes):
    """Memory per waiting job when 100 producers submit by turns, a job at a time."""
    with Processes(root, "singly") as processes:
        broker, _ = systems.SYSTEMS["memory"].server(processes, *ROOM)
        before = systems.resident_bytes(broker.pid)
        producer = processes.driver("bench-producer", "producer", broker=broker.door,
                                    mode="singly", producers=100, jobs=sizes.waiting)
        harness.wait_for(lambda: producer.lines() or not producer.running(), "the jobs", 600)
        if not producer.running() or _waiting(broker) != sizes.waiting:
            raise RoundFailed(f"not all jobs wait: {producer.stderr()}")
        return {"waiting-100-producers": [
            _overhead(before, systems.resident_bytes(broker.pid), sizes.waiting)]}


def queues(root, sizes):
    """Ten busy queues, with and without so many others in which a job waits; and a thousand busy ones."""
    found = {"queues-10": [], "queues-10000": [], "queues-all-busy": []}
    with Kept(root, "queues-few", queues=QUEUES_BUSY) as few, \
            Kept(root, "queues-many", queues=QUEUES_BUSY) as many, \
            Kept(root, "queues-busy", queues=QUEUES_ALL_BUSY) as busy:
        many.ask(f"spread {sizes.queues}", 60)
        for kept in (few, many, busy):
            kept.add_workers(2)
        for _ in range(sizes.repetitions):
            for name, kept in (("queues-10", few), ("queues-10000", many)):
                found[name].append(kept.ask(f"round {sizes.seconds}", sizes.seconds))
        found["queues-all-busy"].append(busy.ask(f"round {sizes.seconds}", sizes.seconds))
    return found


def workers(root, sizes):
    """Many connected workers of one queue, against two."""
    found = {"workers-2": [], "workers-1000": []}
    # The name of the entry stays; the table says how many there were.
    with Kept(root, "workers-few") as few, Kept(root, "workers-many") as many:
        few.add_workers(2)
        many.add_workers(8, sizes.workers // 8)
        for _ in range(sizes.repetitions):
            for name, kept in (("workers-2", few), ("workers-1000", many)):
                found[name].append(kept.ask(f"round {sizes.seconds}", sizes.seconds))
    return found


def idle(root, sizes):
    """What a broker uses while 100 workers wait for jobs."""
    with Processes(root, "idle") as processes:
        whippletree = systems.SYSTEMS["memory"]
        broker, _ = whippletree.server(processes)
        whippletree.workers(processes, broker, [{}], 100)
        begin, used = time.monotonic(), systems.cpu_seconds(broker.pid)
        time.sleep(sizes.idle_seconds)
        percent = 100 * (systems.cpu_seconds(broker.pid) - used) / (time.monotonic() - begin)
        return {"idle": [{"core_percent": percent}]}


def startup(root, sizes):
    """How long a broker takes until it is ready again with so many durable jobs."""
    systems.refuse_memory_disk(root)
    needed = sizes.waiting * 400
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise RoundFailed(f"{needed >> 30} GiB of disk are needed, {free >> 30} are free")
    with Kept(root, "start-up", ROOM, sizes.waiting + 100_000, system="durable") as kept:
        fill = kept.ask(f"fill {sizes.waiting}", 120)
        kept.producer.kill()
        kept.broker.terminate()
        kept.broker.wait(ANSWER_WITHIN)
        begin = time.monotonic()
        with Processes(root, "start-up-again") as again:
            broker = again.add(harness.Broker(again.directory, "broker", [
                "--port", "0", "--http-port", "0", "--data-dir",
                str(kept.broker.out.parent / "data"), *ROOM], patience=ANSWER_WITHIN))
            seconds = time.monotonic() - begin
            if _waiting(broker) != sizes.waiting:
                raise RoundFailed("not all jobs are there again")
        return {"start-up-fill": [fill], "start-up": [{"seconds": seconds}]}


MIXED_FACTORS = (1, 1, 1, 10)
# (jobs, microseconds): in each order, times the share that is measured.
MIXED_JOBS = ((100_000, 1), (5_000, 1_000), (40, 1_000_000))
FIXED_PREFETCHES = (1, 10, 100, 1000)


def mixed_order(seed, share):
    """Microseconds of each job, in an order that the seed decides."""
    times = [micros for jobs, micros in MIXED_JOBS for _ in range(round(jobs * share))]
    random.Random(seed).shuffle(times)
    return times


def mixed_bounds(order, turnaround):
    """Seconds: of the ideal list schedule, and of each fixed prefetch with such a turnaround."""
    times = [micros / 1e6 for micros in order]
    fixed = {str(n): judging.fixed_prefetch_makespan(times, MIXED_FACTORS, n, turnaround)
             for n in FIXED_PREFETCHES}
    ideal = judging.fixed_prefetch_makespan(times, MIXED_FACTORS, 1, 0)
    return {"ideal": ideal, "fixed": fixed}


def mixed(root, sizes, turnaround=200e-6):
    """Jobs of very different length over four workers, one of them ten times slower.

    What a fixed prefetch would take is computed, with the `turnaround` (seconds) that a job without
    prefetch waits.
    """
    found = []
    for seed in range(sizes.mixed_orders):
        order = mixed_order(seed, sizes.mixed_share)
        with Processes(root, "mixed") as processes:
            whippletree = systems.SYSTEMS["memory"]
            broker, _ = whippletree.server(processes)
            whippletree.workers(processes, broker, [{"slow": factor} for factor in MIXED_FACTORS])
            times = pathlib.Path(processes.directory / "times")
            times.write_text("\n".join(map(str, order)))
            producer = processes.driver("bench-producer", "producer", broker=broker.door,
                                        mode="timed", times=times)
            makespan = processes.figures(producer, 600)["seconds"]
        found.append({"makespan": makespan, **mixed_bounds(order, turnaround)})
    return {"mixed": found}
