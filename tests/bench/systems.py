"""The systems under test: each is started anew for every round, with its workers and one producer.

Equal numbers of processes: a server, the workers, and a producer that takes the results too. Only the
Go pool is one process. Every server keeps what it keeps in the directory of the round.
"""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "system"))

import harness  # noqa: E402

DRIVERS = harness.BIN.parent / "bench"
_TICKS = os.sysconf("SC_CLK_TCK")


class RoundFailed(Exception):
    pass


def cpu_seconds(pid):
    """That a process with all its threads has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RoundFailed(f"process {pid} has no resident size")


def file_system(path):
    """The type of the file system that `path` is on."""
    best = ("", "unknown")
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind = line.split()[:3]
        inside = where == "/" or str(path) == where or str(path).startswith(where + "/")
        if inside and len(where) >= len(best[0]):
            best = (where, kind)
    return best[1]


def refuse_memory_disk(path):
    kind = file_system(path)
    if kind in ("tmpfs", "ramfs"):
        raise SystemExit(f"bench: durable rounds need a disk, but {path} is on {kind}; run this in a "
                         "clone that is on one, or choose with --only what needs none")


class Processes:
    """The processes and the directory of one round; a context manager that ends and removes them."""

    def __init__(self, root, name):
        self.directory = root / name
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        return self

    def __exit__(self, *error):
        self._stack.close()

    def add(self, process):
        self._stack.callback(process.clean_up)
        return process

    def start(self, name, argv, **options):
        argv = [str(arg) for arg in argv]
        return self.add(harness.Process(self.directory, name, argv, **options))

    def driver(self, program, name, **flags):
        """A driver with `flags`; its stdin is a pipe."""
        argv = [DRIVERS / program]
        for flag, value in flags.items():
            argv += [f"--{flag}", value]
        return self.start(name, argv, stdin=subprocess.PIPE)

    def figures(self, producer, seconds):
        """The line of JSON that a driver prints in the end."""
        status = producer.wait(seconds)
        if status != 0:
            raise RoundFailed(f"{producer.name} ended with {status}: {producer.stderr().strip()}")
        return harness.json.loads(producer.lines()[-1])


def sync_counter(directory):
    """What to add to a server's environment, and a function that tells its syncs so far."""
    path = directory / "syncs"
    env = {"LD_PRELOAD": str(DRIVERS / "bench_sync_counter.so"), "BENCH_SYNC_COUNT": str(path)}
    return env, lambda: int.from_bytes(path.read_bytes(), "little") if path.exists() else 0


def wait_for_port(process, port):
    def answers():
        require_running(process)
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    harness.wait_for(answers, f"{process.name} at port {port}")


def require_running(process):
    if not process.running():
        raise RoundFailed(f"{process.name} has ended: {process.stderr()}{process.stdout()}".strip())


def wait_until_ready(process):
    """Until a driver has said that it can be given work."""
    def ready():
        require_running(process)
        return process.lines() == ["ready"]

    harness.wait_for(ready, process.name)


class Whippletree:
    durable = False
    WINDOW = 100_000

    def server(self, processes, *flags):
        env, count = None, None
        if self.durable:
            env, count = sync_counter(processes.directory)
            flags = ("--data-dir", str(processes.directory / "data"), *flags)
        broker = processes.add(harness.Broker(processes.directory, "broker",
                                              ["--port", "0", "--http-port", "0", *flags], env))
        return broker, count

    @staticmethod
    def workers(processes, broker, each_flags, in_each=1):
        """Starts a process with `in_each` workers for each of these flags; returns when all have joined."""
        started = [processes.driver("bench-worker", f"worker-{i}", broker=broker.door,
                                    workers=in_each, **flags)
                   for i, flags in enumerate(each_flags)]

        def joined():
            for worker in started:
                require_running(worker)
            return len(broker.status()["workers"]) >= len(started) * in_each

        harness.wait_for(joined, "the workers", 2 * harness.PATIENCE)

    def round(self, processes, mode, seconds, payload=100, workers=2, submit="many", batch=500,
              window=WINDOW):
        broker, syncs = self.server(processes)
        self.workers(processes, broker, [{}] * workers)
        producer = processes.driver(
            "bench-producer", "producer", broker=broker.door, mode=mode, seconds=seconds,
            payload=payload, submit=submit, batch=batch, window=window)
        found = processes.figures(producer, seconds + harness.PATIENCE)
        for queue in broker.status()["queues"]:
            open_jobs = queue["waiting"] + queue["leased"]
            if open_jobs or queue["accepted"] != queue["completed"]:
                raise RoundFailed(f"the ledger does not balance: {queue}")
        return found, broker.pid, syncs


class Durable(Whippletree):
    durable = True


class Peer:
    """A system that is reached by a port; subclasses say how it is started."""

    program = ""
    throughput = {}   # flags of a round
    latency = {}

    def server(self, processes, port):
        """Returns the process, and what counts its syncs or None."""
        raise NotImplementedError

    def prepare(self, processes, port):
        pass

    def worker_role(self, mode):
        return "work"

    def options(self, mode):
        return dict(self.throughput if mode == "throughput" else self.latency)

    def round(self, processes, mode, seconds, payload=100, workers=2, **options):
        port = harness.free_ports(4)
        server, syncs = self.server(processes, port)
        self.prepare(processes, port)
        flags = self.options(mode) | options
        started = [processes.driver(self.program, f"worker-{i}", role=self.worker_role(mode),
                                    port=port, payload=payload, **flags) for i in range(workers)]
        for worker in started:
            wait_until_ready(worker)
        producer = processes.driver(self.program, "producer", role="produce", port=port, mode=mode,
                                    seconds=seconds, payload=payload, **flags)
        return processes.figures(producer, seconds + harness.PATIENCE), server.pid, syncs


class Raw(Peer):
    program = "bench-hops"
    JOBS_PER_KIB = 500 / 64
    BYTES_UNDER_WAY = 4 << 20

    def server(self, processes, port):
        server = processes.driver(self.program, "server", role="forward", port=port)
        wait_until_ready(server)
        return server, None

    def round(self, processes, mode, seconds, frame_kib=None, **options):
        if frame_kib is None:
            return super().round(processes, mode, seconds, **options)
        frame = frame_kib << 10
        found, pid, syncs = super().round(processes, mode, seconds, frame=frame, batch=1,
                                          window=self.BYTES_UNDER_WAY // frame, **options)
        found["jobs"] *= frame_kib * self.JOBS_PER_KIB
        return found, pid, syncs


class Redis(Peer):
    program = "bench-redis"
    throughput = {"batch": 250, "window": 100_000}
    aof = "no"

    def server(self, processes, port):
        env, syncs = (None, None) if self.aof == "no" else sync_counter(processes.directory)
        server = processes.start("server", [
            "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly",
            self.aof, "--appendfsync", "always", "--dir", processes.directory], env=env)
        wait_for_port(server, port)
        return server, syncs

    def worker_role(self, mode):
        return "work" if mode == "throughput" else "answer"


class RedisAlways(Redis):
    aof = "yes"
    throughput = {"batch": 1000, "window": 100_000}


class Beanstalkd(Peer):
    program = "bench-beanstalkd"
    throughput = {"batch": 100, "window": 20_000}
    latency = {"batch": 1}
    synced = False

    def server(self, processes, port):
        flags, env, syncs = [], None, None
        if self.synced:
            env, syncs = sync_counter(processes.directory)
            flags = ["-b", processes.directory, "-f0"]
        server = processes.start("server", ["beanstalkd", "-l", "127.0.0.1", "-p", port, *flags],
                                 env=env)
        wait_for_port(server, port)
        return server, syncs


class BeanstalkdSynced(Beanstalkd):
    synced = True
    # It syncs four times for each job: with more under way the end of a round would take longer than
    # the round.
    throughput = {"batch": 50, "window": 400}


class JetStream(Peer):
    program = "bench-nats"
    throughput = {"batch": 500, "window": 5_000}
    storage = "memory"

    def server(self, processes, port):
        server = processes.start("server", ["nats-server", "-a", "127.0.0.1", "-p", port, "-js",
                                            "-sd", processes.directory])
        wait_for_port(server, port)
        return server, None

    def prepare(self, processes, port):
        done = processes.driver(self.program, "setup", role="setup", port=port,
                                storage=self.storage)
        if done.wait() != 0:
            raise RoundFailed(done.stderr())


class JetStreamFile(JetStream):
    storage = "file"


class GoPool:
    def round(self, processes, mode, seconds, payload=100, workers=2):
        pool = processes.start("pool", [DRIVERS / "bench-pool", "-seconds", seconds, "-payload",
                                        payload, "-workers", workers])
        return processes.figures(pool, seconds + harness.PATIENCE), None, None


SYSTEMS = {
    "memory": Whippletree(),
    "durable": Durable(),
    "raw": Raw(),
    "redis": Redis(),
    "redis-always": RedisAlways(),
    "beanstalkd": Beanstalkd(),
    "beanstalkd-synced": BeanstalkdSynced(),
    "jetstream": JetStream(),
    "jetstream-file": JetStreamFile(),
    "go-pool": GoPool(),
}


def measure(entry, root, seconds):
    """One round of `entry`: its figures, with `rate` (throughput) and `syncs` (if it counts them)."""
    mode = "latency" if entry.group == "latency" else "throughput"
    options = {"workers": 1} if mode == "latency" else {}
    with Processes(root, entry.name) as processes:
        found, server, syncs = SYSTEMS[entry.system].round(
            processes, mode, seconds, **options | entry.options)
        if server is not None:
            found["server_cpu"] = cpu_seconds(server)
        if syncs is not None:
            found["syncs"] = syncs()
            if found["syncs"] == 0:
                raise RoundFailed("a durable server that never synced")
    if mode == "throughput":
        found["rate"] = found["jobs"] / found["seconds"]
    return found
