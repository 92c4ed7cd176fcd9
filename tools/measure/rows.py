"""The loads under which servers are compared, and what zkore has to reach under each."""

from typing import NamedTuple

from machine import medians

MIXES = {"get": "get=1", "set": "set=1", "create": "create=1", "mixed 9:1": "get=9,set=1"}
VALUE_BYTES = [100, 1024]
CONNECTIONS = [1, 16, 128, 1000]
PIPELINES = [1, 16, 64]

# Operations without the shards' own answers.
WRITES = ("set", "create")

# Remarked on: a load with neither so many times the throughput nor this part of the processor time.
THROUGHPUT_RATIO_MIN = 3.0
PROCESSOR_RATIO_MAX = 1 / 3

# Targets. Of reads: this part of Apache's processor time, by pipeline, and of the responder's
# throughput; of writes, where there are enough requests to share a log write: times Apache's throughput.
READ_PROCESSOR_RATIO_MAX = {1: 1 / 3, 16: 1 / 10, 64: 1 / 10}
READ_OF_RESPONDER_MIN = 0.7
WRITE_THROUGHPUT_RATIO_MIN = 4.0
WRITE_CONNECTIONS_MIN = 16
WRITE_PIPELINE = 16

# Part of a processor from which the client's one thread was what limited a row.
CLIENT_CPUS_MAX = 0.95


class Load(NamedTuple):
    operation: str
    value_bytes: int
    connections: int
    pipeline: int

    @property
    def mix(self):
        return MIXES[self.operation]

    @property
    def name(self):
        """For people; 100 bytes are not mentioned."""
        size = ", 1 KiB" if self.value_bytes == 1024 else ""
        return f"{self.operation}{size}, {self.connections} × {self.pipeline}"


def load_of(row):
    return Load(row["operation"], row["value_bytes"], row["connections"], row["pipeline"])


ALL = [
    Load(operation, size, connections, pipeline)
    for operation in MIXES for size in VALUE_BYTES
    for connections in CONNECTIONS for pipeline in PIPELINES
]


def is_usual(load):
    """Whether it is measured without being asked for: everything once, and nothing twice."""
    if load.value_bytes == 100:
        return load.pipeline < 64 or load.connections in (16, 128)
    return (load.connections, load.pipeline) in ((16, 1), (16, 16), (128, 16))


USUAL = [load for load in ALL if is_usual(load)]


def select(patterns, of=tuple(ALL)):
    """Those loads `of` all that OPERATION:CONNECTIONS:PIPELINE[:BYTES],… names, where * stands for any and
    no BYTES for 100; ValueError says what is wrong with them."""
    chosen = []
    for pattern in patterns.split(","):
        parts = pattern.split(":")
        if len(parts) not in (3, 4):
            raise ValueError(f"{pattern}: OPERATION:CONNECTIONS:PIPELINE or with :BYTES")
        operation, connections, pipeline, size = [*parts, "100"][:4]
        wanted = (operation, size, connections, pipeline)
        found = [load for load in of if all(map(matches, load, wanted))]
        if not found:
            raise ValueError(f"{pattern}: no such row")
        chosen += found
    return [load for load in of if load in chosen]


def matches(value, part):
    return part in ("*", str(value), str(value).split()[0])


def shares_log_writes(load):
    """Whether it writes, with enough requests at a time that many of them go to the disk together."""
    is_shared = load.connections >= WRITE_CONNECTIONS_MIN and load.pipeline == WRITE_PIPELINE
    return load.operation in WRITES and is_shared


def ratios(figures):
    """Of zkore's to those of the others that were measured, by name of the server."""
    ours, found = figures.get("zkore"), {}
    if ours is None:
        return found
    if theirs := figures.get("apache"):
        names = ["ops_s", "server_cpu_us_op", "p50_us", "p99_us", "p99_9_us", "server_rss_mib"]
        found = {name: ours[name] / theirs[name] for name in names if theirs[name]}
    if responder := figures.get("responder"):
        found["of_responder"] = ours["ops_s"] / responder["ops_s"]
        if ours["server_cpu_us_op"]:
            found["of_responder_cpu"] = responder["server_cpu_us_op"] / ours["server_cpu_us_op"]
    return found


def spreads(rounds_by_name):
    """Of each ratio, the least and the most of its rounds; of those that all servers have done."""
    measured = {name: rounds for name, rounds in rounds_by_name.items() if rounds}
    each = [ratios(dict(zip(measured, figures))) for figures in zip(*measured.values())]
    return {
        name: [min(values), max(values)]
        for name in (each[0] if each else ())
        if len(values := [one[name] for one in each if name in one]) == len(each)
    }


def rounds_done(row):
    """How many rounds of a row all its servers have done."""
    return min((len(rounds) for rounds in row["rounds"].values() if rounds), default=0)


def rounds_text(rows):
    """The rounds that the rows have done, for people."""
    counts = sorted({rounds_done(row) for row in rows})
    if len(counts) > 1:
        return f"{counts[0]} to {counts[-1]} rounds of each row, the median of each"
    return "one round of each row" if counts == [1] else f"{counts[0]} rounds of each row, the median of each"


def limited_by_client(median):
    """The names of those servers under whose load the client's thread had no more to give."""
    return [name for name, figures in median.items() if figures.get("client_cpus", 0) >= CLIENT_CPUS_MAX]


def targets(load, ratio, limited):
    """Those that apply to a load and could be measured: what is asked for, and whether it is met. `limited`
    are the servers that the client could not load fully."""
    found = []
    if load.operation == "get":
        if "server_cpu_us_op" in ratio:
            most = READ_PROCESSOR_RATIO_MAX[load.pipeline]
            found.append((f"CPU ≤ 1/{1 / most:.0f}", ratio["server_cpu_us_op"] <= most))
        if "of_responder" in ratio:
            asked = f"≥ {READ_OF_RESPONDER_MIN:.0%} of responder"
            found.append((asked, ratio["of_responder"] >= READ_OF_RESPONDER_MIN))
        # Throughput tells of the client then, not of the server.
        if "of_responder_cpu" in ratio and {"zkore", "responder"} & set(limited):
            asked = f"≥ {READ_OF_RESPONDER_MIN:.0%} of responder, by CPU"
            found.append((asked, ratio["of_responder_cpu"] >= READ_OF_RESPONDER_MIN))
    if shares_log_writes(load) and "ops_s" in ratio:
        asked = f"≥ {WRITE_THROUGHPUT_RATIO_MIN:.0f}×"
        found.append((asked, ratio["ops_s"] >= WRITE_THROUGHPUT_RATIO_MIN))
    return [{"asked": asked, "met": met} for asked, met in found]


def remarks(failures, ratio):
    """What a row misses of what is expected of all."""
    found = [f"failed ({failure})" for failure in failures]
    if "ops_s" in ratio:
        faster = ratio["ops_s"] >= THROUGHPUT_RATIO_MIN
        leaner = ratio.get("server_cpu_us_op", 1) <= PROCESSOR_RATIO_MAX
        if not (faster or leaner):
            found.append("neither 3× nor ⅓")
        found += worse_percentiles(ratio)
    return found


def worse_percentiles(ratio):
    """Remarks on latencies above Apache's."""
    return [f"{name} worse" for name, key in (("p99", "p99_us"), ("p99.9", "p99_9_us")) if ratio.get(key, 1) > 1]


def notes(limited):
    """What one must know of a row to read its figures, and misses nothing."""
    return [f"client at its limit ({', '.join(limited)})"] if limited else []


def judge(row, targets=targets, remarks=remarks):
    """Puts medians, ratios with their spread, targets and remarks into a row that has its rounds."""
    row["median"] = medians(row["rounds"])
    row["ratio"] = ratios(row["median"])
    row["spread"] = spreads(row["rounds"])
    limited = limited_by_client(row["median"])
    row["targets"] = targets(load_of(row), row["ratio"], limited)
    row["remarks"] = remarks(row["failures"], row["ratio"])
    row["notes"] = notes(limited)


def targets_sentence(rows):
    """How many rows meet each target, of those that it is asked of; nothing where there is none."""
    found = {}
    for row in rows:
        for target in row["targets"]:
            kind = "reads" if row["operation"] == "get" else "writes"
            found.setdefault(f"{kind} {target['asked']}", []).append(target["met"])
    counts = [f"{asked} in {sum(met)} of {len(met)}" for asked, met in found.items()]
    return [f"Of the targets are met: {'; '.join(counts)}."] if counts else []


def latest(row):
    """A row's latest round, for the terminal."""
    return "   ".join(
        f"{name}: {rounds[-1]['ops_s']:>9,.0f}/s {rounds[-1]['server_cpu_us_op']:>6.1f} µs/op "
        f"p99 {rounds[-1]['p99_us']:>8,.0f} µs"
        for name, rounds in row["rounds"].items()
    )
