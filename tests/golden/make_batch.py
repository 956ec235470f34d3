"""Items 0 to 50 in batches of 4: for each item the items of its batch and their product."""

from math import prod

items = list(range(51))
for begin in range(0, len(items), 4):
    batch = items[begin:begin + 4]
    for _ in batch:
        print(f"[{' '.join(map(str, batch))}] {prod(batch)}")
