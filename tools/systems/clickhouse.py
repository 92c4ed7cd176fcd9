"""ClickHouse's ReplicatedMergeTree: two replicas, faults while rows are inserted on both.

One replica and the ensemble's leader are killed with kill -9. An insert that got no answer is sent
again as it was; that it counts once is what ClickHouse remembers in the ensemble. Then both replicas
must hold the same rows: each acknowledged one, once, with its bytes.
"""

import collections
import contextlib
import hashlib
import pathlib
import re
import threading
import time
import urllib.error
import urllib.request

from harness import free_ports
from trial import CACHE, Process, main, say, timed, wait_until

SESSION_MS = 6000
ROWS_EACH = 200
PAUSE_S = 0.1
PATIENCE_S = 30
TABLE_PATH = "/clickhouse/trial"

CONFIG = """\
<yandex>
<logger><level>information</level><console>1</console></logger>
<listen_host>127.0.0.1</listen_host>
<http_port>{http}</http_port>
<tcp_port>{tcp}</tcp_port>
<interserver_http_port>{interserver}</interserver_http_port>
<interserver_http_host>127.0.0.1</interserver_http_host>
<path>{folder}/data/</path>
<tmp_path>{folder}/tmp/</tmp_path>
<users_config>users.xml</users_config>
<default_profile>default</default_profile>
<default_database>default</default_database>
<mark_cache_size>100000000</mark_cache_size>
<timezone>UTC</timezone>
<zookeeper>{nodes}<session_timeout_ms>{session_ms}</session_timeout_ms></zookeeper>
<macros><replica>{name}</replica></macros>
</yandex>
"""
USERS = """\
<yandex>
<profiles><default/></profiles>
<quotas><default/></quotas>
<users><default>
<password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
</default></users>
</yandex>
"""
# The window holds all blocks of a run, so that one sent again is known however long it took.
CREATE = f"""
CREATE TABLE trial (writer UInt8, number UInt64, value String)
ENGINE = ReplicatedMergeTree('{TABLE_PATH}', '{{replica}}') ORDER BY (writer, number)
SETTINGS replicated_deduplication_window = 100000
"""


class Replica(Process):
    def __init__(self, trial, number):
        name = f"replica-{number}"
        folder = trial.fresh_folder(name)
        self.http, tcp, interserver = free_ports(3)
        nodes = "".join(
            f"<node><host>127.0.0.1</host><port>{member.client_port}</port></node>"
            for member in trial.ensemble.members.values()
        )
        (folder / "users.xml").write_text(USERS)
        (folder / "config.xml").write_text(
            CONFIG.format(
                http=self.http, tcp=tcp, interserver=interserver, folder=folder, nodes=nodes,
                session_ms=SESSION_MS, name=name,
            )
        )
        server = CACHE / "clickhouse/usr/sbin/clickhouse-server"
        super().__init__(name, folder, [server, f"--config-file={folder}/config.xml"])

    def query(self, text, patience_s=PATIENCE_S):
        """The answer to a query; an error of the server's is an AssertionError with its text."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}/", data=text.encode())
        try:
            with urllib.request.urlopen(request, timeout=patience_s) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{self.name}: {error.read().decode().strip()}") from error

    def is_up(self):
        try:
            return self.query("SELECT 1") == "1\n"
        except OSError:
            return False

    def is_replicating(self):
        """Whether it has a session, has nothing left to fetch, and knows of both replicas."""
        columns = "is_readonly, is_session_expired, queue_size, active_replicas"
        return self.query(f"SELECT {columns} FROM system.replicas WHERE table = 'trial'") == "0\t0\t0\t2\n"

    def rows(self):
        return self.query("SELECT writer, number, value FROM trial ORDER BY writer, number", 60)


class Writer(threading.Thread):
    """Inserts blocks of rows on one replica, each again until it is acknowledged."""

    def __init__(self, number, replica):
        super().__init__(daemon=True)
        self.number, self.replica = number, replica
        self.acknowledged = 0
        self.repeated = 0
        self.last_refusal = None
        # How often ClickHouse gave each of its codes; 319 says that it does not know what became of the insert.
        self.refusals = collections.Counter()
        self.is_stopping = False
        self.start()

    def run(self):
        while not self.is_stopping:
            block = rows(self.number, self.acknowledged, self.acknowledged + ROWS_EACH)
            while not self.is_inserted(block):
                self.repeated += 1
                time.sleep(PAUSE_S)
            self.acknowledged += ROWS_EACH
            time.sleep(PAUSE_S)

    def is_inserted(self, block):
        try:
            self.replica.query(f"INSERT INTO trial (writer, number, value) FORMAT TabSeparated\n{block}")
            return True
        except (AssertionError, OSError) as error:
            self.last_refusal = str(error)
            code = re.search(r"Code: (\d+)", self.last_refusal)
            self.refusals[f"code {code[1]}" if code else type(error).__name__] += 1
            return False

    def stop(self):
        self.is_stopping = True
        self.join(60)
        if self.is_alive():
            raise AssertionError(f"writer {self.number} does not come to its end: {self.last_refusal}")


def rows(writer, begin, end):
    """The lines of these rows; a row's value follows from its writer and number."""
    return "".join(f"{writer}\t{number}\t{value(writer, number)}\n" for number in range(begin, end))


def value(writer, number):
    return hashlib.md5(f"{writer} {number}".encode()).hexdigest()


def run(trial):
    pause_s = 2 if trial.options.quick else 15
    zookeeper = trial.ensemble.client()
    replicas = [trial.run(Replica(trial, number)) for number in (1, 2)]
    for replica in replicas:
        wait_until(replica.is_up, f"{replica.name} answers", 60, 0.1)
    _, took_s = timed(lambda: [replica.query(CREATE) for replica in replicas])
    trial.measure("creating a replicated table on two replicas", took_s)
    writers = [Writer(number, replica) for number, replica in enumerate(replicas, 1)]
    # Before the faults: this ClickHouse alters nothing any more once it had to begin a new session, on
    # Apache's servers neither.
    _, took_s = timed(replicas[0].query, "ALTER TABLE trial ADD COLUMN extra UInt8 DEFAULT 7")
    trial.measure("adding a column on both", took_s)
    time.sleep(pause_s)
    lose(trial, replicas[1], writers[0])
    time.sleep(pause_s)
    for writer in writers:
        writer.stop()
        say(f"{trial.kind}: writer {writer.number} was refused: {dict(writer.refusals) or 'never'}")
    trace_unknown_parts(trial, zookeeper, replicas[0])
    restart(replicas[0])
    verify(trial, replicas, writers)
    _, took_s = timed(lambda: [replica.query("DROP TABLE trial") for replica in replicas])
    trial.measure("dropping the table on both", took_s)
    trial.check("nothing of the table is left in the ensemble", not zookeeper.exists(TABLE_PATH))
    for replica in replicas:
        replica.stop()
    trial.ensemble.same_trees()
    trial.check("all members hold the same tree", True)


def lose(trial, replica, other_writer):
    """Kills a replica and the ensemble's leader while the other replica is written to; both come back."""
    before = other_writer.acknowledged
    began = time.monotonic()
    replica.kill()
    say(f"{trial.kind}: {replica.name} killed")
    leader = trial.kill_leader()
    # The first may have been on its way.
    wait_until(lambda: other_writer.acknowledged > before + 2 * ROWS_EACH, "the other replica takes inserts")
    name = "a replica and the ensemble's leader killed, until the other has taken three more inserts"
    trial.measure(name, time.monotonic() - began)
    trial.return_member(leader)
    replica.start()
    wait_until(replica.is_up, f"{replica.name} answers", 60, 0.1)


def trace_unknown_parts(trial, zookeeper, replica):
    """Parts that the replica serves and the ensemble does not know. ClickHouse keeps a part when the answer to its
    multi does not come; the multi must then not have been committed, so that no member has it in its log."""
    names = replica.query("SELECT name FROM system.parts WHERE active AND table = 'trial'").split()
    zookeeper.sync(TABLE_PATH)
    paths = [f"{TABLE_PATH}/replicas/{replica.name}/parts/{name}" for name in names]
    unknown = [path for path in paths if not zookeeper.exists(path)]
    logged = {path: numbers for path in unknown if (numbers := members_with(trial, path))}
    for path in unknown:
        say(f"{trial.kind}: {path} is not in the ensemble; members with it in their log: {logged.get(path, 'none')}")
    seen = f"{len(unknown)} parts unknown to the ensemble" + (f", logged: {logged}" if logged else "")
    trial.check("what the ensemble does not know of was never committed", not logged, seen)


def members_with(trial, path):
    """The numbers of the members whose transaction log holds this path: both kinds write it as it is, into
    log.<zxid>, or into segment.<number>.ahead until that has got its name."""

    def is_logged(member):
        folder = pathlib.Path(member.data())
        logs = [*folder.rglob("log.*"), *folder.rglob("segment.*")]
        return any(path.encode() in log.read_bytes() for log in logs)

    return [member.number for member in trial.ensemble.members.values() if is_logged(member)]


def restart(replica):
    """Has the replica put aside its part of an insert that came to nothing when the leader was killed. The
    ensemble knows nothing of it, yet ClickHouse serves it until it is 5 minutes old, or the next start."""
    replica.stop()
    replica.start()
    wait_until(replica.is_up, f"{replica.name} answers", 60, 0.1)


def verify(trial, replicas, writers):
    for replica in replicas:
        replica.query("SYSTEM SYNC REPLICA trial", 120)
        wait_until(replica.is_replicating, f"{replica.name} is in step", 60, 0.1)
    held = [replica.rows() for replica in replicas]
    expected = "".join(rows(writer.number, 0, writer.acknowledged) for writer in writers)
    trial.check("both replicas hold the same rows", held[0] == held[1], difference(expected, held))
    acknowledged = sum(writer.acknowledged for writer in writers)
    repeated = sum(writer.repeated for writer in writers)
    seen = f"{acknowledged:,} acknowledged, {repeated} attempts refused or without an answer"
    trial.check("each acknowledged row is there, once, with its bytes", acknowledged and held[0] == expected, seen)
    wait_until(lambda: is_merged(replicas), "all rows are merged into one part", 120, 0.5)
    extras = [replica.query("SELECT count(), sum(extra) FROM trial") for replica in replicas]
    right = f"{acknowledged}\t{7 * acknowledged}\n"
    trial.check("both have the column that was added, and have merged all rows", extras == [right, right])


def difference(expected, held):
    """What the replicas lack of the rows, and what they have beyond them; empty where all is right."""
    wanted = collections.Counter(expected.splitlines())
    found = [collections.Counter(each.splitlines()) for each in held]
    return "; ".join(
        f"replica {number} lacks {(wanted - each).total()} rows and has {(each - wanted).total()} too many"
        for number, each in enumerate(found, 1)
        if each != wanted
    )


def is_merged(replicas):
    """Whether each replica has a single part; asks for that where it has not."""
    if all(parts(replica) == 1 for replica in replicas):
        return True
    # Refused as long as the leading replica's old session lives, and while something is merged.
    with contextlib.suppress(AssertionError):
        replicas[1].query("OPTIMIZE TABLE trial FINAL")
    return False


def parts(replica):
    return int(replica.query("SELECT count() FROM system.parts WHERE active AND table = 'trial'"))


if __name__ == "__main__":
    main("clickhouse", "ClickHouse 18.16.1, ReplicatedMergeTree", __doc__, run)
