"""kazoo's client against the server at sys.argv[1]: operations, watches, transactions, ACLs,
sessions. Ends with status 0 if all hold."""

import threading

from common import client, closing, eventually, fresh_root, main
from kazoo.client import KazooClient
from kazoo.exceptions import (AuthFailedError, BadVersionError, InvalidACLError, NoAuthError,
                              NodeExistsError, NoNodeError, NotEmptyError,
                              NoChildrenForEphemeralsError, RolledBackError,
                              RuntimeInconsistency)
from kazoo.security import ACL, Id, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, make_acl, make_digest_acl


def expect(error, call, *args, **kwargs):
    try:
        result = call(*args, **kwargs)
    except error:
        return
    raise AssertionError(f"{call.__name__}{args} gave {result!r}, not {error.__name__}")


def operations(address, root):
    zk = client(address, root)
    assert zk.create("/a", b"one") == "/a"
    expect(NodeExistsError, zk.create, "/a")
    expect(NoNodeError, zk.create, "/x/y")
    assert zk.create("/deep/er/path", makepath=True) == "/deep/er/path"
    data, stat = zk.get("/a")
    assert data == b"one" and stat.version == 0 and stat.dataLength == 3 and stat.numChildren == 0
    assert stat.czxid == stat.mzxid and stat.ctime == stat.mtime and stat.ephemeralOwner == 0
    stat = zk.set("/a", b"twotwo")
    assert stat.version == 1 and stat.mzxid > stat.czxid
    expect(BadVersionError, zk.set, "/a", b"", version=7)
    path, stat = zk.create("/b", b"v", include_data=True)
    assert path == "/b" and stat.version == 0
    assert sorted(zk.get_children("/")) == ["a", "b", "deep"]
    children, stat = zk.get_children("/", include_data=True)
    assert stat.numChildren == 3 and len(children) == 3
    assert zk.exists("/a").version == 1 and zk.exists("/none") is None
    names = [zk.create("/seq/n-", sequence=True, makepath=True) for _ in range(12)]
    assert names == [f"/seq/n-{i:010d}" for i in range(12)]
    zk.create("/e", ephemeral=True)
    assert zk.exists("/e").ephemeralOwner == zk.client_id[0]
    expect(NoChildrenForEphemeralsError, zk.create, "/e/c")
    expect(NotEmptyError, zk.delete, "/deep")
    zk.delete("/deep", recursive=True)
    assert zk.exists("/deep") is None
    big = b"z" * 900_000
    zk.create("/big", big)
    assert zk.get("/big")[0] == big
    zk.create("/été", "中".encode())
    assert zk.get("/été")[0].decode() == "中"
    assert zk.sync("/a").endswith("/a")
    pending = [zk.create_async(f"/many{i}", str(i).encode()) for i in range(500)]
    assert [p.get(20) for p in pending] == [f"/many{i}" for i in range(500)]
    pending = [zk.get_async(f"/many{i}") for i in range(500)]
    assert [p.get(20)[0] for p in pending] == [str(i).encode() for i in range(500)]
    closing(zk)


def watches(address, root):
    zk, other = client(address, root), client(address, root)
    seen = []
    zk.create("/w")
    zk.get("/w", watch=seen.append)
    zk.get_children("/w", watch=seen.append)
    zk.exists("/w/c", watch=seen.append)
    other.set("/w", b"1")
    other.create("/w/c")
    eventually(lambda: len(seen) == 3, "three events")
    assert {(e.type, e.path) for e in seen} == {
        ("CHANGED", "/w"), ("CHILD", "/w"), ("CREATED", "/w/c")}, seen
    other.set("/w", b"2")
    other.delete("/w/c")
    assert len(seen) == 3, "a watch fires once"
    changes, gone = [], threading.Event()

    @zk.DataWatch("/w")
    def on_data(data, stat):
        changes.append(data)
        if stat is None:
            gone.set()

    lists = []
    zk.ChildrenWatch("/", lambda children: lists.append(sorted(children)))
    other.set("/w", b"3")
    eventually(lambda: changes[-1] == b"3", "the new data")
    other.create("/x")
    eventually(lambda: lists[-1] == ["w", "x"], "the new child")
    other.delete("/w")
    assert gone.wait(10)
    eventually(lambda: lists[-1] == ["x"], "the child gone")
    closing(zk, other)


def transactions(address, root):
    zk = client(address, root)
    zk.create("/t", b"0")
    t = zk.transaction()
    t.check("/t", 0)
    t.create("/t/a", b"a")
    t.create("/t/s-", sequence=True)
    t.set_data("/t", b"1", version=0)
    t.delete("/t/a", version=0)
    results = t.commit()
    assert results[0] is True and results[1] == "/t/a" and results[2] == "/t/s-0000000001", results
    assert results[3].version == 1 and results[4] is True
    t = zk.transaction()
    t.create("/t/b")
    t.check("/t", 99)
    t.create("/t/c")
    results = t.commit()
    kinds = [type(r) for r in results]
    assert kinds == [RolledBackError, BadVersionError, RuntimeInconsistency], results
    assert zk.exists("/t/b") is None
    closing(zk)


def permissions(address, root):
    ann, bob, nobody = (client(address, root) for _ in range(3))
    ann.add_auth("digest", "ann:secret")
    bob.add_auth("digest", "bob:hidden")
    ann.create("/private", b"s", acl=[make_digest_acl("ann", "secret", all=True)])
    assert ann.get("/private")[0] == b"s"
    expect(NoAuthError, bob.get, "/private")
    expect(NoAuthError, nobody.set, "/private", b"")
    ann.create("/auth", acl=[ACL(31, Id("auth", ""))])
    acl, stat = ann.get_acls("/auth")
    assert acl[0].id.scheme == "digest" and acl[0].id.id.startswith("ann:"), acl
    ann.set_acls("/auth", READ_ACL_UNSAFE + [make_digest_acl("bob", "hidden", write=True)])
    assert ann.get_acls("/auth")[1].aversion == stat.aversion + 1
    nobody.get("/auth")
    bob.set("/auth", b"bob's")
    expect(NoAuthError, ann.set, "/auth", b"")
    expect(InvalidACLError, nobody.create, "/bad", acl=[ACL(31, Id("auth", ""))])
    expect(InvalidACLError, nobody.create, "/bad", acl=[ACL(31, Id("digest", "nocolon"))])
    nobody.create("/ip", acl=[make_acl("ip", "127.0.0.1", all=True)])
    nobody.get("/ip")
    ann.create("/elsewhere", acl=[make_acl("ip", "10.0.0.0/8", all=True)])
    expect(NoAuthError, ann.get, "/elsewhere")
    ann.create("/open", acl=OPEN_ACL_UNSAFE)
    bob.delete("/open")
    wrong = KazooClient(address)
    wrong.start(10)
    expect(AuthFailedError, wrong.add_auth, "nosuchscheme", "x")
    closing(ann, bob, nobody, wrong)


def sessions(address, root):
    zk, other = client(address, root, timeout=6), client(address, root)
    states = []
    zk.add_listener(states.append)
    zk.create("/e", ephemeral=True)
    before = zk.client_id
    # Cut the connection under the client: it comes back to the same session by itself.
    zk._connection._socket.shutdown(2)
    eventually(lambda: "SUSPENDED" in states and states[-1] == "CONNECTED", "the reconnect")
    assert zk.client_id == before
    assert other.exists("/e").ephemeralOwner == before[0]
    # A client that fell silent: another with its id and password takes the session over.
    zk._stopped.set()
    zk._connection._socket.shutdown(2)
    taker = KazooClient(address + root, client_id=before, timeout=6)
    taker.start(10)
    assert taker.client_id[0] == before[0]
    taker.stop()
    eventually(lambda: other.exists("/e") is None, "the ephemeral gone with its session")
    closing(other)
    # With a wrong password the session is not to be had.
    victim = client(address, root)
    victim.create("/mine", ephemeral=True)
    thief = KazooClient(address + root, client_id=(victim.client_id[0], b"x" * 16))
    thief.start(10)
    assert thief.client_id[0] != victim.client_id[0]
    assert victim.exists("/mine")
    closing(victim, thief)


def run(address):
    for test in (operations, watches, transactions, permissions, sessions):
        test(address, fresh_root(address))
        print(f"{test.__name__}: ok", flush=True)


main(run)
