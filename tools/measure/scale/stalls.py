"""Pauses: an open loop on a large tree while snapshots are taken one after the other."""

from common import Bench, say
from wire import word

from .pair import NAMES, load, median, pair, publish, turns, verdict

MIX = "get=9,set=1"
# Transactions between two snapshots: so few that the next is due when one is written.
SNAP_COUNT = 4_000
HEAP = "4g"
ROUNDS = 2
PEAK_S = 5
MEASURED_S = 12
CONNECTIONS = 64
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
    report = load(one, *words(), "--rate", rate, "-w", "1s", "-d", f"{MEASURED_S}s")
    metric, of_ms = LOG_WRITE_MAX[one.name]
    ms = {key: value / 1000 for key, value in report["total"]["latency_us"].items()}
    return {
        **{key: ms[key] for key in ("p50", "p99", "p99_9", "max")},
        "ops_s": report["total"]["throughput_ops_s"],
        "get_max": report["operations"]["get"]["latency_us"]["max"] / 1000,
        "client_lag_p99_9": report["open_loop"]["lag_us"]["p99_9"] / 1000,
        "client_lag_max": report["open_loop"]["lag_us"]["max"] / 1000,
        "log_write_max": one.metric(metric) / of_ms,
        "snapshots": snapshots(one) - before,
        "server_cpus": report["server"]["cpus_used"],
        "client_cpus": report["client"]["cpus_used"],
    }


def snapshots(one):
    return sum(1 for each in one.folder.rglob("snapshot.*") if each.suffix != ".tmp")


def text(raw):
    figures = raw["rounds"]

    def of(name, key):
        return median(round[key] for round in figures[name])

    def worst(name, key):
        return max(round[key] for round in figures[name])

    def row(what, key, take=of, target=""):
        return f"| {what} | {take('zkore', key):.2f} ms | {take('apache', key):.2f} ms | {target} |"

    not_device = worst("zkore", "max") - worst("zkore", "log_write_max")
    is_short = "met" if not_device <= PAUSE_MS_MAX else "**missed**"
    lines = [
        f"{raw['rate']:,} operations a second ({MIX}, {CONNECTIONS} connections), half of Apache's peak with the same "
        f"settings ({raw['apache_peak_ops_s']:,.0f}/s), as an open loop, on a tree of {raw['nodes']:,} more znodes of "
        f"100 bytes. snapCount is {SNAP_COUNT:,}: in {MEASURED_S} s zkore wrote {of('zkore', 'snapshots'):.0f} "
        f"snapshots and Apache {of('apache', 'snapshots'):.0f}. Latency counts from when a request was due. "
        f"{ROUNDS} rounds of {MEASURED_S} s in turns: medians, of the longest the longest.",
        "",
        "| | zkore | Apache 3.9.5 | |",
        "|---|---:|---:|---|",
        row("p50", "p50"),
        row("p99", "p99"),
        row("p99.9", "p99_9", of, verdict(of("zkore", "p99_9") / of("apache", "p99_9"), RATIO_MAX)),
        row("longest", "max", worst, f"{not_device:.1f} ms beyond the longest log write: {is_short} (≤ {PAUSE_MS_MAX} ms)"),
        row("longest get", "get_max", worst),
        row("longest log write", "log_write_max", worst),
        row("sent late by the client, p99.9", "client_lag_p99_9"),
        row("sent late by the client, longest", "client_lag_max", worst),
        f"| processors, server and client | {of('zkore', 'server_cpus'):.2f} + {of('zkore', 'client_cpus'):.2f} "
        f"| {of('apache', 'server_cpus'):.2f} + {of('apache', 'client_cpus'):.2f} | |",
    ]
    return "\n".join(lines)
