"""The ZooKeeper client protocol's encoding, written from the schema and from nothing else.

It shares no code with zkore's own codec: that is the point of it. Requests are built from plain
Python values, replies are decoded into dictionaries, and decoding is strict: bytes left over or
missing are errors, so that a reply which only looks right is found.
"""

import struct

# Operation codes of ZooDefs.OpCode.
OPS = {
    "notification": 0, "create": 1, "delete": 2, "exists": 3, "getData": 4, "setData": 5,
    "getACL": 6, "setACL": 7, "getChildren": 8, "sync": 9, "ping": 11, "getChildren2": 12,
    "check": 13, "multi": 14, "create2": 15, "reconfig": 16, "checkWatches": 17,
    "removeWatches": 18, "createContainer": 19, "deleteContainer": 20, "createTTL": 21,
    "multiRead": 22, "auth": 100, "setWatches": 101, "sasl": 102, "getEphemerals": 103,
    "getAllChildrenNumber": 104, "setWatches2": 105, "addWatch": 106, "whoAmI": 107,
    "createSession": -10, "closeSession": -11, "error": -1,
}
OP_NAMES = {code: name for name, code in OPS.items()}

# Transaction ids that the protocol reserves.
XID_NOTIFICATION = -1
XID_PING = -2
XID_AUTH = -4
XID_SET_WATCHES = -8


class DecodeError(Exception):
    """A reply that does not follow the schema."""


class Out:
    """Appends encoded values to a buffer."""

    def __init__(self):
        self.buf = bytearray()

    def int(self, v):
        self.buf += struct.pack(">i", v)
        return self

    def long(self, v):
        self.buf += struct.pack(">q", v)
        return self

    def bool(self, v):
        self.buf += b"\x01" if v else b"\x00"
        return self

    def bytes(self, v):
        """A buffer or, for None, the length -1."""
        if v is None:
            return self.int(-1)
        self.int(len(v))
        self.buf += v
        return self

    def string(self, v):
        """A string; bytes are taken as they are, so that bad UTF-8 can be sent."""
        return self.bytes(v.encode("utf-8", "surrogatepass") if isinstance(v, str) else v)

    def vector(self, items, write):
        if items is None:
            return self.int(-1)
        self.int(len(items))
        for item in items:
            write(item)
        return self

    def strings(self, items):
        return self.vector(items, self.string)

    def acls(self, items):
        def one(acl):
            perms, scheme, ident = acl
            self.int(perms).string(scheme).string(ident)
        return self.vector(items, one)


class In:
    """Reads encoded values from a frame."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, n):
        if n < 0 or self.at + n > len(self.data):
            raise DecodeError(f"{n} bytes wanted at {self.at} of {len(self.data)}")
        piece = self.data[self.at:self.at + n]
        self.at += n
        return piece

    def int(self):
        return struct.unpack(">i", self.take(4))[0]

    def long(self):
        return struct.unpack(">q", self.take(8))[0]

    def bool(self):
        v = self.take(1)[0]
        if v > 1:
            raise DecodeError(f"boolean {v}")
        return bool(v)

    def bytes(self):
        n = self.int()
        return None if n == -1 else bytes(self.take(n))

    def string(self):
        """A string. Apache writes characters beyond the basic plane as two surrogates of three
        bytes each, which is not UTF-8: such pairs are joined."""
        v = self.bytes()
        if v is None:
            return None
        text = v.decode("utf-8", "surrogatepass")
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")

    def vector(self, read):
        n = self.int()
        return None if n == -1 else [read() for _ in range(n)]

    def strings(self):
        return self.vector(self.string)

    def acls(self):
        return self.vector(lambda: [self.int(), self.string(), self.string()])

    def stat(self):
        return {
            "czxid": self.long(), "mzxid": self.long(), "ctime": self.long(),
            "mtime": self.long(), "version": self.int(), "cversion": self.int(),
            "aversion": self.int(), "ephemeralOwner": self.long(), "dataLength": self.int(),
            "numChildren": self.int(), "pzxid": self.long(),
        }

    def end(self):
        if self.at != len(self.data):
            raise DecodeError(f"{len(self.data) - self.at} bytes left over")


def encode_request(op, a):
    """The record of request `op` (a name of OPS) with the arguments `a`, without the header."""
    out = Out()
    if op in ("create", "create2", "createContainer"):
        out.string(a["path"]).bytes(a["data"]).acls(a["acl"]).int(a["flags"])
    elif op == "createTTL":
        out.string(a["path"]).bytes(a["data"]).acls(a["acl"]).int(a["flags"]).long(a["ttl"])
    elif op in ("delete", "check"):
        out.string(a["path"]).int(a["version"])
    elif op in ("exists", "getData", "getChildren", "getChildren2"):
        out.string(a["path"]).bool(a["watch"])
    elif op == "setData":
        out.string(a["path"]).bytes(a["data"]).int(a["version"])
    elif op in ("getACL", "sync", "getAllChildrenNumber", "getEphemerals", "deleteContainer"):
        out.string(a["path"])
    elif op == "setACL":
        out.string(a["path"]).acls(a["acl"]).int(a["version"])
    elif op in ("multi", "multiRead"):
        for sub, sub_args in a["ops"]:
            code = OPS[sub] if isinstance(sub, str) else sub
            out.int(code).bool(False).int(-1)
            if isinstance(sub, str):
                out.buf += encode_request(sub, sub_args)
        out.int(-1).bool(True).int(-1)
    elif op in ("checkWatches", "removeWatches"):
        out.string(a["path"]).int(a["type"])
    elif op == "addWatch":
        out.string(a["path"]).int(a["mode"])
    elif op == "setWatches":
        out.long(a["zxid"]).strings(a["data"]).strings(a["exist"]).strings(a["child"])
    elif op == "setWatches2":
        out.long(a["zxid"]).strings(a["data"]).strings(a["exist"]).strings(a["child"])
        out.strings(a["persistent"]).strings(a["recursive"])
    elif op == "auth":
        out.int(a.get("type", 0)).string(a["scheme"]).bytes(a["auth"])
    elif op == "sasl":
        out.bytes(a["token"])
    elif op == "reconfig":
        out.string(a["joining"]).string(a["leaving"]).string(a["members"]).long(a["config"])
    elif op in ("ping", "closeSession", "whoAmI", "createSession"):
        pass
    else:
        raise ValueError(op)
    return bytes(out.buf)


def encode_connect(protocol, last_zxid, timeout, sid, passwd, read_only):
    """A connect request; `read_only` None leaves the flag out, as clients before 3.4 do."""
    out = Out()
    out.int(protocol).long(last_zxid).int(timeout).long(sid).bytes(passwd)
    if read_only is not None:
        out.bool(read_only)
    return bytes(out.buf)


def decode_connect(frame):
    r = In(frame)
    reply = {
        "protocol": r.int(), "timeout": r.int(), "sid": r.long(), "passwd": r.bytes(),
        "readOnly": None,
    }
    if r.at < len(frame):
        reply["readOnly"] = r.bool()
    r.end()
    return reply


def decode_reply(op, r):
    """The record that answers `op`; `r` stands behind the reply header."""
    if r.at == len(r.data):
        return None
    if op == "create" or op == "sync":
        reply = {"path": r.string()}
    elif op in ("create2", "createContainer", "createTTL"):
        reply = {"path": r.string(), "stat": r.stat()}
    elif op in ("exists", "setData", "setACL", "check"):
        reply = {"stat": r.stat()}
    elif op == "getData":
        reply = {"data": r.bytes(), "stat": r.stat()}
    elif op == "getACL":
        reply = {"acl": r.acls(), "stat": r.stat()}
    elif op == "getChildren":
        reply = {"children": r.strings()}
    elif op == "getChildren2":
        reply = {"children": r.strings(), "stat": r.stat()}
    elif op == "getEphemerals":
        reply = {"ephemerals": r.strings()}
    elif op == "getAllChildrenNumber":
        reply = {"number": r.int()}
    elif op == "addWatch":
        reply = {"err": r.int()}
    elif op == "whoAmI":
        reply = {"clients": r.vector(lambda: [r.string(), r.string()])}
    elif op in ("multi", "multiRead"):
        reply = {"results": decode_multi(r)}
    elif op == "sasl":
        reply = {"token": r.bytes()}
    else:
        raise DecodeError(f"a record behind the reply to {op}: {r.data[r.at:].hex()}")
    r.end()
    return reply


def decode_multi(r):
    results = []
    while True:
        op, done, err = r.int(), r.bool(), r.int()
        if done:
            if (op, err) != (-1, -1):
                raise DecodeError(f"last multi header {op} {err}")
            return results
        result = {"op": OP_NAMES.get(op, op), "err": err}
        if op == OPS["create"]:
            result["path"] = r.string()
        elif op == OPS["create2"]:
            result["path"], result["stat"] = r.string(), r.stat()
        elif op == OPS["setData"]:
            result["stat"] = r.stat()
        elif op == OPS["getChildren"]:
            result["children"] = r.strings()
        elif op == OPS["getData"]:
            result["data"], result["stat"] = r.bytes(), r.stat()
        elif op == OPS["error"]:
            result["code"] = r.int()
        elif op not in (OPS["delete"], OPS["check"]):
            raise DecodeError(f"multi result of type {op}")
        results.append(result)
