"""Prints a text of at least 2 MiB, the same one every time, with every special character."""

import sys

SIZE = 2 << 20
WORDS = """horse bar load share even-handed queue job broker worker producer result (lease) [slot]
{run} batch! why? so, end. then; don't #7 $5 100% me@home The QUEUE waits""".split()

# A linear congruential generator: Python's own may change with its version.
state = 1
size = 0
while size < SIZE:
    line = []
    for _ in range(12):
        state = (state * 1103515245 + 12345) % 2**31
        pick = state >> 8
        line.append(WORDS[pick % len(WORDS)] + (str(pick % 1000) if pick % 3 == 0 else ""))
    text = " ".join(line) + "\n"
    size += len(text)
    sys.stdout.write(text)
