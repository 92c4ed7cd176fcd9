"""Members that are not what they say, or were told wrongly. Run as: intruders.py SCENARIO."""

import ctypes
import os
import socket
import sys
import time

from harness import Ensemble, Load, Member, insist
from scenarios import kinds, wait_until

# The exit code where the machine cannot do what a scenario needs.
CANNOT = 3


def stray(ensemble, number, folder):
    """A further server that takes itself for member `number`, with ports of its own."""
    member = Member(ensemble, number, "zkore")
    member.folder = os.path.join(ensemble.folder, folder)
    os.makedirs(member.folder)
    return member


def list_for(member, members):
    """Has a member write this list of members instead of the ensemble's."""
    lines = member.ensemble.lines

    class Listed:
        pass

    view = Listed()
    view.__dict__.update(member.ensemble.__dict__)
    view.members = {each.number: each for each in members}
    view.lines = lines
    member.ensemble = view


def same_id(_):
    """A second server with the number of a member, the leader or not, harms nobody else."""
    for is_leader in (False, True):
        with Ensemble(kinds("zzz")) as ensemble:
            leader = ensemble.start()
            members = ensemble.members.values()
            number = next(each.number for each in members if (each is leader) == is_leader)
            others = [each for each in members if each.number != number]
            load = Load(ensemble.client(*others), "/load")
            twin = stray(ensemble, number, "twin")
            list_for(twin, [*others, twin])
            twin.start()
            try:
                wait_until(
                    lambda: any("two servers have its number" in each.log() for each in others),
                    "the others say that two have one number",
                    20,
                )
                before = load.acknowledged
                wait_until(lambda: load.acknowledged > before + 100, "writes go on")
                assert twin.mode() is None
            finally:
                twin.kill()
            load.stop()
            ensemble.wait()
            ensemble.same_trees()


def shared_folder(_):
    """Two members that were given one dataDir."""
    with Ensemble(kinds("zzz")) as ensemble:
        ensemble.start()
        client = ensemble.client()
        client.create("/a", b"")
        first, second = ensemble.members[1], ensemble.members[2]
        second.kill()
        own = second.data
        # configure() writes the number of the first one into myid, where it stands already.
        second.data, second.number = first.data, first.number
        second.start()
        assert second.process.wait(20) != 0
        second.process = None
        text = second.log()
        assert "is in use by another server" in text and first.data() in text, text[-1000:]
        second.data, second.number = own, 2
        insist(lambda: client.create("/b", b""))
        second.start()
        ensemble.wait()
        ensemble.same_trees()


def other_config(_):
    """Members that were told other voters, roles and weights, and one that is in nobody's list."""
    groups = ["group.1=1:2:3"]
    with Ensemble(kinds("zzz"), lines=groups) as ensemble:
        leader = ensemble.start()
        client = ensemble.client(leader)
        client.create("/a", b"")
        member = next(each for each in ensemble.members.values() if each is not leader)
        others = [each for each in ensemble.members.values() if each is not member]
        fourth = stray(ensemble, 4, "fourth")
        names = "server {} has another configuration of the ensemble than this server: {}."

        def told(members, lines, difference, complement):
            """The member is told otherwise: it and the others each name the other and the difference."""
            member.kill()
            member.ensemble = ensemble
            list_for(member, members)
            member.ensemble.lines = lines
            member.start()
            wait_until(
                lambda: all(names.format(member.number, difference) in each.log() for each in others),
                f"the others say of it: {difference}",
            )
            wait_until(
                lambda: all(names.format(each.number, complement) in member.log() for each in others),
                f"it says of the others: {complement}",
            )

        members = list(ensemble.members.values())
        fourth.is_observer = True
        told([*members, fourth], groups, "it has server 4, which we lack", "it lacks server 4")
        weighs = f"server {leader.number} weighs {{}} there and {{}} here"
        weight = f"weight.{leader.number}=2"
        # A peer is named once in ten seconds at most.
        time.sleep(10)
        told(members, [*groups, weight], weighs.format(2, 1), weighs.format(1, 2))
        time.sleep(10)
        told(members, [*groups, "version=1f"], "it has version 1f, we have 0", "it has version 0, we have 1f")
        refusal = f"server {member.number} has version 1f of the ensemble's configuration, later than ours, 0"
        wait_until(lambda: leader.log().count(refusal) > 1, "the leader refuses it each time that it tries")
        assert member.mode() is None
        member.kill()
        member.ensemble = ensemble
        member.start()
        fourth.is_observer = False
        list_for(fourth, [*members, fourth])
        fourth.ensemble.lines = ["group.1=1:2:3:4"]
        fourth.start()
        try:
            wait_until(
                lambda: any(
                    "server 4 sent a vote, and is not in our configuration" in each.log()
                    for each in members
                ),
                "somebody says that it is in no list",
            )
        finally:
            fourth.kill()
        ensemble.wait()
        client.create("/b", b"")
        ensemble.same_trees()


def unreachable(_):
    """The server that wins the first election cannot be reached by the others, who were told a wrong port
    of it, while it reaches them: another one leads, and it follows."""
    with Ensemble(kinds("zzz")) as ensemble:
        *others, last = ensemble.members.values()
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            wrong = f"127.0.0.1:{silent.getsockname()[1]}:{last.election_port}"
            for other in others:
                usual = other.address_of
                other.address_of = lambda it, usual=usual: wrong if it is last else usual(it)
            others[0].start()
            last.start()
            wait_until(lambda: "elected to lead" in last.log(), "it wins")
            passing = "passing over a server that was elected"
            wait_until(lambda: passing in others[0].log(), "who voted for it cannot reach it")
            others[1].start()
            assert ensemble.wait() is others[1]
            client = ensemble.client()
            client.create("/a", b"")
            ensemble.same_trees()
            last.kill()
            insist(lambda: client.set("/a", b"1"))
            last.start()
            ensemble.wait()
            ensemble.same_trees()


CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18


def own_hosts_file(path):
    """Has this process and those that it starts read `path` as /etc/hosts; False where it may not."""
    libc = ctypes.CDLL(None, use_errno=True)
    return (
        libc.unshare(CLONE_NEWNS) == 0
        and libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) == 0
        and libc.mount(path.encode(), b"/etc/hosts", None, MS_BIND, None) == 0
    )


def late_names(_):
    """Names that nobody knows at first: who is known goes on, and the others join when they are."""
    with Ensemble(kinds("zzz")) as ensemble:
        hosts = os.path.join(ensemble.folder, "hosts")

        def tell(*numbers):
            with open(hosts, "w") as file:
                file.write("127.0.0.1 localhost\n")
                file.writelines(f"127.0.0.1 member{number}.test\n" for number in numbers)

        tell(1)
        if not own_hosts_file(hosts):
            print("no mount namespace can be made here")
            sys.exit(CANNOT)
        members = ensemble.members
        for member in members.values():
            member.address_of = (
                lambda other: f"member{other.number}.test:{other.quorum_port}:{other.election_port}"
            )
        members[1].start()
        wait_until(lambda: "cannot reach server 2" in members[1].log(), "it says whom it cannot reach")
        assert "member2.test" in members[1].log()
        # A server does not know its own name yet: it tries to listen again.
        members[2].start()
        wait_until(lambda: "cannot listen on member2.test" in members[2].log(), "it says so")
        tell(1, 2)
        ensemble.wait([members[1], members[2]])
        client = ensemble.client(members[1], members[2])
        client.create("/a", b"")
        time.sleep(1)
        tell(1, 2, 3)
        members[3].start()
        ensemble.wait()
        ensemble.same_trees()


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2] if len(sys.argv) > 2 else "zzz")
    print(f"{' '.join(sys.argv[1:])}: passed")
