"""What the trials of systems share: an ensemble of each kind in turn, processes on loopback, checks,
and the table that is printed, and with --record put into perf/systems.md, the raw figures beside it."""

import argparse
import logging
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import machine
from harness import Ensemble, die_with_parent

TOP = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ["ZKORE_INTEROP_CACHE"])
RECORD = TOP / "perf/systems.md"
KINDS = {"zkore": "zkore", "apache": "Apache ZooKeeper 3.9.5"}

# As Apache's sample file has it: the systems are to be seen with what their users run.
TIMING = {"tickTime": 2000, "initLimit": 10, "syncLimit": 5}
APACHE_FLAGS = ["-Xmx1000m"]
STOP_PATIENCE_S = 30

# The time first, so that a tool can read it.
LOG4J = """\
log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.target=System.err
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{yyyy-MM-dd HH:mm:ss,SSS} %p %m (%c)%n
"""
# What Apache's client says in the log of a system whose session is gone.
EXPIRED = r"session 0x\w+ has expired|Session expired"

# The client's word on each connection that a killed member takes along.
logging.getLogger("kazoo").setLevel(logging.ERROR)


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def wait_until(condition, what, patience_s=60, pause_s=0.02):
    """Waits for the condition; returns what it gave, which is true."""
    deadline = time.monotonic() + patience_s
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience_s} s: {what}")
        time.sleep(pause_s)
    return answer


def timed(operation, *arguments):
    """What the operation answers, and the seconds that it took."""
    began = time.monotonic()
    answer = operation(*arguments)
    return answer, time.monotonic() - began


class Process:
    """A process of the trial's own, with its log below the folder."""

    def __init__(self, name, folder, command, environment=None, **pipes):
        self.name, self.command, self.pipes = name, command, pipes
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log_path = self.folder / f"{name}.log"
        self.environment = {**os.environ, **(environment or {})}
        self.process = None

    def start(self):
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment,
                preexec_fn=die_with_parent,
                **{"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **self.pipes},
            )
        return self

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """As kill -9 does."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def lines(self, pattern):
        """Lines of the log that the pattern matches."""
        with self.log_path.open(errors="replace") as file:
            return [line.rstrip("\n") for line in file if re.search(pattern, line)]


class Driver(Process):
    """A client of the system that obeys one command a line and answers each with one line."""

    def __init__(self, name, folder, command):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        super().__init__(name, folder, command, **pipes)

    def ask(self, *words):
        """The words of the answer."""
        self.tell(*words)
        return self.answer()

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        first, *rest = line.split() or ["ended"]
        if first != "ok":
            raise AssertionError(f"{self.name}: {line.strip() or 'ended'}")
        return rest


def java(system, main, *arguments, flags=(), settings=None):
    """The command that runs a class of a system that tools/interop-setup fetched; `settings` is a folder
    in which the class finds its settings."""
    path = f"{CACHE / f'{system}-classes'}:{CACHE / f'{system}-jars'}/*" + (f":{settings}" if settings else "")
    return ["java", "-Duser.timezone=UTC", *flags, "-cp", path, main, *map(str, arguments)]


class Trial:
    """One run of a system on one kind of ensemble: its folder, its processes and what was seen."""

    def __init__(self, kind, options):
        self.kind, self.options = kind, options
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="system-"))
        self.processes = []
        self.measures = {}
        self.checks = {}
        self.ensemble = Ensemble([kind] * 3, timing=TIMING, apache_flags=APACHE_FLAGS)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error:
            traceback.print_exception(kind, error, trace)
            self.check("the run came to its end", False, f"{kind.__name__}: {error}")
        for process in reversed(self.processes):
            process.stop()
            if error:
                log = process.log_path.read_text(errors="replace").splitlines()
                print(f"--- {process.log_path}\n" + "\n".join(log[-40:]))
        for member in self.ensemble.members.values():
            if os.path.exists(member.log_path()):
                shutil.copy(member.log_path(), self.folder / f"member-{member.number}.log")
        try:
            self.ensemble.__exit__(kind, error, trace)
        except AssertionError as fault:
            self.check("no member failed", False, fault)
        if self.options.keep:
            say(f"data and logs stay in {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        return isinstance(error, Exception)

    def fresh_folder(self, name):
        folder = self.folder / name
        folder.mkdir()
        return folder

    def run(self, process):
        self.processes.append(process)
        return process.start()

    def servers(self):
        return ",".join(member.address for member in self.ensemble.members.values())

    def leader(self):
        return self.ensemble.wait()

    def kill_leader(self):
        """Kills the ensemble's leader as kill -9 does; returns it, to be started again."""
        leader = self.leader()
        leader.kill()
        say(f"{self.kind}: member {leader.number}, the leader, killed")
        return leader

    def return_member(self, member):
        member.start()
        self.ensemble.wait()
        say(f"{self.kind}: member {member.number} is back")

    def measure(self, name, value):
        """Notes a time in seconds, which is a float, a count, which is not, or a list of them."""
        say(f"{self.kind}: {name}: {shown(value)}")
        self.measures[name] = value

    def check(self, name, holds, seen=""):
        """Notes whether something holds that must; a trial goes on where it does not."""
        say(f"{self.kind}: {'checked' if holds else 'FAILED'}: {name}" + (f" ({seen})" if seen else ""))
        self.checks[name] = (self.checks.get(name, (True, ""))[0] and bool(holds), str(seen))


def main(system, title, about, run):
    """Runs the trial on the kinds that are asked for, prints the table, and ends the process."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="a small run, for trying the tool out")
    parser.add_argument("--only", choices=KINDS, help="only this kind of ensemble")
    parser.add_argument("--record", action="store_true", help="put the table into perf/systems.md")
    parser.add_argument("--keep", action="store_true", help="keep the system's data and all logs")
    options = parser.parse_args()
    # Ended from outside, it still takes its processes and folders along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    context = machine.describe(os.environ["ZKORE"])
    context["command"] = " ".join([f"tools/system-{system}", *sys.argv[1:]])
    trials = []
    for kind in [options.only] if options.only else KINDS:
        began = time.monotonic()
        with Trial(kind, options) as trial:
            trials.append(trial)
            trial.ensemble.start()
            run(trial)
        say(f"{kind}: {time.monotonic() - began:.0f} s in all")
    note = ""
    if options.record:
        raw = machine.write_figures(RECORD.parent, f"system-{system}", context, figures(trials))
        note = f" Raw figures: [{raw.name}](results/{raw.name})."
    text = f"{head(context)}{note}\n\n{table(trials)}"
    print(f"\n{text}")
    if options.record:
        record(system, title, text)
    sys.exit(0 if all(holds for trial in trials for holds, _ in trial.checks.values()) else 1)


def shown(value):
    """A time, a count, or a list of them, for people."""
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    return f"{value:.2f} s" if isinstance(value, float) else f"{value:,}"


def figures(trials):
    return {
        trial.kind: {
            "measures": trial.measures,
            "checks": {name: {"holds": holds, "seen": seen} for name, (holds, seen) in trial.checks.items()},
        }
        for trial in trials
    }


def table(trials):
    lines = [
        "| | " + " | ".join(KINDS[trial.kind] for trial in trials) + " |",
        "|---|" + "---:|" * len(trials),
    ]
    rows = dict.fromkeys(name for trial in trials for name in trial.measures)
    for name in rows:
        lines.append(f"| {name} | " + " | ".join(measured(each, name) for each in trials) + " |")
    rows = dict.fromkeys(name for trial in trials for name in trial.checks)
    for name in rows:
        cells = [verdict(*trial.checks.get(name, (False, "not reached"))) for trial in trials]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def measured(trial, name):
    return shown(trial.measures[name]) if name in trial.measures else "–"


def verdict(holds, seen):
    return ("yes" if holds else "**no**") + (f": {seen}" if seen else "")


def head(context):
    """What was run, when, of which commit and where."""
    return ", ".join([
        f"`{context['command']}`", context["date"], f"zkore {context['zkore']}", context["cpu"],
        f"{context['memory_gib']:.0f} GiB", f"Linux {context['kernel']}",
        f"load before {context['load_average_before']:.1f}",
    ]) + "."


def record(system, title, text):
    """Replaces the system's section of the record, or adds it."""
    begin, end = f"<!-- {system} -->\n", f"<!-- end of {system} -->\n"
    whole = RECORD.read_text()
    if begin not in whole:
        whole += f"\n## {title}\n\n{begin}{end}"
    before, rest = whole.split(begin)
    after = rest.split(end)[1]
    RECORD.write_text(f"{before}{begin}\n{text}\n{end}{after}")
    say(f"recorded in {RECORD.relative_to(TOP)}")
