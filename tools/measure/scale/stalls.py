"""Pauses: an open loop on a large tree while snapshots are taken one after the other.

A pause that the device did not cause is looked for beside that load, by the requests of a probe: a get waits
for no device, on a connection of its own for no set before it either; and a set waits for one log write. How
late client and probe were by themselves is in neither. Each round is judged by itself: rounds are short, so
that a log write excuses no set that was long before or after it.
"""

from common import Bench, say
from probe import Probe
from wire import word

from .pair import NAMES, load, median, pair, publish, turns, verdict

MIX = "get=9,set=1"
# Transactions between two snapshots: so few that the next is due when one is written.
SNAP_COUNT = 4_000
HEAP = "4g"
ROUNDS = 5
PEAK_S = 5
MEASURED_S = 5
CONNECTIONS = 64
# Of the probe, a second: the shortest pause that it sees for certain is a millisecond longer than its gets are.
PROBE_GETS_S, PROBE_SETS_S = 1_000, 200
RATIO_MAX = 1 / 5
PAUSE_MS_MAX = 10
# The longest log write, in the servers' own words and units.
LOG_WRITE_MAX = {"zkore": ("max_log_write_us", 1000), "apache": ("max_fsynctime", 1)}


def run(options):
    figures = {name: [] for name in NAMES}
    with pair(heap=HEAP, snap_count=SNAP_COUNT) as servers:
        for one in servers.values():
            Bench(one.address, "--base", "/tree", "--keys", options.nodes, "--mix", "get=1", "-w", "0s", "-d", "1s",
                  "--keep").report()
            load(one, *words(), "-p", 16, "-w", "3s", "-d", "1s")
        peak = load(servers["apache"], *words(), "-p", 16, "-w", "1s", "-d", f"{PEAK_S}s")["total"]["throughput_ops_s"]
        rate = round(peak / 2)
        say(f"peak of Apache: {peak:.0f}/s")
        for name in turns(ROUNDS):
            figures[name].append(measure(servers[name], rate))
            say(f"{name}: {figures[name][-1]}")
    raw = {"nodes": options.nodes, "apache_peak_ops_s": peak, "rate": rate, "rounds": figures}
    publish("stalls", "Pauses", text(raw), options, raw)


def words():
    return ["-c", CONNECTIONS, "--mix", MIX, "--keys", 10_000]


def measure(one, rate):
    word(one.port, "srst")
    before = snapshots(one)
    with Probe(one.port, PROBE_GETS_S, PROBE_SETS_S) as probe:
        report = load(one, *words(), "--rate", rate, "-w", "1s", "-d", f"{MEASURED_S}s")
    longest = probe.longest_ms()
    metric, of_ms = LOG_WRITE_MAX[one.name]
    ms = {key: value / 1000 for key, value in report["total"]["latency_us"].items()}
    return {
        **{key: ms[key] for key in ("p50", "p99", "p99_9", "max")},
        "ops_s": report["total"]["throughput_ops_s"],
        "client_lag_p99_9": report["open_loop"]["lag_us"]["p99_9"] / 1000,
        "client_lag_max": report["open_loop"]["lag_us"]["max"] / 1000,
        "probe_get_max": longest["get"],
        "probe_set_max": longest["set"],
        "probe_late_max": probe.late_max_ms(),
        "log_write_max": one.metric(metric) / of_ms,
        "snapshots": snapshots(one) - before,
        "server_cpus": report["server"]["cpus_used"],
        "client_cpus": report["client"]["cpus_used"],
    }


def snapshots(one):
    return sum(1 for each in one.folder.rglob("snapshot.*") if each.suffix != ".tmp")


def set_beyond_log(figures):
    """By how much a round's longest set exceeds its longest log write."""
    return max(0.0, figures["probe_set_max"] - figures["log_write_max"])


def text(raw):
    figures = {
        name: [{**one, "probe_set_beyond_log": set_beyond_log(one)} for one in rounds]
        for name, rounds in raw["rounds"].items()
    }

    def of(name, key):
        return median(round[key] for round in figures[name])

    def worst(name, key):
        return max(round[key] for round in figures[name])

    def row(what, key, take=of, target=""):
        return f"| {what} | {take('zkore', key):.2f} ms | {take('apache', key):.2f} ms | {target} |"

    def pause(key):
        return f"{'met' if worst('zkore', key) <= PAUSE_MS_MAX else '**missed**'} (≤ {PAUSE_MS_MAX} ms)"

    rounds = len(figures["zkore"])
    lines = [
        f"{raw['rate']:,} operations a second ({MIX}, {CONNECTIONS} connections), half of Apache's peak with the same "
        f"settings ({raw['apache_peak_ops_s']:,.0f}/s), as an open loop, on a tree of {raw['nodes']:,} more znodes of "
        f"100 bytes. snapCount is {SNAP_COUNT:,}: in a round zkore wrote {of('zkore', 'snapshots'):.0f} "
        f"snapshots and Apache {of('apache', 'snapshots'):.0f}. Latency counts from when a request was due. "
        f"{rounds} rounds of {MEASURED_S} s in turns: medians, of the longest the longest.",
        "",
        f"Pauses are judged by a probe beside that load, {PROBE_GETS_S:,} gets a second on one connection and "
        f"{PROBE_SETS_S} sets a second on another, sent on time whether those before are answered or not. A probe's "
        "request counts from when it was really sent to when the kernel had its answer, so that what client and probe "
        "were late is not in it (a pause while the probe was late itself is seen without that time). A get waits for no device: the longest is a pause of the server, or of the "
        "machine that it shares with its clients. From the longest set of a round the longest log write of the same round is "
        "taken, by the server's own metric, since a set waits for one.",
        "",
        "| | zkore | Apache 3.9.5 | |",
        "|---|---:|---:|---|",
        row("p50", "p50"),
        row("p99", "p99"),
        row("p99.9", "p99_9", of, verdict(of("zkore", "p99_9") / of("apache", "p99_9"), RATIO_MAX)),
        row("longest", "max", worst),
        row("longest get of the probe", "probe_get_max", worst, pause("probe_get_max")),
        row("longest set of the probe", "probe_set_max", worst),
        row("… less the longest log write of its round", "probe_set_beyond_log", worst, pause("probe_set_beyond_log")),
        row("longest log write", "log_write_max", worst),
        row("sent late by the probe, longest", "probe_late_max", worst),
        row("sent late by the client, p99.9", "client_lag_p99_9"),
        row("sent late by the client, longest", "client_lag_max", worst),
        f"| processors, server and client | {of('zkore', 'server_cpus'):.2f} + {of('zkore', 'client_cpus'):.2f} "
        f"| {of('apache', 'server_cpus'):.2f} + {of('apache', 'client_cpus'):.2f} | |",
    ]
    return "\n".join(lines)
