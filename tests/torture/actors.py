"""The processes of the torture: each has a place, and on it one process after the other.

What they print is kept, process by process, for the checker: nothing is ever overwritten.
"""

import json
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
import harness  # noqa: E402

import plan  # noqa: E402

JOB = pathlib.Path(__file__).resolve().with_name("job")
# Of brokers that were killed the ports may be busy for a moment.
EXIT_MACHINE = 5


class Tail:
    """The whole lines that were appended to a file since the last look."""

    def __init__(self, path):
        self.path, self.offset = path, 0

    def lines(self):
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        self.offset += end
        return data[:end].decode().splitlines()


class Actor:
    """A place: `process` is its running process, or None."""

    role = ""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.process = None
        self.stopped = False  # by SIGSTOP
        self.starts = 0

    def argv(self):
        raise NotImplementedError

    def env(self):
        return {}

    def start(self):
        self.starts += 1
        self.stopped = False
        self.process = harness.Process(self.world.directory, self.process_name(),
                                       [str(arg) for arg in self.argv()], env=self.env())
        self.world.note("start", self)

    def process_name(self):
        return f"{self.name}i{self.starts}"

    def running(self):
        return self.process is not None and self.process.running()

    def signal(self, number):
        self.stopped = {signal.SIGSTOP: True, signal.SIGCONT: False}.get(number, self.stopped)
        self.process.signal(number)

    def kill(self):
        self.process.kill()
        self.stopped = False

    def exited(self):
        """The exit code of a process that has ended since the last call, else None."""
        if self.process is None or self.process.running():
            return None
        code = self.process.process.returncode
        self.world.note("exit", self, code=code)
        self.process = None
        return code

    def clean_up(self):
        if self.process is not None:
            self.process.clean_up()


class Broker(Actor):
    role = "broker"

    def __init__(self, world):
        super().__init__(world, "broker")
        self.port = harness.free_ports(3)
        self.data = world.directory / "data"
        self.door = f"127.0.0.1:{self.port}"

    def argv(self):
        return [harness.BIN / "whippletree-broker", "serve", "--port", self.port, "--http-port", 0,
                "--data-dir", self.data, "--config", self.world.config, "--log-format", "json",
                "--lease", f"{self.world.lease}s"]

    def ready(self):
        return self.running() and "\n" in self.process.stdout()

    def ports_busy(self):
        """Whether the process that has just ended could not have its ports yet."""
        text = (self.world.directory / f"{self.process_name()}.err").read_text()
        return "another port" in text


class Worker(Actor):
    """Serves all queues with the program `job`, or one with a built-in handler."""

    role = "worker"
    slots = 3

    def __init__(self, world, name, queue=None):
        super().__init__(world, name)
        self.queue = queue

    def env(self):
        return {"TORTURE_LOG": str(self.log()), "LC_ALL": "C"}

    def log(self):
        return self.world.directory / f"{self.process_name()}.runs"

    def argv(self):
        served = [queue for queue in plan.ALL if not queue.handler] if self.queue is None else \
            [self.queue]
        queues = [arg for queue in served for arg in ("--queue", queue.name)]
        runs = ["--exec", JOB] if self.queue is None else ["--handler", self.queue.handler]
        return [harness.BIN / "whippletree-worker", "--broker", self.world.broker.door, "--name",
                self.process_name(), "--slots", self.slots, "--log-format", "json", *queues, *runs]

    def start(self):
        super().start()
        self.log().touch()
        self.world.tails[self.process_name()] = Tail(self.log())

    def unfinished(self):
        """Jobs that its last process has started and not ended. Built-in handlers do not say."""
        jobs = set()
        for line in self.log().read_text().splitlines():
            (jobs.add if line[0] == "S" else jobs.discard)(line.split()[-1])
        return len(jobs)


class Producer(Actor):
    """Submits one input after the other: each is a round, with a producer name of its own."""

    role = "producer"

    def __init__(self, world, name, queue, named=True):
        super().__init__(world, name)
        self.queue, self.named = queue, named
        self.rounds = 0
        self.round = None
        self.done = False

    def next_round(self):
        self.rounds += 1
        self.starts = 0
        name = f"{self.name}r{self.rounds}"
        path = self.world.directory / f"{name}.jobs"
        lines = [json.dumps(job) for job in plan.jobs(self.queue, name, self.world.rng)]
        path.write_text("\n".join(lines) + "\n")
        self.round = {"producer": name, "queue": self.queue.name, "named": self.named,
                      "processes": [], "jobs": len(lines)}
        self.world.rounds.append(self.round)
        self.world.outcomes[name] = set()

    def process_name(self):
        return f"{self.round['producer']}i{self.starts}"

    def argv(self):
        name = ["--name", self.round["producer"]] if self.named else []
        return [harness.BIN / "whippletree-producer", "submit", "--broker", self.world.broker.door,
                "--queue", self.queue.name, "--format", "jsonl", "--output", "jsonl",
                "--connect-timeout", 0, *name,
                self.world.directory / f"{self.round['producer']}.jobs"]

    def start(self):
        super().start()
        self.round["processes"].append(self.process_name())
        self.world.tails[self.process_name()] = Tail(self.process.out)


class World:
    """All actors, and what is known of the work under way from what they have written."""

    def __init__(self, directory, lease, rng):
        self.directory, self.lease, self.rng = directory, lease, rng
        self.config = directory / "broker.yaml"
        self.config.write_text(plan.configuration(lease))
        self.events = open(directory / "faults", "w", encoding="utf-8", buffering=1)
        self.rounds = []
        self.tails = {}  # by process
        self.started = {}  # ids of jobs without a known outcome, by producer
        self.outcomes = {}  # numbers of jobs, by producer
        self.broker = Broker(self)
        self.workers = [Worker(self, f"w{n}") for n in range(1, 5)]
        self.workers += [Worker(self, f"{plan.FAST.name}-w{n}", plan.FAST) for n in (1, 2)]
        self.producers = [Producer(self, f"{queue.name}{n}", queue)
                          for queue in [*plan.QUEUES, plan.FAST]
                          for n in range(1, queue.producers + 1)]
        self.producers.append(Producer(self, "cancelled1", plan.CANCELLED, named=False))

    def actors(self):
        return [self.broker, *self.workers, *self.producers]

    def note(self, event, actor=None, **fields):
        """One line of the history of faults, with the time as the jobs tell it."""
        if actor is not None:
            fields = {"role": actor.role, "process": actor.process_name(), **fields}
        self.events.write(json.dumps({"time": time.time(), "event": event, **fields}) + "\n")

    def look(self):
        """Reads what workers and producers have written since the last look."""
        for process, tail in self.tails.items():
            for line in tail.lines():
                if line[0] == "{":
                    producer = process.rpartition("i")[0]
                    number = json.loads(line)["number"]
                    self.outcomes[producer].add(number)
                    self.started.get(producer, set()).discard(number)
                elif line[0] == "S":
                    producer, _, number = line.split()[-1].rpartition(".")
                    if int(number) not in self.outcomes[producer]:
                        self.started.setdefault(producer, set()).add(int(number))

    def holds(self, actor):
        """How many jobs are unfinished in the hands of an actor that has just been killed."""
        self.look()
        if actor.role == "worker":
            return actor.unfinished()
        if actor.role == "producer":
            name = actor.round["producer"]
            if actor.queue.handler:
                told = len(self.outcomes[name])
                return actor.queue.jobs - told if told else 0
            return len(self.started.get(name, ()))
        return sum(map(len, self.started.values()))

    def clean_up(self):
        for actor in reversed(self.actors()):
            actor.clean_up()
