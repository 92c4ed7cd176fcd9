"""Random plans: the same seed gives the same plan, whatever the server."""

import base64
import hashlib
import random

OPEN = [[31, "world", "anyone"]]
USERS = {"ann": b"ann:secret", "bob": b"bob:hidden"}
SESSIONS = ["A", "B", "C"]


def digest_id(user_and_password):
    """The id of the digest scheme, as DigestAuthenticationProvider computes it."""
    sha = hashlib.sha1(user_and_password).digest()
    return user_and_password.split(b":", 1)[0].decode() + ":" + base64.b64encode(sha).decode()


ANN = digest_id(USERS["ann"])
BOB = digest_id(USERS["bob"])

ACLS = [
    OPEN,
    [[1, "world", "anyone"]],
    [[31, "auth", ""]],
    [[31, "digest", ANN]],
    [[31, "digest", ANN], [1, "world", "anyone"]],
    [[1, "digest", ANN], [2, "digest", BOB], [4, "world", "anyone"]],
    [[8, "world", "anyone"], [16, "digest", BOB]],
    [[31, "ip", "127.0.0.1"]],
    [[31, "ip", "10.0.0.0/8"], [1, "ip", "127.0.0.0/8"]],
    [[0, "world", "anyone"]],
    [[31, "world", "anyone"], [31, "world", "anyone"]],
    [[15, "world", "anyone"], [16, "auth", "ignored"]],
]
BAD_ACLS = [
    [],
    [[31, "world", "someone"]],
    [[31, "digest", "nocolon"]],
    [[31, "digest", "a:b:c"]],
    [[31, "ip", "300.1.1.1"]],
    [[31, "ip", "127.0.0.1/99"]],
    [[31, "ip", "not an address"]],
    [[31, "nosuch", "x"]],
    [[31, "x509", "CN=x"]],
    [[31, "super", "x"]],
    [[31, "sasl", "x"]],
    [[31, None, "x"]],
    [[99, "world", "anyone"]],
    [[-1, "world", "anyone"]],
    [[31, "", ""]],
]
# Not among them: bad UTF-8, which zkore refuses and Apache reads with replacement characters.
BAD_PATHS = [
    "", "/", "//", "~/", "~//a", "~/./a", "~/../a", "~/a/", "~/a/.", "~/a/..", "a", "a/b",
    "~/\u0001", "~/a\u0000b", "~/\u007f", "~/\u0085x", "~/\uf000", "~/\ufff0",
    "~/\ufffd", "~/\U0001f600", None, "~/...", "~/.hidden", "~/ ",
    "~/\u00e9\u4e2d", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/zookeeper/none",
    "/zookeeperx/none",
]
NAMES = ["a", "a", "b", "b", "c", "a0"]
SEQUENTIAL_NAMES = [f"s{n:010d}" for n in range(4)]
CREATE_FLAGS = [0] * 12 + [1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, -1, 99]


class Generator:
    """Makes one plan; `self.rng` is the only source of choice."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.label = 0
        self.known = ["~/a"]
        self.has_quota = False

    def plan(self, steps):
        rng = self.rng
        names = SESSIONS[:rng.choice([1, 2, 2, 3])]
        plan = [self.connect(name) for name in names]
        for name in names:
            if rng.random() < 0.4:
                plan.append(self.auth(name))
        self.has_quota = rng.random() < 0.25
        if self.has_quota:
            plan += self.quota(names[0])
        for path in ("~/a", "~/b", "~/a/a", "~/b/a"):
            if rng.random() < 0.7:
                plan.append(self.create(names[0], path, self.data()))
        while len(plan) < steps:
            s = rng.choice(names)
            roll = rng.random()
            if roll < 0.025:
                plan.append(self.req(s, "closeSession", {}))
                plan.append(self.connect(s))
            elif roll < 0.05:
                if rng.random() < 0.5:
                    plan.append({"kind": "drop", "s": s})
                plan.append({**self.connect(s), "sid_of": s})
                if rng.random() < 0.7:
                    plan.append(self.restore_watches(s))
            elif roll < 0.07:
                plan.append(self.auth(s))
            elif roll < 0.12:
                plan.append(self.burst(s))
            else:
                op, args = self.request()
                plan.append(self.req(s, op, args))
        return plan

    # Steps.

    def connect(self, name):
        return {"kind": "connect", "s": name, "timeout": 9000,
                "read_only": self.rng.choice([False, False, True, None])}

    def auth(self, name):
        user = self.rng.choice(list(USERS))
        return self.req(name, "auth", {"scheme": "digest", "auth": USERS[user]})

    def req(self, s, op, args):
        step = {"kind": "req", "s": s, "op": op, "args": args}
        if self.rng.random() < 0.3:
            step["lockstep"] = True
        if self.rng.random() < 0.05:
            step["split"] = self.rng.randrange(1, 100)
        if self.rng.random() < 0.3:
            self.label += 1
            step["label"] = self.label
        return step

    def burst(self, s):
        # Apache checks quotas, and permissions after a setACL, against what is applied so far:
        # in a pipeline its answer depends on the moment.
        unsteady = ("setACL",) + (("create", "create2", "createContainer", "createTTL", "setData",
                                   "multi") if self.has_quota else ())
        reqs = [self.request() for _ in range(self.rng.randrange(2, 12))]
        reqs = [r for r in reqs if r[0] not in unsteady] or [("ping", {})]
        step = {"kind": "burst", "s": s, "reqs": reqs}
        if self.rng.random() < 0.3:
            step["split"] = self.rng.randrange(1, 100)
        return step

    def quota(self, s):
        """A quota on a node, made as zkCli's setquota makes it."""
        rng = self.rng
        path = rng.choice(["~", "~/a", "~/b"])
        limits = rng.choice([
            "count=3,bytes=-1", "count=-1,bytes=20", "count=2,bytes=10=;byteHardLimit=30",
            "count=-1,bytes=-1=;countHardLimit=4", "count=-1,bytes=-1=;byteHardLimit=16",
            "count=-1,bytes=-1=;byteHardLimit=25;countHardLimit=3", "count=1,bytes=1",
        ])
        steps = []
        if path != "~":
            steps.append(self.create(s, path, b""))
        prefix = "/zookeeper/quota"
        for part in path.split("/"):
            prefix += part if part == "~" else "/" + part
            steps.append(self.create(s, prefix, None))
        steps.append(self.create(s, prefix + "/zookeeper_limits", limits.encode()))
        steps.append(self.create(s, prefix + "/zookeeper_stats", b"count=0,bytes=0"))
        steps.append(self.req(s, "getData",
                              {"path": prefix + "/zookeeper_stats", "watch": False}))
        return steps

    def create(self, s, path, data):
        return self.req(s, "create", {"path": path, "data": data, "acl": OPEN, "flags": 0})

    def restore_watches(self, s):
        rng = self.rng
        some = lambda: [self.path() or "~" for _ in range(rng.randrange(0, 3))]
        args = {"zxid": self.zxid(), "data": some(), "exist": some(), "child": some()}
        if rng.random() < 0.5:
            return self.req(s, "setWatches", args)
        args |= {"persistent": some(), "recursive": some()}
        return self.req(s, "setWatches2", args)

    def zxid(self):
        if self.label and self.rng.random() < 0.7:
            return ("zxid", self.rng.randrange(1, self.label + 1))
        return self.rng.choice([0, 1 << 60, -1])

    # Arguments.

    def path(self):
        rng = self.rng
        roll = rng.random()
        if roll < 0.04:
            return rng.choice(BAD_PATHS)
        if roll < 0.08:
            return "~"
        if roll < 0.45:
            return rng.choice(self.known)
        if roll < 0.50:
            return rng.choice(["~", "~/a"]) + "/" + rng.choice(SEQUENTIAL_NAMES)
        if roll < 0.53:
            return rng.choice(["/zookeeper/quota~/zookeeper_stats",
                               "/zookeeper/quota~/a/zookeeper_stats",
                               "/zookeeper/quota~/a/zookeeper_limits",
                               "/zookeeper/quota~/a", "/zookeeper/quota~", "/zookeeper"])
        depth = rng.choice([1, 1, 1, 1, 2, 2, 2, 3])
        return "~" + "".join("/" + rng.choice(NAMES[:3] if i else NAMES) for i in range(depth))

    def node_path(self):
        """A path for changes: never the tree's own nodes, which other plans share."""
        while True:
            path = self.path()
            if path is not None and len(path) and path[:1] in ("~", b"~") \
                    and path not in ("~",):
                return path

    def version(self):
        return self.rng.choice([-1, -1, -1, -1, -1, 0, 0, 0, 1, 1, 2, 3, -2])

    def data(self):
        return self.rng.choice([b"", b"x", b"some data", None, b"y" * 20, b"z" * 300])

    def acl(self):
        return self.rng.choice(BAD_ACLS if self.rng.random() < 0.12 else
                               [OPEN] if self.rng.random() < 0.6 else ACLS)

    def sub_create(self):
        rng = self.rng
        op = rng.choice(["create", "create", "create2", "createContainer", "createTTL"])
        path = self.node_path()
        flags = rng.choice(CREATE_FLAGS)
        if op == "createContainer" and rng.random() < 0.8:
            flags = 4
        if op == "createTTL" and rng.random() < 0.8:
            flags = rng.choice([5, 6])
        if op in ("create", "create2") and flags >= 4 and rng.random() < 0.7:
            flags = 0
        if flags in (2, 3, 6) and isinstance(path, str):
            path = rng.choice(["~/s", "~/a/s", "~/b/", "~/a/s", "~/s", path])
        elif isinstance(path, str) and path.isprintable():
            self.known.append(path)
        args = {"path": path, "data": self.data(), "acl": self.acl(), "flags": flags}
        if op == "createTTL":
            args["ttl"] = rng.choice([3600_000] * 12 + [0, -1, (1 << 40) - 1, 1 << 40, 1 << 62])
            if flags not in (5, 6):
                # Out of bounds here would end Apache: see scripts.harmless.
                args["ttl"] = 3600_000
        return op, args

    def write(self):
        rng = self.rng
        roll = rng.random()
        if roll < 0.5:
            return self.sub_create()
        if roll < 0.7:
            return "delete", {"path": self.node_path(), "version": self.version()}
        return "setData", {"path": self.node_path(), "data": self.data(),
                           "version": self.version()}

    def multi(self):
        rng = self.rng
        ops = []
        for _ in range(rng.choice([0, 1, 2, 2, 3, 3, 4, 6])):
            roll = rng.random()
            if roll < 0.8:
                ops.append(self.write())
            elif roll < 0.97:
                ops.append(("check", {"path": self.path(), "version": self.version()}))
            else:
                ops.append(("getData", {"path": self.path(), "watch": False}))
        return "multi", {"ops": ops}

    def multi_read(self):
        rng = self.rng
        ops = []
        for _ in range(rng.choice([0, 1, 2, 3, 5])):
            op = "check" if rng.random() < 0.03 else rng.choice(["getData", "getChildren"])
            if op == "check":
                ops.append((op, {"path": self.path(), "version": self.version()}))
            else:
                ops.append((op, {"path": self.path(), "watch": rng.random() < 0.1}))
        return "multiRead", {"ops": ops}

    def request(self):
        rng = self.rng
        roll = rng.random()
        if roll < 0.42:
            return self.write()
        if roll < 0.50:
            return self.multi()
        if roll < 0.53:
            return self.multi_read()
        if roll < 0.57:
            return "setACL", {"path": self.node_path(), "acl": self.acl(),
                              "version": self.version()}
        if roll < 0.63:
            return "addWatch", {"path": self.path(),
                                "mode": rng.choice([0, 0, 1, 1, 1] * 4 + [2, -1])}
        if roll < 0.66:
            return rng.choice(["removeWatches", "checkWatches"]), {
                "path": self.path(), "type": rng.choice([1, 2, 3, 3, 4, 5, 0, 9])}
        if roll < 0.88:
            return rng.choice(["exists", "getData", "getChildren", "getChildren2"]), {
                "path": self.path(), "watch": rng.random() < 0.6}
        op = rng.choice(["getACL", "getAllChildrenNumber", "getEphemerals", "sync", "whoAmI",
                         "ping", "getACL", "getEphemerals"])
        if op in ("whoAmI", "ping"):
            return op, {}
        path = self.path()
        if op in ("sync", "getAllChildrenNumber") and not path:
            # See the list at the head of scripts.
            path = "~"
        return op, {"path": path}
