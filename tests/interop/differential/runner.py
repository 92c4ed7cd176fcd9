"""Runs a plan against one server and records what it answered.

A plan is a list of steps (dictionaries, made by `gen` and `scripts`) and is the same for every
server. In strings of a plan `~` stands for the plan's own root znode, and ("zxid", label) for the
zxid in the answer to the step so labelled. The record of a run is a list with one entry a step:
for each session what arrived on its connection, in order.

After each step every open connection is brought to rest by a ping: its answer comes behind all
that the step set off, so that an event belongs to the step that caused it. Where a server serves
from several views of the tree this takes a sync instead.
"""

import itertools
import time

from jute import (OP_NAMES, XID_NOTIFICATION, DecodeError, In, decode_connect, decode_reply)
from session import Closed, Link, Session, Silent

OPEN = [[31, "world", "anyone"]]
SUPER = b"super:adminpw"
CONTAINER_OWNER = -(1 << 63)
LATE_S = 1.5
# Without and with the read-only flag.
CONNECT_REPLY_SIZES = (36, 37)


class Run:
    """One plan on one server."""

    def __init__(self, address, root, settle_op):
        self.address = address
        self.root = root
        self.settle_op = settle_op
        self.sessions = {}
        self.zxids = {}
        self.sids = {}
        self.trace = []

    def run(self, steps):
        for step in steps:
            items = {}
            getattr(self, "do_" + step["kind"])(step, items)
            self.settle(items)
            self.trace.append({k: v for k, v in items.items() if v})
        for session in self.sessions.values():
            session.abandon()
        return self.trace

    def fill(self, v):
        """Puts the root and remembered zxids into the arguments of a step."""
        if isinstance(v, str):
            return v.replace("~", self.root)
        if isinstance(v, bytes):
            return v.replace(b"~", self.root.encode())
        if isinstance(v, tuple) and len(v) == 2 and v[0] == "zxid":
            return self.zxids.get(v[1], 0)
        if isinstance(v, (list, tuple)):
            return type(v)(self.fill(x) for x in v)
        if isinstance(v, dict):
            return {k: self.fill(x) for k, x in v.items()}
        return v

    def session(self, name):
        if name not in self.sessions:
            self.sessions[name] = Session(name, self.address)
        return self.sessions[name]

    # Steps.

    def do_connect(self, step, items):
        s = self.session(step["s"])
        of = self.session(step["sid_of"]) if step.get("sid_of") else None
        sid = of.sid if of else step.get("sid", 0)
        passwd = of.passwd if of else b"\0" * 16
        if "passwd" in step:
            passwd = step["passwd"]
        log = items.setdefault(step["s"], [])
        try:
            reply = s.connect(timeout=step.get("timeout", 8000), sid=sid, passwd=passwd,
                              last_zxid=step.get("last_zxid", 0),
                              read_only=step.get("read_only", False),
                              protocol=step.get("protocol", 0))
        except Closed:
            log.append(("eof",))
            return
        except Silent:
            log.append(("silent",))
            return
        if reply["sid"]:
            self.sids.setdefault(reply["sid"], f"session-of-{step['s']}")
        log.append(("connected", {
            "protocol": reply["protocol"], "timeout": reply["timeout"],
            "session": "none" if reply["sid"] == 0 else
                       "same" if reply["sid"] == sid else "new",
            "passwd": (len(reply["passwd"]), any(reply["passwd"])),
            "readOnly": reply["readOnly"]}))

    def do_req(self, step, items):
        self.send(step["s"], [(step["op"], step.get("args", {}))], items, step)

    def do_burst(self, step, items):
        self.send(step["s"], step["reqs"], items, step)

    def do_raw(self, step, items):
        """Bytes on an open session's connection, then what comes until the server closes it."""
        s = self.session(step["s"])
        log = items.setdefault(step["s"], [])
        if not s.link:
            log.append(("no connection",))
            return
        try:
            s.link.send(self.fill(step["data"]))
        except Closed:
            pass
        self.drain(s, log)

    def do_stranger(self, step, items):
        """Bytes on a connection that never was a session's."""
        s = Session(step["s"], self.address)
        s.link = Link(self.address)
        log = items.setdefault(step["s"], [])
        try:
            s.link.send(step["data"])
        except Closed:
            pass
        self.drain(s, log)

    def do_drop(self, step, items):
        self.session(step["s"]).abandon()

    def do_sleep(self, step, items):
        """Sleeps, keeping the connected sessions alive."""
        end = time.monotonic() + step["ms"] / 1000
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))
            self.settle(items)

    # Receiving.

    def drain(self, s, log):
        try:
            while True:
                log.append(self.bare_frame(s.link.frame(LATE_S)))
        except Closed:
            log.append(("eof",))
        except Silent:
            log.append(("still open",))
        except DecodeError as e:
            log.append(("undecodable", str(e)))
        s.abandon()

    def send(self, name, reqs, items, step):
        s = self.session(name)
        log = items.setdefault(name, [])
        if not s.link:
            log.append(("no connection",))
            return
        ops, data = {}, bytearray()
        for op, args in reqs:
            xid, frame = s.request_frame(op, self.fill(args))
            ops.setdefault(xid, []).append(op)
            data += frame
        try:
            if step.get("split"):
                at = len(data) * step["split"] // 100
                s.link.send(data[:at])
                time.sleep(0.002)
                s.link.send(data[at:])
            else:
                s.link.send(data)
            if step.get("op") == "closeSession":
                self.receive(s, ops, log, lambda: False)
            elif step.get("lockstep"):
                self.receive(s, ops, log, lambda: not any(ops.values()))
        except Closed:
            # What the server said before it closed is still to be read, below.
            pass
        except Silent:
            log.append(("silent",))
        self.barrier([s], items, ops)
        for item in log:
            if step.get("label") and item[0] == "reply":
                self.zxids[step["label"]] = item[1]["zxid"]

    def receive(self, s, ops, log, done):
        while not done():
            try:
                kind, item = self.next_item(s, ops)
            except DecodeError as e:
                log.append(("undecodable", str(e)))
                raise Closed("undecodable") from None
            log.append((kind, item))

    def next_item(self, s, ops):
        frame = s.link.frame()
        if len(frame) in CONNECT_REPLY_SIZES and frame[:4] == bytes(4):
            # No request of a plan has the xid 0.
            return self.bare_frame(frame)
        r = In(frame)
        xid, zxid, err = r.int(), r.long(), r.int()
        if xid == XID_NOTIFICATION:
            event = {"type": r.int(), "state": r.int(), "path": r.string(), "zxid": zxid,
                     "err": err}
            r.end()
            return "event", event
        if zxid > 0:
            s.last_zxid = zxid
        waiting = ops.get(xid)
        if not waiting:
            return "unasked", {"xid": xid, "zxid": zxid, "err": err}
        op = waiting.pop(0)
        if op == "barrier":
            return "reply", {"op": op}
        name = op if isinstance(op, str) else OP_NAMES.get(op[1], op[1])
        return "reply", {"op": name, "zxid": zxid, "err": err, "record": decode_reply(name, r)}

    def bare_frame(self, frame):
        """A frame that answers no request: a connect reply or something that should not be."""
        if len(frame) in CONNECT_REPLY_SIZES:
            reply = decode_connect(frame)
            return "connect reply", {"protocol": reply["protocol"], "timeout": reply["timeout"],
                                     "passwd": len(reply["passwd"]),
                                     "session": reply["sid"] != 0, "readOnly": reply["readOnly"]}
        return "frame", {"bytes": frame.hex()}

    def settle(self, items):
        self.barrier([s for s in self.sessions.values() if s.link], items, {})

    def barrier(self, sessions, items, ops):
        """Sends the settling request on each connection, then reads each up to its answer."""
        settling = {}
        for s in sessions:
            xid, frame = s.request_frame(self.settle_op, {"path": "/"})
            settling[s.name] = {**ops}
            settling[s.name].setdefault(xid, []).append("barrier")
            try:
                s.link.send(frame)
            except Closed:
                pass
        for s in sessions:
            log = items.setdefault(s.name, [])
            waiting = settling[s.name]
            try:
                self.receive(s, waiting, log, lambda: "barrier" not in itertools.chain(
                    *waiting.values()))
                log[:] = [i for i in log if i[0] != "reply" or i[1]["op"] != "barrier"]
            except Closed:
                log.append(("eof",))
                s.abandon()
            except Silent:
                log.append(("silent",))
                s.abandon()


def normalise(run, steps):
    """Replaces what may differ between two right servers; changes the run's trace in place."""
    written = sorted(zxids_of(run.trace))
    for i, step in enumerate(steps):
        if step.get("late"):
            # What the server does by itself may begin before the sleep that waits for it.
            for s, items in run.trace[i].items():
                events = [item for item in items if item[0] == "event"]
                run.trace[i][s] = [item for item in items if item[0] != "event"]
                if events:
                    later = run.trace[i + 1].setdefault(s, [])
                    later[:0] = events
            run.trace[i] = {s: items for s, items in run.trace[i].items() if items}
    for entry, step in zip(run.trace, steps):
        for items in entry.values():
            for i, item in enumerate(items):
                if item[0] == "reply" and item[1]["op"] == "multiRead" and item[1]["err"]:
                    # Apache adds what it had so far to the error; no client reads that.
                    item[1]["record"] = None
                if len(item) > 1 and isinstance(item[1], dict):
                    items[i] = (item[0], plain(item[1], written, run.sids))
            if step["kind"] in ("drop", "connect", "sleep") or step.get("op") == "closeSession":
                # One transaction removes a session's ephemerals in an order of the server's own.
                events = sorted((i for i in items if i[0] == "event"), key=repr)
                order = iter(events)
                items[:] = [next(order) if i[0] == "event" else i for i in items]
    return run.trace


WRITES = {"create", "create2", "createContainer", "createTTL", "delete", "setData", "setACL",
          "closeSession"}


def zxids_of(trace):
    """The zxids that are known to be of successful writes."""
    known = set()

    def stats(v):
        if isinstance(v, dict):
            if v.get("czxid"):
                known.update((v["czxid"], v["mzxid"], v["pzxid"]))
            for x in v.values():
                stats(x)
        elif isinstance(v, (list, tuple)):
            for x in v:
                stats(x)

    for entry in trace:
        for items in entry.values():
            stats(items)
            for item in items:
                if item[0] == "event" and item[1]["zxid"] > 0:
                    known.add(item[1]["zxid"])
                if item[0] == "reply" and item[1]["err"] == 0:
                    reply = item[1]
                    results = (reply["record"] or {}).get("results") \
                        if isinstance(reply["record"], dict) else None
                    changed = reply["op"] in WRITES or reply["op"] == "multi" and results and all(
                        r["err"] == 0 for r in results) and any(
                        r["op"] in WRITES for r in results)
                    if changed:
                        known.add(reply["zxid"])
    return known


def plain(v, written, sids):
    if isinstance(v, dict):
        out = {}
        for k, x in v.items():
            if k in ("zxid", "czxid", "mzxid", "pzxid"):
                out[k] = rank(x, written)
            elif k == "ephemeralOwner":
                out[k] = owner(x, sids)
            elif k in ("children", "ephemerals", "clients") and x is not None:
                out[k] = sorted(x)
            elif k == "acl" and x is not None:
                out[k] = identities_sorted(x)
            elif k in ("ctime", "mtime"):
                continue
            else:
                out[k] = plain(x, written, sids)
        if "ctime" in v:
            out["times"] = times(v)
            if v["czxid"] == 0:
                # A node of the tree's own, changed by all plans that ran before.
                out |= {k: "shared" for k in (
                    "version", "cversion", "aversion", "mzxid", "pzxid", "times")}
        return out
    if isinstance(v, (list, tuple)):
        return [plain(x, written, sids) for x in v]
    return v


def identities_sorted(acl):
    """Sorts neighbours that the scheme auth may have expanded to: identities are a set."""
    groups = itertools.groupby(acl, key=lambda a: (a[0], a[1] in ("digest", "super")))
    return [a for (_, known), group in groups for a in (sorted(group) if known else group)]


def rank(zxid, written):
    """The number of known writes up to `zxid`: equal for servers that count failures or not."""
    if zxid <= 0:
        return zxid
    lo, hi = 0, len(written)
    while lo < hi:
        mid = (lo + hi) // 2
        if written[mid] <= zxid:
            lo = mid + 1
        else:
            hi = mid
    return f"#{lo}"


def owner(v, sids):
    if v == 0:
        return 0
    if v == CONTAINER_OWNER:
        return "container"
    if (v >> 56) & 0xFF == 0xFF:
        return f"ttl {v & 0xFFFFFFFFFF}"
    return sids.get(v, "unknown session")


def times(stat):
    """What must hold between a Stat's times, whatever the clock."""
    ctime, mtime = stat["ctime"], stat["mtime"]
    if ctime == 0:
        return "zero" if mtime == 0 else "modified later"
    if abs(time.time() * 1000 - ctime) > 3_600_000:
        return "far from now"
    if mtime < ctime:
        return "modified before created"
    if stat["czxid"] == stat["mzxid"] and ctime != mtime:
        return "differ without a write"
    return "ordered"


class Admin:
    """A session with the super identity that prepares and cleans up for the plans."""

    def __init__(self, address):
        self.session = Session("admin", address)
        self.session.connect(timeout=60000)
        self.call("auth", {"scheme": "digest", "auth": SUPER})

    def call(self, op, args):
        s = self.session
        _, frame = s.request_frame(op, args)
        s.link.send(frame)
        while True:
            kind, item = s.receive(op)
            if kind == "reply":
                return item

    def make_root(self, root):
        reply = self.call("create", {"path": root, "data": b"", "acl": OPEN, "flags": 0})
        if reply["err"] not in (0, -110):
            raise RuntimeError(f"cannot create {root}: {reply['err']}")

    def close(self):
        self.call("closeSession", {})
        self.session.abandon()

    def remove(self, path):
        reply = self.call("getChildren", {"path": path, "watch": False})
        if reply["err"] == 0:
            for child in reply["record"]["children"]:
                self.remove(f"{path}/{child}")
            self.call("delete", {"path": path, "version": -1})

    def clean(self):
        """Removes all that plans made, so that one plan's fault is not the next one's."""
        for parent, kept in (("/zookeeper/quota", []), ("/zookeeper", ["quota", "config"]),
                             ("", ["zookeeper"])):
            reply = self.call("getChildren", {"path": parent or "/", "watch": False})
            for child in reply["record"]["children"]:
                if child not in kept:
                    self.remove(f"{parent}/{child}")


def record(address, root, steps, settle_op="ping"):
    """Runs `steps` under a fresh `root` and returns the normalised trace."""
    admin = Admin(address)
    admin.make_root(root)
    admin.close()
    run = Run(address, root, settle_op)
    try:
        run.run(steps)
    finally:
        for session in run.sessions.values():
            session.abandon()
    for sid, passwd in {(s.sid, s.passwd) for s in run.sessions.values() if s.sid}:
        end_session(address, sid, passwd)
    admin = Admin(address)
    admin.clean()
    admin.close()
    return normalise(run, steps)


def end_session(address, sid, passwd):
    """Closes a session that the plan left open, with the ephemerals that it holds."""
    s = Session("ender", address)
    try:
        if s.connect(timeout=8000, sid=sid, passwd=passwd)["sid"]:
            s.link.send(s.request_frame("closeSession", {})[1])
            s.receive("closeSession")
    except (Closed, Silent):
        pass
    s.abandon()

