"""What the tools share that measure servers which stand alone: starting them, and putting load on one."""

import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

from common import TOP, Failure, say

# Where tools/interop-setup puts what it fetches.
CACHE = pathlib.Path(os.environ.get("ZKORE_INTEROP_CACHE", TOP / "target/interop"))

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
# Beyond its measured time a run prepares and deletes its znodes; more than this is a hang.
HANG_S = 120

# The same for every server. Many connections come from one address here. The log has no device of its
# own, for which Apache's administrators' guide advises a larger snapCount; the default is a tenth of this.
ZOO_CFG = """\
tickTime=2000
dataDir={data}
clientPort={port}
clientPortAddress=127.0.0.1
maxClientCnxns=0
snapCount={snap_count}
4lw.commands.whitelist=*
admin.enableServer=false
"""


class Server:
    """A server process of ours on a free port, with its data below `folder`.

    `command` is given the path of a zoo.cfg as its last word.
    """

    snap_count = 1_000_000

    def __init__(self, name, folder, command, cpus):
        self.name = name
        self.folder = folder / name
        self.port = free_port()
        self.log = self.folder / "server.log"
        self.folder.mkdir()
        self.command = pinned(cpus, [*command, *self.last_words()])
        self.start()

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def last_words(self):
        data = self.folder / "data"
        data.mkdir()
        config = self.folder / "zoo.cfg"
        config.write_text(ZOO_CFG.format(data=data, port=self.port, snap_count=self.snap_count))
        return [str(config)]

    def wait_until_up(self):
        self.wait_until(self.grants_session)

    def wait_until(self, is_so, pause_s=0.1):
        """Asks again and again, while the server runs."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_so():
            if self.process.poll() is not None:
                raise Failure(f"{self.name} ended at its start:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise Failure(f"{self.name} does not answer:\n{self.log_tail()}")
            time.sleep(pause_s)

    def grants_session(self):
        """Whether a session can be opened; four-letter words are answered before that."""
        connect = struct.pack(">iqiqi16sB", 0, 0, 10_000, 0, 16, b"", 0)
        close = struct.pack(">ii", 1, -11)
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"".join(struct.pack(">i", len(f)) + f for f in (connect, close)))
                answer = b""
                # The responder leaves it to the client to hang up.
                while len(answer) < 12 and (chunk := connection.recv(4096)):
                    answer += chunk
        except OSError:
            return False
        # Length, protocol version, negotiated timeout, which is 0 in a refusal.
        return len(answer) >= 12 and struct.unpack_from(">i", answer, 8)[0] > 0

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def log_tail(self):
        return self.log.read_text(errors="replace")[-2000:]


class Responder(Server):
    """`zkore bench responder`, which only answers, for values of one size."""

    def __init__(self, folder, bench, value_bytes, cpus):
        self.value_bytes = value_bytes
        super().__init__(f"responder-{value_bytes}", folder, [*bench, "responder"], cpus)

    def last_words(self):
        return ["--listen", f"127.0.0.1:{self.port}", "--value-size", str(self.value_bytes)]


class Running:
    """Servers, started one after the other by `start`, with a folder that goes when they have ended."""

    def __init__(self, prefix, keep=False):
        scratch = TOP / "target/perf"
        scratch.mkdir(parents=True, exist_ok=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=scratch))
        self.keep = keep
        self.servers = []

    def __enter__(self):
        return self

    def start(self, make):
        """What `make` makes of the folder, once it grants sessions."""
        server = make(self.folder)
        self.servers.append(server)
        server.wait_until_up()
        return server

    def __exit__(self, *_):
        for server in self.servers:
            server.stop()
        if self.keep:
            say(f"data and logs stay in {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


def load(bench, server, load, keys, warmup_s, seconds, cpus=None):
    """One run of `zkore bench`; returns its JSON. What is created is removed again."""
    result = server.folder / "bench.json"
    result.unlink(missing_ok=True)
    command = [
        *bench, "--server", f"127.0.0.1:{server.port}", "--mix", load.mix,
        "--connections", str(load.connections), "--pipeline", str(load.pipeline),
        "--value-size", str(load.value_bytes), "--keys", str(keys),
        "--duration", f"{seconds}s", "--warmup", f"{warmup_s}s",
        "--server-pid", str(server.process.pid), "--json", str(result), "--quiet",
    ]
    try:
        run = subprocess.run(pinned(cpus, command), stdin=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True, timeout=seconds + HANG_S)
    except subprocess.TimeoutExpired as hang:
        raise Failure(f"{server.name} hangs:\n{server.log_tail()}") from hang
    if server.process.poll() is not None:
        raise Failure(f"{server.name} ended under load:\n{server.log_tail()}")
    if not result.exists():
        raise Failure(f"zkore bench against {server.name}: {run.stderr.strip()}")
    return json.loads(result.read_text())


def fault_of(report):
    """What was refused, lost or wrong in a run, or None."""
    total = report["total"]
    if total["errors"] or total["wrong"] or report["reconnects"] or not total["count"]:
        return report["errors"] or f"{total['wrong']} wrong, {report['reconnects']} reconnects"
    return None


def figures_of(report):
    """The figures of a run that are compared."""
    latency, server, client = report["total"]["latency_us"], report["server"], report["client"]
    return {
        "ops_s": report["total"]["throughput_ops_s"],
        "p50_us": latency["p50"],
        "p99_us": latency["p99"],
        "p99_9_us": latency["p99_9"],
        "server_cpu_us_op": server["cpu_us_per_op"],
        "server_cpus": server["cpus_used"],
        "server_rss_mib": server["rss_bytes"] / 2**20,
        "client_cpu_us_op": client["cpu_us_per_op"],
        "client_cpus": client["cpus_used"],
    }


def release():
    """The program that ZKORE names, or a release build; gives its path."""
    if named := os.environ.get("ZKORE"):
        return pathlib.Path(named)
    check(["cargo", "build", "--release", "--locked"], "building zkore")
    metadata = output(["cargo", "metadata", "--no-deps", "--format-version", "1"])
    return pathlib.Path(json.loads(metadata)["target_directory"]) / "release/zkore"


def check(command, what):
    say(what)
    if subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL).returncode != 0:
        raise Failure(f"{what} failed: {' '.join(map(str, command))}")


def output(command, stream="stdout"):
    done = subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return getattr(done, stream).strip()


def pinned(cpus, command):
    return ["taskset", "-c", cpus, *command] if cpus else command


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_program(main):
    """Runs `main`; a stop by signal goes through the same clean-up as an error."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
