"""What the tools share that write sections of a page in perf/: building, ensembles with the ticks of
Apache's sample zoo.cfg, loads."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
for folder in ("tests/ensemble", "tests/faults"):
    sys.path.insert(0, str(TOP / folder))

# As in Apache's sample zoo.cfg; the size of the log's segments is the default.
SAMPLE_TIMING = {"tickTime": 2000, "initLimit": 10, "syncLimit": 5}
APACHE_FLAGS = ["-Xmx1000m"]


class Failure(Exception):
    """Ends the run with a message instead of a trace."""


def prepare(parts=("venv", "jars")):
    """Builds the release and fetches Apache's; then this program runs on in the venv with kazoo."""
    cache = os.environ.setdefault("ZKORE_INTEROP_CACHE", str(TOP / "target/interop"))
    if pathlib.Path(sys.prefix).resolve() == pathlib.Path(cache, "venv").resolve():
        return
    subprocess.run([TOP / "tools/interop-setup", *parts], check=True, stdout=subprocess.DEVNULL)
    if "ZKORE" not in os.environ:
        subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=TOP, check=True)
        os.environ["ZKORE"] = str(TOP / "target/release/zkore")
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    scratch = TOP / "target/perf"
    scratch.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = str(scratch)
    python = str(pathlib.Path(cache, "venv/bin/python"))
    os.execv(python, [python, *sys.argv])


def say(text):
    print(text, flush=True)


def percentile(values, percent):
    """The smallest value that so many percent do not exceed."""
    values = sorted(values)
    return values[max(0, -(-len(values) * percent // 100) - 1)]


def row(name, values, unit=""):
    figures = [percentile(values, 50), percentile(values, 90), percentile(values, 99), max(values)]
    return f"| {name} | {len(values)} | " + " | ".join(f"{each:.0f}{unit}" for each in figures) + " |"


class Bench:
    """`zkore bench` in the background; its report as it writes it to JSON."""

    def __init__(self, servers, *words):
        self.report_path = tempfile.mktemp(prefix="bench-", suffix=".json")
        command = [os.environ["ZKORE"], "bench", "--server", servers, "--quiet", "--json", self.report_path]
        self.process = subprocess.Popen([*command, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def report(self):
        said, _ = self.process.communicate()
        if self.process.returncode != 0:
            raise Failure(f"zkore bench failed: {said}")
        with open(self.report_path) as file:
            report = json.load(file)
        os.remove(self.report_path)
        return report


def servers_of(ensemble):
    return ",".join(member.address for member in ensemble.members.values())
