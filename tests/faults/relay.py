"""TCP relays between members that delay, stall and cut what they pass on. As a program it only delays:
relay.py DELAY_MS LISTEN=TARGET ..., ports on loopback, until its input ends."""

import asyncio
import collections
import random
import socket
import struct
import sys
import threading

# Bytes of one direction that wait for their time before the sender is slowed down.
WAITING_MAX = 64 << 20
# How much earlier than asked for bytes may go on.
GRAIN_S = 0.0002


class Relays:
    """Any number of relays on one thread. `delay_s`, `is_stalled` and `cut_after` may be changed at any
    time and hold for each relay by itself."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.chance = random.Random(11)
        self.relays = []
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def add(self, listen, target):
        relay = Relay(self, target)
        future = asyncio.run_coroutine_threadsafe(relay.listen(listen), self.loop)
        future.result(10)
        self.relays.append(relay)
        return relay

    def call(self, function):
        """Runs a function on the relays' thread and waits for it."""

        async def run():
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def close(self):
        self.call(lambda: [relay.close() for relay in self.relays])
        self.loop.call_soon_threadsafe(self.loop.stop)


class Relay:
    def __init__(self, relays, target):
        self.relays, self.target = relays, target
        self.delay_s = 0.0
        self.is_stalled = False
        self.pairs = set()

    async def listen(self, port):
        self.server = await self.relays.loop.create_server(lambda: End(self, None), "127.0.0.1", port)

    def close(self):
        self.server.close()
        self.cut()

    def stall(self, is_stalled):
        """Whether all that comes is kept back, in both directions."""
        self.is_stalled = is_stalled
        for end in self.pairs:
            end.send_due()

    def cut(self, at_most=0):
        """Breaks all connections after a random number of the bytes under way, up to `at_most`."""
        for end in list(self.pairs):
            end.cut(self.relays.chance.randint(0, at_most))


class End(asyncio.Protocol):
    """One of the two connections of a pair; what it reads goes to the other one."""

    def __init__(self, relay, other):
        self.relay, self.other = relay, other
        self.loop = relay.relays.loop
        self.transport = None
        # What was read, each with the time when it is to go on.
        self.waiting = collections.deque()
        self.waiting_bytes = 0
        self.timer = None
        self.is_ended = False
        # Bytes that still pass before all breaks.
        self.passes = None

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.relay.pairs.add(self)
        if self.other is None:
            self.other = End(self.relay, self)
            self.loop.create_task(self.connect())
        else:
            self.other.send_due()

    async def connect(self):
        try:
            await self.loop.create_connection(lambda: self.other, "127.0.0.1", self.relay.target)
        except OSError:
            self.abort()

    def data_received(self, data):
        self.waiting.append((self.loop.time() + self.relay.delay_s, data))
        self.waiting_bytes += len(data)
        if self.waiting_bytes > WAITING_MAX:
            self.transport.pause_reading()
        self.send_due()

    def send_due(self):
        """Sends on what is due, and comes back for the rest."""
        if self.timer:
            self.timer.cancel()
            self.timer = None
        if self.relay.is_stalled or self.other.transport is None:
            return
        # What is due within the timer's grain goes along, in one write.
        now = self.loop.time() + GRAIN_S
        due = []
        while self.waiting and self.waiting[0][0] <= now:
            due.append(self.waiting.popleft()[1])
        data = b"".join(due)
        self.waiting_bytes -= len(data)
        if self.passes is not None and len(data) >= self.passes:
            self.other.transport.write(data[: self.passes])
            self.abort()
            return
        if self.passes is not None:
            self.passes -= len(data)
        if data:
            self.other.transport.write(data)
        if self.waiting_bytes <= WAITING_MAX // 2:
            self.transport.resume_reading()
        if self.waiting:
            self.timer = self.loop.call_at(self.waiting[0][0], self.send_due)
        elif self.is_ended:
            self.other.transport.close()

    def cut(self, passes):
        self.passes = passes
        if passes == 0:
            self.abort()

    def abort(self):
        """Ends both connections; what waits is lost."""
        for end in (self, self.other):
            end.waiting.clear()
            if end.transport and not end.transport.is_closing():
                linger = struct.pack("ii", 1, 0)
                end.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                end.transport.abort()

    def connection_lost(self, _):
        self.relay.pairs.discard(self)
        self.is_ended = True
        if not self.waiting and self.other.transport:
            self.other.transport.close()


if __name__ == "__main__":
    relays = Relays()
    for pair in sys.argv[2:]:
        listen, target = pair.split("=")
        relays.add(int(listen), int(target)).delay_s = float(sys.argv[1]) / 1000
    print("ready", flush=True)
    sys.stdin.read()
