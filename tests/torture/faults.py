"""Faults, dealt from a shuffled deck, and the restart of their victims after a random time."""

import collections
import heapq
import itertools
import signal
import time

from actors import EXIT_MACHINE

# How often each comes in a deck. A short stop ends before the lease, a long one after.
DECK = {("broker", "kill"): 9, ("worker", "kill"): 6, ("producer", "kill"): 6,
        ("worker", "long stop"): 3, ("worker", "short stop"): 2, ("broker", "long stop"): 1,
        ("broker", "short stop"): 1, ("producer", "long stop"): 1, ("producer", "short stop"): 1,
        ("worker", "term"): 2, ("producer", "term"): 2, ("producer", "cancel"): 2,
        ("broker", "term"): 1}
TICK_S = 0.02
# Exit codes after SIGTERM; the signal itself where it came before anybody listened to it.
EXPECTED = {"broker": {0, -signal.SIGTERM}, "worker": {0, -signal.SIGTERM},
            "producer": {0, 1, 130, -signal.SIGTERM}}


class Director:
    """Runs the actors: `faults` says whether new ones are made and new rounds begun.

    `interval` is the mean time between two faults, in seconds."""

    def __init__(self, world, interval):
        self.world, self.rng, self.interval = world, world.rng, interval
        self.faults = True
        self.problems = []
        self.counts = collections.Counter()  # by role and fault
        self.held = collections.Counter()  # of these: with unfinished work
        self._todo = []  # (time, order, function)
        self._order = itertools.count()
        self._deck = []
        self._doomed = set()  # killed or told to end; what exits next is expected
        self._waiting = set()  # that will be started again
        self._last_tick = time.monotonic()
        self._next_fault = time.monotonic() + 1

    def later(self, seconds, function):
        heapq.heappush(self._todo, (time.monotonic() + seconds, next(self._order), function))

    def start_all(self):
        for actor in self.world.actors():
            if actor.role == "producer":
                actor.next_round()
            actor.start()

    def tick(self):
        """Does what is due. REQUIRES: called again and again."""
        now = time.monotonic()
        # A machine that stands still is as if everybody was stopped.
        if now - self._last_tick > 0.25:
            self.world.note("stall", seconds=now - self._last_tick)
        self._last_tick = now
        while self._todo and self._todo[0][0] <= now:
            heapq.heappop(self._todo)[2]()
        for actor in self.world.actors():
            self._look_after(actor)
        if self.faults and now >= self._next_fault:
            self._make_fault()
            self._next_fault = now + self.rng.expovariate(1 / self.interval)
        time.sleep(TICK_S)

    def heal(self):
        """Ends all faults: nobody is stopped or missing any more."""
        self.faults = False
        for actor in self.world.actors():
            if actor.stopped:
                self._continue(actor, actor.process)

    def _restart_later(self, actor, seconds):
        self._waiting.add(actor)

        def start():
            self._waiting.discard(actor)
            actor.start()
            # Some brokers die on their way up.
            if actor.role == "broker" and self.faults and self.rng.random() < 0.25:
                self.later(self.rng.uniform(0, 0.3), lambda: self._kill_if_not_ready(actor))

        self.later(seconds, start)

    def _kill_if_not_ready(self, broker):
        if self.faults and broker.running() and not broker.ready():
            self._kill(broker, "kill in recovery")

    def _look_after(self, actor):
        if actor in self._waiting or getattr(actor, "done", False):
            return
        code = actor.exited()
        if code is None:
            return
        doomed = actor in self._doomed
        self._doomed.discard(actor)
        if actor.role == "producer" and code in (0, 1):
            self._end_round(actor)
            return
        if actor.role == "worker" and code == -signal.SIGKILL and not doomed:
            self._count(actor, "killed by a job")
        elif actor.role == "broker" and code == EXIT_MACHINE and actor.ports_busy():
            pass
        elif code != -signal.SIGKILL and not (doomed and code in EXPECTED[actor.role]):
            self.problems.append(f"{actor.process_name()} ended with exit code {code}, and nothing "
                                 f"was done to it here; see {actor.process_name()}.err")
        if actor.role == "producer" and not actor.named:
            self._end_round(actor)
            return
        self._restart_later(actor, self.rng.uniform(0, 1.5) if self.faults else 0)

    def _end_round(self, producer):
        if not self.faults:
            producer.done = True
            return

        self._waiting.add(producer)

        def start():
            self._waiting.discard(producer)
            producer.next_round()
            producer.start()

        self.later(producer.queue.pause_s, start)

    def _make_fault(self):
        if not self._deck:
            self._deck = [fault for fault, count in DECK.items() for _ in range(count)]
            self.rng.shuffle(self._deck)
        role, fault = self._deck.pop()
        victims = [actor for actor in self.world.actors() if actor.role == role and
                   actor.running() and not actor.stopped and actor not in self._doomed]
        if role == "producer" and not fault.endswith("stop"):
            # One without a name cancels its jobs at the end; killed, it could not tell their outcomes.
            victims = [actor for actor in victims if actor.named == (fault != "cancel")]
        if role == "broker":
            victims = [actor for actor in victims if actor.ready()]
        if not victims:
            return
        victim = self.rng.choice(victims)
        if fault == "kill":
            self._kill(victim, fault)
        elif fault in ("term", "cancel"):
            self._doomed.add(victim)
            if fault == "cancel":
                victim.round["cancelled"] = True
            self._count(victim, fault)
            victim.signal(signal.SIGTERM)
        else:
            self._stop(victim, fault)

    def _kill(self, victim, fault):
        self._doomed.add(victim)
        victim.kill()
        self._count(victim, fault)

    def _stop(self, victim, fault):
        lease = self.world.lease
        seconds = self.rng.uniform(1.3, 2) * lease if fault.startswith("long") else \
            self.rng.uniform(0.05, 0.6) * lease
        victim.signal(signal.SIGSTOP)
        self._count(victim, fault)
        process = victim.process
        self.later(seconds, lambda: self._continue(victim, process))

    def _continue(self, actor, process):
        if actor.process is process and actor.stopped and process.running():
            actor.signal(signal.SIGCONT)
            self.world.note("cont", actor)

    def _count(self, actor, fault):
        held = self.world.holds(actor)
        self.world.note(fault, actor, held=held)
        self.counts[actor.role, fault] += 1
        self.held[actor.role, fault] += held > 0
