"""As much of ZooKeeper's client protocol as it takes to ask a server one thing, or to say a four-letter word."""

import socket
import struct

GET_DATA, GET_CHILDREN, CLOSE, COUNT_CHILDREN = 4, 8, -11, 104


class WireError(Exception):
    """The server refused, or said what it must not."""


class Session:
    """A session that asks one thing at a time."""

    def __init__(self, port, timeout_s=30):
        self.xid = 0
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.send(struct.pack(">iqiqi16sB", 0, 0, 30_000, 0, 16, b"", 0))
            granted = self.receive()
            # Protocol version, then the negotiated timeout, which is 0 in a refusal.
            if struct.unpack_from(">i", granted, 4)[0] <= 0:
                raise WireError("no session was granted")
        except BaseException:
            self.connection.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.send(struct.pack(">ii", self.xid + 1, CLOSE))
            self.receive()
        except (OSError, WireError):
            # It ends by itself then.
            pass
        self.connection.close()

    def call(self, kind, path):
        """Error code and body of the reply."""
        self.xid += 1
        name = path.encode()
        body = struct.pack(">i", len(name)) + name
        if kind in (GET_DATA, GET_CHILDREN):
            body += b"\0"
        self.send(struct.pack(">ii", self.xid, kind) + body)
        reply = self.receive()
        xid, _, error = struct.unpack_from(">iqi", reply)
        if xid != self.xid:
            raise WireError(f"reply {xid} instead of {self.xid}")
        return error, reply[16:]

    def send(self, frame):
        self.connection.sendall(struct.pack(">i", len(frame)) + frame)

    def receive(self):
        (length,) = struct.unpack(">i", self.receive_exactly(4))
        return self.receive_exactly(length)

    def receive_exactly(self, count):
        data = bytearray(count)
        rest = memoryview(data)
        while rest:
            got = self.connection.recv_into(rest)
            if got == 0:
                raise WireError("the server has closed the connection")
            rest = rest[got:]
        return bytes(data)


def word(port, name):
    """The answer to a four-letter word."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(name.encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer.decode()
