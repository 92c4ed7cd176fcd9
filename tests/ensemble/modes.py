"""Members that serve less than a full one, or sessions that only they know. Run as:
modes.py SCENARIO [KINDS]. Each scenario holds for Apache ZooKeeper (a) as for zkore (z)."""

import glob
import os
import re
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../interop/differential"))

from harness import Ensemble, die_with_parent, free_ports, insist, walk
from kazoo.client import KazooClient
from kazoo.exceptions import NotReadOnlyCallError
from kazoo.protocol.states import KeeperState
from scenarios import kinds, wait_until
from session import Closed, Session, Silent

LOCAL = "localSessionsEnabled=true"
UPGRADING = "localSessionsUpgradingEnabled=true"
READ_ONLY = "readonlymode.enabled=true"
NOT_READ_ONLY = -119
EPHEMERAL_ON_LOCAL_SESSION = -120
PERSISTENT, EPHEMERAL = 0, 1
OPEN = [(31, "world", "anyone")]


def raw(member, timeout=8000, **options):
    """A session of the raw client at one member, and the answer to its connect request."""
    session = Session("raw", ("127.0.0.1", member.client_port))
    return session, session.connect(timeout=timeout, **options)


def ask(session, op, **args):
    """Sends a request; the error of the answer, and the record."""
    session.link.send(session.request_frame(op, args)[1])
    while True:
        what, answer = session.receive(op)
        if what == "reply":
            return answer["err"], answer["record"]


def create(session, path, flags=PERSISTENT):
    return ask(session, "create", path=path, data=b"", acl=OPEN, flags=flags)[0]


def java_shell(member, *options):
    """Apache's zkCli, whose lines come from us."""
    jars = ":".join(glob.glob(os.path.join(os.environ["ZKORE_INTEROP_CACHE"], "jars", "*.jar")))
    return subprocess.Popen(
        ["java", "-XX:TieredStopAtLevel=1", "-cp", jars, "org.apache.zookeeper.ZooKeeperMain"]
        + ["-server", member.address, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=die_with_parent,
    )


class Shell:
    """zkCli, and what it has printed."""

    def __init__(self, member, *options):
        self.process = java_shell(member, *options)
        self.text = ""
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.text += line

    def say(self, line, until):
        """Gives it a line; waits for what is to be printed then."""
        before = len(self.text)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        try:
            wait_until(lambda: until in self.text[before:], f"{line}: {until}", 20)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said:\n{self.text}") from None

    def end(self):
        self.process.kill()
        self.process.wait()


def read_only(text):
    """A member that is cut off from the quorum serves those who only read."""
    with Ensemble(kinds(text), lines=[READ_ONLY, LOCAL, UPGRADING]) as ensemble:
        leader = ensemble.start()
        client = ensemble.client(leader)
        client.create("/a", b"1")
        client.stop()
        old, _ = raw(ensemble.members[1])
        assert create(old, "/e", EPHEMERAL) == 0
        last = ensemble.members[1]
        for other in list(ensemble.members.values())[1:]:
            other.kill()
        began = time.monotonic()
        wait_until(lambda: last.mode() == "read-only", "it serves reads")
        assert time.monotonic() - began > 1, "not before the time of grace is over"
        assert last.word("isro") == "ro"
        assert "READ-ONLY mode; serving only read-only clients" in last.word("stat")
        assert "zk_server_state\tread-only" in last.word("mntr")
        assert "zk_peer_state" not in last.word("mntr")
        assert last.status() == ("Mode: read-only", True)

        # Who wants to write is not let in, nor who has a session of the whole ensemble.
        for options in ({}, {"read_only": True, "sid": old.sid, "passwd": old.passwd}):
            try:
                raise AssertionError(raw(last, **options)[1])
            except (Closed, Silent):
                pass
        reader, connected = raw(last, read_only=True)
        assert connected["readOnly"] and connected["sid"] >> 56 == 1, connected
        assert ask(reader, "getData", path="/a", watch=True)[1]["data"] == b"1"
        assert ask(reader, "exists", path="/e", watch=False)[0] == 0, "nobody can expire it"
        assert ask(reader, "getData", path="/b", watch=False)[0] == -101
        for error in [
            create(reader, "/b"),
            create(reader, "/b", EPHEMERAL),
            ask(reader, "setData", path="/a", data=b"2", version=-1)[0],
            ask(reader, "setACL", path="/a", acl=OPEN, version=-1)[0],
            ask(reader, "delete", path="/none", version=-1)[0],
            ask(reader, "sync", path="/")[0],
            ask(reader, "multi", ops=[("check", dict(path="/a", version=0))])[0],
        ]:
            assert error == NOT_READ_ONLY, error
        # The session lives on over another connection, and ends with a close.
        sid, passwd = reader.sid, reader.passwd
        reader.abandon()
        again = reader.connect(timeout=8000, sid=sid, passwd=passwd, read_only=True)
        assert again["sid"] == sid and again["readOnly"], again
        assert ask(reader, "closeSession")[0] == 0
        reader.abandon()
        gone = reader.connect(timeout=8000, sid=sid, passwd=passwd, read_only=True)
        assert gone["sid"] == 0 and gone["timeout"] == 0, gone

        # Clients that know of the mode find the way back when there is a quorum again.
        kazoo = KazooClient(
            hosts=",".join(each.address for each in ensemble.members.values()), read_only=True
        )
        kazoo.start(30)
        ensemble.clients.append(kazoo)
        assert kazoo.client_state == KeeperState.CONNECTED_RO
        assert kazoo.get("/a")[0] == b"1"
        try:
            kazoo.set("/a", b"2")
            raise AssertionError("written without a quorum")
        except NotReadOnlyCallError:
            pass
        shell = Shell(last, "-r")
        shell.say("get /a", "] 1\n")
        shell.say("create /from-shell x", "Not a read-only call: /from-shell")
        for other in list(ensemble.members.values())[1:]:
            other.start()
        ensemble.wait()
        assert last.word("isro") == "rw"
        insist(lambda: kazoo.set("/a", b"2"))
        assert kazoo.client_state == KeeperState.CONNECTED
        wait_until(lambda: shell.text.count("SyncConnected") >= 1, "zkCli has connected anew", 30)
        shell.say("create /from-shell x", "Created /from-shell")
        shell.end()
        ensemble.same_trees()


def zxid_of(member):
    return next(line for line in member.word("srvr").splitlines() if line.startswith("Zxid: "))


def is_gone(member, session):
    """Whether the server does not go on with a session; where it does, this connection has it."""
    other = Session("other", session.address)
    return other.connect(timeout=8000, sid=session.sid, passwd=session.passwd)["sid"] == 0


def at_another(member, session):
    """The same session, for another member."""
    other = Session("moved", ("127.0.0.1", member.client_port))
    other.sid, other.passwd = session.sid, session.passwd
    return other


def local_sessions(text):
    """Sessions of one member alone cost no transaction and own no ephemerals."""
    with Ensemble(kinds(text), observers={4}, lines=[LOCAL]) as ensemble:
        leader = ensemble.start()
        members = list(ensemble.members.values())
        for member in members:
            path, before = f"/m{member.number}", zxid_of(leader)
            session, connected = raw(member)
            assert session.sid >> 56 == member.number and connected["timeout"] == 4000
            assert member.metric("local_sessions") == 1 and member.metric("global_sessions") == 0
            assert ask(session, "getData", path="/", watch=False)[0] == 0
            dump = member.word("dump")
            # Apache keeps sets that have become empty for a while.
            assert re.match(r"SessionTracker dump:\nLocal Session Sets \([12]\)/\(1\):\n", dump), dump
            rest = "Global Session Sets (0)/(0):" if member is leader else "Global Sessions(0):"
            assert rest in dump, dump
            idle, _ = raw(member)
            assert ask(idle, "closeSession")[0] == 0
            assert zxid_of(leader) == before, "no transaction"
            assert is_gone(member, idle)

            # It may write, but not have ephemerals.
            assert create(session, path) == 0
            assert create(session, path + "/e", EPHEMERAL) == EPHEMERAL_ON_LOCAL_SESSION
            assert create(session, "/none/e", EPHEMERAL) == EPHEMERAL_ON_LOCAL_SESSION
            ops = [
                ("check", dict(path=path, version=0)),
                ("create", dict(path=path + "/e", data=b"", acl=OPEN, flags=EPHEMERAL)),
                ("delete", dict(path=path, version=0)),
            ]
            error, record = ask(session, "multi", ops=ops)
            codes = [each["code"] for each in record["results"]]
            # An Apache follower passes on what its leader makes of it, who does not know better.
            vague = member.kind == "apache" and member is not leader
            refusal = -112 if vague else EPHEMERAL_ON_LOCAL_SESSION
            assert error == 0 and codes == [0, refusal, -2], (member.number, error, codes)

            # Answers keep their order up to the end of the session.
            frames, xids = b"", []
            for op, args in [
                ("setData", dict(path=path, data=b"1", version=0)),
                ("sync", dict(path=path)),
                ("setData", dict(path=path, data=b"2", version=0)),
                ("getData", dict(path=path, watch=False)),
                ("setData", dict(path=path, data=b"3", version=1)),
                ("closeSession", {}),
            ]:
                xid, frame = session.request_frame(op, args)
                frames += frame
                xids.append((xid, op))
            again = Session("again", session.address)
            moved = again.connect(timeout=8000, sid=session.sid, passwd=session.passwd)
            assert moved["sid"] == session.sid, "it moves between connections of its member"
            again.link.send(frames)
            errors = []
            for xid, op in xids:
                what, answer = again.receive(op)
                assert answer["xid"] == xid, (op, answer)
                errors.append(answer["err"])
            assert errors == [0, 0, -103, 0, 0, 0], errors
            try:
                raise AssertionError(again.receive("ping"))
            except Closed:
                pass
            assert is_gone(member, session)

            # Nobody else knows it, and when nothing is heard from it it ends.
            session, _ = raw(member, timeout=400)
            other = next(each for each in members if each is not member)
            moved = at_another(other, session)
            assert moved.connect(timeout=8000, sid=session.sid, passwd=session.passwd)["sid"] == 0
            assert ask(session, "exists", path=path, watch=False)[0] == 0
            try:
                raise AssertionError(session.receive("ping", timeout=5))
            except Closed:
                pass
            assert is_gone(member, session)
            assert member.metric("local_sessions") == 0
        ensemble.same_trees()


def upgraded_sessions(text):
    """A session of one member alone becomes one of the ensemble with its first ephemeral."""
    with Ensemble(kinds(text), observers={4}, lines=[LOCAL, UPGRADING]) as ensemble:
        ensemble.start()
        members = list(ensemble.members.values())
        for number, member in enumerate(members):
            other = members[number - 1]
            top = f"/m{member.number}"
            session, _ = raw(member)
            assert create(session, top) == 0
            assert member.metric("global_sessions") == 0
            if number % 2:
                assert create(session, top + "/e", EPHEMERAL) == 0
            else:
                ops = [("create", dict(path=top + "/e", data=b"", acl=OPEN, flags=EPHEMERAL))]
                error, record = ask(session, "multi", ops=ops)
                assert (error, record["results"][0]["err"]) == (0, 0), (error, record)
            assert create(session, top + "/e2", EPHEMERAL) == 0
            assert member.metric("local_sessions") == 0
            stat = ask(session, "exists", path=top + "/e", watch=False)[1]["stat"]
            assert stat["ephemeralOwner"] == session.sid
            # It moves to another member, and goes with its ephemerals.
            moved = at_another(other, session)
            assert moved.connect(timeout=8000, sid=session.sid, passwd=session.passwd)["sid"] == session.sid
            assert ask(moved, "setData", path=top, data=b"", version=-1)[0] == 0
            assert create(moved, top + "/e3", EPHEMERAL) == 0
            assert ask(moved, "closeSession")[0] == 0
            watcher = ensemble.client(*members)
            watcher.sync("/")
            assert watcher.get_children(top) == []
            # One that falls silent expires everywhere.
            session, _ = raw(member, timeout=400)
            assert create(session, top + "/silent", EPHEMERAL) == 0
            wait_until(lambda: watcher.exists(top + "/silent") is None, "it expires")
            watcher.stop()
            watcher.close()
            for each in members:
                wait_until(lambda: each.metric("global_sessions") == 0, "nobody knows it any more")
        ensemble.same_trees()


def settled_zxid(leader):
    """What the leader has come to: Apache's applies a commit after its followers may have answered."""
    seen = None
    while seen != (now := int(zxid_of(leader).split()[1], 16)):
        seen = now
        time.sleep(0.2)
    return now


def rejections(text):
    """A request that fails costs a zxid only where a server of Apache's has to do with it."""
    with Ensemble(kinds(text), observers={4}) as ensemble:
        leader = ensemble.start()
        for member in ensemble.members.values():
            session, _ = raw(member)
            path = f"/m{member.number}"
            assert create(session, path) == 0

            before = settled_zxid(leader)
            frames, expected = b"", []
            for turn in range(20):
                bad = [("check", dict(path=path, version=99)), ("delete", dict(path=path, version=0))]
                for op, args, error in [
                    ("setData", dict(path="/none", data=b"", version=-1), -101),
                    ("getData", dict(path=path, watch=False), 0),
                    ("sync", dict(path=path), 0),
                    ("multi", dict(ops=bad), 0),
                    ("setData", dict(path=path, data=b"", version=turn), 0),
                    ("create", dict(path=path, data=b"", acl=OPEN, flags=0), -110),
                ]:
                    xid, frame = session.request_frame(op, args)
                    frames += frame
                    expected.append((xid, op, error))
            session.link.send(frames)
            for xid, op, error in expected:
                what, answer = session.receive(op)
                assert (answer["xid"], answer["err"]) == (xid, error), (op, answer)
                if op == "multi":
                    assert [each["code"] for each in answer["record"]["results"]] == [-103, -2]
            is_ours = member.kind == leader.kind == "zkore"
            cost = settled_zxid(leader) - before
            assert cost == (20 if is_ours else 80), (member.number, member.kind, leader.kind, cost)
            assert ask(session, "closeSession")[0] == 0
        ensemble.same_trees()


def dead_address():
    """An address as in a server line that nobody can listen on, and what keeps it so."""
    sockets = [socket.socket(), socket.socket()]
    ports = free_ports(2)
    for each, port in zip(sockets, ports):
        each.bind(("127.0.0.2", port))
    return sockets, "127.0.0.2:{}:{}".format(*ports)


def weighted(text):
    """Leaders that serve no client, servers one of whose two addresses is dead, and groups of servers that
    have weights: which of them are a quorum is not a matter of their number."""
    lines = ["leaderServes=no", "multiAddress.enabled=true", "group.1=1:2", "group.2=3:4", "group.3=5", "weight.2=3"]
    with Ensemble(kinds(text), lines=lines) as ensemble:
        members = ensemble.members
        dead = {number: dead_address() for number in members}

        def address_of(other):
            live = f"127.0.0.1:{other.quorum_port}:{other.election_port}"
            both = [live, dead[other.number][1]]
            return "|".join(both if other.number % 2 else reversed(both))

        for member in members.values():
            member.address_of = address_of

        def leader_of(*numbers):
            """Waits until all of these but one follow; the one."""
            wanted = [members[number] for number in numbers]
            rest = []

            def is_settled():
                rest[:] = [each for each in wanted if each.mode() != "follower"]
                return len(rest) == 1

            wait_until(is_settled, f"all of {numbers} but a leader follow", 40)
            return rest[0]

        for member in members.values():
            member.start()
        leader = leader_of(1, 2, 3, 4, 5)
        assert "not currently serving" in leader.word("srvr")
        try:
            raise AssertionError(raw(leader)[1])
        except (Closed, Silent):
            pass
        client = ensemble.client()
        client.create("/a", b"")

        # Two of five, and two of three groups.
        for number in (1, 3, 4):
            members[number].kill()
        leader_of(2, 5)
        insist(lambda: client.set("/a", b"by two"))
        # Three of five, and one of three groups: server 1 has a quarter of its own.
        for number in (2, 5):
            members[number].kill()
        for number in (1, 3, 4):
            members[number].start()
        wait_until(lambda: all(members[each].word("srvr") for each in (1, 3, 4)), "they are up")
        time.sleep(3)
        assert [members[each].mode() for each in (1, 3, 4)] == [None] * 3
        for number in (2, 5):
            members[number].start()
        leader = leader_of(1, 2, 3, 4, 5)
        trees = []
        for member in members.values():
            if member is not leader:
                client = ensemble.client(member)
                client.sync("/")
                trees.append(dict(walk(client, "/")))
        assert trees[0]["/a"][0] == b"by two"
        assert all(tree == trees[0] for tree in trees)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2] if len(sys.argv) > 2 else "zzz")
    print(f"{' '.join(sys.argv[1:])}: passed")
