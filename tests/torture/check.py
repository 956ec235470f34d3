#!/usr/bin/env python3
"""Judges a torture by what its producers and workers have written: `check.py DIRECTORY`.

  history.json       which producer had which input and processes
  PRODUCER.jobs      what it submitted: line N is its job N
  PROCESS.out        outcomes that one of its processes printed
  PRODUCER.again     outcomes told to one that had been told all: there must be none
  PROCESS.runs       starts and ends of jobs, by the program that a worker ran (see `job`)
  faults             when which process was stopped, killed and started
  status.json        the broker's own ledger, in the end
"""

import collections
import dataclasses
import json
import math
import pathlib
import sys

import plan

SHOWN = 5
KINDS = ("completed", "dead", "cancelled", "expired")
# Between a producer's last acknowledgement and its place on the disk, in seconds.
LAST_WORD_S = 1
# What the broker says of jobs that may be tried again; others are at fault at once.
RETRYABLE = {"UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED"}


@dataclasses.dataclass
class Start:
    """One start of a job by a worker's program; `end` is None if it was cut off."""

    job: str
    process: str
    time: float
    id: str
    attempt: int
    batch: int
    end: float | None = None


class History:
    """What was written, read."""

    def __init__(self, directory):
        text = json.loads((directory / "history.json").read_text())
        self.lease, self.jitter, self.rounds = text["lease"], text["jitter"], text["rounds"]
        self.queues = {queue.name: queue for queue in plan.ALL}
        self.inputs = {}  # job: what was submitted
        self.queue_of = {}  # job: its queue's name
        self.outcomes = collections.defaultdict(list)  # job: (process, outcome)
        self.unknown = []  # outcomes of jobs that nobody submitted
        self.again = {}  # producer: outcomes
        for entry in self.rounds:
            self._read_round(directory, entry)
        self.starts = collections.defaultdict(list)  # job: Start, by time
        self.torn = []
        for path in sorted(directory.glob("*.runs")):
            self._read_runs(path)
        for starts in self.starts.values():
            starts.sort(key=lambda start: start.time)
        self.silences = collections.defaultdict(list)  # process: (begin, end) of long ones
        self.launched, self.exited = {}, {}  # process: when
        self.broker_up = []  # [begin, end] of each of its processes
        self.stops = collections.defaultdict(list)  # process: (begin, end)
        self._read_faults(directory / "faults")
        status = directory / "status.json"
        self.status = json.loads(status.read_text()) if status.exists() else None

    def _read_round(self, directory, entry):
        producer = entry["producer"]
        lines = (directory / f"{producer}.jobs").read_text().splitlines()
        for number, line in enumerate(lines, 1):
            job = json.loads(line)
            self.inputs[f"{producer}.{number}"] = job
            self.queue_of[f"{producer}.{number}"] = entry["queue"]
        for process in entry["processes"]:
            for outcome in _outcomes(directory / f"{process}.out"):
                job = f"{producer}.{outcome.get('number')}"
                if job in self.inputs:
                    self.outcomes[job].append((process, outcome))
                else:
                    self.unknown.append(f"{process}: {outcome}")
        again = directory / f"{producer}.again"
        if again.exists():
            self.again[producer] = _outcomes(again)

    def _read_runs(self, path):
        running = {}
        for line in path.read_text().splitlines():
            fields = line.split()
            if len(fields) != 7 or fields[0] not in "SE":
                self.torn.append(f"{path.name}: {line!r}")
                continue
            kind, time, pid, job_id, attempt, batch, job = fields
            if kind == "S":
                start = Start(job, path.stem, float(time), job_id, int(attempt), int(batch))
                running[pid, job] = start
                self.starts[job].append(start)
            else:
                running[pid, job].end = float(time)

    def _read_faults(self, path):
        stopped = {}
        for line in path.read_text().splitlines():
            event = json.loads(line)
            process, time = event.get("process"), event["time"]
            if event["event"] == "start":
                self.launched[process] = time
                if event.get("role") == "broker":
                    self.broker_up.append([time, math.inf])
            elif event["event"] == "exit":
                self.exited[process] = time
            elif event["event"] == "stall":
                self._add_silence("*", time - event["seconds"], time)
            elif event["event"].endswith("stop"):
                stopped[process] = time
            elif process in stopped:
                self.stops[process].append((stopped[process], time))
                self._add_silence(process, stopped.pop(process), time)
            if event.get("role") == "broker" and event["event"].split()[0] in ("kill", "exit"):
                self.broker_up[-1][1] = min(self.broker_up[-1][1], time)

    def _add_silence(self, process, begin, end):
        # A heartbeat may be as old as a fifth of the lease when the silence begins.
        if end - begin > self.lease / 2:
            self.silences[process].append((begin, end))

    def silent(self, process, begin, end):
        """Whether the process was silent between these times for so long that its leases may end."""
        return any(first < end and last > begin
                   for first, last in self.silences[process] + self.silences["*"])

    def late(self, start):
        """Whether the worker had just been silent, so that it may have started another's job."""
        return self.silent(start.process, start.time - self.lease, start.time)


    def may_have_told_nobody(self, producer):
        """Whether not the same broker heard the producer before it left and lived on after that: the
        last acknowledgement is not confirmed, so it may have been lost."""
        process = next(entry["processes"][-1] for entry in self.rounds
                       if entry["producer"] == producer)
        left = self.exited[process]
        # It may have been stopped with the last outcomes of an older broker at hand.
        first = min([begin for begin, end in self.stops[process] if end > left - LAST_WORD_S] +
                    [left]) - LAST_WORD_S
        last = left + LAST_WORD_S
        stops = [stop for name, stops in self.stops.items() if name.startswith("broker")
                 for stop in stops]
        return not any(begin < first and end > last for begin, end in self.broker_up) or \
            any(begin < last and end > first for begin, end in stops)


def _outcomes(path):
    """Those of whole lines: a process may have been killed while it wrote the last one."""
    text = path.read_text()
    return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]


class Verdict:
    """Cases and violations by invariant, in the order in which they were first named."""

    def __init__(self):
        self.cases = collections.Counter()
        self.violations = collections.defaultdict(list)
        self.excused = collections.Counter()  # of the cases: for the loss of a lease

    def case(self, name, holds=True, what=""):
        self.cases[name] += 1
        if not holds:
            self.violations[name].append(what)

    def unless(self, name, holds, excuse, what):
        """A case that holds, or has an excuse."""
        self.excused[name] += bool(not holds and excuse)
        self.case(name, holds or excuse, what)

    def cases_of(self, name, count, violations=()):
        self.cases[name] += count
        self.violations[name] += violations


def check_outcomes(history, verdict):
    """Each job submitted has one outcome, told again only by a process after the first one."""
    for entry in history.rounds:
        for number in range(1, _submitted(history, entry) + 1):
            job = f"{entry['producer']}.{number}"
            outcomes = history.outcomes[job]
            verdict.case("each submitted job has an outcome", bool(outcomes), job)
            processes = [process for process, _ in outcomes]
            verdict.case("no process is told an outcome twice",
                         len(set(processes)) == len(processes), f"{job}: {outcomes}")
            if len(outcomes) > 1:
                kinds = {_essence(outcome) for _, outcome in outcomes}
                verdict.case("an outcome told again is the same", len(kinds) == 1,
                             f"{job}: {outcomes}")
                verdict.case("only a producer that died is told again", entry["named"],
                             f"{job}: {outcomes}")
    verdict.cases_of("no outcome of a job never submitted",
                     sum(map(len, history.outcomes.values())), history.unknown)
    for producer, again in history.again.items():
        if history.may_have_told_nobody(producer):
            for outcome in again:
                before = history.outcomes[f"{producer}.{outcome['number']}"]
                verdict.case("an outcome told again is the same", _essence(outcome) in
                             {_essence(other) for _, other in before}, f"{producer}: {outcome}")
        else:
            verdict.case("an acknowledged outcome is not told again", not again,
                         f"{producer}: {len(again)}, first {again[:1]}")


def _submitted(history, entry):
    """How many jobs of its input the producer has submitted for certain."""
    if not entry.get("cancelled"):
        return entry["jobs"]
    # It was told to end, maybe before the end of its input.
    return max((number for number in range(1, entry["jobs"] + 1)
                for job in [f"{entry['producer']}.{number}"]
                if history.outcomes[job] or history.starts[job]), default=0)


def _essence(outcome):
    return tuple(outcome.get(key) for key in ("id", "outcome", "result", "status", "attempts"))


def check_results(history, verdict):
    """What an outcome says is what the payload asks for."""
    for job, outcomes in history.outcomes.items():
        if not outcomes:
            continue
        outcome = outcomes[0][1]
        queue = history.queues[history.queue_of[job]]
        payload = history.inputs[job]["payload"]
        starts = history.starts.get(job, [])
        said = f"{payload}: {outcome}"
        if outcome["outcome"] == "completed":
            verdict.case("results are right",
                         outcome.get("result") == plan.expected(queue, job, payload), said)
            if not queue.handler:
                verdict.case("a completed job ended at the worker that is named",
                             any(start.end and outcome["worker"].startswith(f"{start.process}-")
                                 for start in starts), said)
        elif outcome["outcome"] == "dead" and outcome["status"] in RETRYABLE:
            verdict.case("no job is given up before its last attempt",
                         outcome["attempts"] == queue.max_attempts, said)
        elif outcome["outcome"] == "dead":
            verdict.case("only bad jobs are dead at once",
                         payload.split()[1:2] == ["bad"] and outcome["status"] == "INVALID_ARGUMENT" and
                         bool(starts), said)
        elif outcome["outcome"] == "expired":
            verdict.case("only jobs with an expiry expire", "expires_in" in history.inputs[job],
                         said)
        elif outcome["outcome"] == "cancelled":
            verdict.case("only jobs of a producer that was told to end are cancelled",
                         queue is plan.CANCELLED, said)
        verdict.case("no job is rejected or unknown", outcome["outcome"] in KINDS, said)
        verdict.case("attempts charged <= most attempts",
                     outcome.get("attempts", 0) <= queue.max_attempts, said)
        for start in starts:
            if start.batch == 1:
                verdict.case("a job has one id", start.id == outcome["id"],
                             f"{said} but started as {start.id}")


def starts_max(queue):
    """Most starts of a job: rules of suspects and of halving."""
    if queue.max_attempts == 1:
        return 1
    return queue.max_attempts + 1 + math.ceil(math.log2(queue.batch_max))


def check_starts(history, verdict):
    """How often, how many together, how early."""
    for job, starts in history.starts.items():
        if job not in history.inputs:
            verdict.case("no start of a job never submitted", False, job)
            continue
        verdict.case("no start of a job never submitted")
        queue = history.queues[history.queue_of[job]]
        name = "one start at most" if queue.max_attempts == 1 else "starts <= bound"
        verdict.case(name, len(starts) <= starts_max(queue), f"{job}: {starts}")
        delay = history.inputs[job].get("delay")
        for start in starts:
            verdict.case("batches <= most jobs", start.batch <= queue.batch_max, str(start))
            if delay:
                launched = history.launched[f"{job.rpartition('.')[0]}i1"]
                verdict.case("no start before its time",
                             start.time >= launched + float(delay[:-2]) / 1000, str(start))
    verdict.cases_of("lines of workers are whole", sum(map(len, history.starts.values())),
                     history.torn)


def check_order(history, verdict):
    """Ordered keys: one after the other, but for those whose worker had lost its lease."""
    lines = collections.defaultdict(list)  # (queue, key): starts
    for entry in history.rounds:
        if not history.queues[entry["queue"]].keys:
            continue
        last = {}  # key: the job before
        for number in range(1, entry["jobs"] + 1):
            job = f"{entry['producer']}.{number}"
            key = history.inputs[job]["key"]
            lines[entry["queue"], key] += history.starts[job]
            if key in last:
                _check_pair(history, verdict, history.starts[last[key]], history.starts[job])
            if history.starts[job]:
                last[key] = job
    for starts in lines.values():
        starts.sort(key=lambda start: start.time)
        longest = None
        for start in starts:
            if longest is not None:
                verdict.unless("jobs of a key do not overlap", start.time >= longest.end,
                               history.silent(longest.process, longest.time, start.time) or
                               history.late(longest) or history.late(start), f"{longest} {start}")
            if start.end and (longest is None or start.end > longest.end):
                longest = start


def _check_pair(history, verdict, before, after):
    if before and after:
        first = after[0]
        for start in before:
            verdict.unless("jobs of a key start in order", start.time <= first.time,
                           history.late(start), f"{start} after {first}")


def check_rates(history, verdict):
    """Starts in every window <= burst + rate * (window + jitter)."""
    worst = 0.0
    for queue in history.queues.values():
        if not queue.rate:
            continue
        times = sorted(start.time for job, starts in history.starts.items()
                       for start in starts if history.queue_of.get(job) == queue.name)
        highest = -math.inf
        for index, time in enumerate(times):
            # Of all windows that end here, the one that has most starts beyond the rate.
            highest = max(highest, queue.rate * time - index)
            excess = index + 1 + highest - queue.rate * time - queue.burst
            worst = max(worst, excess / queue.rate)
            verdict.case("starts in every window <= rate", excess <= queue.rate * history.jitter,
                         f"{queue.name}: {excess:.1f} starts too many in a window ending {time}")
    return worst


def check_ledger(history, verdict):
    """The broker's numbers are those of the producers."""
    seen = collections.defaultdict(collections.Counter)
    for job, outcomes in history.outcomes.items():
        if outcomes:
            seen[history.queue_of[job]][outcomes[0][1]["outcome"]] += 1
    ledgers = {queue["name"]: queue for queue in (history.status or {"queues": []})["queues"]}
    for name in history.queues:
        ledger = ledgers.get(name, {})
        numbers = {key: ledger.get(key, 0) for key in KINDS}
        verdict.case("accepted = completed + dead + cancelled + expired",
                     ledger.get("accepted", 0) == sum(numbers.values()), f"{name}: {ledger}")
        verdict.case("the broker's ledger is what producers saw",
                     numbers == {key: seen[name][key] for key in numbers},
                     f"{name}: {numbers}, but producers saw {dict(seen[name])}")


def check(directory):
    """Returns the history, the verdict, and the worst lateness that the rates needed, in s."""
    history, verdict = History(directory), Verdict()
    check_outcomes(history, verdict)
    check_results(history, verdict)
    check_starts(history, verdict)
    check_order(history, verdict)
    worst = check_rates(history, verdict)
    check_ledger(history, verdict)
    return history, verdict, worst


def report(directory):
    """Prints what was found; returns whether every invariant holds."""
    history, verdict, worst = check(directory)
    outcomes = collections.Counter(told[0][1]["outcome"] for told in history.outcomes.values() if told)
    print(f"\n{len(history.inputs)} jobs of {len(history.rounds)} producers; outcomes: " +
          ", ".join(f"{count} {kind}" for kind, count in sorted(outcomes.items())))
    print(f"{sum(map(len, history.starts.values()))} starts, most of one job "
          f"{max(map(len, history.starts.values()), default=0)}; rates hold with a jitter of "
          f"{worst * 1000:.0f} ms, {history.jitter * 1000:.0f} ms are allowed")
    print(f"\n{'invariant':<68}{'cases':>8}{'violated':>10}")
    for name, cases in verdict.cases.items():
        print(f"{name:<68}{cases:>8}{len(verdict.violations[name]):>10}")
    for name, count in (+verdict.excused).items():
        print(f"{name}: {count} exceptions after a worker had been silent for its lease")
    for name, violations in verdict.violations.items():
        for what in violations[:SHOWN]:
            print(f"VIOLATED: {name}: {what[:500]}")
        if len(violations) > SHOWN:
            print(f"VIOLATED: {name}: … {len(violations) - SHOWN} more")
    return not any(verdict.violations.values())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: check.py DIRECTORY")
    sys.exit(0 if report(pathlib.Path(sys.argv[1])) else 1)
