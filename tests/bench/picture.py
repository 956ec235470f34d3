"""The picture of a run: who moves how many jobs a second, and how long one job takes. Pure."""

import html

import judging
import plan
import report

WIDTH, LABELS, BARS = 960, 350, 380
LINE, TOP = 26, 64
OURS, DURABLE, OTHER, LIMIT = "#1b6e53", "#4aa586", "#8a94a6", "#c9ced8"
_SKIPPED = ("memory-0", "memory-1000", "durable-0", "durable-1000", "memory-1-worker",
            "durable-1-worker")
_TITLES = {
    "memory-singly": "Whippletree, memory, one call for each job",
    "memory-futures": "Whippletree, memory, a future for each job",
    "go-pool": "Go worker pool, one process",
}


def _colour(entry):
    if entry.system in plan.OURS:
        return OURS if entry.system == "memory" else DURABLE
    return LIMIT if entry.system in ("raw", "go-pool") else OTHER


def _title(entry):
    return _TITLES.get(entry.name, entry.title) + (", synced" if entry.system in ("durable", "redis-always", "beanstalkd-synced") else "")


def _text(x, y, words, size=14, more=""):
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}"{more}>{html.escape(words)}</text>'


def _panel(y, heading, rows):
    """Rows are (label, value, words beside the bar, colour); returns parts and where they end."""
    parts = [_text(20, y, heading, 17, ' font-weight="bold"')]
    largest = max((value for _, value, _, _ in rows), default=1)
    for label, value, words, colour in rows:
        y += LINE
        width = max(1.5, BARS * value / largest)
        parts.append(_text(LABELS - 10, y, label, 14, ' text-anchor="end"'))
        parts.append(f'<rect x="{LABELS}" y="{y - 14}" width="{width:.1f}" height="18" rx="2" '
                     f'fill="{colour}"/>')
        parts.append(_text(LABELS + width + 8, y, words))
    if not rows:
        y += LINE
        parts.append(_text(LABELS, y, "not measured"))
    return parts, y + 2 * LINE


def _throughput_rows(measured):
    raw = judging.best_raw(measured)
    rows = []
    for entry in plan.ENTRIES:
        rates = judging.spread(judging.figures(measured, entry.name, "rate"))
        hidden = entry.name in _SKIPPED or (entry.system == "raw" and entry.name != raw)
        if entry.group == "throughput" and rates and not hidden:
            rows.append((_title(entry), rates.median, report.short(rates.median), _colour(entry)))
    return sorted(rows, key=lambda row: -row[1])


def _latency_rows(measured):
    rows = []
    for entry in plan.ENTRIES:
        p50 = judging.spread(judging.figures(measured, entry.name, "p50"))
        p99 = judging.spread(judging.figures(measured, entry.name, "p99"))
        if entry.group == "latency" and p50 and p99:
            words = f"{p50.median:,.0f} µs (99 % within {p99.median:,.0f})"
            rows.append((_title(entry), p50.median, words, _colour(entry)))
    return sorted(rows, key=lambda row: row[1])


def svg(measured):
    first, y = _panel(TOP, "Jobs per second, with results (longer is better)",
                      _throughput_rows(measured))
    second, y = _panel(y, "Round trip of one job, median (shorter is better)",
                       _latency_rows(measured))
    notes = ("100-byte payloads; one producer, one server, two workers (one for the round trip), each "
             "a process.",
             "Same machine, same run. Other systems send one message per job. Light grey is no queue: "
             "bare sockets,", "and goroutines of a single process.")
    foot = [_text(20, y + 18 * i, note, 12, ' fill="#555"') for i, note in enumerate(notes)]
    height = y + 18 * len(notes) + 6
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" font-family="system-ui, sans-serif" fill="#222">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        _text(20, 30, "Whippletree beside other queues", 20, ' font-weight="bold"'),
        *first, *second, *foot, "</svg>", ""])
