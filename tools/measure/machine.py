"""The machine and the programs that figures depend on, and writing figures down with them."""

import datetime
import json
import os
import pathlib
import platform
import statistics
import sys

from common import TOP, say
from single import output

# A machine that is busier than this before the run spoils the figures.
QUIET_LOAD_MAX = 0.5


def describe(binary):
    """What the figures depend on, as far as every tool knows it."""
    load_average = os.getloadavg()[0]
    if load_average > QUIET_LOAD_MAX:
        say(f"warning: the machine is busy (load {load_average:.2f}); the figures will show it")
    commit = output(["git", "describe", "--always", "--dirty", "--exclude=*"])
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": " ".join([f"tools/{pathlib.Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "zkore": f"{output([str(binary), '--version']).split()[-1]}, commit {commit}",
        "rustc": output(["rustc", "--version"]),
        "cpu": f"{cpu_model()}, {os.cpu_count()} logical processors",
        "memory_gib": round(memory_gib(), 1),
        "kernel": platform.release(),
        "file_system": file_system(TOP),
        "load_average_before": round(load_average, 2),
    }


def memory_gib():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def file_system(path):
    """Type of the file system that holds `path`."""
    best = ("", "unknown")
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        inside = path == pathlib.Path(mount) or pathlib.Path(mount) in path.parents
        if inside and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


def medians(rounds_by_name):
    """Of each figure by itself; a name without a round is left out."""
    return {
        name: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        for name, rounds in rounds_by_name.items() if rounds
    }


def rounded(value):
    """The same with six significant digits, which is more than any clock here tells."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def write_raw(folder, kind, context, rows):
    """Writes context and rows, a row a line, below `folder`/results; gives the file."""
    raw = raw_path(folder, kind)
    lines = ",\n".join("    " + json.dumps(row, ensure_ascii=False) for row in rows)
    head = json.dumps(context, ensure_ascii=False, indent=4).replace("\n}", "\n  }")
    raw.write_text(f'{{\n  "context": {head},\n  "rows": [\n{lines}\n  ]\n}}\n')
    return raw


def write_figures(folder, kind, context, figures):
    """Writes context and figures of any form below `folder`/results; gives the file."""
    raw = raw_path(folder, kind)
    whole = {"context": context, "figures": rounded(figures)}
    raw.write_text(json.dumps(whole, ensure_ascii=False, indent=1) + "\n")
    return raw


def raw_path(folder, kind):
    results = folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d-%H%M")
    return results / f"{stamp}-{kind}.json"


def context_table(context, raw):
    """The context as lines of Markdown; `raw` is the path of the raw figures from there."""
    return [
        "## Context", "", "| | |", "|---|---|",
        *(f"| {key.replace('_', ' ')} | {value} |" for key, value in context.items()),
        f"| raw figures | [{raw}]({raw}) |", "",
    ]
