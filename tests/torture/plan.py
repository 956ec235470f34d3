"""What is submitted: the queues of the torture, their policies, and jobs of every kind."""

import dataclasses
import json

ATTEMPTS_DEFAULT = 5


@dataclasses.dataclass(frozen=True)
class Queue:
    """A queue, what its file says of it, and the kinds of jobs that it gets, by weight."""

    name: str
    producers: int  # named ones, one after the other on each of these places
    jobs: int  # of one producer
    kinds: dict
    policy: dict = dataclasses.field(default_factory=dict)
    max_attempts: int = ATTEMPTS_DEFAULT
    batch_max: int = 1
    rate: float = 0  # starts a second
    burst: int = 1
    keys: int = 0
    schedules: bool = False  # some jobs with a delay or an expiry
    handler: str = ""  # a built-in one instead of the program; payloads are numbers then
    pause_s: float = 0  # between two producers on one place

    def yaml(self):
        retry = {"max_attempts": self.max_attempts, "backoff": "20ms..300ms"}
        return {"retry": retry, **self.policy}


QUEUES = [
    Queue("plain", producers=2, jobs=300, schedules=True,
          kinds={"ok": 1000, "slow": 40, "long": 10, "fail": 40, "bad": 20, "suicide": 20,
                 "murder": 1}),
    Queue("batches", producers=1, jobs=400, batch_max=8,
          policy={"batch": {"max_jobs": 8, "linger": "100ms"}},
          kinds={"ok": 1000, "slow": 20, "fail": 5, "bad": 10, "murder": 1}),
    Queue("rate", producers=1, jobs=120, policy={"rate": "20/s", "burst": 5}, rate=20, burst=5,
          kinds={"ok": 1000, "fail": 30, "bad": 10}),
    # The timeout keeps a hanging job from stopping its key.
    Queue("orders", producers=2, jobs=200, keys=12,
          policy={"keys": {"order": True}, "timeout": "20s"},
          kinds={"ok": 1000, "slow": 60, "long": 30, "fail": 60, "never": 3, "bad": 20, "suicide": 20}),
    Queue("retries", producers=1, jobs=120, max_attempts=4, policy={"timeout": "1s"},
          kinds={"ok": 100, "fail": 60, "never": 10, "bad": 10, "suicide": 30, "hang": 5}),
    Queue("once", producers=1, jobs=200, max_attempts=1,
          kinds={"ok": 1000, "slow": 40, "fail": 40, "bad": 20, "suicide": 20, "murder": 1}),
]
# Thousands of jobs a second: many are under way when something dies.
FAST = Queue("fast", producers=2, jobs=5_000, kinds={"ok": 1}, handler="square", pause_s=2)
# Of a producer without a name, which SIGTERM makes cancel its jobs.
CANCELLED = Queue("cancelled", producers=0, jobs=300, kinds={"ok": 100, "slow": 100, "fail": 10})
ALL = [*QUEUES, FAST, CANCELLED]


def configuration(lease):
    """The broker's configuration file: JSON is YAML."""
    return json.dumps({"queues": {queue.name: queue.yaml() for queue in ALL},
                       "defaults": {"lease": f"{lease}s"}, "unknown_queues": "refuse"}, indent=1)


def expected(queue, job, payload):
    """The result of a job, or None if it never completes."""
    if queue.handler:
        return str(int(payload) ** 2)
    _, kind, number = payload.split()
    return None if kind in ("bad", "never") else f"{job} {int(number) ** 2}"


def jobs(queue, producer, rng):
    """The input of one producer: dicts, one a line of --format jsonl."""
    kinds, weights = list(queue.kinds), list(queue.kinds.values())
    for number in range(1, queue.jobs + 1):
        kind = rng.choices(kinds, weights)[0]
        job = {"payload": f"{producer}.{number} {kind} {rng.randrange(100, 1000)}"}
        if queue.handler:
            job["payload"] = str(rng.randrange(1_000_000_000))
        if queue.keys:
            job["key"] = f"key-{rng.randrange(queue.keys)}"
        if queue.schedules and rng.random() < 0.05:
            job["delay"] = f"{rng.randrange(100, 2000)}ms"
        elif queue.schedules and rng.random() < 0.05:
            job["expires_in"] = f"{rng.randrange(50, 3000)}ms"
        yield job
