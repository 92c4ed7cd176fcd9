"""HBase 2.6: a master and two region servers on a local file system, faults while rows are written.

A table is created and split; the region server that holds hbase:meta and the ensemble's leader are
killed with kill -9; then every acknowledged row must be there with its bytes, and only the server that
was killed may have lost its session.
"""

import time

from harness import free_ports
from trial import EXPIRED, LOG4J, Driver, Process, java, main, say, timed, wait_until

SESSION_MS = 6000
RATE = 1000
REGIONS = 4

SITE = {
    "hbase.cluster.distributed": "true",
    # A local file system does not promise what HDFS does; when a process is killed, it holds.
    "hbase.unsafe.stream.capability.enforce": "false",
    "hbase.wal.provider": "filesystem",
    "zookeeper.session.timeout": SESSION_MS,
    "hbase.master.hostname": "localhost",
    "hbase.unsafe.regionserver.hostname": "localhost",
    "hbase.master.info.port": -1,
    "hbase.regionserver.info.port": -1,
    "hbase.master.wait.on.regionservers.mintostart": 2,
    "hbase.client.registry.impl": "org.apache.hadoop.hbase.client.ZKConnectionRegistry",
    "hbase.client.operation.timeout": 120000,
    "hbase.client.meta.operation.timeout": 120000,
    # Tried again after 10 ms to 2 s, so that waiting for a region does not show the client's pauses.
    "hbase.client.pause": 10,
    "hbase.client.retries.number": 200,
    "hbase.rpc.timeout": 10000,
}
# As bin/hbase does for Java 11 and later.
OPENS = ["java.lang", "java.lang.reflect", "java.nio", "java.util", "java.util.concurrent", "jdk.internal.ref", "sun.nio.ch"]
FLAGS = [
    "-Xmx512m",
    *[f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENS],
    "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
]
MASTER = "org.apache.hadoop.hbase.master.HMaster"
REGION_SERVER = "org.apache.hadoop.hbase.regionserver.HRegionServer"


def configure(trial, name, **ports):
    """A folder with the settings of one process."""
    folder = trial.fresh_folder(name)
    site = {
        **SITE,
        "hbase.rootdir": f"file://{trial.folder}/root",
        "hbase.tmp.dir": f"{folder}/tmp",
        "hbase.zookeeper.quorum": trial.servers(),
        **{f"hbase.{role}.port": port for role, port in ports.items()},
    }
    properties = "".join(f"<property><name>{key}</name><value>{value}</value></property>\n" for key, value in site.items())
    (folder / "hbase-site.xml").write_text(f"<configuration>\n{properties}</configuration>\n")
    (folder / "log4j.properties").write_text(LOG4J)
    return folder


class Server(Process):
    def __init__(self, trial, name, main_class, **ports):
        (self.port,) = ports.values()
        folder = configure(trial, name, **ports)
        super().__init__(name, folder, java("hbase", main_class, "start", flags=FLAGS, settings=folder))


class Cluster:
    """A master and two region servers, seen through a client of the ensemble."""

    def __init__(self, trial):
        self.trial = trial
        self.zookeeper = trial.ensemble.client()
        ports = free_ports(3)
        self.master = trial.run(Server(trial, "master", MASTER, master=ports[0]))
        self.servers = [
            trial.run(Server(trial, f"region-server-{number}", REGION_SERVER, regionserver=ports[number]))
            for number in (1, 2)
        ]
        wait_until(lambda: len(self.registrations()) == 3, "master and region servers register", 120)
        folder = configure(trial, "driver")
        self.driver = trial.run(Driver("driver", folder, java("hbase", "Driver", flags=FLAGS, settings=folder)))
        wait_until(lambda: self.driver.ask("servers") == ["2"], "the master has both region servers", 60, 0.2)

    def registrations(self):
        """The zxids of the nodes of master and region servers, which are others if they register again."""
        found = {}
        if stat := self.zookeeper.retry(self.zookeeper.exists, "/hbase/master"):
            found[self.master.port] = stat.czxid
        if self.zookeeper.retry(self.zookeeper.exists, "/hbase/rs"):
            for name in self.zookeeper.retry(self.zookeeper.get_children, "/hbase/rs"):
                if stat := self.zookeeper.retry(self.zookeeper.exists, f"/hbase/rs/{name}"):
                    found[int(name.split(",")[1])] = stat.czxid
        return found

    def lose(self, server):
        """Kills a region server and the ensemble's leader; both come back. Returns after what time, from
        the kill, the server's session was over, and every region was served."""
        began = time.monotonic()
        server.kill()
        say(f"{self.trial.kind}: {server.name}, which holds hbase:meta, killed")
        leader = self.trial.kill_leader()
        wait_until(lambda: server.port not in self.registrations(), f"{server.name} expires", 60)
        expired_s = time.monotonic() - began
        regions = self.driver.ask("served")
        served_s = time.monotonic() - began
        self.trial.check("every region is served by the other", regions == [str(2 * REGIONS)], f"{regions[0]} regions")
        self.trial.return_member(leader)
        server.start()
        wait_until(lambda: server.port in self.registrations(), f"{server.name} registers", 120)
        wait_until(lambda: self.driver.ask("servers") == ["2"], "the master has both region servers", 60, 0.2)
        return expired_s, served_s


def run(trial):
    cluster = Cluster(trial)
    driver = cluster.driver
    registrations = cluster.registrations()
    regions, took_s = timed(driver.ask, "create")
    trial.measure(f"creating a table of {regions[0]} regions, until all are served", took_s)
    driver.ask("write", RATE)
    time.sleep(2 if trial.options.quick else 15)
    regions, took_s = timed(driver.ask, "split")
    trial.measure("splitting each region, until all are served", took_s)
    trial.check("the table is split", regions == [str(2 * REGIONS)], f"{regions[0]} regions")
    (port,) = driver.ask("meta")
    (server,) = [each for each in cluster.servers if each.port == int(port)]
    expired_s, served_s = cluster.lose(server)
    name = f"the region server with hbase:meta and the ensemble's leader killed, until its session ({SESSION_MS} ms) ends"
    trial.measure(name, expired_s)
    trial.measure("… until every region is served", served_s)
    time.sleep(2 if trial.options.quick else 10)
    verify(trial, cluster, {**registrations, server.port: cluster.registrations()[server.port]})
    _, took_s = timed(driver.ask, "drop")
    trial.measure("disabling and deleting the table", took_s)
    for process in [driver, *cluster.servers, cluster.master]:
        process.stop()
    trial.ensemble.same_trees()
    trial.check("all members hold the same tree", True)


def verify(trial, cluster, registrations):
    acknowledged, unknown = map(int, cluster.driver.ask("stop"))
    read, lost, wrong = map(int, cluster.driver.ask("verify"))
    seen = f"{acknowledged:,} acknowledged, {unknown} refused, {lost} lost"
    trial.check("every acknowledged row is read back", acknowledged > 0 and lost == 0, seen)
    trial.check("each with its bytes", wrong == 0, f"{read:,} read, {wrong} wrong")
    trial.check("no server lost its registration but the one killed", cluster.registrations() == registrations)
    servers = [cluster.master, *cluster.servers]
    expired = [line for server in servers for line in server.lines(EXPIRED)]
    trial.check("no server saw its session expire", not expired, "; ".join(expired[:2]))


if __name__ == "__main__":
    main("hbase", "HBase 2.6.4", __doc__, run)
