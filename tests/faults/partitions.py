"""Real partitions between members in network namespaces, under load; clients reach all members all the
time unless a link is down. Run as: partitions.py SCENARIO KINDS, KINDS such as zzz."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "ensemble"))

import network
from harness import TIMING
from history import Traffic, now_us
from scenarios import kinds, plans_for, wait_until

# How long a member that is cut off without a FIN may go unnoticed: heartbeats between our own servers promise
# 1.5 s, and the rest is for a machine under load; tools/perf-failover tells how long it takes.
NOTICED_S = 3
# A limit on silence that cannot be what notices it.
LONG_SYNC_LIMIT = {**TIMING, "syncLimit": 50}
# How long a partition stands: longer than any limit on silence, and than a few retransmissions.
STANDS_S = 3
# How soon after its end all members are in step.
HEALED_S = 10


def within(limit_s, what, condition):
    began = time.monotonic()
    wait_until(condition, what, limit_s)
    return time.monotonic() - began


def heal(ensemble, traffic, what):
    """Ends a partition; all members must soon be in step."""
    ensemble.heal()
    began = time.monotonic()
    ensemble.wait()
    took_s = time.monotonic() - began
    print(f"{what}: healed, all in step after {1000 * took_s:.0f} ms")
    assert took_s < HEALED_S, f"{what}: {took_s} s until all were in step"
    traffic.goes_on()


def isolated(text):
    """The leader, then a follower, is cut off from all others without a FIN."""
    with network.NetworkEnsemble(kinds(text), timing=LONG_SYNC_LIMIT) as ensemble:
        ensemble.start()
        with Traffic(ensemble) as traffic:
            leader = ensemble.wait()
            others = [each for each in ensemble.members.values() if each is not leader]
            # Something that only the old leader logs: its own clients write until it gives up.
            client = ensemble.client(leader)
            began_us = now_us()
            ensemble.split([leader], others)
            for number in range(5):
                client.create_async(f"/lost{number}", b"")
            gave_up_s = within(NOTICED_S, "the leader alone gives up", lambda: leader.mode() is None)
            print(f"{text}: a leader cut off gave up after {1000 * gave_up_s:.0f} ms")
            gap_s = traffic.goes_on(since_us=began_us)
            next_leader = ensemble.wait(others)
            print(f"{text}: leader cut off: no write for {1000 * gap_s:.0f} ms")
            time.sleep(STANDS_S)
            assert leader.mode() is None
            heal(ensemble, traffic, "leader cut off")
            assert ensemble.wait() is next_leader, "the old leader did not disturb the new one"
            said = plans_for(next_leader, leader)
            assert 'plan="TRUNC' in said[-1], said[-1]
            witness = ensemble.client(leader)
            assert not any(witness.exists(f"/lost{number}") for number in range(5))

            follower = next(each for each in ensemble.members.values() if each is not next_leader)
            ensemble.split([follower], [each for each in ensemble.members.values() if each is not follower])
            expected = len(text) - 2
            noticed_s = within(NOTICED_S, "the leader notices", lambda: next_leader.metric("synced_followers") == expected)
            within(NOTICED_S, "the follower notices", lambda: follower.mode() is None)
            print(f"{text}: a follower cut off was noticed after {1000 * noticed_s:.0f} ms")
            traffic.goes_on()
            time.sleep(STANDS_S)
            assert next_leader.mode() == "leader"
            heal(ensemble, traffic, "follower cut off")
            assert ensemble.wait() is next_leader, "a follower that comes back starts no new epoch"


def one_way(text):
    """Packets of one direction are lost, from the leader and then to it, to all others or to one."""
    with network.NetworkEnsemble(kinds(text)) as ensemble:
        ensemble.start()
        with Traffic(ensemble) as traffic:
            for direction in ("from", "to"):
                for count in (len(text) - 1, 1):
                    leader = ensemble.wait()
                    others = [each for each in ensemble.members.values() if each is not leader]
                    began_us = now_us()
                    for other in others[:count]:
                        ends = (leader, other) if direction == "from" else (other, leader)
                        ensemble.block(*ends)
                    # Long enough for writes that are still acknowledged, of a leader not yet given up.
                    time.sleep(1.5)
                    gap_s = traffic.goes_on(since_us=began_us)
                    what = f"nothing {direction} the leader, at {count} of {len(others)}"
                    print(f"{text}: {what}: no write for {1000 * gap_s:.0f} ms")
                    time.sleep(1)
                    heal(ensemble, traffic, what)


def split(text):
    """A majority and a minority, with the leader in either; and all by themselves."""
    with network.NetworkEnsemble(kinds(text)) as ensemble:
        ensemble.start()
        with Traffic(ensemble) as traffic:
            for has_leader in (True, False):
                leader = ensemble.wait()
                others = [each for each in ensemble.members.values() if each is not leader]
                small = len(text) // 2
                minority = [leader, *others[: small - 1]] if has_leader else others[:small]
                majority = [each for each in ensemble.members.values() if each not in minority]
                ensemble.split(minority, majority)
                wait_until(lambda: not any(each.mode() for each in minority), "a minority serves nobody")
                traffic.goes_on()
                ensemble.wait(majority)
                time.sleep(1)
                assert not any(each.mode() for each in minority)
                heal(ensemble, traffic, f"leader in the {'minority' if has_leader else 'majority'}")
            # Nobody has a quorum; nobody serves.
            ensemble.split(*[[each] for each in ensemble.members.values()])
            wait_until(lambda: not any(each.mode() for each in ensemble.members.values()), "nobody serves")
            time.sleep(STANDS_S)
            heal(ensemble, traffic, "all by themselves")


def flapping(text):
    """The links of the leader and of a follower go down and up many times."""
    with network.NetworkEnsemble(kinds(text)) as ensemble:
        ensemble.start()
        with Traffic(ensemble) as traffic:
            for turn in range(2):
                leader = ensemble.wait()
                victim = leader if turn == 0 else next(each for each in ensemble.members.values() if each is not leader)
                for period_s in (0.1, 0.3, 0.6, 1.5, 2.5):
                    victim.set_link("down")
                    time.sleep(period_s)
                    victim.set_link("up")
                    time.sleep(period_s / 2)
                traffic.goes_on()
                heal(ensemble, traffic, f"the link of the {'leader' if turn == 0 else 'follower'} flapped")


if __name__ == "__main__":
    network.enter()
    globals()[sys.argv[1]](sys.argv[2])
    print(f"{' '.join(sys.argv[1:])}: passed")
