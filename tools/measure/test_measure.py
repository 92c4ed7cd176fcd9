"""Tests of what needs no server: which rows there are, how they are judged, and what is drawn of them.

    python3 -m unittest discover -s tools/measure
"""

import contextlib
import io
import sys
import unittest
import xml.etree.ElementTree as xml

sys.dont_write_bytecode = True

import chart
import members
import pages
import repeat
import rows
import standalone
import table
from common import TOP
from rows import Load


def with_rounds(load, zkore, apache, responder=None):
    """A row with these figures, of one round or of a list of them; what is not given is equal for all."""
    usual = {"ops_s": 1000.0, "server_cpu_us_op": 10.0, "p50_us": 5.0, "p99_us": 9.0,
             "p99_9_us": 10.0, "server_rss_mib": 100.0, "client_cpus": 0.5}
    given = {"zkore": zkore, "apache": apache, "responder": responder}
    rounds = {
        name: [{**usual, **one} for one in (figures if isinstance(figures, list) else [figures])]
        for name, figures in given.items() if figures is not None
    }
    return {**load._asdict(), "failures": [], "rounds": rounds}


def judged(*words, judge=rows.judge):
    row = with_rounds(*words)
    judge(row)
    return row


def met(row):
    return {target["asked"]: target["met"] for target in row["targets"]}


class Rows(unittest.TestCase):
    def test_all_that_is_asked_for_is_there_and_the_usual_ones_are_a_part(self):
        self.assertEqual((len(rows.ALL), len(rows.USUAL)), (96, 52))
        for name in ("value_bytes", "connections", "pipeline", "operation"):
            values = {getattr(load, name) for load in rows.ALL}
            self.assertEqual({getattr(load, name) for load in rows.USUAL}, values)

    def test_rows_are_selected_by_patterns(self):
        self.assertEqual(rows.select("get:16:1"), [Load("get", 100, 16, 1)])
        self.assertEqual(rows.select("mixed:1:64:1024"), [Load("mixed 9:1", 1024, 1, 64)])
        self.assertEqual(len(rows.select("set:*:16:*,set:1:16")), 8)
        for wrong in ("get", "get:2:1", "put:1:1", "get:1:1:5", "get:1:1:1:1"):
            with self.assertRaises(ValueError):
                rows.select(wrong)


class Targets(unittest.TestCase):
    def test_reads_are_held_to_processor_time_by_pipeline_and_to_the_responder(self):
        for pipeline, most in ((1, 1 / 3), (16, 1 / 10), (64, 1 / 10)):
            for factor, good in ((0.99, True), (1.01, False)):
                cost = {"server_cpu_us_op": 10 * most * factor}
                row = judged(Load("get", 100, 16, pipeline), cost, {})
                self.assertEqual(met(row), {f"CPU ≤ 1/{1 / most:.0f}": good})
        for share, good in ((0.71, True), (0.69, False)):
            row = judged(Load("get", 100, 1, 1), {"ops_s": share * 1000}, {}, {"ops_s": 1000.0})
            self.assertEqual(met(row)["≥ 70% of responder"], good)

    def test_writes_are_held_to_throughput_where_log_writes_are_shared(self):
        for operation in ("set", "create"):
            for ops_s, good in ((4001.0, True), (3999.0, False)):
                row = judged(Load(operation, 1024, 16, 16), {"ops_s": ops_s}, {})
                self.assertEqual(met(row), {"≥ 4×": good})
            for place in ((1, 16), (16, 1)):
                self.assertEqual(met(judged(Load(operation, 100, *place), {}, {})), {})
        self.assertEqual(met(judged(Load("mixed 9:1", 100, 16, 16), {}, {})), {})

    def test_remarks_say_what_is_expected_of_all(self):
        load = Load("mixed 9:1", 100, 1, 1)
        self.assertEqual(judged(load, {}, {})["remarks"], ["neither 3× nor ⅓"])
        self.assertEqual(judged(load, {"ops_s": 3000.0}, {})["remarks"], [])
        self.assertEqual(judged(load, {"server_cpu_us_op": 3.3, "p99_us": 9.1}, {})["remarks"], ["p99 worse"])
        self.assertEqual(judged(load, {"ops_s": 3000.0, "p99_9_us": 10.1}, {})["remarks"], ["p99.9 worse"])

    def test_one_server_alone_is_not_judged(self):
        row = {**rows.ALL[0]._asdict(), "failures": [], "rounds": {"apache": [{"ops_s": 1.0}], "zkore": []}}
        rows.judge(row)
        self.assertEqual((row["ratio"], row["spread"], row["targets"], row["remarks"]), ({}, {}, [], []))

    def test_where_the_client_is_the_limit_the_responder_is_compared_by_processor_time_too(self):
        asked = "≥ 70% of responder, by CPU"
        load, busy = Load("get", 100, 16, 16), {"client_cpus": 0.95}
        self.assertNotIn(asked, met(judged(load, {}, {}, {})))
        # The client of a slow server has time; that says nothing of the two that are compared.
        self.assertNotIn(asked, met(judged(load, {}, busy, {})))
        for cost, good in ((10.0, True), (20.0, False)):
            row = judged(load, {"server_cpu_us_op": cost}, {}, busy)
            self.assertEqual(met(row)[asked], good)
            self.assertEqual((row["notes"], row["remarks"][-1:]), (["client at its limit (responder)"], ["neither 3× nor ⅓"]))


class Members(unittest.TestCase):
    def judged(self, load, zkore):
        return judged(load, zkore, {}, judge=members.judge)

    def test_there_are_rows_of_all_that_is_asked_for(self):
        self.assertEqual((len(members.ROWS), len(set(members.ROWS))), (23, 23))
        for load in (Load("set", 100, 1, 1), Load("mixed 9:1", 100, 1000, 16), Load("create", 1024, 128, 16)):
            self.assertIn(load, members.ROWS)
        self.assertEqual(rows.select("*:128:16:1024", members.ROWS), [Load(operation, 1024, 128, 16) for operation in ("get", "set", "create")])
        with self.assertRaises(ValueError):
            rows.select("get:16:64", members.ROWS)

    def test_writes_that_share_the_disk_are_held_to_five_times_and_all_rows_to_three(self):
        for ops_s, good, remarks in ((5001.0, True, []), (4999.0, False, []), (2999.0, False, ["below 3×"])):
            row = self.judged(Load("set", 100, 16, 16), {"ops_s": ops_s})
            self.assertEqual((met(row), row["remarks"]), ({"≥ 5×": good}, remarks))
        row = self.judged(Load("get", 100, 16, 16), {"ops_s": 2999.0, "server_cpu_us_op": 1.0, "p99_9_us": 11.0})
        self.assertEqual((row["targets"], row["remarks"]), ([], ["below 3×", "p99.9 worse"]))

    def test_the_section_names_the_settings_and_the_rounds_that_were_done(self):
        found = [self.judged(Load("set", 100, 16, 16), [{"ops_s": 6000.0}]), self.judged(Load("get", 100, 1, 1), {})]
        text = members.text(found, 1)
        for part in ("`zkore.placement=free`", "`-Xmx1000m`", "One round of each row, 1 s each.", "### get",
                     "1 of 2 rows reach at least 3 times", "writes ≥ 5× in 1 of 1"):
            self.assertIn(part, text)
        self.assertNotIn("\n## ", text)

    def test_a_section_takes_the_place_of_the_old_one(self):
        page = "# Page\n\n## A\n\nold\n\n### of A\n\nold\n\n## B\n\nkept\n"
        new = "## A\n\nnew\n"
        self.assertEqual(pages.with_section(page, "A", new), "# Page\n\n## A\n\nnew\n\n## B\n\nkept\n")
        self.assertEqual(pages.with_section("# Page\n", "A", new), "# Page\n\n## A\n\nnew\n")


class Rounds(unittest.TestCase):
    LOAD = Load("set", 100, 16, 16)

    def test_the_spread_is_of_the_ratios_within_each_round(self):
        row = judged(self.LOAD, [{"ops_s": 4000.0}, {"ops_s": 9000.0}, {"ops_s": 8000.0}],
                     [{"ops_s": 1000.0}, {"ops_s": 3000.0}, {"ops_s": 2000.0}])
        self.assertEqual((row["ratio"]["ops_s"], row["spread"]["ops_s"]), (4.0, [3.0, 4.0]))
        self.assertEqual(table.ratio_cell(row, "ops_s"), "**4.00** (3.00–4.00)")

    def test_what_is_told_is_what_was_done(self):
        one = judged(self.LOAD, [{}, {}], [{}])
        two = judged(self.LOAD, [{}, {}], [{}, {}])
        self.assertEqual((rows.rounds_done(one), rows.rounds_done(two)), (1, 2))
        self.assertEqual(rows.rounds_text([one]), "one round of each row")
        self.assertEqual(rows.rounds_text([two]), "2 rounds of each row, the median of each")
        self.assertEqual(rows.rounds_text([one, two]), "1 to 2 rounds of each row, the median of each")
        self.assertEqual(table.ratio_cell(one, "ops_s"), "**1.00**")

    def test_the_first_always_takes_place_and_a_further_one_only_where_it_can_end(self):
        for minutes, expected in ((None, 3), (0.1, 1), (2, 2), (3, 3)):
            clock, done = [0], []

            def one_round(is_odd):
                clock[0] += 60
                done.append(is_odd)

            with contextlib.redirect_stdout(io.StringIO()):
                repeat.rounds(3, one_round, minutes, lambda: clock[0])
            self.assertEqual(done, [False, True, False][:expected], minutes)


class Chart(unittest.TestCase):
    def test_points_lie_on_the_axis_where_their_values_are(self):
        line = ("16 × 1", 1000.0, 10.0, "a < b")
        svg = chart.pairs("Title", ("ours", "theirs"), ("left", "right"), [("get", [line])])
        tree = xml.fromstring(svg)
        dots = [float(dot.get("cx")) for dot in tree.iter("{http://www.w3.org/2000/svg}circle")][2:]
        # The axis has the decades from 10 to 1000; hollow points are drawn first.
        self.assertEqual(dots, [chart.LEFT, chart.RIGHT])
        labels = [text.text for text in tree.iter("{http://www.w3.org/2000/svg}text")]
        self.assertTrue({"10", "100", "1 k", "a < b", "get"} <= set(labels), labels)


class Recorded(unittest.TestCase):
    def test_what_is_shown_follows_from_the_newest_raw_figures(self):
        raw = max(TOP.glob("perf/results/*-standalone.json"))
        context, found = standalone.read(raw)
        page = standalone.document(context, found, raw.relative_to(TOP / "perf"))
        self.assertEqual((TOP / "perf/standalone.md").read_text(), page)
        for name, _, svg in standalone.charts(found):
            self.assertEqual((TOP / "perf" / name).read_text(), svg)
        part = standalone.README_PART.search((TOP / "README.md").read_text())
        self.assertIn(standalone.readme_part(context, found), part[0])


if __name__ == "__main__":
    unittest.main()
