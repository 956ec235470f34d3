#!/usr/bin/env python3
"""The checker is checked: of a small history that is right, each fault planted in it is found."""

import json
import pathlib
import shutil
import tempfile
import unittest

import check


def outcome(producer, number, job_id, square, kind="completed", **more):
    said = {"number": number, "id": job_id, "outcome": kind, "attempts": 1, "worker": "w1i1-0a0b0c0d"}
    if kind == "completed":
        said["result"] = f"{producer}.{number} {square}"
    return json.dumps({**said, **more}) + "\n"


def runs(job, begin, end, job_id="1-1", letters="SE"):
    """Lines of one start of a job."""
    times = {"S": begin, "E": end}
    return "".join(f"{letter} {times[letter]:.3f} {round(begin * 1000)} {job_id} 1 1 {job}\n"
                   for letter in letters)


class CheckTest(unittest.TestCase):
    """`files` is a history without a fault: two ordered jobs, one with one attempt, one cancelled,
    one that is bad, and some under a rate."""

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="whippletree-test-"))
        self.addCleanup(shutil.rmtree, self.directory)
        rounds = []
        self.files = {}
        self.ledger = {}

        def producer(name, queue, payloads, more=None, **entry):
            rounds.append({"producer": name, "queue": queue, "named": True, "jobs": len(payloads),
                           "processes": [f"{name}i1", f"{name}i2"], **entry})
            self.files[f"{name}.jobs"] = "".join(
                json.dumps({"payload": f"{name}.{number} {payload}", **(more or {})}) + "\n"
                for number, payload in enumerate(payloads, 1))
            self.files[f"{name}i1.out"] = self.files[f"{name}i2.out"] = ""
            self.files[f"{name}.again"] = ""

        producer("o", "orders", ["ok 2", "ok 3"], {"key": "k"})
        self.files["oi1.out"] = outcome("o", 1, "1-1", 4) + outcome("o", 2, "1-2", 9)
        producer("n", "once", ["ok 2"])
        self.files["ni1.out"] = outcome("n", 1, "2-1", 4)
        producer("c", "cancelled", ["ok 2", "ok 3", "ok 4"], named=False, cancelled=True)
        self.files["ci1.out"] = outcome("c", 1, "3-1", 4) + outcome("c", 2, "3-2", 9, "cancelled")
        producer("p", "plain", ["bad 2"], {"delay": "500ms"})
        self.files["pi1.out"] = outcome("p", 1, "4-1", 4, "dead", status="INVALID_ARGUMENT")
        producer("r", "rate", ["ok 2"] * 10)
        self.files["ri1.out"] = "".join(outcome("r", n, f"5-{n}", 4) for n in range(1, 11))
        self.files["w1i1.runs"] = (
            runs("o.1", 100, 100.5) + runs("o.2", 101, 101.5, "1-2") +
            runs("n.1", 102, 102.1, "2-1") + runs("c.1", 103, 103.1, "3-1") +
            runs("p.1", 104, 104.1, "4-1") +
            "".join(runs(f"r.{n}", 110 + n, 110.1 + n, f"5-{n}") for n in range(1, 11)))
        self.files["w2i1.runs"] = ""
        self.files["faults"] = "".join(
            json.dumps({"time": 99, "event": "start", "process": f"{name}i1"}) + "\n"
            for name in "oncpr")
        self.files["faults"] += json.dumps(
            {"time": 90, "event": "start", "role": "broker", "process": "brokeri1"}) + "\n"
        self.files["faults"] += "".join(
            json.dumps({"time": 130, "event": "exit", "process": f"{name}i2"}) + "\n"
            for name in "oncpr")
        self.history = {"lease": 2, "jitter": 0.1, "rounds": rounds}
        self.ledger = {"orders": {"accepted": 2, "completed": 2},
                       "once": {"accepted": 1, "completed": 1},
                       "cancelled": {"accepted": 2, "completed": 1, "cancelled": 1},
                       "plain": {"accepted": 1, "dead": 1},
                       "rate": {"accepted": 10, "completed": 10}}

    def violated(self):
        """The invariants that the checker says are violated."""
        for name, text in self.files.items():
            (self.directory / name).write_text(text)
        (self.directory / "history.json").write_text(json.dumps(self.history))
        (self.directory / "status.json").write_text(json.dumps(
            {"queues": [{"name": name, **numbers} for name, numbers in self.ledger.items()]}))
        _, verdict, _ = check.check(self.directory)
        self.assertGreater(sum(verdict.cases.values()), 50)
        return {name for name, found in verdict.violations.items() if found}

    def change(self, file, old, new):
        self.assertIn(old, self.files[file])
        self.files[file] = self.files[file].replace(old, new, 1)

    def assert_found(self, *names):
        self.assertLessEqual(set(names), self.violated())

    def test_nothing_is_found_where_nothing_is(self):
        self.assertEqual(self.violated(), set())

    def test_missing_outcome(self):
        self.files["ni1.out"] = ""
        self.assert_found("each submitted job has an outcome",
                          "the broker's ledger is what producers saw")

    def test_missing_outcome_of_one_that_cancelled(self):
        self.change("ci1.out", outcome("c", 1, "3-1", 4), "")
        self.assert_found("each submitted job has an outcome")

    def test_half_a_line_is_no_outcome(self):
        self.files["ni1.out"] = self.files["ni1.out"][:-1]
        self.assert_found("each submitted job has an outcome")

    def test_told_twice(self):
        self.files["ni1.out"] *= 2
        self.assert_found("no process is told an outcome twice")

    def test_told_again_to_the_next_process(self):
        self.files["ni2.out"] = self.files["ni1.out"]
        self.assertEqual(self.violated(), set())

    def test_told_again_otherwise(self):
        self.files["ni2.out"] = outcome("n", 1, "2-1", 4, "dead", status="UNKNOWN")
        self.assert_found("an outcome told again is the same")

    def test_told_again_without_a_name(self):
        self.files["ci2.out"] = self.files["ci1.out"]
        self.assert_found("only a producer that died is told again")

    def test_told_after_it_was_acknowledged(self):
        self.files["n.again"] = self.files["ni1.out"]
        self.assert_found("an acknowledged outcome is not told again")

    def test_told_after_the_broker_had_died_with_the_acknowledgement(self):
        self.files["n.again"] = self.files["ni1.out"]
        self.files["faults"] += json.dumps(
            {"time": 130.1, "event": "kill", "role": "broker", "process": "brokeri1"}) + "\n"
        self.assertEqual(self.violated(), set())
        self.files["n.again"] = outcome("n", 1, "2-1", 4, "dead", status="UNKNOWN")
        self.assert_found("an outcome told again is the same")

    def test_outcome_of_nothing(self):
        self.files["ni1.out"] += outcome("n", 2, "2-2", 4)
        self.assert_found("no outcome of a job never submitted")

    def test_start_of_nothing(self):
        self.files["w1i1.runs"] += runs("n.7", 120, 121)
        self.assert_found("no start of a job never submitted")

    def test_wrong_result(self):
        self.change("ni1.out", "n.1 4", "n.1 5")
        self.assert_found("results are right")

    def test_completed_and_never_started(self):
        self.change("w1i1.runs", runs("n.1", 102, 102.1, "2-1"), "")
        self.assert_found("a completed job ended at the worker that is named")

    def test_given_up_too_early(self):
        self.change("oi1.out", outcome("o", 2, "1-2", 9),
                    outcome("o", 2, "1-2", 9, "dead", status="UNAVAILABLE"))
        self.assert_found("no job is given up before its last attempt")

    def test_good_job_dead_at_once(self):
        self.change("oi1.out", outcome("o", 2, "1-2", 9),
                    outcome("o", 2, "1-2", 9, "dead", status="INVALID_ARGUMENT"))
        self.assert_found("only bad jobs are dead at once")

    def test_expired_without_expiry(self):
        self.change("ni1.out", "completed", "expired")
        self.assert_found("only jobs with an expiry expire")

    def test_cancelled_by_nobody(self):
        self.change("ni1.out", "completed", "cancelled")
        self.assert_found("only jobs of a producer that was told to end are cancelled")

    def test_unknown(self):
        self.change("ni1.out", "completed", "unknown")
        self.assert_found("no job is rejected or unknown")

    def test_too_many_attempts(self):
        self.change("ni1.out", '"attempts": 1', '"attempts": 2')
        self.assert_found("attempts charged <= most attempts")

    def test_two_ids(self):
        self.files["w2i1.runs"] = runs("o.2", 102, 103, "1-9")
        self.assert_found("a job has one id")

    def test_second_start_of_a_job_with_one(self):
        self.files["w2i1.runs"] = runs("n.1", 105, 106, "2-1")
        self.assert_found("one start at most")

    def test_too_many_starts(self):
        self.files["w2i1.runs"] = "".join(runs("p.1", 105 + n, 105.5 + n, "4-1") for n in range(6))
        self.assert_found("starts <= bound")

    def test_too_large_a_batch(self):
        self.change("w1i1.runs", "2-1 1 1 n.1", "2-1 1 2 n.1")
        self.assert_found("batches <= most jobs")

    def test_too_early(self):
        self.change("w1i1.runs", "S 104.0", "S  99.4")
        self.assert_found("no start before its time")

    def test_torn_line(self):
        self.files["w2i1.runs"] = "S 12\n"
        self.assert_found("lines of workers are whole")

    def test_wrong_order(self):
        self.files["w2i1.runs"] = runs("o.1", 102, 103)
        self.assert_found("jobs of a key start in order")

    def test_overlap(self):
        self.change("w1i1.runs", "S 101.0", "S 100.4")
        self.assert_found("jobs of a key do not overlap")

    def test_overlap_after_a_lease(self):
        """A worker that was stopped for long has lost its lease, and its job goes on."""
        self.change("w1i1.runs", "E 100.5", "E 110.5")
        self.files["faults"] += (
            json.dumps({"time": 100.1, "event": "long stop", "process": "w1i1"}) + "\n" +
            json.dumps({"time": 103.1, "event": "cont", "process": "w1i1"}) + "\n")
        self.assertEqual(self.violated(), set())

    def test_wrong_order_long_after_a_stop(self):
        self.files["w2i1.runs"] = runs("o.1", 108, 109)
        self.files["faults"] += (
            json.dumps({"time": 102, "event": "long stop", "process": "w2i1"}) + "\n" +
            json.dumps({"time": 105, "event": "cont", "process": "w2i1"}) + "\n")
        self.assert_found("jobs of a key start in order")
        self.change("faults", '"time": 105', '"time": 107.5')
        self.assertNotIn("jobs of a key start in order", self.violated())

    def test_overlap_after_a_short_stop(self):
        self.change("w1i1.runs", "S 101.0", "S 100.4")
        self.files["faults"] += (
            json.dumps({"time": 100.1, "event": "short stop", "process": "w1i1"}) + "\n" +
            json.dumps({"time": 100.4, "event": "cont", "process": "w1i1"}) + "\n")
        self.assert_found("jobs of a key do not overlap")

    def test_too_fast(self):
        for n in range(1, 11):
            self.change("w1i1.runs", f"S {110 + n}.000", "S 110.000")
        self.assert_found("starts in every window <= rate")

    def test_ledger_that_does_not_add_up(self):
        self.ledger["rate"]["accepted"] = 11
        self.assert_found("accepted = completed + dead + cancelled + expired")

    def test_every_invariant_is_broken_here_once(self):
        """So that none of the names above is misspelt, and none is forgotten."""
        self.violated()
        text = pathlib.Path(__file__).read_text(encoding="utf-8")
        _, verdict, _ = check.check(self.directory)
        for name in verdict.cases:
            self.assertIn(f'"{name}"', text)


if __name__ == "__main__":
    unittest.main()
