"""Clients that read and write while faults happen, and the history of what they were answered, which
`zkore check-history` judges."""

import itertools
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time

from harness import insist
from kazoo.exceptions import BadVersionError, KazooException, NodeExistsError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from watchers import EPHEMERALS, Watcher

REFUSALS = {NoNodeError: "NONODE", NodeExistsError: "NODEEXISTS", BadVersionError: "BADVERSION"}
PATHS = [f"/h{number}" for number in range(6)]


def now_us():
    return time.monotonic_ns() // 1000


class Worker:
    """One client, in a thread of its own, with one operation under way at a time."""

    def __init__(self, traffic, number, client):
        self.traffic, self.number, self.client = traffic, number, client
        self.chance = random.Random(number)
        self.session = client._session_id
        self.is_session_lost = False
        client.add_listener(self.notice)
        # Its own ephemeral lives as long as the session.
        client.create(f"/ephemeral{number}", b"", ephemeral=True)
        self.versions = {}
        self.count = 0
        self.thread = threading.Thread(target=self.run, daemon=True)

    def notice(self, state):
        if state == "LOST" and not self.traffic.is_stopping:
            self.is_session_lost = True

    def run(self):
        while not self.traffic.is_stopping:
            try:
                self.step()
            except BaseException as error:
                self.traffic.problems.append(repr(error))
                raise
            time.sleep(self.traffic.pause_s)

    def step(self):
        path = self.chance.choice(PATHS)
        dice = self.chance.random()
        value = self.next_value()
        if dice < 0.1:
            self.multi([path, self.chance.choice([each for each in PATHS if each != path])])
        elif path not in self.versions or dice < 0.15:
            self.do("create", path, lambda: self.client.create(path, value.encode(), include_data=True), value=value)
        elif dice < 0.45:
            self.do("set", path, lambda: self.client.set(path, value.encode()), value=value)
        elif dice < 0.6:
            version = self.versions[path]
            self.do("set", path, lambda: self.client.set(path, value.encode(), version=version), value=value, expected=version)
        elif dice < 0.65:
            self.do("delete", path, lambda: self.client.delete(path))
        elif dice < 0.8:
            self.do("read", path, lambda: self.client.get(path))
        else:
            self.synced_read(path)

    def next_value(self):
        self.count += 1
        return f"{self.number}.{self.count}"

    def synced_read(self, path):
        self.do("sync", path, lambda: self.client.sync(path))
        return self.do("read", path, lambda: self.client.get(path))

    def multi(self, paths):
        """Writes several nodes at once."""
        transaction = self.client.transaction()
        parts = [self.part(transaction, path) for path in paths]
        results, told = self.ask(transaction.commit)
        failures = [each for each in results or () if isinstance(each, Exception)]
        number = next(self.traffic.multis)
        for index, part in enumerate(parts):
            record = {**part, **told, "multi": number}
            if failures:
                record["outcome"] = REFUSALS.get(type(results[index]), "ROLLEDBACK")
            self.finish(record, results and results[index])

    def part(self, transaction, path):
        value, version = self.next_value(), self.versions.get(path)
        if version is None:
            transaction.create(path, value.encode())
            return {"op": "create", "path": path, "value": value}
        if self.chance.random() < 0.2:
            transaction.delete(path, version)
            return {"op": "delete", "path": path, "expected": version}
        transaction.set_data(path, value.encode(), version)
        return {"op": "set", "path": path, "value": value, "expected": version}

    def do(self, op, path, operation, **given):
        """Does it, records it, and says how it ended."""
        result, told = self.ask(operation)
        self.finish({"op": op, "path": path, **given, **told}, result)
        return told["outcome"]

    def ask(self, operation):
        """Does it: its result, and what is to be recorded of when it was done and how it ended."""
        told = {"process": self.number, "session": self.client._session_id, "invoked_us": now_us()}
        result = None
        try:
            result = operation()
            told["outcome"] = "ok"
        except tuple(REFUSALS) as error:
            told["outcome"] = REFUSALS[type(error)]
        except (KazooException, KazooTimeoutError):
            # The connection or the session broke; what had been sent may be done.
            told["outcome"] = "unknown"
        if told["outcome"] != "unknown":
            told["answered_us"] = now_us()
            # Of the reply just read: this client asks for one thing at a time.
            told["zxid"] = self.client.last_zxid
        if self.client._session_id != told["session"]:
            told["session"] = 0
        return result, told

    def finish(self, record, result):
        if record["outcome"] != "unknown":
            self.learn(record, result)
        self.traffic.record(record)

    def learn(self, record, result):
        op, path, outcome = record["op"], record["path"], record["outcome"]
        if op == "create" and outcome == "ok" and "multi" in record:
            self.versions[path] = 0
        elif op in ("set", "create", "read") and outcome == "ok":
            stat = result if op == "set" else result[1]
            if op == "read":
                record.update(value=result[0].decode(), mzxid=stat.mzxid)
            elif stat.mzxid != record["zxid"]:
                raise AssertionError(f"mzxid {stat.mzxid:#x} in a reply with zxid {record['zxid']:#x}")
            record["version"] = self.versions[path] = stat.version
        elif outcome == "NONODE" or (op == "delete" and outcome == "ok"):
            self.versions.pop(path, None)
        elif outcome == "NODEEXISTS":
            self.versions[path] = 0


class Traffic:
    """Several clients on some paths. At the end all is checked: the history, the sessions, that no
    ephemeral is left, and that all members have the same tree."""

    def __init__(self, ensemble, clients=6, watchers=3, pause_s=0.002, timeout_s=10.0):
        self.ensemble, self.pause_s = ensemble, pause_s
        self.problems = []
        self.is_stopping = False
        self.lock = threading.Lock()
        self.multis = itertools.count(1)
        # Parts of multis, watches that fired, ephemerals that were made.
        self.multis_done = self.events = self.ephemerals = 0
        # When writes of lasting nodes were acknowledged, by the clock of `now_us`.
        self.acknowledged_us = []
        self.folder = tempfile.mkdtemp(prefix="history-")
        self.file = open(os.path.join(self.folder, "history.jsonl"), "w")
        self.workers = [Worker(self, number, ensemble.client(timeout=timeout_s)) for number in range(clients)]
        self.watchers = [Watcher(self, clients + number, PATHS, now_us) for number in range(watchers)]

    def __enter__(self):
        for client in (*self.workers, *self.watchers):
            client.thread.start()
        self.goes_on()
        return self

    def __exit__(self, kind, error, _):
        self.is_stopping = True
        if error is None:
            self.finish()
            shutil.rmtree(self.folder)

    def record(self, record):
        with self.lock:
            self.events += record["op"] == "event"
            self.ephemerals += record["outcome"] == "ok" and "ephemeral" in record
            is_write = record["op"] in ("create", "set", "delete") and record["path"] in PATHS
            if is_write and record["outcome"] == "ok":
                self.acknowledged_us.append(record["answered_us"])
                self.multis_done += "multi" in record
            self.file.write(json.dumps(record) + "\n")

    def goes_on(self, writes=40, patience_s=20, since_us=None):
        """Waits until this many more writes were acknowledged; returns the longest time between two
        of them, or up to the first one, in seconds, or that since `since_us`."""
        began_us = now_us()
        deadline = time.monotonic() + patience_s
        while True:
            assert not self.problems, self.problems
            with self.lock:
                done = [each for each in self.acknowledged_us[-4 * writes :] if each >= began_us]
            if len(done) >= writes:
                first_us = since_us or began_us
                with self.lock:
                    times = sorted([first_us, *(each for each in self.acknowledged_us if each >= first_us)])
                return max(later - earlier for earlier, later in zip(times, times[1:])) / 1e6
            assert time.monotonic() < deadline, f"{len(done)} of {writes} writes within {patience_s} s"
            time.sleep(0.005)

    def keeps_sessions(self):
        """No client has lost its session."""
        lost = [worker.number for worker in self.workers if worker.is_session_lost]
        assert not lost, f"clients {lost} lost their sessions"
        # A client of its own: the workers go on, and each counts on being its client's only user.
        witness = self.ensemble.client()
        for worker in self.workers:
            assert worker.client._session_id == worker.session
            path = f"/ephemeral{worker.number}"
            insist(lambda: witness.sync(path))
            stat = insist(lambda: witness.exists(path))
            assert stat and stat.ephemeralOwner == worker.session, f"client {worker.number}'s ephemeral: {stat}"
        witness.stop()
        witness.close()

    def finish(self):
        clients = (*self.workers, *self.watchers)
        for client in clients:
            client.thread.join(30)
            assert not client.thread.is_alive(), f"client {client.number} hangs"
        assert not self.problems, self.problems
        for number, member in enumerate(self.ensemble.running(), len(clients)):
            self.last_word(number, member)
        for worker in self.workers:
            worker.client.stop()
            worker.client.close()
        self.file.close()
        command = [os.environ["ZKORE"], "check-history", self.file.name]
        checked = subprocess.run(command, capture_output=True, text=True)
        said = (checked.stdout + checked.stderr).strip()
        assert checked.returncode == 0, f"{said}\n(the history is {self.file.name})"
        assert len(self.acknowledged_us) > 100, f"only {len(self.acknowledged_us)} writes were acknowledged"
        assert self.multis_done and self.ephemerals and self.events, "not all kinds of operations were done"
        print(f"history: {said}")
        self.ensemble.same_trees()

    def last_word(self, number, member):
        """What a member shows at the end, after a sync."""
        client = self.ensemble.client(member)
        reader = Worker(self, number, client)
        for path in PATHS:
            outcome = insist(lambda: reader.synced_read(path))
            assert outcome in ("ok", "NONODE"), f"member {member.number}: {path}: {outcome}"
        for path in EPHEMERALS:
            outcome = insist(lambda: reader.synced_read(path))
            assert outcome == "NONODE", f"member {member.number}: {path} outlives its session: {outcome}"
        client.stop()
        client.close()
