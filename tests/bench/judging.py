"""What a benchmark's figures say: medians, paired ratios, goals. Pure: no process, no clock, no file.

`measured` maps the name of an entry (see plan.py) to its repetitions in order: dicts of figures, or
None where a round failed. Ratios are paired: repetition i of one entry against repetition i of the
other, a few seconds apart, since the speed of a machine drifts by more than what is looked for.
"""

import collections
import heapq
import statistics

# What an earlier measurement gave on a machine of this kind; compared as ratios to raw ZeroMQ with the
# frames of then (docs/benchmarks.md). Whoever reaches less than 0.8 of it here is marked.
EXPECTED_RAW = "raw-64"
EXPECTED_PER_SECOND = {
    EXPECTED_RAW: 4_760_000,
    "redis": 1_220_000,
    "redis-always": 250_000,
    # Half of what was measured without results: one is a put and a delete more, as a job is.
    "beanstalkd": 18_000,
    "beanstalkd-synced": 2_150,
    "jetstream": 151_000,
    "jetstream-file": 89_000,
    "go-pool": 3_770_000,  # with channels of 10
}
UNDER_DRIVEN_BELOW = 0.8
RAW_ENTRIES = ("raw-16", "raw-64", "raw-256")

Spread = collections.namedtuple("Spread", "median low high")
# `value` is None where it was not measured; then `met` is None too. `peer`: the entry it is compared with,
# if it is one that has an expectation.
Verdict = collections.namedtuple("Verdict", "group what goal value low high met peer", defaults=[None])


def spread(values):
    """Median, least and largest; None of nothing."""
    values = [value for value in values if value is not None]
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def figures(measured, entry, figure):
    """Of each repetition; None where it failed or does not have this figure."""
    return [round_ and round_.get(figure) for round_ in measured.get(entry, [])]


def paired(numerator, denominator):
    """Ratios of what was measured in the same repetition."""
    return [a / b for a, b in zip(numerator, denominator) if a is not None and b]


def ratio(measured, entry, other, figure="rate", other_figure=None):
    """Spread of the paired ratios; None if no repetition has both."""
    return spread(paired(figures(measured, entry, figure),
                         figures(measured, other, other_figure or figure)))


def best_raw(measured):
    """The entry of raw ZeroMQ with the highest median; None if none was measured."""
    found = {entry: spread(figures(measured, entry, "rate")) for entry in RAW_ENTRIES}
    found = {entry: rates.median for entry, rates in found.items() if rates}
    return max(found, key=found.get) if found else None


def of_expected(measured, entry):
    """A peer's ratio to raw ZeroMQ here, as a share of what was measured earlier; None: unknown."""
    expected = EXPECTED_PER_SECOND.get(entry)
    reached = ratio(measured, entry, EXPECTED_RAW) if expected and entry != EXPECTED_RAW else None
    return reached and reached.median / (expected / EXPECTED_PER_SECOND[EXPECTED_RAW])


def under_driven(measured, entry):
    """Whether a peer did clearly worse here than it is known to; None: unknown."""
    share = of_expected(measured, entry)
    return None if share is None else share < UNDER_DRIVEN_BELOW


def _at_least(group, what, found, bound, text="≥ {} ×"):
    met = None if found is None else found.median >= bound
    return Verdict(group, what, text.format(f"{bound:g}"), *(found or (None, None, None)), met)


def _at_most(group, what, found, bound, text="≤ {} ×"):
    met = None if found is None else found.median <= bound
    return Verdict(group, what, text.format(f"{bound:g}"), *(found or (None, None, None)), met)


def judge(measured):
    """A Verdict for each goal, in the order of the table."""
    raw = best_raw(measured)

    def of(entry, other, figure="rate", other_figure=None):
        return ratio(measured, entry, other, figure, other_figure)

    def beside(peer, entry, bound, what):
        return _at_least(entry + " queue", f"throughput / {what}", of(entry, peer), bound)._replace(
            peer=peer)

    def value(entry, figure):
        return spread(figures(measured, entry, figure))

    memory, durable, trip = "memory queue", "durable queue", "round trip of one job"
    scale = "scale"
    return [
        _at_least(memory, "throughput / best raw four hops", of("memory", raw), 0.6),
        beside("redis", "memory", 3, "Redis scripts, AOF off"),
        beside("jetstream", "memory", 20, "JetStream memory"),
        beside("go-pool", "memory", 1, "Go's pool, one process"),
        _at_least(memory, "one by one / in batches", of("memory-singly", "memory"), 0.7),
        _at_least(durable, "throughput / our memory queue", of("durable", "memory"), 0.7),
        beside("redis-always", "durable", 10, "Redis AOF always"),
        beside("jetstream-file", "durable", 25, "JetStream file"),
        beside("beanstalkd-synced", "durable", 100, "beanstalkd -b -f0"),
        _at_most(trip, "memory p50 / raw p50", of("trip-memory", "trip-raw", "p50"), 1.15),
        _at_most(trip, "memory p99 / raw p99", of("trip-memory", "trip-raw", "p99"), 1.5),
        _at_most(trip, "durable p50 / raw p50", of("trip-durable", "trip-raw", "p50"), 2.2),
        _at_most(trip, "memory p50 / Redis blocking list (the dream)",
                 of("trip-memory", "trip-redis", "p50"), 1),
        _at_most(scale, "bytes per waiting job beyond its payload, one producer",
                 value("waiting-one-producer", "overhead_bytes"), 6, "≤ {} B"),
        _at_most(scale, "the same, singly by 100 producers",
                 value("waiting-100-producers", "overhead_bytes"), 32, "≤ {} B"),
        _at_most(scale, "cost per job, 10 million waiting / none",
                 ratio_of_cost(measured, "backlog", "backlog-none"), 1.1),
        _at_most(scale, "cost per job, 10,000 queues / 10",
                 ratio_of_cost(measured, "queues-10000", "queues-10"), 1.1),
        _at_least(scale, "throughput, 1,000 workers / 2", of("workers-1000", "workers-2"), 0.8),
        _at_most(scale, "makespan, mixed times / best fixed prefetch (computed), all orders",
                 mixed_ratio(measured), 1.05),
        _at_most(scale, "idle broker, 100 idle workers: share of a core",
                 value("idle", "core_percent"), 1, "< {} %"),
        _at_most(scale, "start-up with 10 million durable jobs", value("start-up", "seconds"), 5,
                 "≤ {} s"),
    ]


def ratio_of_cost(measured, entry, other):
    """Cost per job is the inverse of the throughput."""
    return ratio(measured, other, entry)


def best_fixed(measured):
    """The fixed prefetch that is best over all orders together: nobody knows the next order."""
    rounds = [round_ for round_ in measured.get("mixed", []) if round_]
    sums = {n: sum(round_["fixed"][n] for round_ in rounds) for n in (rounds and rounds[0]["fixed"])}
    return min(sums, key=sums.get) if sums else None


def mixed_ratio(measured):
    """All makespans together against those of the best fixed prefetch; the spread is that of the orders."""
    prefetch = best_fixed(measured)
    if prefetch is None:
        return None
    rounds = [round_ for round_ in measured["mixed"] if round_]
    fixed = [round_["fixed"][prefetch] for round_ in rounds]
    each = spread([round_["makespan"] / time for round_, time in zip(rounds, fixed)])
    return each._replace(median=sum(round_["makespan"] for round_ in rounds) / sum(fixed))


# ---- schedules ------------------------------------------------------------------------------------


def fixed_prefetch_makespan(times, factors, prefetch, turnaround):
    """When the last of `times`, taken in order, ends, if each worker always has up to `prefetch` jobs.

    A worker with factor f takes f times as long for a job. `turnaround` passes from the end of a job
    until the next one that is given for it arrives. With prefetch 1 and no turnaround this is the
    ideal list schedule.
    """
    jobs = iter(times)
    waiting = [collections.deque() for _ in factors]  # at each worker
    busy = [False] * len(factors)
    events = []  # (time, order of creation, worker, the job that arrives; None: one ends)
    created = 0
    last = 0.0

    def add(when, worker, job):
        nonlocal created
        heapq.heappush(events, (when, created, worker, job))
        created += 1

    for _ in range(prefetch):
        for worker in range(len(factors)):
            job = next(jobs, None)
            if job is not None:
                add(0.0, worker, job)
    while events:
        now, _, worker, job = heapq.heappop(events)
        if job is None:
            last = now
            busy[worker] = False
            following = next(jobs, None)
            if following is not None:
                add(now + turnaround, worker, following)
        else:
            waiting[worker].append(job)
        if waiting[worker] and not busy[worker]:
            busy[worker] = True
            add(now + waiting[worker].popleft() * factors[worker], worker, None)
    return last
