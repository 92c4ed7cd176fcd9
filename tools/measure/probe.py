"""A few requests a second, each on time, whose answers the kernel dates: how long a server took, whatever
else kept this program from its turn.

A load generator that shares the processors with the server is late now and then: it sends late, and it reads
late. Here the time of a request counts from when it was really sent to when the kernel had its answer, so
neither is in it. Requests do not wait for answers before them, so that a pause meets each that was sent
meanwhile (an open loop); one that this program sent late may miss a pause, and `late_max_ms` says by how much.
"""

import collections
import socket
import struct
import threading
import time

from wire import GET_DATA, Session, WireError

CREATE, SET_DATA = 1, 5
NODE_EXISTS = -110
# Linux's SO_TIMESTAMPNS, which Python's module has no name for: the time of receipt beside the bytes.
SO_TIMESTAMPNS = 35
ANYONE = struct.pack(">iii", 1, 31, 5) + b"world" + struct.pack(">i", 6) + b"anyone"
VALUE = b"x" * 100


class Probe:
    """Gets on one connection and sets on another, at fixed rates, for as long as the block takes."""

    def __init__(self, port, gets_s, sets_s, path="/probe"):
        create(port, path)
        self.lines = {
            "get": Line(port, get_request(path), gets_s),
            "set": Line(port, set_request(path), sets_s),
        }

    def __enter__(self):
        for line in self.lines.values():
            line.thread.start()
        return self

    def __exit__(self, *_):
        for line in self.lines.values():
            line.stop()

    def longest_ms(self):
        """The longest that an answer took, by operation."""
        return {name: max(line.took_ms) for name, line in self.lines.items()}

    def late_max_ms(self):
        """The longest that this program was behind its own times."""
        return max(line.late_max_ms for line in self.lines.values())


class Line:
    """A connection on which one request is sent again and again."""

    def __init__(self, port, request, rate):
        self.session = Session(port)
        self.connection = self.session.connection
        self.connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.request, self.interval_s = request, 1 / rate
        self.took_ms, self.late_max_ms = [], 0.0
        # When the requests without an answer were sent; those behind come later in the stream.
        self.sent_ns = collections.deque()
        self.unread = b""
        self.is_stopping = False
        self.fault = None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        try:
            due_s = time.monotonic()
            while not self.is_stopping:
                self.read_until(due_s)
                self.late_max_ms = max(self.late_max_ms, 1000 * (time.monotonic() - due_s))
                self.session.xid += 1
                self.sent_ns.append(time.time_ns())
                self.session.send(struct.pack(">i", self.session.xid) + self.request)
                due_s += self.interval_s
            self.read_until(time.monotonic() + 10)
        except (OSError, WireError) as fault:
            self.fault = fault

    def read_until(self, end_s):
        """Takes answers until then; where it is to stop, until there are no more to come."""
        while (rest_s := end_s - time.monotonic()) > 0 and not (self.is_stopping and not self.sent_ns):
            self.connection.settimeout(rest_s)
            try:
                data, notes, _, _ = self.connection.recvmsg(65536, 256)
            except TimeoutError:
                return
            if not data:
                raise WireError("the server has closed the connection")
            self.take(data, arrival_ns(notes))

    def take(self, data, at_ns):
        frames, self.unread = split(self.unread + data)
        for frame in frames:
            (error,) = struct.unpack_from(">i", frame, 12)
            if error != 0:
                raise WireError(f"error {error}")
            self.took_ms.append((at_ns - self.sent_ns.popleft()) / 1e6)

    def stop(self):
        self.is_stopping = True
        self.thread.join()
        unanswered = len(self.sent_ns)
        self.connection.settimeout(30)
        if self.fault is None and not unanswered:
            self.session.__exit__()
        else:
            self.connection.close()
        if self.fault or unanswered:
            raise WireError(f"the probe: {self.fault or f'{unanswered} requests without an answer'}")


def split(data):
    """The whole frames that the data begins with, and the rest."""
    frames, start = [], 0
    while len(data) - start >= 4:
        (length,) = struct.unpack_from(">i", data, start)
        if len(data) - start - 4 < length:
            break
        frames.append(data[start + 4 : start + 4 + length])
        start += 4 + length
    return frames, data[start:]


def arrival_ns(notes):
    """When the kernel had the last of the bytes, by its clock of the day."""
    for level, kind, value in notes:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("qq", value[:16])
            return seconds * 1_000_000_000 + nanoseconds
    raise WireError("the kernel does not say when bytes arrived")


def create(port, path):
    name = path.encode()
    body = struct.pack(">i", len(name)) + name + struct.pack(">i", len(VALUE)) + VALUE + ANYONE + struct.pack(">i", 0)
    with Session(port) as session:
        session.send(struct.pack(">ii", 1, CREATE) + body)
        (error,) = struct.unpack_from(">i", session.receive(), 12)
        if error not in (0, NODE_EXISTS):
            raise WireError(f"creating {path}: error {error}")


def get_request(path):
    """Without the xid that precedes it."""
    name = path.encode()
    return struct.pack(">ii", GET_DATA, len(name)) + name + b"\0"


def set_request(path):
    name = path.encode()
    return struct.pack(">ii", SET_DATA, len(name)) + name + struct.pack(">i", len(VALUE)) + VALUE + struct.pack(">i", -1)
