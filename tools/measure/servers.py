"""Single servers that are stopped, killed, started again and looked at while they are measured."""

import pathlib
import subprocess

import single
from wire import Session, WireError, word

# The servers' own default, where other tools take fewer snapshots.
SNAP_COUNT = 100_000
# How long a server has to answer once it is connected: one that starts may keep silent for good.
PATIENCE_S = 0.3


class Server(single.Server):
    """A server that may end and start again on the same data."""

    def __init__(self, name, folder, command, snap_count=SNAP_COUNT):
        self.snap_count = snap_count
        super().__init__(name, folder, command, None)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def wait_for(self, ask, pause_s):
        """Opens a session again and again until there is one and `ask(session)` is true."""
        self.wait_until(lambda: self.answers(ask), pause_s)

    def answers(self, ask):
        try:
            with Session(self.port, PATIENCE_S) as session:
                return ask(session)
        except (OSError, WireError):
            return False

    def resident_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def processor_s(self):
        """Of all threads that are alive, to the nanosecond, where /proc/PID/stat counts in ticks."""
        total = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except FileNotFoundError:
                # It has ended since it was listed.
                pass
        return total / 1e9

    def metric(self, name):
        """A number that `mntr` tells, or None."""
        for line in word(self.port, "mntr").splitlines():
            key, _, value = line.partition("\t")
            if key == f"zk_{name}":
                return float(value)
        return None

    def live_heap_bytes(self):
        """What a Java server's heap holds after a full collection."""
        pid = str(self.process.pid)
        subprocess.run(["jcmd", pid, "GC.run"], check=True, stdout=subprocess.DEVNULL)
        text = single.output(["jcmd", pid, "GC.heap_info"])
        return int(text.split("used ")[1].split("K")[0]) * 1024
