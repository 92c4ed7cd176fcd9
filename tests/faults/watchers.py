"""Clients that make ephemerals and watches, in sessions that they close or leave, through whatever
member serves them. Their frames are read by themselves, so that events and replies are recorded in the
order in which they came, and watches are set again on each new connection."""

import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop", "differential"))

from jute import DecodeError
from session import Closed, Session, Silent

EPHEMERALS = [f"/e{number}" for number in range(3)]
# Shorter than most faults, so that sessions expire in them; the shortest that ticks of 200 ms allow is 400.
TIMEOUT_MS = 1500
# After this a member is taken for silent, and another one tried.
PATIENCE_S = 0.7
OPEN = [(31, "world", "anyone")]
ERRORS = {-101: "NONODE", -103: "BADVERSION", -110: "NODEEXISTS", -112: "SESSIONEXPIRED"}
# The mode of addWatch.
PERSISTENT = 0
EVENTS = {1: "created", 2: "deleted", 3: "changed"}
BROKEN = (Closed, Silent, OSError)


class Expired(Exception):
    """A server says that the session is over."""


class Watcher:
    """One client with one session after the other, in a thread of its own."""

    def __init__(self, traffic, number, paths, now_us):
        self.traffic, self.number, self.now_us = traffic, number, now_us
        self.paths = [*EPHEMERALS, *paths]
        self.chance = random.Random(number)
        self.count = 0
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        try:
            while not self.traffic.is_stopping:
                self.live()
        except BaseException as error:
            self.traffic.problems.append(f"client {self.number}: {error!r}")
            raise

    def live(self):
        """A session from its beginning to its end."""
        self.session = Session(str(self.number), None, PATIENCE_S)
        # What is watched, with whether the node was there.
        self.watched = {}
        # What is watched for good: one path, from some time on.
        self.lasting = set()
        try:
            for _ in range(self.chance.randrange(20, 200)):
                if self.traffic.is_stopping:
                    break
                self.attempt(self.step)
                time.sleep(self.traffic.pause_s)
            if self.chance.random() < 0.3 and not self.traffic.is_stopping:
                self.session.abandon()
                time.sleep(1.3 * TIMEOUT_MS / 1000)
                self.connect()
            self.close()
        except Expired:
            if self.session.sid:
                # No server says so before it is committed.
                record = {"process": self.number, "session": self.session.sid, "op": "end", "invoked_us": 0}
                self.traffic.record({**record, "outcome": "ok", "answered_us": self.now_us()})

    def attempt(self, action):
        """Does something on a connection that stands; whether it was answered."""
        try:
            if not self.session.link:
                self.connect()
            action()
            return True
        except BROKEN:
            self.session.abandon()
            return False

    def connect(self):
        """Connects to any member, for the session or a new one, and sets the watches again."""
        session = self.session
        while True:
            member = self.chance.choice(list(self.traffic.ensemble.members.values()))
            session.address = (member.host, member.client_port)
            try:
                reply = session.connect(timeout=TIMEOUT_MS, sid=session.sid, passwd=session.passwd, last_zxid=session.last_zxid)
                if not reply["sid"]:
                    raise Expired()
                self.set_watches()
                return
            except BROKEN:
                session.abandon()
                if self.traffic.is_stopping and not session.sid:
                    raise Expired() from None
                time.sleep(0.02)

    def set_watches(self):
        if not self.watched and not self.lasting:
            return
        lists = {
            "data": [path for path, is_there in self.watched.items() if is_there],
            "exist": [path for path, is_there in self.watched.items() if not is_there],
            "child": [],
            "persistent": list(self.lasting),
            "recursive": [],
        }
        self.ask({"op": "connect"}, "setWatches2", {"zxid": self.session.last_zxid, **lists})

    def step(self):
        dice = self.chance.random()
        if dice < 0.03:
            # Another member takes the watches over.
            self.session.abandon()
        elif dice < 0.05 and not self.lasting:
            path = self.chance.choice(self.paths)
            self.ask({"op": "watch", "path": path}, "addWatch", {"path": path, "mode": PERSISTENT})
        elif dice < 0.3:
            self.read(self.chance.choice(self.paths), is_watching=True)
        elif dice < 0.45:
            path = self.chance.choice(EPHEMERALS)
            self.ask({"op": "sync", "path": path}, "sync", {"path": path})
            self.read(path)
        elif dice < 0.6:
            self.read(self.chance.choice(self.paths))
        else:
            self.write(self.chance.choice(EPHEMERALS), dice)

    def read(self, path, is_watching=False):
        record = {"op": "read", "path": path, **({"watch": True} if is_watching else {})}
        # exists leaves a watch also where there is nothing.
        op = "exists" if is_watching else "getData"
        self.ask(record, op, {"path": path, "watch": is_watching})

    def write(self, path, dice):
        self.count += 1
        value = f"{self.number}.{self.count}"
        if dice < 0.8:
            record = {"op": "create", "path": path, "value": value, "ephemeral": True}
            self.ask(record, "create2", {"path": path, "data": value.encode(), "acl": OPEN, "flags": 1})
        elif dice < 0.95:
            self.ask({"op": "set", "path": path, "value": value}, "setData", {"path": path, "data": value.encode(), "version": -1})
        else:
            self.ask({"op": "delete", "path": path}, "delete", {"path": path, "version": -1})

    def ask(self, record, op, args):
        """Asks, takes the events that come before the answer, and records all."""
        record = {"process": self.number, "session": self.session.sid, **record, "invoked_us": self.now_us()}
        xid, frame = self.session.request_frame(op, args)
        try:
            self.session.link.send(frame)
            reply = self.answer(op)
        except BROKEN:
            self.traffic.record({**record, "outcome": "unknown"})
            raise
        if reply["xid"] != xid:
            raise DecodeError(f"{reply} to request {xid}")
        record["outcome"] = ERRORS.get(reply["err"], str(reply["err"])) if reply["err"] else "ok"
        record.update(answered_us=self.now_us(), zxid=reply["zxid"])
        self.learn(record, reply["record"])
        self.traffic.record(record)
        if record["outcome"] == "SESSIONEXPIRED":
            raise Expired()

    def answer(self, op):
        while True:
            kind, said = self.session.receive(op)
            if kind == "reply":
                return said
            event = EVENTS[said["type"]]
            self.watched.pop(said["path"], None)
            at_us = self.now_us()
            record = {"process": self.number, "session": self.session.sid, "op": "event", "path": said["path"]}
            record.update(event=event, outcome="ok", invoked_us=at_us, answered_us=at_us)
            if said["zxid"] > 0:
                record["zxid"] = said["zxid"]
            self.traffic.record(record)

    def learn(self, record, said):
        is_ok = record["outcome"] == "ok"
        if record["op"] == "read":
            if is_ok:
                record.update(mzxid=said["stat"]["mzxid"], version=said["stat"]["version"])
            if is_ok and "data" in said:
                record["value"] = said["data"].decode()
            if "watch" in record and record["outcome"] in ("ok", "NONODE"):
                self.watched.setdefault(record["path"], is_ok)
        elif is_ok and record["op"] == "watch":
            self.lasting.add(record["path"])
        elif is_ok and record["op"] in ("create", "set"):
            record["version"] = said["stat"]["version"]
            assert said["stat"]["mzxid"] == record["zxid"], (said, record)

    def close(self):
        """Closes the session; where no answer comes, it may be over or not."""
        if not self.session.sid:
            return
        record = {"process": self.number, "session": self.session.sid, "op": "end", "invoked_us": self.now_us()}
        while not self.attempt(self.ask_to_close):
            pass
        self.traffic.record({**record, "outcome": "ok", "answered_us": self.now_us()})
        self.session.abandon()

    def ask_to_close(self):
        xid, frame = self.session.request_frame("closeSession", {})
        self.session.link.send(frame)
        reply = self.answer("closeSession")
        assert (reply["xid"], reply["err"]) == (xid, 0), reply
