"""One write at a time against what it cannot go below: the bare device write and the bare network."""

import contextlib
import mmap
import os
import time

from common import say
from single import Responder
from wire import word

from .pair import NAMES, load, median, pair, publish, scratch

BLOCK_BYTES = 4096
FILE_BYTES = 64 << 20
VALUE_BYTES = 100
ROUNDS = 10
MEASURED_S = 1
# No more writes on end than the device takes without pauses of its own making.
WRITES = 2000
RATIO_MAX = 1.3
# Of a write, counted from when a shard has cut the request out of what it read.
STAGES = ["write_handed_us", "write_taken_us", "log_write_us", "write_published_us", "write_answered_us"]


def run(options):
    figures = {"device": [], "loopback": [], **{name: [] for name in NAMES}}
    with scratch() as folder, responding(folder) as responder, pair() as servers:
        device = Device(folder / "zeros")
        loads = {"loopback": responder, **servers}
        for one in servers.values():
            load(one, *words(3))
        word(servers["zkore"].port, "srst")
        for turn in range(ROUNDS):
            figures["device"].append(device.median_us())
            for name, one in loads.items():
                figures[name].append(load(one, *words(MEASURED_S))["total"]["latency_us"]["p50"])
            say(" ".join(f"{name} {values[-1]:.0f} µs" for name, values in figures.items()))
        stages = {name: servers["zkore"].metric(f"p50_{name}") for name in STAGES}
    raw = {"p50_us": figures, "stages_p50_us": stages}
    publish("floor", "The floor of a write", text(figures, stages), options, raw)


def words(seconds):
    return ["--mix", "set=1", "-c", 1, "-p", 1, "--keys", 100, "-w", "0.5s", "-d", f"{seconds}s"]


class Device:
    """Blocks written one after the other, each forced to the disk, into a file that is all there."""

    def __init__(self, path):
        zeros = bytes(1 << 20)
        with open(path, "wb") as file:
            for _ in range(FILE_BYTES >> 20):
                file.write(zeros)
            os.fsync(file.fileno())
        self.path = path

    def median_us(self):
        # Memory of its own pages is aligned as O_DIRECT wants it.
        block = mmap.mmap(-1, BLOCK_BYTES)
        block.write(os.urandom(BLOCK_BYTES))
        file = os.open(self.path, os.O_RDWR | os.O_DIRECT | os.O_DSYNC)
        try:
            took_us = []
            for number in range(WRITES):
                began = time.perf_counter_ns()
                os.pwrite(file, block, number * BLOCK_BYTES % FILE_BYTES)
                took_us.append((time.perf_counter_ns() - began) / 1000)
            return median(took_us)
        finally:
            os.close(file)


@contextlib.contextmanager
def responding(folder):
    """`zkore bench responder`, up for as long as the block takes."""
    responder = Responder(folder, [os.environ["ZKORE"], "bench"], VALUE_BYTES, None)
    try:
        responder.wait_until_up()
        yield responder
    finally:
        responder.stop()


def text(figures, stages):
    device, loopback = median(figures["device"]), median(figures["loopback"])
    floor = device + loopback
    lines = [
        "setData of 100 bytes at one connection and pipeline 1, median latency; the device is a write of 4 KiB by O_DIRECT "
        "and O_DSYNC into a file that was filled with zeros, the network `zkore bench` against `zkore bench responder`. "
        f"{ROUNDS} rounds of {MEASURED_S} s, or {WRITES:,} writes to the device, in turns; the median of their medians.",
        "",
        "| | µs | of the floor |",
        "|---|---:|---|",
        f"| a device write | {device:.0f} | |",
        f"| a round trip | {loopback:.0f} | |",
        f"| both, the floor | {floor:.0f} | 1 |",
    ]
    for name, shown in NAMES.items():
        ratio = median(figures[name]) / floor
        target = f", {'met' if ratio <= RATIO_MAX else '**missed**'} (≤ {RATIO_MAX})" if name == "zkore" else ""
        lines.append(f"| {shown} | {median(figures[name]):.0f} | {ratio:.2f}{target} |")
    known = ", ".join(f"`{name}` {value:.0f}" for name, value in stages.items() if value is not None)
    lines += ["", f"Medians of zkore's stages in µs (perf/README.md): {known}."]
    return "\n".join(lines)
