"""Members in network namespaces of their own, joined by a router in another one, where the clients
are too. What the router drops is dropped without a word: no FIN, no RST, no ICMP.

The namespaces have no names and belong to processes that end with this one, so nothing is left behind.
"""

import ctypes
import os
import subprocess
import sys
import time

from harness import Ensemble, Member, die_with_parent

CLONE_NEWNET = 0x40000000
# The exit code that says: this machine cannot do it.
CANNOT = 3


def unshare_network():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"a network namespace cannot be made: {os.strerror(error)}")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def enter():
    """Makes this process the router. Ends it where the machine does not allow that."""
    try:
        unshare_network()
        run("ip", "link", "set", "lo", "up")
        with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
            file.write("1")
        # What partitions are made of.
        run("ip", "rule", "add", "from", "10.99.1.2", "to", "10.99.2.2", "blackhole")
        run("ip", "rule", "del", "from", "10.99.1.2", "to", "10.99.2.2", "blackhole")
        run("ip", "link", "add", "probe", "type", "veth", "peer", "name", "probe2")
        run("ip", "link", "del", "probe")
    except OSError as error:
        print(f"network namespaces with routes cannot be had here: {error}")
        sys.exit(CANNOT)


class NetworkMember(Member):
    """A member behind a link of its own: 10.99.N.2, the router is 10.99.N.1."""

    def __init__(self, ensemble, number, kind):
        super().__init__(ensemble, number, kind)
        self.host = f"10.99.{number}.2"
        self.client_port, self.quorum_port, self.election_port = 2181, 2888, 3888
        self.keeper = subprocess.Popen(["sleep", "infinity"], preexec_fn=isolate)
        namespace = f"/proc/{self.keeper.pid}/ns/net"
        ours = os.readlink("/proc/self/ns/net")
        while os.readlink(namespace) == ours:
            time.sleep(0.005)
        self.runner = ["nsenter", f"--net={namespace}"]
        run("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", str(self.keeper.pid))
        run("ip", "addr", "add", f"10.99.{number}.1/24", "dev", self.link)
        self.set_link("up")
        for command in ["link set lo up", f"addr add {self.host}/24 dev eth0", "link set eth0 up", f"route add default via 10.99.{number}.1"]:
            run(*self.runner, "ip", *command.split())

    @property
    def link(self):
        return f"member{self.number}"

    def set_link(self, state):
        """The cable: down or up. Clients lose the member with it."""
        run("ip", "link", "set", self.link, state)


def isolate():
    die_with_parent()
    unshare_network()


class NetworkEnsemble(Ensemble):
    def __init__(self, kinds, **more):
        self.blocked = set()
        super().__init__(kinds, member=NetworkMember, **more)

    def __exit__(self, *error):
        try:
            self.heal()
            super().__exit__(*error)
        finally:
            for member in self.members.values():
                member.keeper.kill()
                member.keeper.wait()

    def block(self, source, target):
        """Packets from one member to another are dropped from now on; those back are not."""
        if (source, target) not in self.blocked:
            self.blocked.add((source, target))
            run("ip", "rule", "add", "from", source.host, "to", target.host, "blackhole")

    def split(self, *groups):
        """Nothing passes between members of different groups."""
        for group in groups:
            for other in groups:
                if other is not group:
                    for source in group:
                        for target in other:
                            self.block(source, target)

    def heal(self):
        for source, target in self.blocked:
            run("ip", "rule", "del", "from", source.host, "to", target.host, "blackhole")
        self.blocked.clear()
