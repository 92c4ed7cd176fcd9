"""What an ensemble must stand. Run as: scenarios.py SCENARIO [KINDS], KINDS such as zza: zkore,
zkore, Apache."""

import os
import random
import signal
import shutil
import socket
import subprocess
import sys
import time

from harness import APACHE_FLAGS, Ensemble, Load, insist
from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
)
from kazoo.security import make_digest_acl

KINDS = {"z": "zkore", "a": "apache"}


def kinds(text):
    return [KINDS[each] for each in text]


def exercise(ensemble, name):
    """Each kind of operation through each member, well and failing, seen by all others."""
    members = ensemble.running()
    clients = [ensemble.client(member) for member in members]
    for number, client in enumerate(clients):
        top = f"/{name}-{number}"
        client.create(top, b"top")
        assert client.create(top + "/s-", b"", sequence=True) == top + "/s-0000000000"
        assert client.create(top + "/e", b"", ephemeral=True) == top + "/e"
        client.set(top, b"once", version=0)
        for error, operation in [
            (NodeExistsError, lambda: client.create(top)),
            (NoNodeError, lambda: client.set(top + "/none", b"")),
            (BadVersionError, lambda: client.set(top, b"", version=7)),
            (NotEmptyError, lambda: client.delete(top)),
        ]:
            try:
                operation()
                raise AssertionError(f"{error.__name__} was expected")
            except error:
                pass
        transaction = client.transaction()
        transaction.create(top + "/m", b"1")
        transaction.set_data(top + "/m", b"2")
        transaction.check(top, 1)
        assert all(not isinstance(each, Exception) for each in transaction.commit())
        transaction = client.transaction()
        transaction.create(top + "/n", b"1")
        transaction.delete(top + "/none")
        assert [type(each) for each in transaction.commit()] == [RolledBackError, NoNodeError]
        client.add_auth("digest", "user:secret")
        client.create(top + "/mine", b"", acl=[make_digest_acl("user", "secret", all=True)])
        client.set(top + "/mine", b"mine")
        client.delete(top + "/s-0000000000")
    for client in clients:
        client.sync("/")
        for other in range(len(clients)):
            top = f"/{name}-{other}"
            assert client.get(top)[0] == b"once"
            assert client.get(top + "/m")[0] == b"2"
            assert client.exists(top + "/e").ephemeralOwner == clients[other].client_id[0]
            assert client.exists(top + "/n") is None
    stranger = ensemble.client(members[-1])
    try:
        stranger.set(f"/{name}-0/mine", b"")
        raise AssertionError("the ACL does not hold")
    except NoAuthError:
        pass
    # A watch at one member sees what another one's client does.
    seen = []
    clients[0].get(f"/{name}-1", watch=seen.append)
    clients[-1].set(f"/{name}-1", b"twice")
    wait_until(lambda: seen, "the watch fires")
    # Ephemerals go with their session, everywhere.
    clients[1].stop()
    for client in clients[:1] + clients[2:]:
        wait_until(lambda: client.exists(f"/{name}-1/e") is None, "the ephemeral goes")
    for client in clients[:1] + clients[2:]:
        client.stop()
    stranger.stop()


def wait_until(condition, what, patience_s=15, pause_s=0.01):
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience_s} s: {what}"
        time.sleep(pause_s)


def replication(text):
    """Every member leads once and is killed as the leader; the others go on and it comes back."""
    with Ensemble(kinds(text)) as ensemble:
        ensemble.start()
        exercise(ensemble, "first")
        ensemble.same_trees()
        to_lead = set(ensemble.members)
        while to_lead:
            leader = ensemble.wait()
            if leader.number not in to_lead:
                leader = pass_lead(ensemble, leader, ensemble.members[to_lead.pop()])
            to_lead.discard(leader.number)
            lose_leader(ensemble, leader, text)
        leader = ensemble.wait()
        first = leader.metric("leader_uptime")
        exercise(ensemble, "second")
        assert leader.metric("leader_uptime") > first, first
        ensemble.same_trees()


def lose_leader(ensemble, leader, text):
    """Kills the leader under load, sees that no acknowledged write is lost, and starts it again."""
    client = ensemble.client(*[each for each in ensemble.members.values() if each is not leader])
    path = f"/load-{leader.number}"
    load = Load(client, path)
    wait_until(lambda: load.acknowledged > 20, "the load runs")
    if leader.kind == "zkore":
        # The log is durable here before a quorum says so, at least now and then.
        assert leader.metric("cnt_quorum_wait_us") > 20 and leader.metric("avg_quorum_wait_us") > 0
    leader.kill()
    before = load.acknowledged
    began = time.monotonic()
    wait_until(lambda: load.acknowledged > before + 5, "writes go on")
    print(f"{text}: leader {leader.number} ({leader.kind}) killed, five writes after {1000 * (time.monotonic() - began):.0f} ms")
    leader.start()
    ensemble.wait()
    acknowledged = load.stop()
    client.sync("/")
    assert client.exists(path).version >= acknowledged


def pass_lead(ensemble, leader, heir):
    """Has another member of three take the lead: the third one lacks what these two have, when they vote."""
    third = next(each for each in ensemble.members.values() if each not in (leader, heir))
    third.kill()
    client = ensemble.client(leader)
    client.create(f"/lead-of-{heir.number}", b"")
    client.stop()
    leader.kill()
    third.start()
    assert ensemble.wait([heir, third]) is heir
    leader.start()
    return ensemble.wait()


def plans_for(leader, follower):
    """The lines in which a leader of ours says how it brings a follower up."""
    return [line for line in leader.log().splitlines() if f"synchronising server={follower.number} " in line]


def expect_plan(leader, follower, plan):
    """How the follower was brought up last, as far as a member of ours was there to tell."""
    if leader.kind == "zkore":
        said = plans_for(leader, follower)
        assert f'plan="{plan}"' in said[-1], said[-1]
    elif follower.kind == "zkore":
        said = [line for line in follower.log().splitlines() if "the leader synchronises us" in line]
        assert f"plan={plan} " in said[-1], said[-1]
    else:
        return
    print(f"{leader.kind} {leader.number} brought {follower.kind} {follower.number} up by {plan}")


def start_under_last(ensemble):
    """Starts all members, so that the last one leads where their data are the same."""
    first, *others, last = ensemble.members.values()
    first.start()
    last.start()
    ensemble.wait()
    for other in others:
        other.start()
    return ensemble.wait()


def synchronisation(text):
    """A member comes back behind the others, with nothing, and with what nobody else has."""
    # Apache's leader would send all transactions of a short log instead of the tree.
    flags = [*APACHE_FLAGS, "-Dzookeeper.snapshotSizeFactor=-1"]
    with Ensemble(kinds(text), apache_flags=flags) as ensemble:
        leader = start_under_last(ensemble)
        assert leader is ensemble.members[len(text)]
        client = ensemble.client(leader)
        for number in range(50):
            client.create(f"/n{number:03}", b"x" * 100)
        follower = ensemble.other_than(leader)
        follower.kill()
        for number in range(50, 100):
            client.create(f"/n{number:03}", b"y" * 100)
        client.delete("/n000")
        follower.start()
        ensemble.wait()
        ensemble.same_trees()
        expect_plan(leader, follower, "DIFF")
        # Started anew, nobody has the whole history in memory any more.
        client.stop()
        for member in ensemble.members.values():
            member.kill(signal.SIGTERM)
        leader = start_under_last(ensemble)
        client = ensemble.client(leader)
        follower = ensemble.other_than(leader)
        follower.kill()
        follower.wipe()
        client.create("/before", b"")
        follower.start()
        ensemble.wait()
        expect_plan(leader, follower, "SNAP")
        client.create("/after", b"")
        ensemble.same_trees()
        # The leader alone writes what nobody else gets, and dies.
        others = [each for each in ensemble.members.values() if each is not leader]
        for other in others:
            other.send(signal.SIGSTOP)
        results = [client.create_async(f"/lost{number}", b"") for number in range(5)]
        time.sleep(0.3)
        leader.kill()
        assert not any(result.ready() and result.successful() for result in results)
        client.stop()
        # What has reached their sockets goes with them.
        for other in others:
            other.kill()
            other.start()
        heir = ensemble.wait(others)
        if heir.kind == "apache":
            # It cuts nothing off that another epoch has followed, but sends the tree then.
            leader.start()
            ensemble.wait()
        client = ensemble.client(*others)
        insist(lambda: client.create("/won", b""))
        if not leader.process:
            leader.start()
        ensemble.wait()
        tree = ensemble.same_trees()
        assert "/won" in tree and "/lost0" not in tree
        expect_plan(heir, leader, "TRUNC")


def sessions(text):
    """Sessions outlive members, move between them, and expire wherever their client was."""
    with Ensemble(kinds(text)) as ensemble:
        ensemble.start()
        client = ensemble.client(ensemble.members[1])
        client.create("/mine", b"", ephemeral=True)
        moved = ensemble.client(ensemble.members[1])
        session = moved.client_id
        moved.create("/moving", b"", ephemeral=True)
        heir = KazooClient(hosts=ensemble.members[2].address, client_id=session, timeout=10.0)
        heir.start(20)
        ensemble.clients.append(heir)
        assert heir.client_id[0] == session[0]
        heir.create("/moving2", b"", ephemeral=True)
        assert heir.exists("/moving").ephemeralOwner == session[0]
        # Rolling restart: nobody loses a session.
        lost = []
        roaming = ensemble.client(timeout=15.0)
        roaming.add_listener(lambda state: lost.append(state) if state == "LOST" else None)
        roaming.create("/roaming", b"", ephemeral=True)
        owner = roaming.client_id[0]
        for member in list(ensemble.members.values()):
            member.kill(signal.SIGTERM)
            ensemble.wait()
            member.start()
            ensemble.wait()
            insist(lambda: roaming.exists("/roaming"))
        assert not lost and roaming.client_id[0] == owner
        assert roaming.exists("/roaming").ephemeralOwner == owner
        # A client that dies expires.
        program = (
            "import sys, time; from kazoo.client import KazooClient; "
            "client = KazooClient(hosts=sys.argv[1], timeout=2.0); client.start(); "
            "client.create('/dying', b'', ephemeral=True); print('there', flush=True); time.sleep(99)"
        )
        dying = subprocess.Popen(
            [sys.executable, "-c", program, ensemble.members[3].address], stdout=subprocess.PIPE
        )
        assert dying.stdout.readline()
        roaming.sync("/")
        assert insist(lambda: roaming.exists("/dying"))
        dying.kill()
        dying.wait()
        wait_until(lambda: insist(lambda: roaming.exists("/dying")) is None, "the session expires", 30)


def paused(text):
    """A leader that is stopped for a while is not leader any more when it goes on."""
    with Ensemble(kinds(text)) as ensemble:
        leader = ensemble.start()
        others = [each for each in ensemble.members.values() if each is not leader]
        client = ensemble.client(*others)
        client.create("/a", b"0")
        began = time.monotonic()
        leader.send(signal.SIGSTOP)
        insist(lambda: client.set("/a", b"1"))
        print(f"{text}: a stopped leader was replaced after {time.monotonic() - began:.2f} s")
        leader.send(signal.SIGCONT)
        ensemble.wait()
        late = ensemble.client(leader)
        late.sync("/a")
        assert late.get("/a")[0] == b"1"
        # Without a quorum nobody is served.
        for other in others:
            other.kill()
        wait_until(lambda: leader.mode() is None, "the last one serves nobody")
        for other in others:
            other.start()
        ensemble.wait()
        ensemble.same_trees()


def damaged(_):
    """A member whose log was damaged is mended by the others and does not vote meanwhile."""
    with Ensemble(kinds("zzz")) as ensemble:
        leader = ensemble.start()
        client = ensemble.client(leader)
        for number in range(300):
            client.create(f"/n{number:03}", b"x" * 200)
        victim = next(each for each in ensemble.members.values() if each is not leader)
        victim.kill()
        folder = os.path.join(victim.data(), "zkore-1")
        log = max(name for name in os.listdir(folder) if name.startswith("log."))
        with open(os.path.join(folder, log), "r+b") as file:
            file.seek(20000)
            file.write(b"\xff" * 512)
        victim.start()
        ensemble.wait()
        ensemble.same_trees()
        assert "damaged" in victim.log()
        client.create("/after", b"")
        victim.kill()
        victim.start()
        ensemble.wait()
        ensemble.same_trees()


def stepwise(_):
    """The tutorial's election: five servers, started one after the other."""
    with Ensemble(kinds("zzzzz")) as ensemble:
        members = ensemble.members
        members[1].start()
        wait_until(lambda: members[1].word("srvr"), "1 answers")
        members[2].start()
        wait_until(lambda: members[2].word("srvr"), "2 answers")
        time.sleep(1)
        assert members[1].mode() is None and members[2].mode() is None
        assert "not currently serving" in members[1].word("srvr")
        members[3].start()
        assert ensemble.wait() is members[3]
        for number in (4, 5):
            members[number].start()
            assert ensemble.wait() is members[3]
            assert members[number].mode() == "follower"


def observers(text):
    with Ensemble(kinds(text), observers={4}) as ensemble:
        leader = ensemble.start()
        for member in ensemble.members.values():
            mode = "leader" if member is leader else "observer" if member.number == 4 else "follower"
            assert member.status() == (f"Mode: {mode}", True), (member.number, member.status(), mode)
        exercise(ensemble, "observed")
        assert leader.metric("synced_observers") == 1
        # Its vote does not count.
        voters = [each for each in ensemble.members.values() if each.number != 4]
        for voter in voters[:2]:
            voter.kill()
        wait_until(lambda: voters[2].mode() is None, "one voter and an observer are no quorum")
        said = ("Error contacting service. It is probably not running.", False)
        assert voters[2].status() == said, voters[2].status()
        for voter in voters[:2]:
            voter.start()
        ensemble.wait()
        ensemble.same_trees()


def strangers(_):
    """Garbage on the election and quorum ports, and a member of another ensemble."""
    chance = random.Random(5)
    with Ensemble(kinds("zzz")) as ensemble:
        ensemble.start()
        client = ensemble.client()
        load = Load(client, "/load")
        open_ones = []
        for round_number in range(20):
            for member in ensemble.members.values():
                for port in (member.election_port, member.quorum_port):
                    connection = socket.create_connection(("127.0.0.1", port), 2)
                    connection.sendall(
                        chance.choice(
                            [
                                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
                                b"\xff" * 64,
                                b"\x7f\xff\xff\xff" * 8,
                                (-65536).to_bytes(8, "big", signed=True) + bytes(40),
                                chance.randbytes(300),
                                b"",
                            ]
                        )
                    )
                    open_ones.append(connection)
        before = load.acknowledged
        wait_until(lambda: load.acknowledged > before + 50, "the load goes on")
        for connection in open_ones:
            connection.close()
        load.stop()
        ensemble.same_trees()

    # A member that has a history of its own, committed. It keeps it: an ensemble that has nothing else
    # goes on with it.
    with Ensemble(kinds("zzz")) as first, Ensemble(kinds("zzz")) as second:
        first.start()
        client = first.client()
        client.create("/first", b"")
        second.lines = ["snapCount=10"]
        second.start()
        other = second.client()
        for number in range(60):
            other.create(f"/second{number}", b"")
        for member in second.running():
            member.kill(signal.SIGTERM)
        leader = first.wait()
        victim = next(each for each in first.members.values() if each is not leader)
        victim.kill()
        victim.wipe()
        shutil.copytree(second.members[1].data(), victim.data())
        victim.start()
        wait_until(lambda: victim.log().count("another ensemble") > 2, "it is refused with a reason")
        client.create("/still", b"")
        assert victim.mode() is None
        victim.kill()
        for member in second.members.values():
            member.wipe()
            shutil.copytree(victim.data(), member.data())
            member.start()
        second.wait()
        tree = second.same_trees()
        assert all(f"/second{number}" in tree for number in range(60)) and "/first" not in tree, sorted(tree)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2] if len(sys.argv) > 2 else "zzz")
    print(f"{' '.join(sys.argv[1:])}: passed")
