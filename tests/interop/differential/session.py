"""One session of the raw client: a socket at a time, blocking, without hidden behaviour.

Nothing is retried or re-registered: what a plan does not ask for is not sent.
"""

import select
import socket
import struct
import time

from jute import (OPS, XID_AUTH, XID_NOTIFICATION, XID_PING, XID_SET_WATCHES, DecodeError, In,
                  decode_connect, decode_reply, encode_connect, encode_request)

REPLY_TIMEOUT_S = 10.0


class Closed(Exception):
    """The server closed the connection."""


class Silent(Exception):
    """The server neither answered nor closed the connection in time."""


class Link:
    """A connection that carries frames."""

    def __init__(self, address, patience_s=REPLY_TIMEOUT_S):
        self.patience_s = patience_s
        self.sock = socket.create_connection(address, timeout=patience_s)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError as e:
            raise Closed(str(e)) from None

    def send_frame(self, body):
        self.send(struct.pack(">i", len(body)) + body)

    def frame(self, timeout=None):
        deadline = time.monotonic() + (self.patience_s if timeout is None else timeout)
        while True:
            if len(self.received) >= 4:
                (size,) = struct.unpack_from(">i", self.received)
                if size < 0:
                    raise DecodeError(f"frame of {size} bytes")
                if len(self.received) >= 4 + size:
                    body = bytes(self.received[4:4 + size])
                    del self.received[:4 + size]
                    return body
            wait = deadline - time.monotonic()
            if wait <= 0 or not select.select([self.sock], [], [], wait)[0]:
                raise Silent()
            try:
                piece = self.sock.recv(65536)
            except OSError as e:
                raise Closed(str(e)) from None
            if not piece:
                raise Closed("end of stream")
            self.received += piece

    def close(self):
        self.sock.close()


class Session:
    """A session and its present connection, if it has one."""

    def __init__(self, name, address, patience_s=REPLY_TIMEOUT_S):
        self.name = name
        self.address = address
        self.patience_s = patience_s
        self.sid = 0
        self.passwd = b"\0" * 16
        self.last_zxid = 0
        self.xid = 0
        self.link = None

    def connect(self, *, timeout, sid=0, passwd=b"\0" * 16, last_zxid=0, read_only=False,
                protocol=0):
        """Opens a connection and returns the decoded connect reply."""
        self.abandon()
        self.link = Link(self.address, self.patience_s)
        self.xid = 0
        try:
            self.link.send_frame(
                encode_connect(protocol, last_zxid, timeout, sid, passwd, read_only))
            reply = decode_connect(self.link.frame())
        except (Closed, Silent):
            self.abandon()
            raise
        if reply["sid"]:
            self.sid, self.passwd = reply["sid"], reply["passwd"]
        return reply

    def request_frame(self, op, args):
        """(xid, frame) of a request; op is a name of OPS or ("opcode", number, record bytes)."""
        if isinstance(op, tuple):
            _, code, body = op
        else:
            code, body = OPS[op], encode_request(op, args)
        fixed = {"ping": XID_PING, "auth": XID_AUTH, "setWatches": XID_SET_WATCHES,
                 "setWatches2": XID_SET_WATCHES}
        if op in fixed:
            xid = fixed[op]
        else:
            self.xid += 1
            xid = self.xid
        frame = struct.pack(">ii", xid, code) + body
        return xid, struct.pack(">i", len(frame)) + frame

    def receive(self, op_of_reply, timeout=None):
        """The next frame as ("event", ...) or ("reply", ...). `op_of_reply` decodes replies."""
        r = In(self.link.frame(timeout))
        xid, zxid, err = r.int(), r.long(), r.int()
        if xid == XID_NOTIFICATION:
            event = {"type": r.int(), "state": r.int(), "path": r.string()}
            r.end()
            return ("event", {"zxid": zxid, "err": err, **event})
        if zxid > 0:
            self.last_zxid = zxid
        return ("reply", {"xid": xid, "zxid": zxid, "err": err,
                          "record": decode_reply(op_of_reply, r)})

    def abandon(self):
        """Closes the connection without a word; the session lives on."""
        if self.link:
            self.link.close()
            self.link = None
