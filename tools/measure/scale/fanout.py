"""One write, many watching sessions: how long until the last of them has the event."""

from common import say

from .pair import NAMES, load, median, pair, publish, turns, verdict

ROUNDS = 3
MEASURED_S = 8
RATIO_MAX = 1 / 4


def run(options):
    figures = {name: [] for name in NAMES}
    words = ["--scenario", "watch-fanout", "-c", options.watchers + 1, "--keys", 1]
    with pair() as servers:
        for one in servers.values():
            load(one, *words, "-w", "2s", "-d", "4s")
        for name in turns(ROUNDS):
            operations = load(servers[name], *words, "-w", "1s", "-d", f"{MEASURED_S}s")["operations"]
            figures[name].append({
                "writes": operations["lastEvent"]["count"],
                **{key: operations["lastEvent"]["latency_us"][key] / 1000 for key in ("min", "p50", "p99", "max")},
                "event_p50": operations["event"]["latency_us"]["p50"] / 1000,
            })
            say(f"{name}: {figures[name][-1]}")
    publish("fanout", "Watch fan-out", text(figures, options.watchers), options, figures)


def text(figures, watchers):
    def of(name, key):
        return median(round[key] for round in figures[name])

    def row(what, key, target=""):
        return f"| {what} | {of('zkore', key):.1f} ms | {of('apache', key):.1f} ms | {target} |"

    ratio = of("zkore", "p50") / of("apache", "p50")
    lines = [
        f"One session sets a znode that {watchers:,} others watch; from the moment when the write is sent, until the client "
        "has read the event on the last of their connections; one thread of the client reads them all. The next write "
        f"comes when all have set their watch again. {ROUNDS} rounds of {MEASURED_S} s in turns, medians.",
        "",
        "| Time to the last event | zkore | Apache 3.9.5 | Ratio |",
        "|---|---:|---:|---|",
        row("median", "p50", verdict(ratio, RATIO_MAX)),
        row("shortest", "min"),
        row("p99", "p99"),
        row("median of all events", "event_p50"),
    ]
    return "\n".join(lines)
