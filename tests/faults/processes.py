"""Faults of processes and disks under load. Run as: processes.py SCENARIO KINDS, KINDS such as zzz."""

import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "ensemble"))

from harness import Ensemble
from history import Traffic
from scenarios import expect_plan, kinds, plans_for, wait_until


def crashes(text):
    """Leader and followers are killed and stopped, alone and, where a quorum remains, in pairs."""
    chance = random.Random(3)
    with Ensemble(kinds(text)) as ensemble:
        ensemble.start()
        with Traffic(ensemble) as traffic:
            rounds = [("killed", ["leader"]), ("stopped", ["leader"]), ("killed", ["follower"]), ("stopped", ["follower"])]
            if len(text) == 5:
                rounds += [("killed", ["leader", "follower"]), ("stopped", ["leader", "follower"]), ("killed", ["follower", "follower"])]
            for what, roles in rounds:
                leader = ensemble.wait()
                followers = [each for each in ensemble.members.values() if each is not leader]
                chance.shuffle(followers)
                victims = [leader if role == "leader" else followers.pop() for role in roles]
                for victim in victims:
                    if what == "killed":
                        victim.kill()
                    else:
                        victim.send(signal.SIGSTOP)
                gap_s = traffic.goes_on()
                print(f"{text}: {' and '.join(roles)} {what}: no write for {1000 * gap_s:.0f} ms")
                # Long enough for a stopped one to be given up, whatever its role.
                time.sleep(2)
                for victim in victims:
                    if what == "killed":
                        victim.start()
                    else:
                        victim.send(signal.SIGCONT)
                ensemble.wait()
                traffic.goes_on()


def rolling(text):
    """Every member is restarted in turn; no client loses its session."""
    with Ensemble(kinds(text)) as ensemble:
        ensemble.start()
        with Traffic(ensemble) as traffic:
            for member in ensemble.members.values():
                member.kill(signal.SIGTERM)
                traffic.goes_on()
                member.start()
                ensemble.wait()
                traffic.goes_on()
            traffic.keeps_sessions()


def rejoining(text):
    """Members come back behind, with nothing, with what nobody else has, and damaged."""
    with Ensemble(kinds(text)) as ensemble:
        ensemble.start()
        with Traffic(ensemble) as traffic:
            behind(ensemble, traffic)
            empty(ensemble, traffic)
            ahead(ensemble, traffic)
            damaged(ensemble, traffic)


def follower_of(ensemble, leader):
    return next(each for each in ensemble.members.values() if each is not leader)


def behind(ensemble, traffic):
    leader = ensemble.wait()
    follower = follower_of(ensemble, leader)
    follower.kill()
    traffic.goes_on(writes=200)
    follower.start()
    ensemble.wait()
    expect_plan(leader, follower, "DIFF")


def empty(ensemble, traffic):
    # Started anew, nobody has all of the history in memory.
    leader = ensemble.wait()
    for member in sorted(ensemble.members.values(), key=lambda member: member is leader):
        member.kill(signal.SIGTERM)
        traffic.goes_on()
        member.start()
        ensemble.wait()
    leader = ensemble.wait()
    follower = follower_of(ensemble, leader)
    follower.kill()
    follower.wipe()
    traffic.goes_on(writes=200)
    follower.start()
    ensemble.wait()
    expect_plan(leader, follower, "SNAP")


def ahead(ensemble, traffic):
    """The leader alone logs what nobody else gets, and dies: that must go."""
    leader = ensemble.wait()
    others = [each for each in ensemble.members.values() if each is not leader]
    client = ensemble.client(leader)
    for other in others:
        other.send(signal.SIGSTOP)
    for number in range(5):
        client.create_async(f"/lost{number}", b"")
    time.sleep(0.3)
    leader.kill()
    # What has reached their sockets goes with them.
    for other in others:
        other.kill()
        other.start()
    ensemble.wait(others)
    traffic.goes_on()
    leader.start()
    expect_plan(ensemble.wait(), leader, "TRUNC")
    witness = ensemble.client(leader)
    assert not any(witness.exists(f"/lost{number}") for number in range(5))


def damaged(ensemble, traffic):
    follower = follower_of(ensemble, ensemble.wait())
    follower.kill()
    folder = os.path.join(follower.data(), "zkore-1")
    logs = [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("log.")]
    # The first blocks after the header, with whole ones behind them.
    path = max(logs, key=lambda path: len(open(path, "rb").read().rstrip(b"\0")))
    with open(path, "r+b") as file:
        file.seek(8192)
        assert file.read(4096).strip(b"\0"), f"nothing was written to {path}"
        file.seek(8192)
        file.write(b"\xff" * 4096)
    follower.start()
    ensemble.wait()
    assert "damaged" in follower.log()
    traffic.goes_on()


def crowded(text):
    """A member without anything joins a leader at the limit of what it can write, and keeps up."""
    timing = {"tickTime": 1000, "initLimit": 20, "syncLimit": 20, "preAllocSize": 16 << 10}
    with Ensemble(kinds(text), timing=timing) as ensemble:
        leader = ensemble.start()
        late = follower_of(ensemble, leader)
        late.kill()
        # More than waits for its turn anywhere, and than a log segment holds, comes while the tree is sent.
        words = ["--base", "/much", "--keys", "2000", "--value-size", "32768", "-c", "16", "-p", "16", "--mix", "set=1"]
        load = start_bench(leader, *words, "-w", "0s", "-d", "14s", "--keep")
        wait_until(lambda: leader.metric("znode_count") > 2000, "the tree is there", 60)
        time.sleep(2)
        before = len(plans_for(leader, late))
        late.start()
        wait_until(lambda: late.mode() == "follower", "it is in step", 60)
        expect_plan(leader, late, "SNAP")
        said, _ = load.communicate()
        assert load.returncode == 0, said
        plans = plans_for(leader, late)
        assert len(plans) == before + 1 and late.mode() == "follower", "\n".join(plans)
        ensemble.same_trees()


def start_bench(member, *words):
    command = [os.environ["ZKORE"], "bench", "--server", member.address, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
    print(f"{' '.join(sys.argv[1:])}: passed")
