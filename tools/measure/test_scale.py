"""Tests of what the parts of tools/perf-scale write of figures, without a server.

    python3 -m unittest discover -s tools/measure
"""

import socket
import struct
import sys
import unittest
import xml.etree.ElementTree as xml

sys.dont_write_bytecode = True

import probe
import wire
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

    def test_idle_sessions_are_limited_by_files_or_by_ports_and_it_says_by_which(self):
        sessions, limits = idle.possible(50_000, 20_000, 28_232)
        self.assertEqual(sessions, 19_600)
        self.assertIn("50,000 sessions were not possible. A process may have 20,000 open files here, which was the limit.", limits)
        self.assertIn("28,232 ports, which limits nothing", limits)
        sessions, limits = idle.possible(50_000, 1_000_000, 10_000)
        self.assertEqual(sessions, 10_000)
        self.assertIn("10,000 ports, which was the limit.", limits)
        self.assertNotIn("files here, which", limits)
        # More than one address has ports for.
        self.assertEqual(idle.possible(50_000, 1_000_000, 28_232)[0], 50_000)
        self.assertNotIn("not possible", idle.possible(50_000, 1_000_000, 28_232)[1])

    def test_fanout_judges_the_median(self):
        text = fanout.text(rounds(writes=9, min=20.0, p50=40.0, p99=60.0, max=70.0, event_p50=20.0), 10_000)
        self.assertIn("| median | 40.0 ms | 400.0 ms | 0.100, met (≤ 0.25) |", text)

    def test_stalls_judge_gets_by_themselves_and_sets_within_their_round(self):
        usual = dict(p50=0.1, p99=1.0, p99_9=2.0, max=25.0, ops_s=1.0, client_lag_p99_9=0.1, client_lag_max=1.0,
                     probe_late_max=0.5, snapshots=8, server_cpus=0.1, client_cpus=0.1)

        def text(get_max, *sets):
            """With one round for each longest set and the longest log write beside it."""
            figures = [
                {**usual, "probe_get_max": get_max, "probe_set_max": taken, "log_write_max": written}
                for taken, written in sets
            ]
            rounds = {"zkore": figures, "apache": figures}
            return stalls.text({"rate": 40_000, "nodes": 1_000_000, "apache_peak_ops_s": 80_000.0, "rounds": rounds})

        less = "| … less the longest log write of its round | "
        both = text(9.0, (30.0, 25.0), (12.0, 14.0))
        self.assertIn("| longest get of the probe | 9.00 ms | 9.00 ms | met (≤ 10 ms) |", both)
        self.assertIn(f"{less}5.00 ms | 5.00 ms | met (≤ 10 ms) |", both)
        # The log write of another round excuses nothing.
        self.assertIn(f"{less}15.00 ms | 15.00 ms | **missed** (≤ 10 ms) |", text(9.0, (30.0, 25.0), (17.0, 2.0)))
        self.assertIn("11.00 ms | 11.00 ms | **missed** (≤ 10 ms) |", text(11.0, (1.0, 1.0)))

    def test_the_floor_is_device_and_network(self):
        figures = {"device": [60.0], "loopback": [40.0], "zkore": [125.0], "apache": [300.0]}
        text = floor.text(figures, {"log_write_us": 62.0, "write_taken_us": None})
        self.assertIn("| zkore | 125 | 1.25, met (≤ 1.3) |", text)
        self.assertIn("`log_write_us` 62.", text)


class Frames(unittest.TestCase):
    def test_whole_frames_are_taken_and_the_rest_waits(self):
        def framed(data):
            return len(data).to_bytes(4, "big") + data

        both = framed(b"one") + framed(b"")
        self.assertEqual(probe.split(both + b"\0\0\0\2x"), ([b"one", b""], b"\0\0\0\2x"))
        self.assertEqual(probe.split(both[:6]), ([], both[:6]))

    def test_the_kernel_tells_when_an_answer_came(self):
        note = (socket.SOL_SOCKET, probe.SO_TIMESTAMPNS, struct.pack("qq", 2, 3))
        self.assertEqual(probe.arrival_ns([(0, 0, b""), note]), 2_000_000_003)
        with self.assertRaises(wire.WireError):
            probe.arrival_ns([])


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
