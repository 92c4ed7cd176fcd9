"""Kafka 3.9 in ZooKeeper mode: two brokers, 2,000 partitions, faults while records are sent.

The brokers and the ensemble's leader are killed with kill -9, the controller is moved; then every
acknowledged record must be there, once, in order, with its bytes, and only the brokers that were
killed may have lost their sessions.
"""

import calendar
import re
import time

from harness import free_ports, walk
from trial import EXPIRED, LOG4J, Driver, Process, java, main, say, wait_until

TOPICS = 20
SESSION_MS = 6000
RATE = 1000
MOVES = 3

LOGGERS = """\
log4j.logger.state.change.logger=WARN
log4j.logger.kafka.log=WARN
log4j.logger.kafka.cluster=WARN
log4j.logger.org.apache.kafka.storage=WARN
"""
BROKER = """\
broker.id={number}
listeners=PLAINTEXT://127.0.0.1:{port}
zookeeper.connect={servers}/kafka
zookeeper.session.timeout.ms={session_ms}
log.dirs={folder}/data
auto.create.topics.enable=false
num.recovery.threads.per.data.dir=4
log.index.size.max.bytes=65536
log.segment.delete.delay.ms=1000
"""
# What the log of a broker says that is ready to be the controller.
READY = r"\[Controller id=\d+\] Starting the controller scheduler"


class Broker(Process):
    def __init__(self, trial, number):
        self.number, self.trial = number, trial
        self.port = free_ports(1)[0]
        folder = trial.fresh_folder(f"broker-{number}")
        (folder / "log4j.properties").write_text(LOG4J + LOGGERS)
        properties = folder / "server.properties"
        properties.write_text(
            BROKER.format(
                number=number, port=self.port, servers=trial.servers(), session_ms=SESSION_MS, folder=folder
            )
        )
        flags = ["-Xmx1g", "-Xms512m", f"-Dlog4j.configuration=file:{folder}/log4j.properties"]
        super().__init__(f"broker-{number}", folder, java("kafka", "kafka.Kafka", properties, flags=flags))


class Cluster:
    """Two brokers, seen through a client of the ensemble."""

    def __init__(self, trial, partitions_each):
        self.trial = trial
        self.zookeeper = trial.ensemble.client()
        self.brokers = {number: trial.run(Broker(trial, number)) for number in (1, 2)}
        self.registrations = {number: self.wait_registered(number) for number in self.brokers}
        bootstrap = ",".join(f"127.0.0.1:{broker.port}" for broker in self.brokers.values())
        command = java("kafka", "Driver", bootstrap, TOPICS, partitions_each, flags=["-Xmx512m"])
        self.driver = trial.run(Driver("driver", trial.folder, command))

    def registration(self, number):
        """The zxid of the broker's node, which is another one if it ever registers again."""
        stat = self.zookeeper.retry(self.zookeeper.exists, f"/kafka/brokers/ids/{number}")
        return stat and stat.czxid

    def wait_registered(self, number):
        return wait_until(lambda: self.registration(number), f"broker {number} registers", 90)

    def controller(self):
        """The broker that is the controller, as its node says."""
        data, _ = self.zookeeper.retry(self.zookeeper.get, "/kafka/controller")
        return self.brokers[int(re.search(rb'"brokerid":(\d+)', data)[1])]

    def ready_times(self):
        """When controllers were ready, as their brokers' logs tell, in seconds."""
        return [log_time(line) for broker in self.brokers.values() for line in broker.lines(READY)]

    def ready_after(self, begin):
        """Waits for a controller that is ready after this time; returns how long that took, in s."""
        after = lambda: [at for at in self.ready_times() if at >= begin]
        return min(wait_until(after, "a controller is ready", 90, 0.1)) - begin

    def move_controller(self):
        begin = time.time()
        self.zookeeper.delete("/kafka/controller")
        return self.ready_after(begin)

    def lose(self, broker, what):
        """Kills a broker and the ensemble's leader; both come back. Returns after what time, from the
        kill, the broker's session was over and, where it was the controller, the next one ready."""
        begin = time.time()
        broker.kill()
        say(f"{self.trial.kind}: {broker.name}, {what}, killed")
        leader = self.trial.kill_leader()
        wait_until(lambda: self.registration(broker.number) is None, f"{broker.name} expires", 60, 0.005)
        gone = time.time()
        self.trial.return_member(leader)
        took = self.ready_after(begin) if what == "the controller" else None
        broker.start()
        self.registrations[broker.number] = self.wait_registered(broker.number)
        self.driver.ask("insync", len(self.brokers))
        say(f"{self.trial.kind}: {broker.name} is back, all partitions are in sync")
        return gone - begin, took

    def is_gone(self):
        """Whether nothing of the topics is left in the ensemble."""
        return not any(
            self.zookeeper.retry(self.zookeeper.get_children, path)
            for path in ("/kafka/brokers/topics", "/kafka/admin/delete_topics")
        )

    def nodes(self):
        return sum(1 for _ in walk(self.zookeeper, "/kafka"))


def log_time(line):
    """The time that a line of a broker's log begins with, in seconds."""
    return calendar.timegm(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")) + int(line[20:23]) / 1000


def run(trial):
    partitions_each = 10 if trial.options.quick else 100
    cluster = Cluster(trial, partitions_each)
    driver = cluster.driver
    began = time.monotonic()
    driver.ask("create", len(cluster.brokers))
    name = f"creating {TOPICS} topics with {TOPICS * partitions_each:,} partitions, until all are led and in sync"
    trial.measure(name, time.monotonic() - began)
    trial.measure("znodes of Kafka then", cluster.nodes())

    driver.ask("produce", RATE)
    moves = [cluster.move_controller() for _ in range(MOVES)]
    trial.measure("controller moved (its znode deleted) until the next one is ready", moves)
    controller = cluster.controller()
    (other,) = [each for each in cluster.brokers.values() if each is not controller]
    cluster.lose(other, "not the controller")
    controller = cluster.controller()
    expired_s, ready_s = cluster.lose(controller, "the controller")
    trial.measure(
        f"controller's broker and the ensemble's leader killed, until its session ({SESSION_MS} ms) ends",
        expired_s,
    )
    trial.measure("… until the next controller is ready", ready_s)
    verify(trial, cluster)

    began = time.monotonic()
    driver.ask("delete")
    wait_until(cluster.is_gone, "the topics are gone from the ensemble", 120)
    trial.measure("deleting the topics, until none is left in the ensemble", time.monotonic() - began)
    for broker in cluster.brokers.values():
        broker.stop()
    trial.ensemble.same_trees()
    trial.check("all members hold the same tree", True)


def verify(trial, cluster):
    acknowledged, refused = cluster.driver.ask("stop")
    read, lost, wrong = cluster.driver.ask("verify")
    trial.check(
        "every acknowledged record is read back",
        int(acknowledged) > 0 and lost == "0",
        f"{int(acknowledged):,} acknowledged, {lost} lost",
    )
    trial.check("each once, in order, with its bytes", wrong == "0", f"{int(read):,} read, {wrong} wrong")
    trial.check("no record refused", refused == "0")
    same = all(cluster.registration(number) == zxid for number, zxid in cluster.registrations.items())
    trial.check("no broker lost its registration but those killed", same)
    expired = [line for broker in cluster.brokers.values() for line in broker.lines(EXPIRED)]
    trial.check("no broker saw its session expire", not expired, "; ".join(expired[:2]))


if __name__ == "__main__":
    main("kafka", "Kafka 3.9.2 in ZooKeeper mode", __doc__, run)
