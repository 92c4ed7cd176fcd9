"""zkore and Apache's server side by side, for the parts of tools/perf-scale."""

import contextlib
import os
import pathlib
import shutil
import statistics
import tempfile

import pages
import single
from common import TOP, Bench
from servers import SNAP_COUNT, Server

# As Apache's own scripts set it.
HEAP = "1000m"
MAIN_CLASS = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
NAMES = {"zkore": "zkore", "apache": "Apache 3.9.5"}


def server(name, folder, heap=HEAP, snap_count=SNAP_COUNT, words=()):
    """Starts one of them and waits until it serves; `words` are for `zkore server` alone."""
    commands = {
        "zkore": [os.environ["ZKORE"], "server", *words],
        "apache": ["java", f"-Xmx{heap}", "-XX:+UseG1GC", "-cp", f"{single.CACHE / 'jars'}/*", MAIN_CLASS],
    }
    started = Server(name, folder, commands[name], snap_count)
    try:
        started.wait_until_up()
    except BaseException:
        started.stop()
        raise
    return started


@contextlib.contextmanager
def scratch():
    """A folder on the disk of the project, removed afterwards."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="scale-", dir=TOP / "target/perf"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def pair(**settings):
    """Both, up for as long as the block takes, by name."""
    with scratch() as folder, contextlib.ExitStack() as stack:
        servers = {}
        for name in NAMES:
            servers[name] = server(name, folder, **settings)
            stack.callback(servers[name].stop)
        yield servers


def turns(rounds):
    """The names in turns: each round both, the next in the opposite order."""
    for turn in range(rounds):
        yield from sorted(NAMES, reverse=turn % 2 == 1)


def load(server, *words):
    """The report of one run of `zkore bench`, which must be without errors."""
    report = Bench(f"127.0.0.1:{server.port}", "--server-pid", server.process.pid, *words).report()
    total = report["total"]
    if total["errors"] or total["wrong"] or report["reconnects"]:
        raise single.Failure(f"{server.name}: {report['errors']}, {total['wrong']} wrong, {report.get('last_break')}")
    return report


def publish(kind, section, text, options, figures):
    """Prints a section; with --record it goes into perf/scale.md, and the figures to perf/results/."""
    pages.publish(f"scale-{kind}", section, text, options, figures, "scale.md")


def median(values):
    return statistics.median(values)


def verdict(ratio, most):
    """A ratio of zkore's figure to Apache's, and whether it is small enough."""
    return f"{ratio:.3f}, {'met' if ratio <= most else '**missed**'} (≤ {most:.2g})"
