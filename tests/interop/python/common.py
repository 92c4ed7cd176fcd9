"""What the kazoo programs share."""

import faulthandler
import sys
import time
import uuid

from kazoo.client import KazooClient


def client(address, root="", timeout=10):
    zk = KazooClient(hosts=address + root, timeout=timeout)
    zk.start(15)
    return zk


def fresh_root(address):
    """A new znode of this run's own, to be the clients' chroot."""
    zk = client(address)
    root = "/kazoo-" + uuid.uuid4().hex[:12]
    zk.create(root)
    closing(zk)
    return root


def closing(*clients):
    for zk in clients:
        zk.stop()
        zk.close()


def eventually(condition, what, seconds=10):
    """Waits for what another thread or session brings about."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {what}")


def main(run):
    # A hang ends with every thread's stack, before the test's own limit.
    faulthandler.dump_traceback_later(100, exit=True)
    run(sys.argv[1])
