"""Tests of what the parts of tools/perf-scale write of figures, without a server.

    python3 -m unittest discover -s tools/measure
"""

import sys
import unittest
import xml.etree.ElementTree as xml

sys.dont_write_bytecode = True

from scale import curves, fanout, floor, growth, idle, memory, stalls


def rounds(**figures):
    """Figures of both servers, Apache's ten times zkore's."""
    return {"zkore": [figures], "apache": [{key: 10 * value for key, value in figures.items()}]}


class Texts(unittest.TestCase):
    def test_memory_holds_bytes_against_two_targets(self):
        def figures(times):
            return {"empty_bytes": times << 20, "loaded_bytes": times << 28, "started_bytes": times << 28,
                    "bytes_a_znode": times * 280.0, "live_heap_bytes_a_znode": 400.0,
                    "start_stopped_s": [times * 0.4, times * 0.5, times * 9.0], "start_killed_s": [times * 1.0]}

        text = memory.text({"zkore": figures(1), "apache": figures(5)}, 1_000_000)
        self.assertIn("| bytes a znode | 280 | 1400 | 0.200, met (≤ 0.33); at most 300 bytes: met |", text)
        self.assertIn("| start after a clean stop | 0.50 s | 2.50 s | 0.200, met (≤ 0.25) |", text)

    def test_idle_takes_memory_from_the_first_round(self):
        figures = rounds(resident_bytes=500.0, cpus=0.02, idle_cpus=0.001, ping_p99_us=900.0)
        figures["apache"][0]["live_heap_bytes"] = 2000.0
        figures = {name: [each[0], {**each[0], "resident_bytes": 1.0}] for name, each in figures.items()}
        text = idle.text(figures, 19_600, "")
        self.assertIn("| bytes a session, resident | 500 | 5,000 | 0.100, met (≤ 0.2) |", text)
        self.assertIn("| … against Apache's live heap | | 2,000 | 0.250, **missed** (≤ 0.2) |", text)
        self.assertIn("| processor ms a second | 19.0 | 190.0 | 0.100, met (≤ 0.2) |", text)

    def test_fanout_judges_the_median(self):
        text = fanout.text(rounds(writes=9, min=20.0, p50=40.0, p99=60.0, max=70.0, event_p50=20.0), 10_000)
        self.assertIn("| median | 40.0 ms | 400.0 ms | 0.100, met (≤ 0.25) |", text)

    def test_stalls_take_the_log_off_the_longest_pause(self):
        figures = rounds(p50=0.1, p99=1.0, p99_9=2.0, max=25.0, ops_s=1.0, get_max=9.0, client_lag_p99_9=0.1,
                         client_lag_max=1.0, log_write_max=12.0, snapshots=8, server_cpus=0.1, client_cpus=0.1)
        raw = {"rate": 40_000, "nodes": 1_000_000, "apache_peak_ops_s": 80_000.0, "rounds": figures}
        self.assertIn("13.0 ms beyond the longest log write: **missed** (≤ 10 ms)", stalls.text(raw))

    def test_the_floor_is_device_and_network(self):
        figures = {"device": [60.0], "loopback": [40.0], "zkore": [125.0], "apache": [300.0]}
        text = floor.text(figures, {"log_write_us": 62.0, "write_taken_us": None})
        self.assertIn("| zkore | 125 | 1.25, met (≤ 1.3) |", text)
        self.assertIn("`log_write_us` 62.", text)


class Curves(unittest.TestCase):
    def test_a_curve_is_a_line_a_name(self):
        rows = [[1, 10.0, 5.0], [10, 100.0, 50.0], [100, 1000.0, None]]
        curve = growth.Curve("things", "", ["things", "zkore", "Apache"], rows, {"zkore": 1, "Apache": 2})
        drawn = xml.fromstring(growth.drawing(curve))
        lines = [line.get("points").split() for line in drawn.iter("{http://www.w3.org/2000/svg}polyline")]
        self.assertEqual([len(line) for line in lines], [3, 2])

    def test_decades_are_marked(self):
        self.assertEqual(curves.Axis([1, 1000], 0, 300).ticks(), [1, 10, 100, 1000])
        self.assertEqual(curves.Axis([1, 1000], 0, 300).place(10), 100)


if __name__ == "__main__":
    unittest.main()
