"""kazoo's recipes against the server at sys.argv[1], each with contenders of its own."""

import threading
import time

from common import client, closing, eventually, fresh_root, main
from kazoo.recipe.barrier import Barrier, DoubleBarrier
from kazoo.recipe.cache import TreeCache, TreeEvent
from kazoo.recipe.party import ShallowParty


def together(n, work):
    """Runs work(i) in n threads; raises what any of them raised."""
    errors = []

    def one(i):
        try:
            work(i)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(40)
    if errors:
        raise errors[0]
    assert not any(t.is_alive() for t in threads), "a contender hangs"


def lock(address, root):
    clients = [client(address, root) for _ in range(5)]
    inside, entered = [], []

    def contend(i):
        for _ in range(3):
            with clients[i].Lock("/lock", f"c{i}"):
                inside.append(i)
                assert len(inside) == 1, "two hold the lock"
                time.sleep(0.005)
                inside.remove(i)
                entered.append(i)

    together(5, contend)
    assert len(entered) == 15
    held = clients[0].Lock("/lock")
    held.acquire()
    assert not clients[1].Lock("/lock").acquire(blocking=False)
    # The lock goes on when its holder's session ends.
    waiting = clients[1].Lock("/lock")
    threading.Timer(0.2, clients[0].stop).start()
    assert waiting.acquire(timeout=10)
    closing(*clients)


def read_write_locks(address, root):
    a, b, c = (client(address, root) for _ in range(3))
    r1, r2, w = a.ReadLock("/rw"), b.ReadLock("/rw"), c.WriteLock("/rw")
    assert r1.acquire(timeout=5) and r2.acquire(timeout=5)
    assert not w.acquire(blocking=False)
    r1.release()
    r2.release()
    assert w.acquire(timeout=5)
    assert not a.ReadLock("/rw").acquire(blocking=False)
    w.release()
    assert r1.acquire(timeout=5)
    closing(a, b, c)


def semaphore(address, root):
    clients = [client(address, root) for _ in range(4)]
    inside, most, guard = set(), [0], threading.Lock()

    def contend(i):
        with clients[i].Semaphore("/sem", max_leases=2):
            with guard:
                inside.add(i)
                most[0] = max(most[0], len(inside))
            time.sleep(0.05)
            with guard:
                inside.remove(i)

    together(4, contend)
    assert 1 <= most[0] <= 2, most
    closing(*clients)


def election(address, root):
    clients = [client(address, root) for _ in range(3)]
    led, guard = [], threading.Lock()

    def lead(i):
        with guard:
            led.append(i)

    together(3, lambda i: clients[i].Election("/election", f"n{i}").run(lead, i))
    assert sorted(led) == [0, 1, 2]
    closing(*clients)


def queues(address, root):
    a, b = client(address, root), client(address, root)
    q = a.Queue("/queue")
    for i in range(10):
        q.put(b"%d" % i, priority=50 if i else 10)
    assert len(q) == 10
    assert [b.Queue("/queue").get() for _ in range(10)] == [b"%d" % i for i in range(10)]
    assert b.Queue("/queue").get() is None
    locking = a.LockingQueue("/locking")
    locking.put_all([b"1", b"2", b"3"])
    taken = []
    for zk in (a, b, a):
        lq = zk.LockingQueue("/locking")
        taken.append(lq.get(5))
        assert lq.consume()
    assert taken == [b"1", b"2", b"3"], taken
    closing(a, b)


def parties(address, root):
    clients = [client(address, root) for _ in range(3)]
    parties = [zk.Party("/party", f"m{i}") for i, zk in enumerate(clients)]
    for p in parties:
        p.join()
    assert sorted(parties[0]) == ["m0", "m1", "m2"] and len(parties[2]) == 3
    parties[0].leave()
    assert sorted(parties[1]) == ["m1", "m2"]
    shallow = [ShallowParty(zk, "/shallow", f"m{i}") for i, zk in enumerate(clients)]
    for p in shallow:
        p.join()
    assert sorted(shallow[1]) == ["m0", "m1", "m2"]
    clients[2].stop()
    eventually(lambda: sorted(shallow[1]) == ["m0", "m1"], "a guest gone with its session")
    closing(*clients)


def barriers(address, root):
    clients = [client(address, root) for _ in range(3)]
    barrier = Barrier(clients[0], "/barrier")
    barrier.create()
    assert not barrier.wait(timeout=0.1)
    threading.Timer(0.2, Barrier(clients[1], "/barrier").remove).start()
    assert barrier.wait(timeout=10)
    inside = []

    def enter(i):
        double = DoubleBarrier(clients[i], "/double", num_clients=3)
        double.enter()
        inside.append(i)
        eventually(lambda: len(inside) == 3, "all inside")
        double.leave()

    together(3, enter)
    closing(*clients)


def counter(address, root):
    clients = [client(address, root) for _ in range(4)]

    def add(i):
        mine = clients[i].Counter("/counter")
        for _ in range(10):
            mine += 1

    together(4, add)
    assert clients[0].Counter("/counter").value == 40
    closing(*clients)


def tree_cache(address, root):
    zk, other = client(address, root), client(address, root)
    zk.create("/tree/a", b"1", makepath=True)
    cache, events = TreeCache(zk, "/tree"), []
    cache.listen(lambda e: events.append(e.event_type))
    cache.start()
    eventually(lambda: TreeEvent.INITIALIZED in events, "the cache filled")
    assert cache.get_data("/tree/a").data == b"1"
    other.create("/tree/a/b", b"2")
    eventually(lambda: cache.get_data("/tree/a/b") is not None, "a new node in the cache")
    other.set("/tree/a/b", b"3")
    eventually(lambda: cache.get_data("/tree/a/b").data == b"3", "new data in the cache")
    other.delete("/tree/a", recursive=True)
    eventually(lambda: cache.get_data("/tree/a") is None, "a node gone from the cache")
    cache.close()
    closing(zk, other)


def partitioner(address, root):
    clients = [client(address, root) for _ in range(2)]
    shares = {}

    def take(i):
        # Retries while the other joins, as the recipe's documentation does.
        parts = clients[i].SetPartitioner("/parts", set=("p0", "p1", "p2", "p3"),
                                          identifier=f"i{i}", time_boundary=0.5)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if parts.acquired:
                shares[i] = set(parts)
                if len(shares) == 2 and not shares[0] & shares[1] \
                        and len(shares[0] | shares[1]) == 4:
                    break
                time.sleep(0.1)
            elif parts.release:
                shares.pop(i, None)
                parts.release_set()
            elif parts.allocating:
                parts.wait_for_acquire(1)
            else:
                raise AssertionError("partitioning failed")
        eventually(lambda: len(shares) == 2, "both have their share")

    together(2, take)
    assert shares[0] | shares[1] == {"p0", "p1", "p2", "p3"} and not shares[0] & shares[1], shares
    closing(*clients)


def run(address):
    for test in (lock, read_write_locks, semaphore, election, queues, parties, barriers, counter,
                 tree_cache, partitioner):
        start = time.monotonic()
        test(address, fresh_root(address))
        print(f"{test.__name__}: ok ({time.monotonic() - start:.1f} s)", flush=True)


main(run)
