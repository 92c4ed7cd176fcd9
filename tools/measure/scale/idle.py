"""Many sessions that only ping: the memory and the processor time that they take."""

import pathlib
import resource
import time

from common import Bench, say

from .pair import NAMES, median, pair, publish, turns, verdict

# Descriptors of a server, or of the client, beside those of the sessions.
OTHER_FILES = 400
# `zkore bench` connects so many sessions from 127.0.0.1, and so many from each further loopback address.
SESSIONS_AN_ADDRESS = 20_000
ROUNDS = 2
WARMUP_SESSIONS = 200
PING_EVERY_S = 10
# Between all sessions being open and the measurement.
SETTLE_S = 4
MEASURED_S = 10
OPEN_TIMEOUT_S = 60
RATIO_MAX = 1 / 5


def run(options):
    _, files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    sessions, limits = possible(options.sessions, files_max, ports())
    say(limits)
    figures = {name: [] for name in NAMES}
    with pair() as servers:
        # Java's virtual machine compiles what it runs often; few sessions, so that the memory is still to come.
        for one in servers.values():
            Bench(one.address, *words(WARMUP_SESSIONS, 5), "--rate", 5000).report()
        for name in turns(ROUNDS):
            figures[name].append(measure(servers[name], sessions))
            say(f"{name}: {figures[name][-1]}")
    raw = {"sessions": sessions, "rounds": figures}
    publish("idle", "Idle sessions", text(figures, sessions, limits), options, raw)


def ports():
    """How many ports the kernel has for the connections from one address to one server."""
    first, last = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return int(last) - int(first) + 1


def possible(wanted, files_max, ports_each):
    """How many of the sessions that are wanted this machine can have, and what limits them in words."""
    by_files = files_max - OTHER_FILES
    # Where an address has ports for fewer than the client makes from it, the first address is the end.
    by_ports = wanted if ports_each >= SESSIONS_AN_ADDRESS else ports_each
    sessions = min(wanted, by_files, by_ports)
    found = []
    if sessions < wanted:
        found.append(f"{wanted:,} sessions were not possible.")
    found.append(f"A process may have {files_max:,} open files here" + (", which was the limit." if sessions == by_files else "."))
    found.append(
        f"From one address to a server there are {ports_each:,} ports"
        + (", which was the limit." if sessions == by_ports < wanted else
           f", which limits nothing: the client connects from a further loopback address after each {SESSIONS_AN_ADDRESS:,}.")
    )
    return sessions, " ".join(found)


def words(sessions, seconds):
    return ["--mix", "ping", "-c", sessions, "--rate", sessions / PING_EVERY_S, "--keys", 1, "--children", 0,
            "--session-timeout", "40s", "-w", "0s", "-d", f"{seconds}s"]


def measure(one, sessions):
    """What the sessions of one run add to what the server uses without them."""
    if one.name == "apache":
        idle_heap = one.live_heap_bytes()
    idle_bytes = one.resident_bytes()
    idle_cpus = cpus(one, 2)
    bench = Bench(one.address, *words(sessions, SETTLE_S + MEASURED_S + 3))
    deadline = time.monotonic() + OPEN_TIMEOUT_S
    while one.metric("num_alive_connections") < sessions:
        assert time.monotonic() < deadline and bench.process.poll() is None, "the sessions do not open"
        time.sleep(0.2)
    found = {"resident_bytes": (one.resident_bytes() - idle_bytes) / sessions}
    if one.name == "apache":
        found["live_heap_bytes"] = (one.live_heap_bytes() - idle_heap) / sessions
    time.sleep(SETTLE_S)
    found["cpus"] = cpus(one, MEASURED_S)
    found["idle_cpus"] = idle_cpus
    report = bench.report()
    assert not report["total"]["errors"] and not report["reconnects"], report["errors"]
    found["ping_p99_us"] = report["total"]["latency_us"]["p99"]
    return found


def cpus(one, seconds):
    """Processor time a second."""
    before, began = one.processor_s(), time.monotonic()
    time.sleep(seconds)
    return (one.processor_s() - before) / (time.monotonic() - began)


def text(figures, sessions, limits):
    def of(name, key):
        return median(round[key] for round in figures[name])

    def first(name, key):
        # Later sessions take the memory that earlier ones have left.
        return figures[name][0][key]

    def pings(name):
        return of(name, "cpus") - of(name, "idle_cpus")

    bytes_ratio = first("zkore", "resident_bytes") / first("apache", "resident_bytes")
    heap_ratio = first("zkore", "resident_bytes") / first("apache", "live_heap_bytes")
    lines = [
        f"{sessions:,} sessions, each pinging every {PING_EVERY_S} s. {limits} Memory is what the resident size grew by "
        "while they were opened for the first time, the kernel's own for their sockets not counted; processor time is that of "
        f"all threads, less what the server took without sessions, the median of {ROUNDS} rounds in turns.",
        "",
        "| | zkore | Apache 3.9.5 | Ratio |",
        "|---|---:|---:|---|",
        f"| bytes a session, resident | {first('zkore', 'resident_bytes'):,.0f} | {first('apache', 'resident_bytes'):,.0f} "
        f"| {verdict(bytes_ratio, RATIO_MAX)} |",
        f"| … against Apache's live heap | | {first('apache', 'live_heap_bytes'):,.0f} | {verdict(heap_ratio, RATIO_MAX)} |",
        f"| processor ms a second | {1000 * pings('zkore'):.1f} | {1000 * pings('apache'):.1f} "
        f"| {verdict(pings('zkore') / pings('apache'), RATIO_MAX)} |",
        f"| … without sessions | {1000 * of('zkore', 'idle_cpus'):.1f} | {1000 * of('apache', 'idle_cpus'):.1f} | |",
        f"| p99 of a ping | {of('zkore', 'ping_p99_us'):,.0f} µs | {of('apache', 'ping_p99_us'):,.0f} µs | |",
    ]
    return "\n".join(lines)
