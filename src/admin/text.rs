//! The texts (Apache's `server.command` package).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;

use crate::metrics::{Table, Value};
use crate::types::SessionId;

use super::date::java_date;
use super::{ConnReport, LeaderReport, QuorumSettings, Status, Word};

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// The version of Apache ZooKeeper whose behaviour this server has.
const APACHE_VERSION: &str = "3.9.5";

/// The interval to which Apache rounds up when a connection expires, in milliseconds.
const CONNECTION_EXPIRY_INTERVAL_MS: u64 = 10_000;

/// The version as clients and dashboards parse it (Apache's `Version.getFullVersion`): the version
/// of Apache that is followed, our own in the place of its revision, and a date. Builders that
/// want their own date there set `ZKORE_BUILD_DATE`.
pub fn full_version() -> String {
    let own = env!("CARGO_PKG_VERSION");
    let date = option_env!("ZKORE_BUILD_DATE").unwrap_or("2026-11-22 00:00 UTC");
    format!("{APACHE_VERSION}-zkore-{own}, built on {date}")
}

/// The text that answers a word.
pub fn answer(word: Word, status: &Status) -> String {
    if !status.is_serving {
        match word {
            Word::Isro => return "null".to_owned(),
            Word::Hash => return NOT_SERVING.to_owned(),
            Word::Envi | Word::Ruok => {}
            _ => return format!("{NOT_SERVING}\n"),
        }
    }
    let mut out = String::new();
    match word {
        Word::Conf => conf(status, &mut out),
        Word::Cons => {
            for conn in connections(status) {
                out.push_str(&connection(conn, false));
                out.push('\n');
            }
            out.push('\n');
        }
        Word::Crst => out.push_str("Connection stats reset.\n"),
        Word::Dirs => {
            line(&mut out, "datadir_size: ", status.data_dir_bytes);
            line(&mut out, "logdir_size: ", status.log_dir_bytes);
        }
        Word::Dump => dump(status, &mut out),
        Word::Envi => {
            out.push_str("Environment:\n");
            line(&mut out, "zookeeper.version=", full_version());
            for (name, value) in &status.environment {
                line(&mut out, &format!("{name}="), value);
            }
        }
        Word::Hash => {
            for (zxid, digest) in &status.digests {
                line(&mut out, &format!("{:x}: ", zxid.0), digest);
            }
        }
        Word::Isro => out.push_str(if status.is_read_only { "ro" } else { "rw" }),
        Word::Mntr => mntr(status, &mut out),
        Word::Ruok => out.push_str("imok"),
        Word::Srst => out.push_str("Server stats reset.\n"),
        Word::Srvr => srvr(status, false, &mut out),
        Word::Stat => srvr(status, true, &mut out),
        Word::Wchc => wchc(status, &mut out),
        Word::Wchp => wchp(status, &mut out),
        Word::Wchs => wchs(status, &mut out),
        // Answered by the shard that is asked.
        Word::Gtmk | Word::Stmk => {}
    }
    out
}

fn line(out: &mut String, name: &str, value: impl std::fmt::Display) {
    writeln!(out, "{name}{value}").expect("writing to a string does not fail");
}

fn connections(status: &Status) -> impl Iterator<Item = &ConnReport> {
    status.shards.iter().flat_map(|shard| &shard.connections)
}

/// All that was counted, over all shards.
fn all_metrics(status: &Status) -> Table {
    let mut all = status.metrics.clone();
    for shard in &status.shards {
        all.merge(&shard.metrics);
    }
    all
}

/// Apache's `ZooKeeperServer.dumpConf`.
fn conf(status: &Status, out: &mut String) {
    let settings = &status.settings;
    line(out, "clientPort=", settings.client_port);
    line(out, "secureClientPort=", -1);
    line(out, "dataDir=", &settings.data_dir);
    line(out, "dataDirSize=", status.data_dir_bytes);
    line(out, "dataLogDir=", &settings.data_log_dir);
    line(out, "dataLogSize=", status.log_dir_bytes);
    line(out, "tickTime=", settings.tick_time_ms);
    line(out, "maxClientCnxns=", settings.max_client_cnxns);
    line(out, "minSessionTimeout=", settings.min_session_timeout_ms);
    line(out, "maxSessionTimeout=", settings.max_session_timeout_ms);
    line(
        out,
        "clientPortListenBacklog=",
        settings.client_listen_backlog,
    );
    line(out, "serverId=", settings.server_id);
    if let Some(quorum) = &settings.quorum {
        quorum_conf(quorum, status.is_read_only, out);
    }
}

/// What Apache's `QuorumZooKeeperServer` and `ReadOnlyZooKeeperServer` add. The election algorithm
/// is always 3.
fn quorum_conf(quorum: &QuorumSettings, is_read_only: bool, out: &mut String) {
    line(out, "initLimit=", quorum.init_limit_ticks);
    line(out, "syncLimit=", quorum.sync_limit_ticks);
    line(out, "electionAlg=", 3);
    line(out, "electionPort=", ports(&quorum.election_ports));
    line(out, "quorumPort=", ports(&quorum.quorum_ports));
    line(out, "peerType=", u8::from(quorum.is_observer));
    if !is_read_only {
        line(out, "membership: ", "");
        out.push_str(&quorum.membership);
    }
}

/// Different ports, as Apache joins them.
fn ports(ports: &[u16]) -> String {
    let ports: BTreeSet<u16> = ports.iter().copied().collect();
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    ports.join("|")
}

/// An address as Java's `InetSocketAddress.toString` shows one that was not looked up by name.
fn java_address(peer: SocketAddr) -> String {
    match peer {
        SocketAddr::V4(peer) => format!("/{peer}"),
        SocketAddr::V6(peer) => {
            let segments = peer.ip().segments().map(|segment| format!("{segment:x}"));
            format!("/[{}]:{}", segments.join(":"), peer.port())
        }
    }
}

/// Apache's `ServerCnxn.dumpConnectionInfo`.
fn connection(conn: &ConnReport, is_brief: bool) -> String {
    let mut out = format!(
        " {}[{:x}](queued={},recved={},sent={}",
        java_address(conn.peer),
        conn.interest,
        conn.queued,
        conn.packets_received,
        conn.packets_sent
    );
    if !is_brief && conn.session != SessionId::NONE {
        let mut add = |name: &str, value: &dyn std::fmt::Display| {
            write!(out, ",{name}={value}").expect("writing to a string does not fail");
        };
        add("sid", &conn.session);
        add("lop", &conn.last_op);
        add("est", &conn.established_wall_ms);
        add("to", &conn.timeout_ms);
        if conn.last_cxid >= 0 {
            add("lcxid", &format_args!("{:#x}", conn.last_cxid));
        }
        add("lzxid", &format_args!("{:#x}", conn.last_zxid));
        add("lresp", &conn.last_response_ms);
        add("llat", &conn.last_latency_ms);
        add("minlat", &conn.min_latency_ms);
        add("avglat", &conn.avg_latency_ms);
        add("maxlat", &conn.max_latency_ms);
    }
    out.push(')');
    out
}

fn dump(status: &Status, out: &mut String) {
    out.push_str("SessionTracker dump:\n");
    if let Some(local) = &status.local_sessions {
        out.push_str("Local ");
        session_sets(status, local, out);
    }
    match &status.learner_sessions {
        Some(sessions) => {
            line(
                out,
                "Global ",
                format_args!("Sessions({}):", sessions.len()),
            );
            for (session, timeout_ms) in sessions {
                line(out, "", format_args!("{session}\t{timeout_ms}ms"));
            }
        }
        None => {
            if status.local_sessions.is_some() {
                out.push_str("Global ");
            }
            session_sets(status, &status.sessions, out);
        }
    }
    out.push_str("ephemeral nodes dump:\n");
    let count = status.ephemerals.len();
    line(out, "Sessions with Ephemerals ", format_args!("({count}):"));
    for (session, paths) in &status.ephemerals {
        line(out, "", format_args!("{session}:"));
        for path in paths {
            line(out, "\t", path);
        }
    }
    out.push_str("Connections dump:\nConnections ");
    let conns = connections(status).map(|conn| {
        let until_ms = conn.last_heard_ms + u64::try_from(conn.timeout_ms).unwrap_or(0);
        let interval = CONNECTION_EXPIRY_INTERVAL_MS;
        let at_ms = (until_ms / interval + 1) * interval;
        let peer = java_address(conn.peer);
        (at_ms, format!("ip: {peer} sessionId: {}", conn.session))
    });
    expiry_sets(status, conns, out);
}

fn session_sets(status: &Status, sessions: &[(SessionId, u64)], out: &mut String) {
    out.push_str("Session ");
    let sessions = sessions.iter();
    let sets = sessions.map(|&(session, at_ms)| (at_ms, session.to_string()));
    expiry_sets(status, sets, out);
}

/// Apache's `ExpiryQueue.dump`: what expires, by when.
fn expiry_sets(status: &Status, elements: impl Iterator<Item = (u64, String)>, out: &mut String) {
    let mut sets: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for (at_ms, element) in elements {
        sets.entry(at_ms).or_default().insert(element);
    }
    let total: usize = sets.values().map(BTreeSet::len).sum();
    line(out, "Sets ", format_args!("({})/({total}):", sets.len()));
    for (at_ms, set) in sets {
        let wall_ms = status.wall_ms + (at_ms as i64 - status.now_ms as i64);
        let (count, date) = (set.len(), java_date(wall_ms));
        line(out, "", format_args!("{count} expire at {date}:"));
        for element in set {
            line(out, "\t", element);
        }
    }
}

/// Apache's `StatCommand`, for `srvr` and, with the connections, for `stat`.
fn srvr(status: &Status, with_connections: bool, out: &mut String) {
    line(out, "Zookeeper version: ", full_version());
    if status.is_read_only {
        out.push_str("READ-ONLY mode; serving only read-only clients\n");
    }
    if with_connections {
        out.push_str("Clients:\n");
        for conn in connections(status) {
            out.push_str(&connection(conn, true));
            out.push('\n');
        }
        out.push('\n');
    }
    let metrics = all_metrics(status);
    let (min, avg, max) = metrics.min_avg_max("latency");
    line(
        out,
        "Latency min/avg/max: ",
        format_args!("{min}/{avg:?}/{max}"),
    );
    line(out, "Received: ", metrics.count("packets_received"));
    line(out, "Sent: ", metrics.count("packets_sent"));
    line(out, "Connections: ", status.connections);
    line(out, "Outstanding: ", status.outstanding);
    line(out, "Zxid: ", status.zxid);
    line(out, "Mode: ", status.mode);
    line(out, "Node count: ", status.znode_count);
    if let Some(leader) = &status.leader {
        let LeaderReport {
            last_proposal_bytes: last,
            min_proposal_bytes: min,
            max_proposal_bytes: max,
            ..
        } = leader;
        let sizes = format_args!("{last}/{min}/{max}");
        line(out, "Proposal sizes last/min/max: ", sizes);
    }
}

/// Apache's `MonitorCommand`. Metrics of parts that this server does not have are left out.
fn mntr(status: &Status, out: &mut String) {
    line(out, "zk_version\t", full_version());
    line(out, "zk_server_state\t", status.mode);
    if let Some(quorum) = &status.quorum {
        line(out, "zk_peer_state\t", &quorum.peer_state);
        if let Some(master) = quorum.observer_master_id {
            line(out, "zk_observer_master_id\t", master);
        }
        line(out, "zk_quorum_size\t", quorum.quorum_size);
    }
    if let Some(leader) = &status.leader {
        mntr_leader(leader, out);
    }
    let mut metrics = all_metrics(status);
    let watch_count: usize = status.shards.iter().map(|shard| shard.watch_count).sum();
    for (name, value) in [
        ("num_alive_connections", status.connections as u64),
        ("outstanding_requests", status.outstanding as u64),
        ("uptime", status.uptime_ms),
        ("znode_count", status.znode_count as u64),
        ("watch_count", watch_count as u64),
        ("ephemerals_count", status.ephemerals_count as u64),
        ("approximate_data_size", status.approximate_data_size),
        ("global_sessions", status.session_count as u64),
        ("local_sessions", status.local_session_count as u64),
        ("open_file_descriptor_count", status.open_file_descriptors),
        ("max_file_descriptor_count", status.max_file_descriptors),
    ] {
        metrics.gauge(name, value);
    }
    for (name, value) in metrics.values() {
        let name = format!("zk_{name}\t");
        match value {
            Value::Integer(value) => line(out, &name, value),
            Value::Float(value) => line(out, &name, format_args!("{value:?}")),
        }
    }
}

fn mntr_leader(leader: &LeaderReport, out: &mut String) {
    let counts = [
        ("learners", leader.learners),
        ("synced_followers", leader.synced_followers),
        (
            "synced_non_voting_followers",
            leader.synced_non_voting_followers,
        ),
        ("synced_observers", leader.synced_observers),
        ("pending_syncs", leader.pending_syncs),
    ];
    for (name, count) in counts {
        line(out, &format!("zk_{name}\t"), count);
    }
    line(out, "zk_leader_uptime\t", leader.leader_uptime_ms);
    line(out, "zk_last_proposal_size\t", leader.last_proposal_bytes);
    line(out, "zk_max_proposal_size\t", leader.max_proposal_bytes);
    line(out, "zk_min_proposal_size\t", leader.min_proposal_bytes);
}

fn wchs(status: &Status, out: &mut String) {
    let paths: BTreeSet<&String> = status
        .shards
        .iter()
        .flat_map(|shard| &shard.watched_paths)
        .collect();
    let shards = status.shards.iter();
    let (connections, watches) = shards.fold((0, 0), |(connections, watches), shard| {
        (
            connections + shard.watching_connections,
            watches + shard.data_watches,
        )
    });
    let paths = paths.len();
    line(
        out,
        "",
        format_args!("{connections} connections watching {paths} paths"),
    );
    line(out, "Total watches:", watches);
}

fn wchc(status: &Status, out: &mut String) {
    let mut by_session: BTreeMap<SessionId, BTreeSet<&str>> = BTreeMap::new();
    for (session, path) in status.shards.iter().flat_map(|shard| &shard.watches) {
        by_session.entry(*session).or_default().insert(path);
    }
    for (session, paths) in by_session {
        line(out, "", session);
        for path in paths {
            line(out, "\t", path);
        }
    }
    out.push('\n');
}

fn wchp(status: &Status, out: &mut String) {
    let mut by_path: BTreeMap<&str, BTreeSet<SessionId>> = BTreeMap::new();
    for (session, path) in status.shards.iter().flat_map(|shard| &shard.watches) {
        by_path.entry(path).or_default().insert(*session);
    }
    for (path, sessions) in by_path {
        line(out, "", path);
        for session in sessions {
            line(out, "\t", session);
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests;
