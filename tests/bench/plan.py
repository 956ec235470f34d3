"""Which entries are measured, in which group, with which system; and for how long."""

import collections

# `name` is what figures are kept under, `system` is in systems.SYSTEMS, `options` are of its round.
Entry = collections.namedtuple("Entry", "name group title system options")


def _entry(name, group, title, system, **options):
    return Entry(name, group, title, system, options)


# Rounds that are repeated in turn, so that each repetition of one has one of all others beside it.
ENTRIES = [
    _entry("memory", "throughput", "Whippletree, memory", "memory"),
    _entry("memory-singly", "throughput", "— one SubmitMany for each job", "memory",
           submit="callback"),
    _entry("memory-futures", "throughput", "— one Submit for each job, a future each", "memory",
           submit="future"),
    _entry("memory-1-worker", "throughput", "— one worker", "memory", workers=1),
    _entry("memory-0", "throughput", "— empty payloads", "memory", payload=0),
    _entry("memory-1000", "throughput", "— 1,000-byte payloads", "memory", payload=1000),
    _entry("durable", "throughput", "Whippletree, durable", "durable"),
    _entry("durable-1-worker", "throughput", "— one worker", "durable", workers=1),
    _entry("durable-0", "throughput", "— empty payloads", "durable", payload=0),
    _entry("durable-1000", "throughput", "— 1,000-byte payloads", "durable", payload=1000),
    _entry("raw-16", "throughput", "raw ZeroMQ, four hops, frames of 16 KiB", "raw", frame_kib=16),
    _entry("raw-64", "throughput", "raw ZeroMQ, four hops, frames of 64 KiB", "raw", frame_kib=64),
    _entry("raw-256", "throughput", "raw ZeroMQ, four hops, frames of 256 KiB", "raw",
           frame_kib=256),
    _entry("redis", "throughput", "Redis, scripts move 250, AOF off", "redis"),
    _entry("redis-always", "throughput", "Redis, scripts move 1,000, AOF always",
           "redis-always"),
    _entry("beanstalkd", "throughput", "beanstalkd, memory", "beanstalkd"),
    _entry("beanstalkd-synced", "throughput", "beanstalkd -b -f0", "beanstalkd-synced"),
    _entry("jetstream", "throughput", "NATS JetStream, memory", "jetstream"),
    _entry("jetstream-file", "throughput", "NATS JetStream, file", "jetstream-file"),
    _entry("go-pool", "throughput", "Go worker pool, one process, channels of 1,000", "go-pool"),
    _entry("trip-memory", "latency", "Whippletree, memory", "memory"),
    _entry("trip-durable", "latency", "Whippletree, durable", "durable"),
    _entry("trip-raw", "latency", "raw ZeroMQ, four hops", "raw"),
    _entry("trip-redis", "latency", "Redis, blocking lists, AOF off", "redis"),
    _entry("trip-redis-always", "latency", "Redis, blocking lists, AOF always", "redis-always"),
    _entry("trip-beanstalkd", "latency", "beanstalkd, memory", "beanstalkd"),
    _entry("trip-jetstream", "latency", "NATS JetStream, memory", "jetstream"),
]

OURS = ("memory", "durable")
DURABLE = ("durable", "redis-always", "beanstalkd-synced", "jetstream-file")
# What each of these measures is in scale.py.
SCALES = ("payloads", "backlog", "singly", "queues", "workers", "idle", "startup", "mixed")
GROUPS = ("throughput", "latency", *SCALES, "micro")

# How long, how often, how much of everything.
Sizes = collections.namedtuple(
    "Sizes", "seconds repetitions waiting queues workers idle_seconds mixed_orders mixed_share")
FULL = Sizes(5, 5, 10_000_000, 9_990, 1000, 8, 3, 0.5)
QUICK = Sizes(1, 2, 1_000_000, 2_000, 200, 3, 1, 0.1)


def entries(peers, groups):
    """Those to measure: of these groups, with or without other systems."""
    return [e for e in ENTRIES if e.group in groups and (peers or e.system in OURS)]
