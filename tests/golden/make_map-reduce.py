"""Counts the words of texts: of the files given, by default those in demo/texts."""

import collections
import pathlib
import sys

SPECIAL = b"()[]{}!?,.;'#$%@"
TABLE = bytes.maketrans(b"-" + SPECIAL, b"_" + b" " * len(SPECIAL))

folder = pathlib.Path(__file__).resolve().parents[2] / "demo/texts"
counts = collections.Counter()
for path in map(pathlib.Path, sys.argv[1:] or sorted(folder.glob("*.txt"))):
    name = path.name.removesuffix(".txt").encode()
    for word in path.read_bytes().split():
        for part in word.lower().translate(TABLE).split():
            counts[name + b":" + part] += 1
for key in sorted(counts):
    sys.stdout.buffer.write(b"%s\t%d\n" % (key, counts[key]))
