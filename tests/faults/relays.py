"""Members that reach each other through relays, which delay, stall and cut, under load. Run as:
relays.py SCENARIO KINDS, KINDS such as zzz."""

import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "ensemble"))

from harness import Ensemble, Member, free_ports
from history import Traffic, now_us
from relay import Relays
from scenarios import expect_plan, kinds, wait_until


class RelayedMember(Member):
    """A member whose list of servers names relays instead of the others."""

    def address_of(self, other):
        if other is self:
            return super().address_of(other)
        quorum, election = self.ensemble.ports_between(self, other)
        return f"127.0.0.1:{quorum}:{election}"


class RelayedEnsemble(Ensemble):
    def __init__(self, kinds, **more):
        self.network = Relays()
        # Of whom a member dials: (from, to) to the relays of the quorum and the election port.
        self.between = {}
        super().__init__(kinds, member=RelayedMember, **more)

    def __exit__(self, *error):
        super().__exit__(*error)
        self.network.close()

    def ports_between(self, source, target):
        key = (source.number, target.number)
        if key not in self.between:
            ports = free_ports(2)
            targets = (target.quorum_port, target.election_port)
            self.between[key] = (ports, [self.network.add(*each) for each in zip(ports, targets)])
        return self.between[key][0]

    def relays(self, member=None):
        """All relays, or those of a member's links."""
        return [relay for ends, (_, relays) in self.between.items() if not member or member.number in ends for relay in relays]

    def each(self, relays, change):
        self.network.call(lambda: [change(relay) for relay in relays])


def delayed(text):
    """Everything between members takes 30 ms, and then each link a time of its own."""
    chance = random.Random(7)
    with RelayedEnsemble(kinds(text)) as ensemble:
        ensemble.start()
        with Traffic(ensemble) as traffic:
            for delay in (lambda: 0.03, lambda: chance.uniform(0, 0.1)):
                for relay in ensemble.relays():
                    relay.delay_s = delay()
                leader = ensemble.wait()
                traffic.goes_on(writes=100)
                leader.kill()
                traffic.goes_on()
                leader.start()
                ensemble.wait()
            traffic.goes_on()


def cut(text):
    """Links break at any byte, again and again."""
    chance = random.Random(9)
    with RelayedEnsemble(kinds(text)) as ensemble:
        ensemble.start()
        with Traffic(ensemble) as traffic:
            for turn in range(12):
                member = chance.choice(list(ensemble.members.values()))
                relays = ensemble.relays(member) if turn % 3 else ensemble.relays()
                ensemble.each(relays, lambda relay: relay.cut(at_most=3000))
                time.sleep(chance.uniform(0, 0.5))
            ensemble.wait()
            traffic.goes_on()


def stalled(text):
    """Links stand still: of a follower, of the leader, and for less time than anybody notices."""
    with RelayedEnsemble(kinds(text)) as ensemble:
        ensemble.start()
        with Traffic(ensemble) as traffic:
            leader = ensemble.wait()
            follower = next(each for each in ensemble.members.values() if each is not leader)
            ensemble.each(ensemble.relays(follower), lambda relay: relay.stall(True))
            wait_until(lambda: follower.mode() is None, "a follower that hears nothing serves nobody", 4)
            traffic.goes_on()
            ensemble.each(ensemble.relays(follower), lambda relay: relay.stall(False))
            assert ensemble.wait() is leader

            # Short enough for all to wait: nobody is elected.
            began_us = now_us()
            ensemble.each(ensemble.relays(), lambda relay: relay.stall(True))
            time.sleep(0.6)
            ensemble.each(ensemble.relays(), lambda relay: relay.stall(False))
            gap_s = traffic.goes_on(since_us=began_us)
            print(f"{text}: all links stalled for 600 ms: no write for {1000 * gap_s:.0f} ms")
            assert ensemble.wait() is leader, "a short stall changes no leader"

            alone(ensemble, traffic, leader)


def alone(ensemble, traffic, leader):
    """A leader that nobody hears logs what is lost with it, and dies."""
    others = [each for each in ensemble.members.values() if each is not leader]
    client = ensemble.client(leader)
    began_us = now_us()
    ensemble.each(ensemble.relays(leader), lambda relay: relay.stall(True))
    for number in range(5):
        client.create_async(f"/lost{number}", b"")
    time.sleep(0.3)
    leader.kill()
    ensemble.each(ensemble.relays(leader), lambda relay: relay.cut())
    ensemble.each(ensemble.relays(leader), lambda relay: relay.stall(False))
    ensemble.wait(others)
    gap_s = traffic.goes_on(since_us=began_us)
    print(f"leader stalled and killed: no write for {1000 * gap_s:.0f} ms")
    leader.start()
    expect_plan(ensemble.wait(), leader, "TRUNC")
    witness = ensemble.client(leader)
    assert not any(witness.exists(f"/lost{number}") for number in range(5))


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
    print(f"{' '.join(sys.argv[1:])}: passed")
