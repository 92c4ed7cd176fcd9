"""Compares the four-letter words: the lines and fields of each answer, not their values."""

import re
import socket

from gen import OPEN
from session import Session

# (word, bytes behind it). The last ones are no words at all.
WORDS = [(w, b"") for w in (
    "conf", "cons", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srvr", "stat",
    "wchc", "wchp", "wchs", "srst", "crst", "srvr", "stat", "cons")]
WORDS += [("stmk", (0x13A).to_bytes(8, "big")), ("gtmk", b""), ("stmk", b"")]
WORDS += [("ruok", b"\n"), ("srvr", b"\r\n"), ("RUOK", b""), ("nope", b""), ("lead", b""),
          ("obsr", b"")]

# Facts of a Java process, which no other server has, and fields that depend on what ran before.
JAVA_FIELDS = re.compile(r"^(zk_)?(jvm_|process_)|^java\.|^os\.|^user\.|_per_namespace$")

# Metrics of parts of Apache's server that zkore leaves out: its pipeline's queues and caches, the
# ensemble, throttling, TLS. What zkore has beyond Apache's is not compared.
ABSENT_METRICS = re.compile("|".join((
    "commit", "prep_proc", "proposal", "propagation", "sync_process", "session_queue", "om_",
    "final_proc", "outstanding_changes", "response_packet_cache", "response_packet_get_children",
    "dead_watcher", "stale_requests", "close_session_prep_time", "socket_closing_time", "netty_",
    "unrecoverable", "handshake", "cnxn_closed_without", "startup_", "snap_count", "snapshot_rate_limited",
    "restore_", "digest_mismatches", "insecure_admin", "jvm_", "election", "ensemble_auth",
    "leader_unavailable", "unavailable_time", "learner", "looking_count", "observer", "follower",
    "quorum", "quit_leading", "diff_count", "^zk_revalidate_count", "request_throttle_queue", "throttled",
    "connection_drop_probability", "connection_token_deficit", "large_requests", "mtls", "tls_",
    "read_commitproc", "reads_issued", "requests_not")))


def ask(address, word, behind):
    with socket.create_connection(address, timeout=5) as sock:
        sock.sendall(word.encode() + behind)
        if word == "stmk" and not behind:
            sock.shutdown(socket.SHUT_WR)
        answer = bytearray()
        try:
            while piece := sock.recv(65536):
                answer += piece
        except TimeoutError:
            return "(no end within 5 s)"
        except OSError:
            return answer.decode() + "(reset)"
    return answer.decode()


def shapes(word, answer, session):
    """The answer as a list of line shapes: values out, names kept."""
    answer = answer.replace(f"{session.sid:x}", "SID")
    if word in ("envi", "mntr", "conf"):
        fields = []
        for line in answer.splitlines():
            name = re.split(r"[=\t]", line, maxsplit=1)[0]
            if not JAVA_FIELDS.search(name):
                fields.append(name)
        return fields if word == "conf" else sorted(fields)
    if word == "hash":
        return sorted({bool(re.fullmatch(r"[0-9a-f]+: -?\d+", x)) for x in answer.splitlines()})
    lines = []
    for line in answer.splitlines():
        if word in ("srvr", "stat") and line.startswith("Zookeeper version:"):
            line = "Zookeeper version: V"
        line = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", line)
        line = re.sub(r"0x[0-9a-f]+", "0xN", line)
        line = re.sub(r"(?<![A-Za-z])-?\d+(\.\d+)?", "N", line)
        line = re.sub(r"(?<=expire at ).*", "TIME", line)
        lines.append(line)
    if word == "dump":
        # What expires when is chance.
        return sorted(set(lines))
    if word in ("cons", "stat", "dirs", "wchc", "wchp"):
        # Their order is that of a hash table.
        return sorted(lines)
    return lines


def prepare(address):
    """A session with an ephemeral and watches of all kinds, so that there is much to say."""
    s = Session("words", address)
    s.connect(timeout=9000)
    for op, args in (
            ("create", {"path": "/words", "data": b"d", "acl": OPEN, "flags": 0}),
            ("create", {"path": "/words/e", "data": b"", "acl": OPEN, "flags": 1}),
            ("getData", {"path": "/words", "watch": True}),
            ("getChildren", {"path": "/words", "watch": True}),
            ("addWatch", {"path": "/words/e", "mode": 0}),
            ("addWatch", {"path": "/words/e", "mode": 1}),
            ("exists", {"path": "/words/none", "watch": True})):
        s.link.send(s.request_frame(op, args)[1])
        s.receive(op)
    return s


def compare(left, right):
    """Prints each difference; returns the exit status."""
    sessions = [prepare(left), prepare(right)]
    failed = 0
    for word, behind in WORDS:
        answers = [ask(a, word, behind) for a in (left, right)]
        a, b = (shapes(word, x, s) for x, s in zip(answers, sessions))
        if word == "mntr":
            a = [x for x in a if not ABSENT_METRICS.search(x)]
            b = [x for x in b if x in a]
        if a == b:
            continue
        failed += 1
        print(f"MISMATCH in {word} {behind!r}")
        if set(a) == set(b):
            print(f"  left : {a}\n  right: {b}")
        for side, mine, other in (("left ", a, b), ("right", b, a)):
            for line in [x for x in mine if x not in other][:40]:
                print(f"  only {side}: {line!r}")
    for s in sessions:
        for op, args in (("delete", {"path": "/words/e", "version": -1}),
                         ("delete", {"path": "/words", "version": -1}), ("closeSession", {})):
            s.link.send(s.request_frame(op, args)[1])
            while s.receive(op)[0] == "event":
                pass
        s.abandon()
    print(f"words: {len(WORDS)} words, {failed} mismatches")
    return 1 if failed else 0
