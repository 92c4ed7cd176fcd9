"""The programs of the usual ZooKeeper tutorial, against the server at sys.argv[1]."""

import json
import threading
import time

from common import client, closing, eventually, fresh_root, main
from kazoo.exceptions import NodeExistsError, NoNodeError


def server_list(address, root):
    """Servers that come and go: ephemeral sequential znodes, seen through a children watch."""
    viewer = client(address, root)
    viewer.create("/servers")
    seen = []

    def look(event=None):
        names = viewer.get_children("/servers", watch=look)
        seen.append(sorted(viewer.get(f"/servers/{n}")[0].decode() for n in names
                           if viewer.exists(f"/servers/{n}")))

    look()
    servers = {}
    for host in ("hadoop102", "hadoop103", "hadoop104"):
        servers[host] = client(address, root)
        servers[host].create("/servers/server", host.encode(), ephemeral=True, sequence=True)
        eventually(lambda: host in seen[-1], f"{host} online")
    assert seen[-1] == ["hadoop102", "hadoop103", "hadoop104"]
    closing(servers.pop("hadoop103"))
    eventually(lambda: seen[-1] == ["hadoop102", "hadoop104"], "hadoop103 offline")
    # One that crashes: its connection is cut and nothing more is heard of it.
    crashed = client(address, root, timeout=2)
    crashed.create("/servers/server", b"hadoop105", ephemeral=True, sequence=True)
    eventually(lambda: "hadoop105" in seen[-1], "hadoop105 online")
    crashed._stopped.set()
    crashed._connection._socket.shutdown(2)
    eventually(lambda: "hadoop105" not in seen[-1], "hadoop105 expired", 15)
    closing(viewer, *servers.values())


def distributed_lock(address, root):
    """Ten contenders, written out with sequential znodes: each waits for the one before it."""
    setup = client(address, root)
    setup.create("/locks")
    holder, order, errors = [], [], []

    def contend(i):
        zk = client(address, root)
        try:
            mine = zk.create("/locks/seq-", ephemeral=True, sequence=True).rsplit("/", 1)[1]
            while True:
                queue = sorted(zk.get_children("/locks"))
                at = queue.index(mine)
                if at == 0:
                    break
                gone = threading.Event()
                if zk.exists(f"/locks/{queue[at - 1]}", watch=lambda e: gone.set()):
                    assert gone.wait(20), "the one before never left"
            holder.append(i)
            assert holder == [i], "two hold the lock"
            time.sleep(0.01)
            order.append(mine)
            holder.remove(i)
            zk.delete(f"/locks/{mine}")
        except BaseException as e:
            errors.append(e)
        finally:
            closing(zk)

    threads = [threading.Thread(target=contend, args=(i,)) for i in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(40)
    assert not errors, errors
    assert order == sorted(order) and len(order) == 10, order
    closing(setup)


def master_election(address, root):
    """Whoever makes /master leads; when it goes, another takes over."""
    nodes = {name: client(address, root, timeout=4) for name in ("n1", "n2", "n3")}
    led = []

    def run_for_master(name, event=None):
        zk = nodes[name]
        try:
            zk.create("/master", name.encode(), ephemeral=True)
            led.append(name)
        except NodeExistsError:
            if not zk.exists("/master", watch=lambda e: run_for_master(name, e)):
                run_for_master(name)

    for name in nodes:
        run_for_master(name)
    assert led == ["n1"]
    closing(nodes.pop("n1"))
    eventually(lambda: len(led) == 2, "a second master")
    second = led[1]
    assert next(iter(nodes.values())).get("/master")[0].decode() == second
    crashed = nodes.pop(second)
    crashed._stopped.set()
    crashed._connection._socket.shutdown(2)
    eventually(lambda: len(led) == 3, "a third master after a crash", 20)
    (name, last), = nodes.items()
    assert led[2] == name and last.get("/master")[0].decode() == name
    closing(last)


def shared_configuration(address, root):
    """Every worker follows the configuration through a data watch that it sets again."""
    admin = client(address, root)
    admin.create("/config", json.dumps({"version": 0}).encode())
    workers = [client(address, root) for _ in range(3)]
    held = [None] * 3

    def follow(i, event=None):
        try:
            held[i] = json.loads(workers[i].get("/config", watch=lambda e: follow(i, e))[0])
        except NoNodeError:
            held[i] = "gone"

    for i in range(3):
        follow(i)
    for version in range(1, 21):
        admin.set("/config", json.dumps({"version": version}).encode())
    eventually(lambda: held == [{"version": 20}] * 3, "all have the last configuration")
    admin.delete("/config")
    eventually(lambda: held == ["gone"] * 3, "all know that it is gone")
    closing(admin, *workers)


def run(address):
    for test in (server_list, distributed_lock, master_election, shared_configuration):
        start = time.monotonic()
        test(address, fresh_root(address))
        print(f"{test.__name__}: ok ({time.monotonic() - start:.1f} s)", flush=True)


main(run)
