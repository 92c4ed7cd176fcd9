"""Curves: how throughput and latency change while one thing grows."""

import dataclasses
import statistics
import time

from common import APACHE_FLAGS, SAMPLE_TIMING, TOP, Bench, say, servers_of
from wire import COUNT_CHILDREN, GET_CHILDREN, Session

from . import curves
from .pair import NAMES, load, pair, publish, scratch, server

SECONDS = 1.5
SHOWN = ["zkore", "Apache"]
CONNECTIONS = [1, 4, 16, 64, 256, 1000, 4000]
NODES = {"zkore": [10_000, 100_000, 1_000_000, 10_000_000], "apache": [10_000, 100_000, 1_000_000]}
CHILDREN = [10_000, 100_000, 1_000_000]
VALUE_BYTES = [10, 100, 1024, 10_240, 65_536, 524_288]
SHARDS = [1, 2]
MEMBERS = [1, 3, 5]
# No snapshot: those of ten million znodes would fill the disk, and are measured by `stalls`.
NO_SNAPSHOTS = 100_000_000


@dataclasses.dataclass
class Curve:
    """A table, whose first column is what grows, and the columns of it that are drawn."""

    title: str
    about: str
    columns: list
    rows: list
    drawn: dict
    unit: str = "operations a second"


def run(options):
    wanted = options.curves.split(",") if options.curves else list(CURVES)
    for name in wanted:
        curve = CURVES[name]()
        picture = f"scale-{name}.svg"
        lines = [
            curve.about, "",
            "| " + " | ".join(curve.columns) + " |",
            "|" + "---:|" * len(curve.columns),
            *("| " + " | ".join(shown(value) for value in row) + " |" for row in curve.rows),
            "",
            f"![{curve.title}]({picture})",
        ]
        if options.record:
            (TOP / "perf" / picture).write_text(drawing(curve))
        publish(name, f"Growth: {curve.title}", "\n".join(lines), options, dataclasses.asdict(curve))


def shown(value):
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def drawing(curve):
    series = {}
    for name, column in curve.drawn.items():
        series[name] = [(row[0], row[column]) for row in curve.rows if row[column]]
    return curves.svg(curve.title, curve.columns[0], curve.unit, series)


def rate_and_p99(one, mix, connections, pipeline, *words):
    report = load(one, "--mix", mix, "-c", connections, "-p", pipeline, "-w", "0.5s", "-d", f"{SECONDS}s", *words)
    return figures(report["total"])


def figures(entry):
    """Operations a second, p99 in ms."""
    return entry["throughput_ops_s"], entry["latency_us"]["p99"] / 1000


def side_by_side(of):
    """The columns of both servers beside each other: all of zkore's first figure, Apache's first, …"""
    return [value for column in zip(*(of[name] for name in NAMES)) for value in column]


def warm_up(servers):
    for one in servers.values():
        for mix in ("get=1", "set=1"):
            load(one, "--mix", mix, "-c", 64, "-p", 4, "-w", "0s", "-d", "3s", "--keys", 1000)


def gets_and_sets(title, about, column, values, words_of, **settings):
    """A curve of both servers, with a row for each value: get and set, by the load that `words_of` a value says."""
    rows = []
    with pair(**settings) as servers:
        warm_up(servers)
        for value in values:
            row = [value]
            for mix in ("get=1", "set=1"):
                row += side_by_side({name: rate_and_p99(servers[name], mix, *words_of(value)) for name in NAMES})
            rows.append(row)
            say(f"{row}")
    return Curve(
        title, f"{about}; operations a second and p99 in ms.",
        [column, *(f"{mix} {figure} {name}" for mix in ("get", "set") for figure in ("/s", "p99") for name in SHOWN)],
        rows, {"get, zkore": 1, "get, Apache": 2, "set, zkore": 5, "set, Apache": 6},
    )


def over_connections():
    return gets_and_sets(
        "connections", "Pipeline 1, 1,000 keys of 100 bytes", "connections", CONNECTIONS,
        lambda connections: [connections, 1, "--keys", 1000],
    )


def over_nodes():
    found = {}
    for name, counts in NODES.items():
        for count in counts:
            with scratch() as folder:
                one = server(name, folder, heap="4g", snap_count=NO_SNAPSHOTS)
                try:
                    empty = one.resident_bytes()
                    report = load(one, "--mix", "get=9,set=1", "-c", 16, "-p", 16, "--keys", count,
                                  "-w", "1s", "-d", f"{SECONDS}s", "--keep")
                    each = [figures(report["operations"][operation])[1] for operation in ("get", "set")]
                    found[name, count] = [*figures(report["total"])[:1], *each, (one.resident_bytes() - empty) / count]
                    say(f"{name} {count}: {found[name, count]}")
                finally:
                    one.kill()
    rows = [
        [count, *side_by_side({name: found.get((name, count), [None] * 4) for name in NAMES})]
        for count in NODES["zkore"]
    ]
    return Curve(
        "znodes", "get and set 9:1 on all of them, uniformly, 16 connections, pipeline 16; p99 in ms; what the resident "
        "memory grew by, bytes a znode. No snapshots. Ten million were not tried with Apache.",
        ["znodes", *(f"{figure} {name}" for figure in ("/s", "get p99", "set p99", "bytes") for name in SHOWN)],
        rows, {"zkore": 1, "Apache": 2},
    )


def over_children():
    found = {name: {} for name in NAMES}
    with pair(heap="4g", snap_count=NO_SNAPSHOTS) as servers:
        warm_up(servers)
        for name, one in servers.items():
            for count in CHILDREN:
                base = f"/children-{count}"
                rate = create_rate(one, base, count)
                listed, counted = ask(one, f"{base}/keys", count)
                found[name][count] = [rate, listed, counted]
                say(f"{name} {count}: {found[name][count]}")
    rows = [[count, *side_by_side({name: found[name][count] for name in NAMES})] for count in CHILDREN]
    return Curve(
        "children of one directory", "Creates a second through one session at pipeline 256, while the directory grows from "
        "nine tenths of the count to it; then getChildren and getAllChildrenNumber, median of five, in ms.",
        ["children", *(f"{figure} {name}" for figure in ("create /s", "getChildren", "getAllChildrenNumber") for name in SHOWN)],
        rows, {"create, zkore": 1, "create, Apache": 2},
    )


def create_rate(one, base, count):
    """Creates a second, over the last tenth of `count`, by the server's own count."""
    before = one.metric("znode_count")
    bench = Bench(one.address, "--base", base, "--keys", count, "--children", 0, "--mix", "get=1", "-c", 1,
                  "-w", "0s", "-d", "0.2s", "--keep")
    seen = []
    while bench.process.poll() is None:
        seen.append((time.monotonic(), one.metric("znode_count") - before))
        if seen[-1][1] >= count:
            break
        time.sleep(0.005)
    bench.report()
    late = [each for each in seen if 0.9 * count <= each[1] < count]
    if len(late) < 2:
        # So fast that it was seen once at most: over all of it then.
        late = [next(each for each in reversed(seen) if each[1] < 10), seen[-1]]
    (start_s, first), (end_s, last) = late[0], late[-1]
    return (last - first) / (end_s - start_s)


def ask(one, path, count):
    """Median times of getChildren and getAllChildrenNumber, in ms."""
    medians = []
    with Session(one.port) as session:
        for kind in (GET_CHILDREN, COUNT_CHILDREN):
            times = []
            for _ in range(5):
                began = time.perf_counter()
                error, body = session.call(kind, path)
                times.append(1000 * (time.perf_counter() - began))
                # Either reply begins with the number.
                assert error == 0 and int.from_bytes(body[:4], "big") == count, (one.name, error, path)
            medians.append(statistics.median(times))
    return medians


def over_value_sizes():
    return gets_and_sets(
        "bytes of data", "16 connections, pipeline 1, 100 keys", "bytes", VALUE_BYTES,
        lambda size: [16, 1, "--value-size", size, "--keys", 100], heap="4g",
    )


def over_shards():
    rows = []
    for shards in SHARDS:
        with scratch() as folder:
            one = server("zkore", folder, words=["--shards", str(shards)])
            try:
                row = [shards]
                for mix in ("get=1", "set=1"):
                    for connections, pipeline in ((16, 1), (64, 16)):
                        row += rate_and_p99(one, mix, connections, pipeline, "--keys", 1000)
            finally:
                one.stop()
        rows.append(row)
        say(f"{row}")
    loads = [f"{mix} {load}" for mix in ("get", "set") for load in ("16 × 1", "64 × 16")]
    return Curve(
        "shards", "zkore alone, connections × pipeline; operations a second and p99 in ms. Client, shards and sequencer "
        "share the machine's processors.",
        ["shards", *(f"{load} {figure}" for load in loads for figure in ("/s", "p99"))],
        rows, {load: 1 + 2 * place for place, load in enumerate(loads)},
    )


def over_members():
    from harness import Ensemble

    rows = []
    for members in MEMBERS:
        found = {}
        for name in NAMES:
            with Ensemble([name] * members, timing=SAMPLE_TIMING, apache_flags=APACHE_FLAGS) as ensemble:
                for member in ensemble.members.values():
                    member.start()
                if members > 1:
                    ensemble.wait()
                else:
                    ensemble.client().stop()
                found[name] = []
                for mix in ("get=1", "set=1"):
                    words = ["-c", 60, "-p", 16, "--mix", mix, "--keys", 1000, "-d", f"{SECONDS}s"]
                    Bench(servers_of(ensemble), *words, "-w", "2s").report()
                    found[name] += figures(Bench(servers_of(ensemble), *words, "-w", "0.5s").report()["total"])
                say(f"{name} {members}: {found[name]}")
        rows.append([members, *side_by_side(found)])
    return Curve(
        "members", "60 connections spread over them, pipeline 16; operations a second and p99 in ms. All members and the "
        "client share the machine's processors, so this shows what a member more costs, not what it brings.",
        ["members", *(f"{mix} {figure} {name}" for mix in ("get", "set") for figure in ("/s", "p99") for name in SHOWN)],
        rows, {"get, zkore": 1, "get, Apache": 2, "set, zkore": 5, "set, Apache": 6},
    )


CURVES = {
    "connections": over_connections,
    "znodes": over_nodes,
    "children": over_children,
    "values": over_value_sizes,
    "shards": over_shards,
    "members": over_members,
}
