"""Scripted plans: each covers one part of the protocol's behaviour, case by case.

Left out, because zkore differs there from Apache on purpose or beyond what a client can send:
bad UTF-8 (refused, where Apache reads replacement characters); null lists and null paths in
setWatches and sync, a null ACL in a multi, a null id in an ACL (a null reads as empty, where
Apache answers an internal error); createSession sent by a client (not implemented, where Apache
makes a second session of the connection); getAllChildrenNumber of the empty path (Apache counts
one too many); the first owner's connection when a reconnect comes with a wrong password (Apache
cuts it, so that anybody can); a deleteContainer from a client without permission (Apache does
not ask); a sasl request that cannot be read (Apache closes, zkore answers as to any).

A suite is a function that yields (name, steps). `SUITES` names the suites; those other than
"scripted" need servers with settings of their own (see tests/differential.rs).
"""

import itertools
import struct

from gen import ACLS, ANN, BAD_ACLS, BAD_PATHS, BOB, OPEN, USERS
from runner import SUPER

CREATES = ("create", "create2", "createContainer", "createTTL")
READS = ("exists", "getData", "getChildren", "getChildren2")


def connect(s="A", **how):
    return {"kind": "connect", "s": s, **how}


def req(s, op, label=None, **args):
    step = {"kind": "req", "s": s, "op": op, "args": args}
    if label:
        step["label"] = label
    return step


def burst(s, *reqs, **how):
    return {"kind": "burst", "s": s, "reqs": list(reqs), **how}


def create(s, path, data=b"", acl=OPEN, flags=0, **how):
    return req(s, "create", path=path, data=data, acl=acl, flags=flags, **how)


def auth(s, user):
    secret = SUPER if user == "super" else USERS[user]
    return req(s, "auth", scheme="digest", auth=secret)


def read(s, path, watch=False):
    """All that can be read of a znode."""
    steps = [req(s, op, path=path, watch=watch) for op in READS]
    return steps + [req(s, "getACL", path=path), req(s, "getAllChildrenNumber", path=path)]


def create_args(op, path, flags=None, acl=OPEN, data=b"d", ttl=3600000):
    args = {"path": path, "data": data, "acl": acl,
            "flags": {"createContainer": 4, "createTTL": 5}.get(op, 0) if flags is None else flags}
    if op == "createTTL":
        args["ttl"] = ttl
    return args


def harmless(flags, ttl):
    """False for a createTTL that is fatal to Apache: a TTL out of bounds with flags that do not
    ask for a TTL is logged unchecked, ends the server, and keeps it from starting again."""
    return flags in (5, 6) or 0 <= ttl < 1 << 40


def ops_on(path):
    """One request of every kind that names a path."""
    for op in CREATES:
        yield op, create_args(op, path)
    yield "delete", {"path": path, "version": -1}
    for op in READS:
        yield op, {"path": path, "watch": False}
        yield op, {"path": path, "watch": True}
    yield "setData", {"path": path, "data": b"new", "version": -1}
    yield "getACL", {"path": path}
    yield "setACL", {"path": path, "acl": OPEN, "version": -1}
    yield "getAllChildrenNumber", {"path": path}
    yield "getEphemerals", {"path": path}
    yield "sync", {"path": path}
    yield "multi", {"ops": [("create", create_args("create", path))]}
    yield "multi", {"ops": [("setData", {"path": path, "data": b"m", "version": -1})]}
    yield "multi", {"ops": [("check", {"path": path, "version": -1})]}
    yield "multi", {"ops": [("delete", {"path": path, "version": -1})]}
    yield "multiRead", {"ops": [("getData", {"path": path, "watch": False}),
                                ("getChildren", {"path": path, "watch": False})]}
    yield "addWatch", {"path": path, "mode": 0}
    yield "addWatch", {"path": path, "mode": 1}
    yield "checkWatches", {"path": path, "type": 3}
    yield "removeWatches", {"path": path, "type": 3}
    yield "setWatches", {"zxid": 0, "data": [path], "exist": [path], "child": [path]}
    yield "setWatches2", {"zxid": 0, "data": [path], "exist": [path], "child": [path],
                          "persistent": [path], "recursive": [path]}


def connecting():
    new = [connect(s, timeout=t, read_only=r, protocol=p)
           for s, (t, r, p) in zip("ABCDEFGHIJKLMN", [
               (8000, False, 0), (8000, True, 0), (8000, None, 0), (0, False, 0), (1, False, 0),
               (999, False, 0), (1000, False, 0), (1001, False, 0), (10000, False, 0),
               (10001, False, 0), (2**31 - 1, False, 0), (-5, False, 0), (8000, False, 7),
               (8000, False, -1)])]
    yield "connect: new sessions", new
    yield "connect: a password of another length", [
        connect("A", passwd=b""), connect("B", passwd=None), connect("C", passwd=b"x" * 40)]
    yield "connect: reconnect", [
        connect("A"), create("A", "~/e", flags=1),
        {"kind": "drop", "s": "A"}, connect("A", sid_of="A", timeout=4000),
        *read("A", "~/e"), req("A", "getEphemerals", path="~"),
        connect("A", sid_of="A", timeout=100000), req("A", "getEphemerals", path=None)]
    for name, passwd in (("wrong", b"w" * 16), ("empty", b""), ("null", None), ("short", b"x"),
                         ("long", b"y" * 64)):
        yield f"connect: reconnect with a {name} password", [
            connect("A"), create("A", "~/e", flags=1), {"kind": "drop", "s": "A"},
            connect("B", sid_of="A", passwd=passwd), *read("B", "~/e"), connect("B", sid_of="A"),
            *read("B", "~/e")]
    for sid in (1, 0x1234567890ABCDEF, -1, -(1 << 63)):
        yield f"connect: unknown session {sid}", [
            connect("A", sid=sid), connect("B", sid=sid, passwd=b"p" * 16, read_only=None)]
    yield "connect: a client that saw a later zxid", [
        connect("A", last_zxid=1 << 50), connect("B", last_zxid=-1), connect("C"),
        connect("D", sid_of="C", last_zxid=1 << 50), *read("C", "~")]
    yield "connect: a session moves between connections", [
        connect("A"), create("A", "~/e", flags=1), req("A", "getData", path="~/e", watch=True),
        req("A", "addWatch", path="~", mode=1), connect("B", sid_of="A"),
        req("B", "setData", path="~/e", data=b"1", version=-1), *read("B", "~/e"),
        connect("A", sid_of="B"), *read("A", "~/e"), req("A", "closeSession"),
        connect("B", sid_of="A"), connect("C"), *read("C", "~/e")]
    yield "connect: after closeSession", [
        connect("A"), create("A", "~/e", flags=1), create("A", "~/p"), connect("B"),
        req("B", "getData", path="~/e", watch=True), req("B", "getChildren", path="~", watch=True),
        req("A", "closeSession"), connect("A", sid_of="A"), *read("B", "~"), connect("A"),
        *read("A", "~/e")]
    yield "connect: a second connect request on a session", [
        connect("A"),
        {"kind": "raw", "s": "A", "data": struct.pack(">iiqiqi", 44, 0, 0, 8000, 0, 16) + b"\0" * 16}]


def authenticating():
    packets = [("digest", b"ann:secret"), ("digest", b"nocolon"), ("digest", b""),
               ("digest", None), ("digest", b":"), ("digest", b"a:b:c"), ("digest", b"\xff\xfe:x"),
               ("digest", SUPER), ("ip", b"1.2.3.4"), ("ip", b""), ("world", b"anyone"),
               ("auth", b""), ("super", b"x"), ("x509", b"x"), ("sasl", b"x"), ("nosuch", b"x"),
               ("", b""), (None, b""), (None, None)]
    for scheme, token in packets:
        yield f"auth: {scheme} {token}", [
            connect("A"), req("A", "auth", scheme=scheme, auth=token), req("A", "whoAmI"),
            create("A", "~/n", acl=[[31, "auth", ""]]), req("A", "getACL", path="~/n")]
    yield "auth: several identities", [
        connect("A"), req("A", "whoAmI"), auth("A", "ann"), auth("A", "bob"), auth("A", "ann"),
        req("A", "whoAmI"), create("A", "~/n", acl=[[3, "auth", ""], [31, "world", "anyone"]]),
        req("A", "getACL", path="~/n"), auth("A", "super"), req("A", "whoAmI"),
        create("A", "~/m", acl=[[3, "auth", ""]]), req("A", "getACL", path="~/m"),
        connect("A", sid_of="A"), req("A", "whoAmI")]


def creating():
    for op in CREATES:
        for flags in (-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 99, 2**31 - 1):
            path = "~/n"
            yield f"create: {op} with flags {flags}", [
                connect("A"), req("A", op, **create_args(op, path, flags)), *read("A", path),
                req("A", "getChildren", path="~", watch=False),
                req("A", op, **create_args(op, path, flags)),
                req("A", op, **create_args(op, "~/n/child", flags)),
                req("A", op, **create_args(op, "~/absent/child", flags)),
                req("A", "multi", ops=[(op, create_args(op, "~/m", flags))]),
                req("A", "getChildren", path="~", watch=False),
                req("A", "closeSession"), connect("B"),
                req("B", "getChildren", path="~", watch=False)]
    for ttl in (-1, 0, 1, 1000, (1 << 40) - 1, 1 << 40, (1 << 40) + 1, 1 << 62):
        yield f"create: TTL {ttl}", [
            connect("A"), req("A", "createTTL", **create_args("createTTL", "~/n", 5, ttl=ttl)),
            req("A", "createTTL", **create_args("createTTL", "~/s", 6, ttl=ttl)),
            *[req("A", "createTTL", **create_args("createTTL", "~/p", f, ttl=ttl))
              for f in (0, 1, 2) if harmless(f, ttl)]]
    yield "create: data of all kinds", [
        connect("A"), create("A", "~/null", data=None), *read("A", "~/null"),
        create("A", "~/empty", data=b""), *read("A", "~/empty"),
        create("A", "~/bytes", data=bytes(range(256))), *read("A", "~/bytes"),
        req("A", "setData", path="~/bytes", data=None, version=0), *read("A", "~/bytes"),
        req("A", "setData", path="~/bytes", data=b"", version=1), *read("A", "~/bytes")]


def sequences():
    def seq(s, path, op="create", flags=2):
        return req(s, op, **create_args(op, path, flags))

    yield "sequence: the counter is the parent's cversion", [
        connect("A"), seq("A", "~/s"), seq("A", "~/t"), create("A", "~/plain"), seq("A", "~/s"),
        req("A", "delete", path="~/plain", version=-1), seq("A", "~/s"),
        seq("A", "~/"), seq("A", "~/s-", flags=3), seq("A", "~/s", "create2"),
        seq("A", "~/s", "createTTL", 6), seq("A", "~/s0000000000"), seq("A", "~"),
        req("A", "multi", ops=[("create", create_args("create", "~/m", 2))] * 3),
        req("A", "multi", ops=[("create", create_args("create", "~/m", 2)),
                               ("check", {"path": "~", "version": 99})]),
        seq("A", "~/s"), req("A", "setData", path="~", data=b"x", version=-1), seq("A", "~/s"),
        *read("A", "~"), req("A", "closeSession"), connect("B"), seq("B", "~/s"), *read("B", "~")]
    hundred = [("create", create_args("create", "~/q/n-", 2, data=b""))] * 100
    gone = [("delete", {"path": f"~/q/n-{i:010d}", "version": -1}) for i in range(1100)]
    yield "sequence: beyond a thousand, with deletes", [
        connect("A"), create("A", "~/q"), *[req("A", "multi", ops=hundred) for _ in range(11)],
        req("A", "getAllChildrenNumber", path="~/q"), seq("A", "~/q/n-"),
        *[req("A", "multi", ops=gone[i:i + 100]) for i in range(0, 1100, 100)],
        *read("A", "~/q"), seq("A", "~/q/n-"), *read("A", "~/q")]


def paths():
    for i, path in enumerate(BAD_PATHS + ["~/a", "~/absent", "~/a/absent/deep"]):
        steps = [connect("A"), create("A", "~/a")]
        for op, args in ops_on(path):
            if (path is None and op in ("sync", "setWatches", "setWatches2")
                    or path == "" and op == "getAllChildrenNumber"):
                continue
            steps.append(req("A", op, **args))
        yield f"path {i} ({path!r})", steps
        # Sequential creates append digits before the path is checked.
        yield f"path {i} ({path!r}), sequential", [
            connect("A"), create("A", "~/a"),
            *[req("A", "create", **create_args("create", path, f)) for f in (2, 3)]]


def reserved():
    tree = ["/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/zookeeper/quota/x",
            "/zookeeper/x", "/"]
    for path in tree:
        for identity in (None, "super"):
            steps = [connect("A")] + ([auth("A", identity)] if identity else [])
            steps += read("A", path)
            # Nothing here may change the shared nodes for good, on either server.
            steps += [req("A", "delete", path=path, version=-1),
                      req("A", "setData", path=path, data=b"", version=77),
                      req("A", "setACL", path=path, acl=OPEN, version=77),
                      req("A", "create", **create_args("create", path)),
                      req("A", "multi", ops=[("delete", {"path": path, "version": -1})]),
                      req("A", "multi", ops=[("setData", {"path": path, "data": b"",
                                                          "version": 77})])]
            if path.endswith("/x"):
                steps += [req("A", "delete", path=path, version=-1)]
            yield f"reserved: {path} as {identity}", steps


IDENTITIES = [(), ("ann",), ("bob",), ("ann", "bob"), ("super",)]


def permissions():
    acls = [[[p, "digest", ANN]] for p in (0, 1, 2, 4, 8, 16, 31)]
    acls += [[[p, "world", "anyone"]] for p in (1, 2, 4, 8, 16, 30)]
    acls += [[[31, "ip", "127.0.0.1"]], [[31, "ip", "10.1.2.3"]], [[31, "ip", "127.0.0.0/8"]],
             [[31, "ip", "128.0.0.0/1"]], [[31, "ip", "0.0.0.0/0"]], [[31, "ip", "::1"]],
             [[1, "digest", ANN], [30, "digest", BOB]], [[16, "digest", ANN], [1, "world", "anyone"]]]
    for i, acl in enumerate(acls):
        for who in IDENTITIES:
            steps = [connect("A"), connect("S"), auth("S", "super"),
                     create("S", "~/n", data=b"v"), create("S", "~/n/child"),
                     create("S", "~/w"), req("A", "getData", path="~/n", watch=True),
                     req("A", "addWatch", path="~/n", mode=1),
                     req("A", "getChildren", path="~/n", watch=True),
                     *[auth("A", w) for w in who],
                     req("S", "setACL", path="~/n", acl=acl, version=0),
                     req("S", "setData", path="~/n", data=b"seen?", version=-1),
                     req("S", "create", path="~/n/more", data=b"", acl=acl, flags=0)]
            for op, args in ops_on("~/n"):
                if op not in ("delete",):
                    steps.append(req("A", op, **args))
                if op in ("setACL",):
                    steps.append(req("S", "setACL", path="~/n", acl=acl, version=-1))
            for op, args in ops_on("~/n/child"):
                steps.append(req("A", op, **args))
            steps += [req("A", "multiRead", ops=[("getData", {"path": p, "watch": False})
                                                 for p in ("~/w", "~/n")]),
                      req("A", "delete", path="~/n/more", version=-1),
                      req("S", "getACL", path="~/n"),
                      req("S", "delete", path="~/n/child", version=-1),
                      req("A", "delete", path="~/n", version=-1)]
            yield f"permission: ACL {i} {acl} as {'+'.join(who) or 'nobody'}", steps


def acls():
    for i, acl in enumerate(ACLS + BAD_ACLS + [None]):
        yield f"acl {i}: {acl}", [
            connect("A"), create("A", "~/n", acl=acl), req("A", "getACL", path="~/n"),
            create("A", "~/m"), req("A", "setACL", path="~/m", acl=acl, version=-1),
            req("A", "getACL", path="~/m"), auth("A", "ann"), auth("A", "bob"),
            create("A", "~/o", acl=acl), req("A", "getACL", path="~/o"),
            create("A", "~/p"), req("A", "setACL", path="~/p", acl=acl, version=0),
            req("A", "getACL", path="~/p"), *read("A", "~/p"),
            req("A", "multi", ops=[("create", create_args("create", "~/q", acl=acl)),
                                   ("delete", {"path": "~/q", "version": 0})])
            if acl is not None else req("A", "whoAmI")]


def error_order():
    """Requests that are wrong in several ways at once: which error comes first."""
    setup = [connect("A"), connect("S"), auth("S", "super"),
             create("S", "~/locked", acl=[[31, "digest", ANN]]),
             create("S", "~/readable", acl=[[1, "world", "anyone"]]),
             create("S", "~/full"), create("S", "~/full/child"),
             create("S", "~/eph", flags=1)]
    paths = ["~/locked", "~/readable", "~/full", "~/eph", "~/absent", "~/locked/x", "~/readable/x",
             "~/eph/x", "~/absent/x", "~/bad/", "~/eph/./x", "/zookeeper/x", "~/locked/\u0000"]
    for path in paths:
        steps = list(setup)
        for version in (-1, 5):
            steps += [req("A", "delete", path=path, version=version),
                      req("A", "setData", path=path, data=b"", version=version)]
            steps += [req("A", "setACL", path=path, acl=acl, version=version)
                      for acl in (OPEN, [], [[31, "auth", ""]], [[31, "digest", "bad"]])]
            steps.append(req("A", "multi", ops=[("check", {"path": path, "version": version})]))
        for op, acl, flags, ttl in itertools.product(
                CREATES, (OPEN, []), (0, 1, 2, 5, 99), (5, -1)):
            if op == "createTTL" and not harmless(flags, ttl):
                continue
            steps.append(req("A", op, **create_args(op, path, flags, acl, ttl=ttl)))
        yield f"error order: {path!r}", steps


def ephemerals():
    yield "ephemeral: owners, closing, deletion by others", [
        connect("A"), connect("B"), connect("C"), create("A", "~/a", flags=1),
        create("B", "~/b", flags=1), create("A", "~/p"), create("A", "~/p/x", flags=1),
        create("A", "~/p/s-", flags=3), create("B", "~/p/s-", flags=3),
        *[req(s, "getEphemerals", path=p) for s in "ABC"
          for p in ("~", "~/p", "~/p/", "/", "", None, " ", "~/a", "x")],
        create("A", "~/a/child"), create("A", "~/a/child", flags=1),
        req("A", "createContainer", **create_args("createContainer", "~/a/child")),
        req("B", "delete", path="~/a", version=-1), req("A", "getEphemerals", path="~"),
        create("B", "~/a", flags=1), req("C", "getChildren", path="~/p", watch=True),
        req("C", "exists", path="~/a", watch=True), req("C", "addWatch", path="~", mode=1),
        req("A", "closeSession"), *read("C", "~/p"), *read("C", "~/a"),
        req("B", "closeSession"), *read("C", "~"), *read("C", "~/p"), connect("A"),
        req("A", "getEphemerals", path="~")]
    yield "ephemeral: made and removed in one multi", [
        connect("A"), connect("B"), req("B", "addWatch", path="~", mode=1),
        req("A", "multi", ops=[("create", create_args("create", "~/e", 1)),
                               ("delete", {"path": "~/e", "version": -1}),
                               ("create", create_args("create", "~/e", 0)),
                               ("create", create_args("create", "~/e/f", 1))]),
        req("A", "getEphemerals", path="~"),
        req("A", "multi", ops=[("delete", {"path": "~/e/f", "version": 0}),
                               ("create", create_args("create", "~/g", 1)),
                               ("create", create_args("create", "~/g/h", 0))]),
        req("A", "getEphemerals", path="~"), req("A", "closeSession"), *read("B", "~")]


def watches():
    setters = {
        "getData": [("getData", {"path": "~/n", "watch": True})],
        "exists": [("exists", {"path": "~/n", "watch": True})],
        "getChildren": [("getChildren", {"path": "~/n", "watch": True})],
        "getChildren2": [("getChildren2", {"path": "~/n", "watch": True})],
        "parent's children": [("getChildren", {"path": "~", "watch": True})],
        "persistent": [("addWatch", {"path": "~/n", "mode": 0})],
        "recursive": [("addWatch", {"path": "~/n", "mode": 1})],
        "recursive on parent": [("addWatch", {"path": "~", "mode": 1})],
        "recursive on root": [("addWatch", {"path": "/", "mode": 1})],
        "all": [("getData", {"path": "~/n", "watch": True}),
                ("exists", {"path": "~/n", "watch": True}),
                ("getChildren", {"path": "~/n", "watch": True}),
                ("getChildren", {"path": "~", "watch": True}),
                ("addWatch", {"path": "~/n", "mode": 0}),
                ("addWatch", {"path": "~", "mode": 1})],
        "persistent then recursive": [("addWatch", {"path": "~/n", "mode": 0}),
                                      ("addWatch", {"path": "~/n", "mode": 1})],
        "recursive then persistent": [("addWatch", {"path": "~/n", "mode": 1}),
                                      ("addWatch", {"path": "~/n", "mode": 0})],
        "persistent then getData": [("addWatch", {"path": "~/n", "mode": 0}),
                                    ("getData", {"path": "~/n", "watch": True})],
        "getData then recursive": [("getData", {"path": "~/n", "watch": True}),
                                   ("addWatch", {"path": "~/n", "mode": 1})],
    }
    changes = [
        ("create", create_args("create", "~/n")),
        ("setData", {"path": "~/n", "data": b"1", "version": -1}),
        ("setACL", {"path": "~/n", "acl": OPEN, "version": -1}),
        ("create", create_args("create", "~/n/c")),
        ("setData", {"path": "~/n/c", "data": b"2", "version": -1}),
        ("create", create_args("create", "~/n/c/g", 1)),
        ("delete", {"path": "~/n/c/g", "version": -1}),
        ("delete", {"path": "~/n/c", "version": -1}),
        ("createContainer", create_args("createContainer", "~/n/k")),
        ("delete", {"path": "~/n/k", "version": -1}),
        ("delete", {"path": "~/n", "version": -1}),
        ("createTTL", create_args("createTTL", "~/n")),
        ("delete", {"path": "~/n", "version": 9}),
        ("delete", {"path": "~/n", "version": 0}),
    ]
    for (name, sets), exists in itertools.product(setters.items(), (True, False)):
        steps = [connect("W"), connect("A")]
        if exists:
            steps += [create("A", "~/n")]
        steps += [req("W", op, **args) for op, args in sets]
        steps += [req("A", op, **args) for op, args in changes]
        yield f"watch: {name}, {'present' if exists else 'absent'}", steps
        # Set again after every change, by the session that also makes the changes.
        steps = [connect("W")] + ([create("W", "~/n")] if exists else [])
        for change in changes:
            steps += [req("W", op, **args) for op, args in sets]
            steps.append(req("W", change[0], **change[1]))
        yield f"watch: {name}, {'present' if exists else 'absent'}, set again each time", steps
        multi = [c for c in changes[:-2] if c[0] != "setACL"]
        if exists:
            multi = multi[1:]
        steps = [connect("W"), connect("A")] + ([create("A", "~/n")] if exists else [])
        steps += [req("W", op, **args) for op, args in sets]
        steps += [req("A", "multi", ops=multi), req("W", "getChildren", path="~", watch=False),
                  req("A", "multi", ops=multi + [("check", {"path": "~/absent", "version": 0})])]
        yield f"watch: {name}, {'present' if exists else 'absent'}, in a multi", steps


def removing_watches():
    every = [("getData", {"path": "~/n", "watch": True}), ("exists", {"path": "~/m", "watch": True}),
             ("getChildren", {"path": "~/n", "watch": True}), ("addWatch", {"path": "~/n", "mode": 0}),
             ("addWatch", {"path": "~/n", "mode": 1})]
    changes = [req("A", "setData", path="~/n", data=b"", version=-1), create("A", "~/n/c"),
               create("A", "~/m"), req("A", "setData", path="~/n/c", data=b"", version=-1),
               req("A", "delete", path="~/n/c", version=-1),
               req("A", "delete", path="~/n", version=-1)]
    for which in list(range(len(every))) + ["all"]:
        sets = every if which == "all" else [every[which]]
        for op, kind in itertools.product(("checkWatches", "removeWatches"),
                                          (0, 1, 2, 3, 4, 5, 6, -1)):
            yield f"{op} type {kind} of {which}", [
                connect("W"), connect("A"), create("A", "~/n"),
                *[req("W", o, **a) for o, a in sets],
                req("W", op, path="~/n", type=kind), req("W", op, path="~/m", type=kind),
                req("W", op, path="~/n", type=kind), req("A", op, path="~/n", type=kind),
                *changes]


def restoring_watches():
    states = [create("A", "~/old", data=b"o"), create("A", "~/changed"), create("A", "~/parent"),
              create("A", "~/deleted", label="before"),
              req("A", "setData", path="~/changed", data=b"1", version=-1),
              create("A", "~/parent/c"), req("A", "delete", path="~/deleted", version=-1),
              create("A", "~/created", label="after")]
    names = ["~/old", "~/changed", "~/parent", "~/deleted", "~/created", "~/never"]
    changes = [*[req("A", "setData", path=p, data=b"2", version=-1) for p in names],
               *[create("A", p + "/k") for p in names], *[create("A", p) for p in names],
               *[req("A", "delete", path=p + "/k", version=-1) for p in names],
               *[req("A", "delete", path=p, version=-1) for p in names]]
    for relative in (0, ("zxid", "before"), ("zxid", "after"), 1 << 60, -1):
        for kind in ("data", "exist", "child", "persistent", "recursive"):
            lists = {k: names if k == kind else []
                     for k in ("data", "exist", "child", "persistent", "recursive")}
            yield f"restore {kind} watches since {relative}", [
                connect("A"), *states, connect("W"),
                req("W", "setWatches2", zxid=relative, **lists), *changes]
            if kind in ("data", "exist", "child"):
                lists = {k: v for k, v in lists.items() if k in ("data", "exist", "child")}
                yield f"restore {kind} watches since {relative}, old request", [
                    connect("A"), *states, connect("W"),
                    req("W", "setWatches", zxid=relative, **lists), *changes]
    yield "watches do not outlive the connection", [
        connect("W"), connect("A"), create("A", "~/n"),
        req("W", "getData", path="~/n", watch=True), req("W", "addWatch", path="~", mode=1),
        connect("W", sid_of="W"), req("A", "setData", path="~/n", data=b"", version=-1),
        req("W", "checkWatches", path="~/n", type=3)]


def multis():
    good = [("create", create_args("create", "~/m")),
            ("create2", create_args("create2", "~/m2")),
            ("createContainer", create_args("createContainer", "~/mc")),
            ("createTTL", create_args("createTTL", "~/mt")),
            ("create", create_args("create", "~/ms-", 2)),
            ("create", create_args("create", "~/me", 1)),
            ("setData", {"path": "~/m", "data": b"v", "version": 0}),
            ("check", {"path": "~/m", "version": 1}),
            ("delete", {"path": "~/m", "version": 1})]
    bad = [("create", create_args("create", "~/m2")), ("create", create_args("create", "~/x/y")),
           ("create", create_args("create", "~/z", acl=[])),
           ("create", create_args("create", "bad")), ("create", create_args("create", "~/me/c")),
           ("createTTL", create_args("createTTL", "~/t2", ttl=-7)),
           ("delete", {"path": "~/none", "version": -1}), ("delete", {"path": "~", "version": -1}),
           ("delete", {"path": "~/m2", "version": 4}),
           ("setData", {"path": "~/none", "data": b"", "version": -1}),
           ("setData", {"path": "~/m2", "data": b"", "version": 6}),
           ("check", {"path": "~/none", "version": -1}), ("check", {"path": "~/m2", "version": 3}),
           ("create", create_args("create", "~/w", 77)),
           ("getData", {"path": "~", "watch": False}), (9, None), (14, None), (-11, None),
           (0, None), ("setACL", {"path": "~", "acl": OPEN, "version": -1}),
           ("sync", {"path": "~"}), ("exists", {"path": "~", "watch": False})]
    yield "multi: all kinds", [connect("A"), req("A", "multi", ops=good), *read("A", "~"),
                               *read("A", "~/m2"), req("A", "multi", ops=[]),
                               req("A", "multi", ops=[("check", {"path": "~", "version": -1})])]
    for i, wrong in enumerate(bad):
        for at in (0, 3, len(good)):
            yield f"multi: {i} ({wrong[0]}) fails at {at}", [
                connect("A"), connect("B"), req("B", "addWatch", path="~", mode=1),
                req("A", "multi", ops=good[:at] + [wrong] + good[at:]), *read("A", "~")]
    reads = [("getData", {"path": "~", "watch": False}), ("getChildren", {"path": "~", "watch": True}),
             ("getData", {"path": "~/none", "watch": True}),
             ("getChildren", {"path": "~/none", "watch": False}),
             ("getData", {"path": "~/locked", "watch": False}),
             ("getChildren", {"path": "~/locked", "watch": False})]
    yield "multiRead: all kinds", [
        connect("S"), auth("S", "super"), create("S", "~/locked", acl=[[31, "digest", ANN]]),
        connect("A"), req("A", "multiRead", ops=reads), req("A", "multiRead", ops=[]),
        create("S", "~/new"), req("S", "multiRead", ops=reads)]
    for wrong in (("create", create_args("create", "~/x")), ("exists", {"path": "~", "watch": False}),
                  ("check", {"path": "~", "version": -1}), (55, None)):
        yield f"multiRead: with {wrong[0]}", [
            connect("A"), req("A", "multiRead", ops=reads[:1] + [wrong]),
            req("A", "multiRead", ops=[wrong]), *read("A", "~")]
    yield "multi: changes of one node in a row", [
        connect("A"), connect("B"), req("B", "addWatch", path="~", mode=1),
        req("A", "multi", ops=[
            ("create", create_args("create", "~/n")),
            ("setData", {"path": "~/n", "data": b"1", "version": 0}),
            ("setData", {"path": "~/n", "data": b"2", "version": 1}),
            ("create", create_args("create", "~/n/a-", 2)),
            ("create", create_args("create", "~/n/a-", 2)),
            ("delete", {"path": "~/n/a-0000000000", "version": -1}),
            ("create", create_args("create", "~/n/a-", 2)),
            ("check", {"path": "~/n", "version": 2})]),
        *read("A", "~/n"),
        req("A", "multi", ops=[
            ("delete", {"path": "~/n/a-0000000001", "version": -1}),
            ("delete", {"path": "~/n/a-0000000002", "version": -1}),
            ("delete", {"path": "~/n", "version": 2}),
            ("create", create_args("create", "~/n")),
            ("create", create_args("create", "~/n/b", 2))]),
        *read("A", "~/n")]


def bursts():
    many = []
    for i in range(60):
        many += [("create", create_args("create", f"~/n{i}", data=b"x" * i)),
                 ("getData", {"path": f"~/n{i}", "watch": True}),
                 ("setData", {"path": f"~/n{i}", "data": b"y", "version": 0}),
                 ("exists", {"path": f"~/n{i}", "watch": False}),
                 ("delete", {"path": f"~/n{i}", "version": 0}),
                 ("delete", {"path": f"~/n{i}", "version": 1}),
                 ("getChildren2", {"path": "~", "watch": True})]
    yield "burst: writes and reads in order", [connect("A"), burst("A", *many)]
    yield "burst: split anywhere", [connect("A"), burst("A", *many, split=37)]
    yield "burst: watched by another", [
        connect("B"), req("B", "addWatch", path="~", mode=1), connect("A"), burst("A", *many)]
    yield "burst: closed behind", [
        connect("A"), burst("A", *many[:20], ("closeSession", {})), connect("B"), *read("B", "~")]
    yield "burst: syncs and pings between", [
        connect("A"), burst("A", ("sync", {"path": "~"}), *many[:3], ("ping", {}),
                            ("sync", {"path": "/none"}), *many[3:9], ("ping", {}), ("whoAmI", {}))]


def frames():
    limit = 1048575
    yield "frame: data up to the limit", [
        connect("A"), create("A", "~/n"),
        *[req("A", "setData", path="~/n", data=b"z" * n, version=-1)
          for n in (1000, 65536, 1_000_000, 1_048_000)],
        req("A", "exists", path="~/n", watch=False)]
    for size in (limit, limit + 1, limit + 2, 4 * limit):
        # xid, opcode, path, data, version: the frame is `size` bytes long.
        path = b"/frame-not-there"
        rest = 8 + 4 + len(path) + 4 + 4
        body = struct.pack(">iii", 1, 5, len(path)) + path + \
            struct.pack(">i", size - rest) + b"q" * (size - rest) + struct.pack(">i", -1)
        assert len(body) == size
        if size <= limit:
            yield f"frame: {size} bytes", [
                connect("A"), req("A", ("opcode", 5, body[8:]))]
        else:
            yield f"frame: {size} bytes", [
                connect("A"), {"kind": "raw", "s": "A", "data": struct.pack(">i", size) + body}]
    heads = [-1, -2**31, 2**31 - 1, 0x01000000, 0]
    for head in heads:
        yield f"frame: length {head}", [
            connect("A"), {"kind": "raw", "s": "A", "data": struct.pack(">i", head)},
            connect("B"), *read("B", "~")]
    for n in (0, 1, 4, 7):
        yield f"frame: {n} bytes, less than a header", [
            connect("A"), {"kind": "raw", "s": "A", "data": struct.pack(">i", n) + b"\0" * n}]
    records = [op_args for op_args in ops_on("~/n")] + [
        ("auth", {"scheme": "digest", "auth": b"a:b"}), ("reconfig", {
            "joining": "a", "leaving": None, "members": None, "config": -1}),
        ("sasl", {"token": b"x"})]
    from jute import OPS, encode_request
    for op in sorted({o for o, _ in records} - {"sasl"}):
        args = next(a for o, a in records if o == op)
        whole = encode_request(op, args)
        for name, body in (("empty", b""), ("cut in half", whole[:len(whole) // 2]),
                           ("cut by one", whole[:-1]), ("with more behind", whole + b"\0\0\0\7"),
                           ("of garbage", b"\xff" * 40), ("of zeros", b"\0" * 40),
                           ("with a huge length", b"\x7f\xff\xff\xff" + whole)):
            nulls_first = ("create", "create2", "createContainer", "createTTL", "setWatches",
                           "setWatches2", "sync")
            if (name, op) == ("of zeros", "getAllChildrenNumber") or \
                    name == "of garbage" and op in nulls_first:
                continue
            yield f"record of {op} {name}", [
                connect("A"), req("A", ("opcode", OPS[op], body)), *read("A", "~")[:1]]
    for code in (10, 16, 17, 20, 23, 24, 50, 99, 108, 200, 1000, -1, -2, -3, -100, 2**31 - 1):
        yield f"opcode {code}", [
            connect("A"), req("A", ("opcode", code, b"")), *read("A", "~"),
            connect("B"), req("B", ("opcode", code, b"\0\0\0\1/\0\0\0\0")), *read("B", "~")]


def strangers():
    def first(data):
        return [{"kind": "stranger", "s": "X", "data": data}, connect("A"), *read("A", "~")]

    connecting_record = struct.pack(">iqiqi", 0, 0, 8000, 0, 16) + b"\0" * 16
    yield "stranger: HTTP", first(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    yield "stranger: TLS", first(bytes.fromhex("160301") + b"\x02\x00\x01\x00\x01\xfc" + b"r" * 40)
    for size in (-1, 0, 1, 2**31 - 1):
        yield f"stranger: length {size}", first(struct.pack(">i", size))
    yield "stranger: short connect request", first(struct.pack(">i", 10) + b"\0" * 10)
    yield "stranger: connect request cut in the password", first(
        struct.pack(">i", len(connecting_record) - 4) + connecting_record[:-4])
    for length in (-2, 2**31 - 1, 100):
        bad = connecting_record[:24] + struct.pack(">i", length) + b"\0" * 16
        yield f"stranger: password length {length}", first(struct.pack(">i", len(bad)) + bad)
    bad = connecting_record + b"\1more"
    yield "stranger: bytes behind the read-only flag", first(struct.pack(">i", len(bad)) + bad)


def disabled():
    yield "reconfig and sasl", [
        connect("A"),
        req("A", "reconfig", joining="server.1=a:1:2;3", leaving=None, members=None, config=-1),
        req("A", "reconfig", joining=None, leaving=None, members=None, config=-1), auth("A", "super"),
        req("A", "reconfig", joining=None, leaving="1", members=None, config=7), *read("A", "~"),
        req("A", "sasl", token=b"abc"), *read("A", "~")]
    for version in (-1, 0, 5):
        for path in ("~", "~/absent", "bad"):
            yield f"check of {path} at {version} outside a multi", [
                connect("A"), req("A", "check", path=path, version=version), *read("A", "~")]
    yield "deleteContainer from a client", [
        connect("A"), create("A", "~/p"), create("A", "~/full"), create("A", "~/full/c"),
        create("A", "~/e", flags=1),
        req("A", "createContainer", **create_args("createContainer", "~/c")),
        *[req("A", "deleteContainer", path=p) for p in ("~/c", "~/full", "~/e", "~/none")],
        *read("A", "~/c"), *read("A", "~")]

def quotas():
    def limit(path, text, stats=b"count=0,bytes=0"):
        steps, prefix = [], "/zookeeper/quota"
        for part in path.split("/"):
            prefix += part if part == "~" else "/" + part
            steps.append(create("S", prefix, data=None))
        steps += [create("S", prefix + "/zookeeper_limits", data=text),
                  create("S", prefix + "/zookeeper_stats", data=stats),
                  req("S", "getData", path=prefix + "/zookeeper_stats", watch=True)]
        return steps

    stats = [req("S", "getData", path=f"/zookeeper/quota{p}/zookeeper_stats", watch=True)
             for p in ("~", "~/q", "~/q/deep")]
    work = [
        create("A", "~/q/a", data=b"12345"), create("A", "~/q/b", data=b"12345"),
        req("A", "setData", path="~/q/a", data=b"1234567890", version=-1),
        create("A", "~/q/deep/x", data=b"xyz"), create("A", "~/q/deep/y", data=b"x" * 30),
        create("A", "~/q/e", data=b"e", flags=1), create("A", "~/q/s-", data=b"s", flags=2),
        req("A", "setData", path="~/q/b", data=None, version=-1),
        req("A", "setData", path="~/q", data=b"itself", version=-1),
        req("A", "multi", ops=[("create", create_args("create", "~/q/m", data=b"mm")),
                               ("setData", {"path": "~/q/m", "data": b"mmmm", "version": 0}),
                               ("create", create_args("create", "~/q/m/n", data=b"n" * 9))]),
        req("A", "delete", path="~/q/a", version=-1),
        req("A", "setData", path="~/q/b", data=b"", version=-1),
        create("A", "~/outside", data=b"o" * 100)]
    texts = [b"count=3,bytes=-1", b"count=-1,bytes=12", b"count=2,bytes=6",
             b"count=-1,bytes=-1=;countHardLimit=3", b"count=-1,bytes=-1=;byteHardLimit=20",
             b"count=-1,bytes=-1=;byteHardLimit=25;countHardLimit=6", b"count=0,bytes=0",
             b"count=-1,bytes=-1=;countHardLimit=0;byteHardLimit=0", b"count=,bytes=5",
             b"bytes=4", b"countHardLimit=2", b"count=-1,bytes=-1=;byteHardLimit=-1"]
    for text in texts:
        steps = [connect("S"), connect("A"), create("S", "~/q"), create("S", "~/q/deep"),
                 *limit("~/q", text)]
        for w in work:
            steps += [w, stats[1]]
        steps += [req("A", "closeSession"), stats[1], req("S", "getData",
                  path="/zookeeper/quota~/q/zookeeper_limits", watch=False)]
        yield f"quota: {text.decode()}", steps
    yield "quota: of a node that holds data already", [
        connect("S"), connect("A"), create("S", "~/q", data=b"abc"), create("S", "~/q/k", data=b"de"),
        create("S", "~/q/deep"), *limit("~/q", b"count=-1,bytes=-1=;countHardLimit=4"), stats[1],
        *work, stats[1]]
    yield "quota: limits changed and removed", [
        connect("S"), connect("A"), create("S", "~/q"), create("S", "~/q/deep"),
        *limit("~/q", b"count=-1,bytes=-1=;countHardLimit=2"), *work[:4], stats[1],
        req("S", "setData", path="/zookeeper/quota~/q/zookeeper_limits",
            data=b"count=-1,bytes=-1=;countHardLimit=4", version=-1), *work[2:7], stats[1],
        req("S", "delete", path="/zookeeper/quota~/q/zookeeper_limits", version=-1), *work[5:9],
        stats[1], req("S", "delete", path="/zookeeper/quota~/q/zookeeper_stats", version=-1),
        *work[7:], req("S", "delete", path="/zookeeper/quota~/q", version=-1),
        req("S", "getChildren", path="/zookeeper/quota~", watch=False)]
    yield "quota: a parent's and a child's", [
        connect("S"), connect("A"), create("S", "~/q"), create("S", "~/q/deep"),
        *limit("~", b"count=-1,bytes=-1=;byteHardLimit=40"), *limit("~/q", b"count=6,bytes=100"),
        *[x for w in work for x in (w, stats[0], stats[1])]]
    yield "quota: stats written by hand", [
        connect("S"), connect("A"), create("S", "~/q"), create("S", "~/q/deep"),
        *limit("~/q", b"count=-1,bytes=-1=;countHardLimit=8", b"count=5,bytes=50"), stats[1],
        *work[:3], stats[1], req("S", "setData", path="/zookeeper/quota~/q/zookeeper_stats",
                                 data=b"count=100,bytes=1", version=-1), *work[3:6], stats[1]]
    yield "quota: removed with the node", [
        connect("S"), create("S", "~/q"), *limit("~/q", b"count=3,bytes=3"),
        req("S", "delete", path="~/q", version=-1), stats[1], create("S", "~/q"), stats[1],
        create("S", "~/q/a", data=b"1234"), stats[1]]


def scripted():
    for group in (connecting, authenticating, creating, sequences, reserved, acls, error_order,
                  ephemerals, watches, removing_watches, restoring_watches, multis, bursts,
                  disabled, quotas, permissions, paths, frames, strangers):
        yield from group()


def reaping():
    """Containers and TTL znodes under servers that look for them often."""
    def wait(ms=3000):
        return {"kind": "sleep", "ms": ms}

    def remove(path):
        return {**req("A", "delete", path=path, version=-1), "late": True}

    container = lambda p: req("A", "createContainer", **create_args("createContainer", p))
    ttl = lambda p, ms, f=5: req("A", "createTTL", **create_args("createTTL", p, f, ttl=ms))
    yield "reaping: containers", [
        connect("A"), connect("W"), container("~/used"), container("~/never"), container("~/full"),
        create("A", "~/used/c"), create("A", "~/full/c"),
        req("W", "exists", path="~/used", watch=True), req("W", "addWatch", path="~/full", mode=1),
        remove("~/used/c"), wait(), *read("A", "~/used"),
        *read("A", "~/never"), *read("A", "~/full"), *read("A", "~"),
        remove("~/full/c"), wait(), *read("A", "~")]
    # One znode at a time: in which order a server removes several is its own affair.
    yield "reaping: TTL", [
        connect("A"), connect("W"), ttl("~/short", 1000), ttl("~/long", 3600000),
        req("W", "getChildren", path="~", watch=True), req("W", "addWatch", path="~/short", mode=0),
        wait(), *read("A", "~"), *read("A", "~/short"), *read("A", "~/long")]
    yield "reaping: TTL of a parent", [
        connect("A"), ttl("~/parent", 1000), create("A", "~/parent/c"), wait(),
        *read("A", "~/parent"), remove("~/parent/c"), wait(),
        *read("A", "~")]
    yield "reaping: TTL of a sequential znode that is written again", [
        connect("A"), ttl("~/seq-", 1500, 6), wait(1000),
        req("A", "setData", path="~/seq-0000000000", data=b"again", version=-1), wait(1000),
        *read("A", "~/seq-0000000000"), wait(3000), *read("A", "~")]
    yield "reaping: containers inside containers", [
        connect("A"), container("~/o"), container("~/o/i"), create("A", "~/o/i/e", flags=1),
        wait(1000), *read("A", "~/o/i"), req("A", "closeSession"), connect("A"), wait(3000),
        *read("A", "~")]


def expiry():
    def wait(ms=2600):
        return {"kind": "sleep", "ms": ms}

    yield "expiry: ephemerals go, watchers hear of it", [
        connect("W", timeout=8000), connect("A", timeout=1000), create("A", "~/e", flags=1),
        create("W", "~/p"), create("A", "~/p/e-", flags=3), create("A", "~/stays"),
        req("W", "exists", path="~/e", watch=True), req("W", "getChildren", path="~/p", watch=True),
        req("W", "addWatch", path="~/p", mode=0), {"kind": "drop", "s": "A"}, wait(),
        *read("W", "~"), *read("W", "~/p"), connect("A", sid_of="A", timeout=1000),
        connect("A", timeout=1000), req("A", "getEphemerals", path="~")]
    yield "expiry: a reconnect in time keeps everything", [
        connect("A", timeout=6000), create("A", "~/e", flags=1), {"kind": "drop", "s": "A"},
        wait(1500), connect("A", sid_of="A", timeout=6000), req("A", "getEphemerals", path="~"),
        *read("A", "~/e")]
    yield "expiry: pings keep a session", [
        connect("A", timeout=1000), create("A", "~/e", flags=1), wait(3000), *read("A", "~/e")]


SUITES = {"scripted": scripted, "reaping": reaping, "expiry": expiry}
