"""A million znodes: what they take in memory, and how long a start with them takes."""

import struct
import time

from common import say
from single import Failure
from wire import GET_DATA

from .pair import NAMES, load, median, publish, scratch, server, verdict

# With what `zkore bench` appends, /keys/k and ten digits, paths have 40 bytes.
BASE = "/" + "tree".ljust(22, "-")
PATH_BYTES = len(BASE) + len("/keys/k") + 10
VALUE_BYTES = 100
HEAP = "4g"
STARTS = 3

BYTES_MAX = 300
MEMORY_RATIO_MAX = 1 / 3
START_RATIO_MAX = 1 / 4


def run(options):
    assert PATH_BYTES == 40
    figures = {}
    with scratch() as folder:
        for name in NAMES:
            figures[name] = measure(name, folder, options.nodes)
            say(f"{name}: {figures[name]}")
    publish("memory", "Memory and start-up", text(figures, options.nodes), options, figures)


def measure(name, folder, nodes):
    one = server(name, folder, heap=HEAP)
    try:
        empty = one.resident_bytes()
        load(one, "--base", BASE, "--keys", nodes, "--mix", "get=1", "-w", "0s", "-d", "1s", "--keep")
        loaded = one.resident_bytes()
        found = {
            "empty_bytes": empty,
            "loaded_bytes": loaded,
            "bytes_a_znode": (loaded - empty) / nodes,
        }
        if name == "apache":
            found["live_heap_bytes_a_znode"] = one.live_heap_bytes() / nodes
        for how, end in (("stopped", one.stop), ("killed", one.kill)):
            found[f"start_{how}_s"] = [start_s(one, end, nodes - 1) for _ in range(STARTS)]
        found["started_bytes"] = one.resident_bytes()
        return found
    finally:
        one.kill()


def start_s(one, end, key):
    """From the start of the process to the first answered getData."""
    end()
    path = f"{BASE}/keys/k{key:010}"

    def is_there(session):
        error, body = session.call(GET_DATA, path)
        if error != 0:
            raise Failure(f"{one.name} has lost {path}: error {error}")
        return struct.unpack_from(">i", body)[0] == VALUE_BYTES

    began = time.monotonic()
    one.start()
    one.wait_for(is_there, pause_s=0.002)
    return time.monotonic() - began


def text(figures, nodes):
    ours, theirs = figures["zkore"], figures["apache"]

    def row(what, key, form, target):
        values = [form(each[key]) for each in (ours, theirs)]
        return f"| {what} | {values[0]} | {values[1]} | {target} |"

    bytes_ratio = ours["bytes_a_znode"] / theirs["bytes_a_znode"]
    is_small = "met" if ours["bytes_a_znode"] <= BYTES_MAX else "**missed**"
    lines = [
        f"{nodes:,} znodes with paths of {PATH_BYTES} bytes and {VALUE_BYTES} bytes of data, created through one session. "
        f"Resident memory after that, less what it was when empty. Apache's heap may grow to {HEAP}; after a full "
        f"collection it holds {theirs['live_heap_bytes_a_znode']:.0f} bytes a znode. Start-up is from the start of the "
        f"process to the first answered getData, median of {STARTS}, the files in the page cache; both servers take "
        "snapshots as by default, so a part of the log is replayed.",
        "",
        "| | zkore | Apache 3.9.5 | Ratio |",
        "|---|---:|---:|---|",
        row("resident, empty", "empty_bytes", mib, ""),
        row("resident, loaded", "loaded_bytes", mib, ""),
        row("bytes a znode", "bytes_a_znode", lambda value: f"{value:.0f}",
            f"{verdict(bytes_ratio, MEMORY_RATIO_MAX)}; at most {BYTES_MAX} bytes: {is_small}"),
        row("resident after a start", "started_bytes", mib, ""),
    ]
    for how, what in (("stopped", "start after a clean stop"), ("killed", "start after kill -9")):
        key = f"start_{how}_s"
        ratio = median(ours[key]) / median(theirs[key])
        lines.append(row(what, key, lambda values: f"{median(values):.2f} s", verdict(ratio, START_RATIO_MAX)))
    return "\n".join(lines)


def mib(value):
    return f"{value / 2**20:,.0f} MiB"
