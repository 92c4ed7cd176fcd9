"""Throughput of three members of zkore beside three of Apache ZooKeeper: what is measured, and what is
written of it."""

import os

import pages
import repeat
import rows as loads
import single
import table
from common import APACHE_FLAGS, SAMPLE_TIMING, Bench, Failure, say, servers_of
from machine import rounded
from rows import Load

# Connections and pipeline, with values of 100 bytes; those of 1 KiB are asked of one place.
PLACES = [(1, 1), (16, 1), (16, 16), (128, 16), (1000, 16)]
ROWS = [
    load for load in loads.ALL
    if (load.connections, load.pipeline) in (PLACES if load.value_bytes == 100 else [(128, 16)])
    and (load.value_bytes == 100 or load.operation != "mixed 9:1")
]

# Times Apache's throughput: a target of writes that share the disk, and what is expected of all.
WRITE_THROUGHPUT_RATIO_MIN = 5.0
THROUGHPUT_RATIO_MIN = 3.0

# Members that share a machine must not all keep to the same processors.
ZKORE_LINES = ["zkore.placement=free"]
KEYS = 1000
WARMUP_S = 0.5
# Load on each ensemble before the first row, of each of two kinds.
JVM_WARMUP_S = 5


def run(options):
    from harness import Ensemble

    with Ensemble(["zkore"] * 3, timing=SAMPLE_TIMING, lines=ZKORE_LINES) as ours, Ensemble(
        ["apache"] * 3, timing=SAMPLE_TIMING, apache_flags=APACHE_FLAGS
    ) as theirs:
        ensembles = {"apache": theirs, "zkore": ours}
        for name, ensemble in ensembles.items():
            ensemble.start()
            say(f"warming up {name}")
            for operation in ("mixed 9:1", "create"):
                measure(ensemble, Load(operation, 100, 64, 16), options.warmup)
        rows = [
            {**load._asdict(), "rounds": {name: [] for name in ensembles}, "failures": []} for load in options.rows
        ]
        try:
            repeat.rounds(
                options.rounds, lambda is_odd: measure_round(options, ensembles, rows, is_odd), options.minutes
            )
        except Failure as failure:
            # What was measured until then is still worth its table.
            say(f"perf-ensemble: {failure}")
    rows = rounded([row for row in rows if row["failures"] or any(row["rounds"].values())])
    for row in rows:
        judge(row)
    options.context |= {
        "zkore_settings": ", ".join(ZKORE_LINES), "apache_settings": " ".join(APACHE_FLAGS), "keys": KEYS,
        "seconds": options.seconds, "warmup_s": WARMUP_S, "rounds_asked": options.rounds,
        "rounds": loads.rounds_text(rows),
    }
    raw = {"rows": rounded(rows)}
    pages.publish("ensemble-throughput", "Throughput", text(rows, options.seconds), options, raw, "ensemble.md")


def measure_round(options, ensembles, rows, is_odd):
    for row in rows:
        load = loads.load_of(row)
        # Alternating the order keeps whatever drifts from favouring one of them.
        for name in list(ensembles)[:: -1 if is_odd else 1]:
            try:
                report = measure(ensembles[name], load, options.seconds)
            except Failure as failure:
                row["failures"].append(f"{name}: {str(failure).splitlines()[0]}")
                raise
            if fault := single.fault_of(report):
                row["failures"].append(f"{name}: {fault}")
            row["rounds"][name].append(single.figures_of(report))
        say(f"  {load.name:<30}{loads.latest(row)}")


def measure(ensemble, load, seconds):
    """The report of one run, with processor time and memory of all members together."""
    members = ",".join(str(member.process.pid) for member in ensemble.members.values())
    words = ["-c", load.connections, "-p", load.pipeline, "--mix", load.mix, "--value-size", load.value_bytes]
    times = ["--keys", KEYS, "-w", f"{WARMUP_S}s", "-d", f"{seconds}s"]
    return Bench(servers_of(ensemble), *words, *times, "--server-pid", members).report()


def judge(row):
    loads.judge(row, targets, remarks)


def targets(load, ratio, _limited):
    if not loads.shares_log_writes(load) or "ops_s" not in ratio:
        return []
    is_met = ratio["ops_s"] >= WRITE_THROUGHPUT_RATIO_MIN
    return [{"asked": f"≥ {WRITE_THROUGHPUT_RATIO_MIN:.0f}×", "met": is_met}]


def remarks(failures, ratio):
    found = [f"failed ({failure})" for failure in failures]
    if ratio.get("ops_s", THROUGHPUT_RATIO_MIN) < THROUGHPUT_RATIO_MIN:
        found.append(f"below {THROUGHPUT_RATIO_MIN:.0f}×")
    return found + loads.worse_percentiles(ratio)


def text(rows, seconds):
    fast = [row for row in rows if row["ratio"].get("ops_s", 0) >= THROUGHPUT_RATIO_MIN]
    lines = [
        f"Three members of each on one machine of {len(os.sched_getaffinity(0))} processors, client included; both "
        "ensembles are up all the time and one of them is loaded, first one and then the other for each row, in the "
        f"next round in the opposite order. zkore's members run with `{' '.join(ZKORE_LINES)}` and one shard each, "
        f"since members that share a machine must not all keep to the same processors; Apache's with "
        f"`{' '.join(APACHE_FLAGS)}`, as its scripts set it; snapCount and all else are each server's defaults. "
        f"{loads.rounds_text(rows).capitalize()}, {seconds:g} s each. Processor time (from `/proc/PID/stat`) and "
        "resident memory at the end are those of three members together. A ratio (×) is that of the medians, in "
        "parentheses the least and the most of the rounds.",
        "",
        " ".join([
            f"{len(fast)} of {len(rows)} rows reach at least {THROUGHPUT_RATIO_MIN:.0f} times Apache's throughput.",
            *loads.targets_sentence(rows), "Each row says what it misses.",
        ]),
    ]
    for operation in dict.fromkeys(row["operation"] for row in rows):
        group = [row for row in rows if row["operation"] == operation]
        lines += ["", f"### {operation}", "", *table.lines(group)]
    return "\n".join(lines)
