"""The table of a run, for the terminal and for docs/benchmarks.md. Pure."""

import judging
import plan

BEGIN = "<!-- published run: begin -->"
END = "<!-- published run: end -->"

NOTES = (
    "Ratios are medians of pairs measured in the same repetition, with the least and the largest.",
    "Peers run with one message per job, as their users run them; given many jobs in one message by "
    "hand, they too would be faster.",
    "\"Of expected\": a peer's ratio to raw ZeroMQ in frames of 64 KiB, as a share of what it was in an "
    "earlier measurement on a machine of this kind; below 0.8 it is marked under-driven.",
    "Raw ZeroMQ counts 500 jobs for 64 KiB; nothing is kept, leased or acknowledged there.",
)


def short(number):
    """4.3 million, 36,200: three digits at most count."""
    if number >= 999_500:
        return f"{number / 1e6:.1f} million"
    digits = max(0, len(str(int(number))) - 3)
    return f"{round(number, -digits):,.0f}"


def between_markers(page, text):
    """`page` with `text` between its markers. ValueError: it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} … {END} in the page")
    return f"{before}{begin}\n{text}\n{end}{after}"


def _number(value, digits=3):
    """Whole from 100 on, else so many digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"


def _rows(lines):
    """Lines of cells as a Markdown table; the first is the head."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]

    def row(cells):
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |"

    return [row(lines[0]), row(["-" * width for width in widths]), *map(row, lines[1:])]


def goals(measured):
    verdicts = judging.judge(measured)
    lines = [["goal", "bound", "median", "least … largest", ""]]
    for verdict in verdicts:
        judged = {None: "not measured", True: "met", False: "**missed**"}[verdict.met]
        if verdict.met and judging.under_driven(measured, verdict.peer):
            judged += ", peer under-driven"
        lines.append([
            f"{verdict.group}: {verdict.what}", verdict.goal,
            "" if verdict.value is None else _number(verdict.value),
            "" if verdict.value is None else f"{_number(verdict.low)} … {_number(verdict.high)}",
            judged])
    counts = [(sum(v.met is met for v in verdicts), word)
              for met, word in ((True, "met"), (False, "missed"), (None, "not measured"))]
    said = ", ".join(f"{count} {word}" for count, word in counts if count)
    return [f"Goals: {said}.", "", *_rows(lines)]


def throughput(measured):
    raw = judging.best_raw(measured)
    lines = [["jobs/s, two workers, 100-byte payloads, results", "median", "least … largest",
              "of best raw", "of expected", "µs of server per job", "syncs", ""]]
    for entry in plan.ENTRIES:
        rates = judging.spread(judging.figures(measured, entry.name, "rate"))
        if entry.group != "throughput" or not rates:
            continue
        share = judging.ratio(measured, entry.name, raw) if raw else None
        cpu = judging.spread(judging.paired(judging.figures(measured, entry.name, "server_cpu"),
                                            judging.figures(measured, entry.name, "jobs")))
        syncs = judging.spread(judging.figures(measured, entry.name, "syncs"))
        expected = judging.of_expected(measured, entry.name)
        lines.append([
            entry.title, _number(rates.median), f"{_number(rates.low)} … {_number(rates.high)}",
            _number(share.median, 2) if share else "", _number(expected, 2) if expected else "",
            _number(1e6 * cpu.median, 2) if cpu else "",
            _number(syncs.median) if syncs else "",
            "under-driven" if judging.under_driven(measured, entry.name) else ""])
    return _rows(lines) if len(lines) > 1 else []


def latency(measured):
    lines = [["round trip of one job, µs", "p50", "p99", "p99.9", "syncs per job"]]
    for entry in plan.ENTRIES:
        found = [judging.spread(judging.figures(measured, entry.name, figure))
                 for figure in ("p50", "p99", "p999")]
        if entry.group != "latency" or None in found:
            continue
        syncs = judging.spread(judging.paired(judging.figures(measured, entry.name, "syncs"),
                                              judging.figures(measured, entry.name, "jobs")))
        lines.append([entry.title, *(_number(f.median) for f in found),
                      _number(syncs.median, 2) if syncs else ""])
    return _rows(lines) if len(lines) > 1 else []


# Entry, figure, what it is.
_OTHERS = (
    ("payload-10000", "rate", "jobs/s, payloads and results of 10 kB"),
    ("payload-100000", "rate", "jobs/s, payloads and results of 100 kB"),
    ("payload-1000000", "rate", "jobs/s, payloads and results of 1 MB"),
    ("payload-10000000", "rate", "jobs/s, payloads and results of 10 MB"),
    ("backlog-none", "rate", "jobs/s, none waiting"),
    ("backlog", "rate", "jobs/s, {waiting:,} waiting in the same queue"),
    ("backlog-fill", "rate", "jobs/s accepted while they fill"),
    ("start-up-fill", "rate", "jobs/s accepted while they fill a durable queue"),
    ("queues-10", "rate", "jobs/s, 10 queues, all busy"),
    ("queues-10000", "rate", "jobs/s, {queues:,} queues more, with a job each"),
    ("queues-all-busy", "rate", "jobs/s, 1,000 queues, all busy"),
    ("workers-2", "rate", "jobs/s, 2 workers"),
    ("workers-1000", "rate", "jobs/s, {workers:,} workers"),
    ("mixed", "makespan", "seconds for mixed service times"),
    ("mixed", "ideal", "seconds of the ideal list schedule"),
)


def others(measured, sizes):
    lines = [["scale", "median", "least … largest"]]
    for entry, figure, what in _OTHERS:
        found = judging.spread(judging.figures(measured, entry, figure))
        if found:
            lines.append([what.format(**sizes), _number(found.median),
                          f"{_number(found.low)} … {_number(found.high)}"])
    prefetch = judging.best_fixed(measured)
    if prefetch is not None:
        found = judging.spread([r and r["fixed"][prefetch] for r in measured["mixed"]])
        lines.append([f"seconds with a fixed prefetch of {prefetch}, the best", _number(found.median),
                      f"{_number(found.low)} … {_number(found.high)}"])
    return _rows(lines) if len(lines) > 1 else []


def micro(measured):
    lines = [["part, on one core", "ns per job"]]
    lines += [[found["name"], _number(found["ns"])] for found in measured.get("micro", [])]
    return _rows(lines) if len(lines) > 1 else []


def text(measured, about):
    """The whole report. `about`: what to say of the run, by name; `sizes` are those of the plan."""
    sizes = {"waiting": 10_000_000, "queues": 10_000, "workers": 1000} | about.get("sizes", {})
    shown = ", ".join(f"{name} {value}" for name, value in about.items() if name != "sizes")
    parts = [[shown], goals(measured), throughput(measured), latency(measured),
             others(measured, sizes), micro(measured), [f"- {note}" for note in NOTES]]
    failed = [f"- {name}: {why}" for name, why in measured.get("failures", [])]
    if failed:
        parts.append(["Rounds that failed:", "", *failed])
    return "\n\n".join("\n".join(part) for part in parts if part)
