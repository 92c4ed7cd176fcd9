"""An ensemble of real server processes on loopback, for the scenarios beside this file.

A member is `zkore` (the binary that ZKORE names) or `apache` (the jars below ZKORE_INTEROP_CACHE);
it can be killed, stopped, wiped, and replaced by one of the other kind on the same ports.
"""

import ctypes
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError

START_PATIENCE_S = 40
# Short ticks and small files, so that a scenario takes seconds.
TIMING = {"tickTime": 200, "initLimit": 50, "syncLimit": 10, "preAllocSize": 1024}
APACHE_FLAGS = ["-Xmx256m", "-XX:TieredStopAtLevel=1"]


def die_with_parent():
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def each_port():
    """Ports below those that the system gives to clients; each process begins elsewhere."""
    first, count = 10000, 22000
    # Far enough from the next process's for an ensemble or two.
    at = os.getpid() * 97 % count
    while True:
        yield first + at
        at = (at + 1) % count


PORTS = each_port()


def free_ports(count):
    """Ports that are free, and that nobody here was given lately: who gets one may use it only later."""
    ports = []
    for port in PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports


LOGGER_JARS = glob.glob(os.path.join(os.environ["ZKORE_INTEROP_CACHE"], "logger-jars", "*.jar"))
# What goes wrong, and a line by which one can see that something is logged.
LOGGER_FLAGS = [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.org.apache.zookeeper.server.quorum.QuorumPeer=info",
]


class Member:
    def __init__(self, ensemble, number, kind):
        self.ensemble, self.number, self.kind = ensemble, number, kind
        self.folder = os.path.join(ensemble.folder, str(number))
        self.client_port, self.quorum_port, self.election_port = free_ports(3)
        self.process = None
        self.is_observer = False
        self.host = "127.0.0.1"
        # What runs the server, such as nsenter with its arguments.
        self.runner = []

    @property
    def address(self):
        return f"{self.host}:{self.client_port}"

    def address_of(self, other):
        """Where this member reaches another one's quorum and election ports, or listens itself."""
        return f"{other.host}:{other.quorum_port}:{other.election_port}"

    def data(self):
        return os.path.join(self.folder, f"data-{self.kind}")

    def log_path(self):
        return os.path.join(self.folder, f"{self.kind}.log")

    def configure(self):
        os.makedirs(self.data(), exist_ok=True)
        with open(os.path.join(self.data(), "myid"), "w") as file:
            file.write(str(self.number))
        lines = [
            f"dataDir={self.data()}",
            f"clientPort={self.client_port}",
            f"clientPortAddress={self.host}",
            "maxClientCnxns=0",
            "4lw.commands.whitelist=*",
            "admin.enableServer=false",
            "extendedTypesEnabled=true",
            f"peerType={'observer' if self.is_observer else 'participant'}",
        ]
        lines += [f"{key}={value}" for key, value in self.ensemble.timing.items()]
        if self.kind == "zkore":
            lines += ["zkore.shards=1"]
        lines += self.ensemble.lines
        lines += [
            f"server.{each.number}={self.address_of(each)}" + (":observer" if each.is_observer else "")
            for each in self.ensemble.members.values()
        ]
        path = os.path.join(self.folder, "zoo.cfg")
        with open(path, "w") as file:
            file.write("\n".join(lines) + "\n")
        return path

    def start(self):
        path = self.configure()
        if self.kind == "zkore":
            command = [os.environ["ZKORE"], "server", path]
        else:
            cache = os.environ["ZKORE_INTEROP_CACHE"]
            jars = ":".join(glob.glob(os.path.join(cache, "jars", "*.jar")) + LOGGER_JARS)
            main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
            flags = [*self.ensemble.apache_flags, "-Dzookeeper.extendedTypesEnabled=true"]
            # The one key that Apache takes only as a property.
            flags += [f"-D{line}" for line in self.ensemble.lines if line.startswith("readonlymode.")]
            command = ["java", *flags, *LOGGER_FLAGS, "-cp", jars, main, path]
        with open(self.log_path(), "a") as log:
            self.process = subprocess.Popen(
                [*self.runner, *command],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "RUST_BACKTRACE": "1"},
                preexec_fn=die_with_parent,
            )

    def send(self, number):
        self.process.send_signal(number)
        if number == signal.SIGSTOP:
            # A signal takes effect when a thread takes notice.
            states = f"/proc/{self.process.pid}/task/*/stat"
            while any(open(path).read().rsplit(")", 1)[1].split()[0] != "T" for path in glob.glob(states)):
                time.sleep(0.001)

    def kill(self, number=signal.SIGKILL):
        if self.process:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def wipe(self):
        shutil.rmtree(self.data())

    def word(self, word):
        """The answer to a four-letter word; empty where there is none."""
        try:
            with socket.create_connection((self.host, self.client_port), 1) as connection:
                connection.settimeout(2)
                connection.sendall(word.encode())
                parts = []
                while part := connection.recv(65536):
                    parts.append(part)
                return b"".join(parts).decode()
        except OSError:
            return ""

    def mode(self):
        for line in self.word("srvr").splitlines():
            if line.startswith("Mode: "):
                return line[len("Mode: ") :]
        return None

    def status(self):
        """The last line that `zkore status` prints, and whether it found the server to serve."""
        command = [os.environ["ZKORE"], "status", os.path.join(self.folder, "zoo.cfg")]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        return done.stdout.splitlines()[-1], done.returncode == 0

    def metric(self, name):
        for line in self.word("mntr").splitlines():
            if line.split("\t")[0] == "zk_" + name:
                return float(line.split("\t")[1])
        return None

    def check_digests(self):
        """A server of Apache's, this one or the one before it, has logged no digest that differs."""
        path = os.path.join(self.folder, "apache.log")
        if LOGGER_JARS and os.path.exists(path):
            with open(path, errors="replace") as file:
                text = file.read()
            assert "LOOKING" in text, "nothing is logged"
            complaints = [line for line in text.splitlines() if "digest" in line.lower()]
            assert not complaints, (self.number, complaints[:3])

    def log(self):
        with open(self.log_path(), errors="replace") as file:
            return file.read()


class Ensemble:
    def __init__(self, kinds, observers=(), lines=(), timing=TIMING, apache_flags=APACHE_FLAGS, member=Member):
        self.folder = tempfile.mkdtemp(prefix="ensemble-")
        self.lines, self.timing, self.apache_flags = list(lines), timing, apache_flags
        self.members = {}
        for number, kind in enumerate(kinds, 1):
            self.members[number] = member(self, number, kind)
            self.members[number].is_observer = number in observers
        self.clients = []

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        for client in self.clients:
            try:
                client.stop()
                client.close()
            except Exception:
                pass
        for member in self.members.values():
            member.kill()
        faults = [
            f"{member.kind} {member.number}: {line}"
            for member in self.members.values()
            if os.path.exists(os.path.join(member.folder, "zkore.log"))
            for line in open(os.path.join(member.folder, "zkore.log"), errors="replace")
            if "panicked" in line or "fatal" in line
        ]
        if error:
            for member in self.members.values():
                for path in glob.glob(os.path.join(member.folder, "*.log")):
                    with open(path, errors="replace") as file:
                        print(f"--- {path}\n" + "".join(file.readlines()[-30:]))
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not faults, faults

    def start(self):
        for member in self.members.values():
            member.start()
        return self.wait()

    def other_than(self, member):
        """A member that is not this one, of the other kind where there is one."""
        others = [each for each in self.members.values() if each is not member]
        return next((each for each in others if each.kind != member.kind), others[0])

    def running(self):
        return [member for member in self.members.values() if member.process]

    def wait(self, members=None):
        """Waits until these members, or all that run, serve under one leader; returns it."""
        members = list(members or self.running())
        deadline = time.monotonic() + START_PATIENCE_S
        modes = {}
        while time.monotonic() < deadline:
            modes = {member.number: member.mode() for member in members}
            leaders = [number for number, mode in modes.items() if mode == "leader"]
            if all(modes.values()) and len(leaders) == 1:
                return self.members[leaders[0]]
            time.sleep(0.02)
        raise AssertionError(f"not in step: {modes}")

    def client(self, *members, timeout=10.0):
        hosts = ",".join(member.address for member in members or self.members.values())
        client = KazooClient(hosts=hosts, timeout=timeout, connection_retry=dict(max_tries=-1, delay=0.02, max_delay=0.1))
        client.start(30)
        self.clients.append(client)
        return client

    def same_trees(self):
        """All members show the same nodes, and no server has seen a digest that differs."""
        trees = {}
        for member in self.running():
            client = self.client(member)
            client.add_auth("digest", "user:secret")
            client.sync("/")
            trees[member.number] = dict(walk(client, "/"))
            client.stop()
            client.close()
            mismatches = member.metric("digest_mismatches_count")
            assert mismatches == 0, f"member {member.number}: {mismatches} digest mismatches"
            member.check_digests()
        first = next(iter(trees.values()))
        for number, tree in trees.items():
            assert tree == first, difference(number, first, tree)
        return first


def walk(client, path):
    data, stat = client.get(path)
    acl, _ = client.get_acls(path)
    # Each member writes these two by itself.
    if path != "/zookeeper/config":
        yield path, (data, stat, [str(entry) for entry in acl])
    for child in sorted(client.get_children(path)):
        yield from walk(client, path.rstrip("/") + "/" + child)


def difference(number, first, second):
    paths = [path for path in {**first, **second} if first.get(path) != second.get(path)]
    return f"member {number}: " + "; ".join(
        f"{path}: {first.get(path)} and {second.get(path)}" for path in paths[:3]
    )


def insist(operation, patience_s=30):
    """Repeats an operation until it is answered; whether it was made before is the caller's care."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return operation()
        except (KazooException, KazooTimeoutError) as error:
            if time.monotonic() > deadline:
                raise
            if type(error).__name__ not in ("ConnectionLoss", "SessionExpiredError", "OperationTimeoutError", "ConnectionClosedError", "KazooTimeoutError"):
                raise
            time.sleep(0.01)


class Load:
    """Counts up a node's version from a thread of its own; knows what was acknowledged."""

    def __init__(self, client, path):
        self.client, self.path = client, path
        self.acknowledged = 0
        self.problems = []
        self.is_stopping = False
        client.create(path, b"0")
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        value = 0
        while not self.is_stopping:
            try:
                self.client.set(self.path, str(value + 1).encode(), version=value)
                value += 1
                self.acknowledged = value
            except Exception as error:
                if type(error).__name__ == "BadVersionError":
                    # An attempt without an answer was made after all; nobody else writes here.
                    stat = insist(lambda: self.client.exists(self.path))
                    if stat.version != value + 1:
                        self.problems.append(f"version {stat.version} after {value}")
                        return
                    value += 1
                else:
                    time.sleep(0.005)

    def stop(self):
        self.is_stopping = True
        self.thread.join()
        assert not self.problems, self.problems
        return self.acknowledged
