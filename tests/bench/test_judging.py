#!/usr/bin/env python3
"""Tests of what judges the benchmark's figures, writes its table and draws its picture."""

import unittest
import xml.dom.minidom

import judging
import picture
import plan
import report
import scale
import systems


def rates(*values):
    return [None if value is None else {"rate": value} for value in values]


class JudgingTest(unittest.TestCase):

    def verdict(self, measured, what):
        found = [v for v in judging.judge(measured) if v.what == what]
        self.assertEqual(len(found), 1, what)
        return found[0]

    def test_a_spread_leaves_out_what_failed(self):
        self.assertEqual(judging.spread([3, None, 1, 2]), (2, 1, 3))
        self.assertIsNone(judging.spread([None]))
        self.assertIsNone(judging.spread([]))

    def test_ratios_are_paired_by_repetition(self):
        # The machine was half as fast in the second repetition; the ratio does not know.
        measured = {"a": rates(100, 50, 100), "b": rates(50, 25, 40)}
        self.assertEqual(judging.ratio(measured, "a", "b"), (2, 2, 2.5))

    def test_a_failed_round_leaves_its_pair_out(self):
        measured = {"a": rates(100, None, 90), "b": rates(None, 10, 30)}
        self.assertEqual(judging.ratio(measured, "a", "b"), (3, 3, 3))
        self.assertIsNone(judging.ratio(measured, "a", "c"))

    def test_the_best_raw_figure_is_that_of_the_best_median(self):
        measured = {"raw-16": rates(9, 1, 1), "raw-64": rates(3, 3, 3), "raw-256": rates(2, 2, 2)}
        self.assertEqual(judging.best_raw(measured), "raw-64")
        self.assertIsNone(judging.best_raw({}))

    def test_a_goal_is_met_at_its_bound(self):
        what = "throughput / best raw four hops"
        for rate, met in ((60, True), (59.9, False)):
            measured = {"memory": rates(rate), "raw-64": rates(100)}
            self.assertEqual(self.verdict(measured, what).met, met)

    def test_a_goal_for_the_round_trip_is_met_from_below(self):
        trips = {"trip-raw": [{"p50": 100, "p99": 200}],
                 "trip-memory": [{"p50": 115, "p99": 301}]}
        self.assertTrue(self.verdict(trips, "memory p50 / raw p50").met)
        self.assertFalse(self.verdict(trips, "memory p99 / raw p99").met)

    def test_the_median_of_the_ratios_decides(self):
        measured = {"durable": rates(60, 80, 71), "memory": rates(100, 100, 100)}
        verdict = self.verdict(measured, "throughput / our memory queue")
        self.assertEqual((verdict.value, verdict.low, verdict.high), (0.71, 0.6, 0.8))
        self.assertTrue(verdict.met)

    def test_what_was_not_measured_is_neither_met_nor_missed(self):
        self.assertTrue(all(v.met is None and v.value is None for v in judging.judge({})))

    def test_cost_is_the_inverse_of_throughput(self):
        measured = {"backlog": rates(100), "backlog-none": rates(105)}
        verdict = self.verdict(measured, "cost per job, 10 million waiting / none")
        self.assertEqual((verdict.value, verdict.met), (1.05, True))

    def test_mixed_times_are_judged_by_the_prefetch_that_is_best_over_all_orders(self):
        # By itself each order has a better one: 10 for the first, 1 for the second.
        measured = {"mixed": [{"makespan": 11, "fixed": {"1": 12, "10": 8, "100": 10}},
                              {"makespan": 11, "fixed": {"1": 6, "10": 20, "100": 7}}]}
        self.assertEqual(judging.best_fixed(measured), "100")
        verdict = self.verdict(measured, "makespan, mixed times / best fixed prefetch (computed), all orders")
        self.assertAlmostEqual(verdict.value, 22 / 17)
        self.assertEqual((verdict.low, verdict.high), (1.1, 11 / 7))

    def test_a_peer_far_below_its_known_ratio_is_under_driven(self):
        raw = {"raw-64": rates(1000), "raw-256": rates(2000)}
        known = judging.EXPECTED_PER_SECOND["redis"] / judging.EXPECTED_PER_SECOND["raw-64"] * 1000
        self.assertAlmostEqual(judging.of_expected(raw | {"redis": rates(known / 2)}, "redis"), 0.5)
        self.assertFalse(judging.under_driven(raw | {"redis": rates(known * 0.81)}, "redis"))
        self.assertTrue(judging.under_driven(raw | {"redis": rates(known * 0.79)}, "redis"))
        self.assertIsNone(judging.under_driven({"redis": rates(1)}, "redis"))
        self.assertIsNone(judging.under_driven(raw | {"memory": rates(1)}, "memory"))
        self.assertIsNone(judging.under_driven(raw, "raw-64"))


class ScheduleTest(unittest.TestCase):

    def test_one_worker_takes_the_sum(self):
        self.assertEqual(judging.fixed_prefetch_makespan([1, 2, 3], [2], 1, 0), 12)

    def test_prefetch_one_without_a_turnaround_is_the_list_schedule(self):
        # 3 | 1 then 2 then 1
        self.assertEqual(judging.fixed_prefetch_makespan([3, 1, 2, 1], [1, 1], 1, 0), 4)

    def test_the_turnaround_costs_where_nothing_is_held(self):
        self.assertEqual(judging.fixed_prefetch_makespan([1] * 4, [1], 1, 0.5), 5.5)
        self.assertEqual(judging.fixed_prefetch_makespan([1] * 4, [1], 2, 0.5), 4)

    def test_what_a_slow_worker_holds_comes_late(self):
        times, factors = [1] * 8, [1, 10]
        self.assertEqual(judging.fixed_prefetch_makespan(times, factors, 1, 0), 10)
        self.assertEqual(judging.fixed_prefetch_makespan(times, factors, 4, 0), 40)

    def test_more_prefetch_than_jobs(self):
        self.assertEqual(judging.fixed_prefetch_makespan([1, 1], [1, 1], 1000, 1), 1)
        self.assertEqual(judging.fixed_prefetch_makespan([], [1], 10, 1), 0)


class PlanTest(unittest.TestCase):

    def test_what_is_judged_is_what_is_measured(self):
        class Asked(dict):
            names = set()

            def get(self, name, otherwise=None):
                self.names.add(name)
                return super().get(name, otherwise)

        judging.judge(Asked({"raw-64": rates(1)}))
        source = (systems.HERE / "scale.py").read_text()
        for name in Asked.names - {entry.name for entry in plan.ENTRIES} - {"failures"}:
            self.assertIn(f'"{name}"', source)

    def test_entries_are_whole(self):
        names = [entry.name for entry in plan.ENTRIES]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual(set(judging.EXPECTED_PER_SECOND) | set(judging.RAW_ENTRIES), set(names))
        for entry in plan.ENTRIES:
            self.assertIn(entry.system, systems.SYSTEMS)
            self.assertIn(entry.group, plan.GROUPS)

    def test_without_peers_only_ours_are_measured(self):
        ours = plan.entries(False, plan.GROUPS)
        self.assertTrue(ours and all(entry.system in plan.OURS for entry in ours))
        self.assertEqual({e.group for e in plan.entries(True, ["latency"])}, {"latency"})

    def test_orders_follow_their_seed(self):
        self.assertEqual(scale.mixed_order(3, 0.1), scale.mixed_order(3, 0.1))
        self.assertNotEqual(scale.mixed_order(3, 0.1), scale.mixed_order(4, 0.1))


class ReportTest(unittest.TestCase):

    MEASURED = {
        "memory": [{"rate": 2e6, "jobs": 1}, {"rate": 3e6, "jobs": 1}, None],
        "durable": [{"rate": 1e6, "syncs": 17, "jobs": 1}, {"rate": 2e6, "syncs": 19, "jobs": 1}],
        "raw-64": rates(4e6, 5e6),
        "redis": rates(1e5, 1e5),
        "trip-memory": [{"p50": 200, "p99": 300, "p999": 900}],
        "trip-raw": [{"p50": 180, "p99": 250, "p999": 500}],
    }

    def test_the_table_says_all_that_a_reader_must_know(self):
        text = report.text(self.MEASURED, {"commit": "abc"})
        for part in ("2,500,000", "under-driven", "0.088", "one message per job", "met", "missed",
                     "not measured", "syncs", "abc"):
            self.assertIn(part, text)

    def test_a_goal_met_beside_a_peer_that_was_driven_badly_says_so(self):
        measured = {"raw-64": rates(4e6), "memory": rates(5e5), "redis": rates(1e5)}
        self.assertIn("met, peer under-driven", report.text(measured, {}))
        self.assertNotIn("peer under-driven",
                         report.text(measured | {"redis": rates(1.6e5), "raw-64": rates(5e5)}, {}))

    def test_goals_are_counted(self):
        self.assertIn("Goals: 1 met, 1 missed, 19 not measured.", report.text(
            {"raw-64": rates(10), "memory": rates(1), "durable": rates(1)}, {}))

    def test_the_picture_is_xml_and_names_its_figures(self):
        svg = picture.svg(self.MEASURED)
        xml.dom.minidom.parseString(svg)
        self.assertIn("2.5 million", svg)
        self.assertIn("200 µs", svg)

    def test_a_picture_of_nothing_is_still_one(self):
        xml.dom.minidom.parseString(picture.svg({}))

    def test_publishing_replaces_what_is_between_the_markers_alone(self):
        page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
        published = report.between_markers(page, "new")
        self.assertEqual(published, f"before\n{report.BEGIN}\nnew\n{report.END}\nafter\n")
        with self.assertRaises(ValueError):
            report.between_markers("no markers", "new")

    def test_numbers_are_short(self):
        self.assertEqual(report.short(4_321_000), "4.3 million")
        self.assertEqual(report.short(36_200), "36,200")


if __name__ == "__main__":
    unittest.main(verbosity=2)
