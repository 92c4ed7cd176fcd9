"""The README's steps for moving an ensemble from Apache ZooKeeper, and back, with clients under load.
Run as: migration.py move KINDS; each member becomes one of the other kind."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

from harness import Ensemble, Load, Member, insist
from scenarios import kinds, wait_until


class Detached:
    """A server that `zkore start` has left in the background, as far as the harness needs a process."""

    def __init__(self, pid):
        self.pid = pid

    def send_signal(self, number):
        os.kill(self.pid, number)

    def wait(self):
        while self.is_running():
            time.sleep(0.01)

    def is_running(self):
        try:
            with open(f"/proc/{self.pid}/stat") as file:
                return file.read().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False


class Installed(Member):
    """A member with one zoo.cfg for both programs, in which only `dataDir` differs."""

    def configure(self):
        path = os.path.join(self.folder, "zoo.cfg")
        if not os.path.exists(path):
            return super().configure()
        with open(path) as file:
            text = file.read()
        before = re.search("^dataDir=(.*)$", text, re.MULTILINE)[1]
        os.mkdir(self.data())
        shutil.copy(os.path.join(before, "myid"), self.data())
        with open(path, "w") as file:
            file.write(text.replace(f"dataDir={before}\n", f"dataDir={self.data()}\n"))
        return path

    def start(self):
        if self.kind == "apache":
            super().start()
            return
        self.configure()
        out = f"zookeeper-ann-server-{socket.gethostname()}.out"
        os.symlink(out, self.log_path())
        self.zkore("start", "Starting zookeeper ... STARTED")
        with open(os.path.join(self.data(), "zookeeper_server.pid")) as file:
            self.process = Detached(int(file.read()))

    def stop(self):
        if self.kind == "apache":
            # As bin/zkServer.sh does it.
            self.kill(signal.SIGTERM)
            return
        self.zkore("stop", "Stopping zookeeper ... STOPPED")
        assert not self.process.is_running()
        self.process = None

    def zkore(self, word, said):
        done = subprocess.run(
            [os.environ["ZKORE"], word, "zoo.cfg"],
            cwd=self.folder,
            env={**os.environ, "USER": "ann", "ZOO_LOG_DIR": self.folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert done.returncode == 0 and done.stdout == said + "\n", done


def has_synced(ensemble, followers):
    return ensemble.wait().metric("synced_followers") == followers


def replace(ensemble, member):
    """The README's steps for one member, under their numbers there."""
    others = len(ensemble.members) - 1
    # 1
    wait_until(lambda: has_synced(ensemble, others), "all others are in step")
    # 2
    member.stop()
    # 3 and 4
    member.kind = "apache" if member.kind == "zkore" else "zkore"
    member.start()
    # 5
    # Each look is a process, which takes processor time from the server that starts.
    wait_until(lambda: member.status() == ("Mode: follower", True), "it follows", 60, 0.3)
    wait_until(lambda: has_synced(ensemble, others), "all are in step again")


def move(text):
    """Members are replaced one at a time, the leader last; no session and no acknowledged write is lost."""
    with Ensemble(kinds(text), member=Installed) as ensemble:
        leader = ensemble.start()
        clients = [ensemble.client(timeout=20.0) for _ in range(2)]
        sessions = [client.client_id for client in clients]
        lost = []
        for number, client in enumerate(clients):
            client.add_listener(lambda state: lost.append(state) if state == "LOST" else None)
            client.create(f"/kept-{number}", b"", ephemeral=True)
        load = Load(clients[0], "/load")
        followers = [each for each in ensemble.members.values() if each is not leader]
        for member in [*followers, leader]:
            assert ensemble.wait() is leader, "it is the last to be replaced"
            before = load.acknowledged
            wait_until(lambda: load.acknowledged > before + 10, "the load runs", 60)
            began = time.monotonic()
            replace(ensemble, member)
            took_s = time.monotonic() - began
            print(f"{text}: member {member.number} is now {member.kind}, after {took_s:.1f} s")
        before = load.acknowledged
        wait_until(lambda: load.acknowledged > before + 10, "the load goes on", 60)
        acknowledged = load.stop()
        clients[0].sync("/load")
        assert insist(lambda: clients[0].exists("/load")).version >= acknowledged
        assert not lost and [client.client_id for client in clients] == sessions
        for number, client in enumerate(clients):
            owner = insist(lambda: client.exists(f"/kept-{number}")).ephemeralOwner
            assert owner == sessions[number][0], (number, owner, sessions)
        ensemble.same_trees()


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
    print(f"{' '.join(sys.argv[1:])}: passed")
