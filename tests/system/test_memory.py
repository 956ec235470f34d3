"""The memory limit holds by resident size, whatever careless peers send, while honest ones go on.

What is asserted is what the kernel counts, not the broker's own account. All careless peers act, in
random mixes: which are together, how large the limit is and whether queues are durable comes of a
seed, which is printed. By hand, for longer, with mixes of other seeds: WHIPPLETREE_RUNS=20
WHIPPLETREE_SEED=… (docs/testing.md).
"""

import os
import random
import threading
import time

import careless
from harness import SANITIZED, SystemTest, main, wait_for
from raw_peers import MIB
from wire_client import client

# Beyond the limit: programs and libraries, what the allocator has not given back, messages that are
# being received and sent.
SLACK_BYTES = 64 * MIB
TOGETHER = 4  # in a mix
# By limit: frames of one connection that wait to be looked at are a part of it.
PAYLOAD_MAX = {64: "2MiB", 256: "16MiB"}
RUNS = int(os.environ.get("WHIPPLETREE_RUNS", "1"))
SEED = int(os.environ.get("WHIPPLETREE_SEED", "1"))
SCALE = 0.3 if RUNS == 1 else 1.0


def is_full(broker, limit_mib):
    return broker.status()["memory_used_bytes"] > limit_mib * MIB / 2 - MIB


class Honest:
    """A producer whose jobs complete, some at a time, in a thread that ends with the broker."""

    def __init__(self, broker):
        self.producer = client.Producer(broker.door)
        self.rounds = 0
        self.wrong = []
        self.stopped = False
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while not self.stopped:
            outcomes = self.producer.submit("honest", [str(i).encode() for i in range(10)])
            results = [outcome.result for outcome in outcomes]
            if results != [str(i * i).encode() for i in range(10)]:
                self.wrong.append(results)
            self.rounds += 1
            time.sleep(0.05)


class MemoryTest(SystemTest):
    def started(self, limit_mib, durable):
        config = self.directory / "config.yaml"
        config.write_text(f"defaults:\n  durable: {'true' if durable else 'false'}\n")
        more = ["--data-dir", str(self.directory / "data")] if durable else []
        broker = self.broker("--config", config, "--memory-limit", f"{limit_mib}MiB",
                             "--payload-max", PAYLOAD_MAX[limit_mib], *more)
        self.worker(broker, "honest", "--queue", "honest", "--handler", "square")
        return broker

    def assert_holds(self, broker, limit_mib, what):
        self.assertTrue(broker.running(), what)
        self.assert_ledger_balances(broker)
        if not SANITIZED:
            self.assertLessEqual(broker.memory_peak_bytes() / MIB, limit_mib + SLACK_BYTES / MIB,
                                 what)

    def assert_goes_on(self, broker, limit_mib, honest, what):
        """Unless jobs fill the memory, for which all producers wait."""
        rounds = honest.rounds
        wait_for(lambda: honest.rounds > rounds + 1 or is_full(broker, limit_mib),
                 f"an honest producer beside {what}")

    def mix(self, kinds, limit_mib, durable, seed):
        what = (f"{', '.join(kind.__name__ for kind in kinds)}; limit {limit_mib} MiB"
                f"{', durable' if durable else ''}; seed {seed}")
        broker = self.started(limit_mib, durable)
        # It is there before: of tables that are full it keeps its part.
        honest = Honest(broker)
        began = time.monotonic()
        self.assert_goes_on(broker, limit_mib, honest, "nobody")
        peers = careless.together(kinds, broker, seed, SCALE)
        self.assert_goes_on(broker, limit_mib, honest, what)
        self.assert_holds(broker, limit_mib, what)
        for peer in peers:
            peer.close()
        self.assert_goes_on(broker, limit_mib, honest, what)
        self.assert_holds(broker, limit_mib, what)
        self.assertEqual(honest.wrong, [], what)
        print(f"{broker.memory_peak_bytes() / MIB:.0f} MiB, {time.monotonic() - began:.1f} s: {what}",
              flush=True)
        honest.stopped = True
        broker.kill()


def _mixed(run):
    def test(self):
        seed = f"{SEED}-{run}"
        print(f"WHIPPLETREE_SEED={SEED}, run {run}", flush=True)
        chosen = random.Random(seed)
        kinds = chosen.sample(careless.ALL, len(careless.ALL))
        for first in range(0, len(kinds), TOGETHER):
            limit_mib = chosen.choice(list(PAYLOAD_MAX))
            durable = chosen.random() < 0.3
            with self.subTest(first=first):
                self.mix(kinds[first:first + TOGETHER], limit_mib, durable, seed)
    return test


for _run in range(RUNS):
    setattr(MemoryTest, f"test_mixes_{_run}", _mixed(_run))


if __name__ == "__main__":
    main()
