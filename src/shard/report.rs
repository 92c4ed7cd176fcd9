//! A shard's part of the answers to four-letter words.

use crate::admin::{ConnReport, ShardReport, Word};
use crate::watch::Summary;

use super::conn::{Conn, State};
use super::{Close, Now, Shard};

/// Interest of a connection as Apache prints it (Java's `SelectionKey.OP_READ`, `OP_WRITE`).
const OP_READ: u32 = 1;
const OP_WRITE: u32 = 4;

impl Shard {
    /// This shard's part of the answer to a word; for `crst` and `srst`, does its part of the
    /// reset.
    pub fn report(&mut self, word: Word, now: Now) -> ShardReport {
        self.now = now;
        match word {
            Word::Crst => self.conns.iter_mut().for_each(|conn| conn.stats.reset()),
            Word::Srst => self.metrics.reset(),
            _ => {}
        }
        let mut report = ShardReport {
            watch_count: self.watches.len(),
            ..ShardReport::default()
        };
        self.metrics.add_to(&mut report.metrics);
        if matches!(word, Word::Cons | Word::Stat | Word::Dump) {
            report.connections = self.conns.iter().map(conn_report).collect();
        }
        if word == Word::Wchs {
            let Summary {
                connections,
                paths,
                total,
            } = self.watches.data_summary();
            report.watching_connections = connections;
            report.data_watches = total;
            // Shards may watch the same path, which then counts once.
            report.watched_paths.reserve(paths);
            self.watches
                .for_each_data(&mut |path, _| report.watched_paths.push(path.to_owned()));
            report.watched_paths.sort_unstable();
            report.watched_paths.dedup();
        }
        if matches!(word, Word::Wchc | Word::Wchp) {
            let conns = &self.conns;
            self.watches.for_each_data(&mut |path, conn| {
                if let Some(conn) = conns.get(conn) {
                    report.watches.push((conn.session, path.to_owned()));
                }
            });
        }
        report
    }
}

fn conn_report(conn: &Conn) -> ConnReport {
    let is_read = conn.close == Close::No && !conn.is_stalled && !conn.is_ended;
    let interest = match (is_read, conn.unsent_bytes() > 0) {
        _ if conn.state == State::Word => 0,
        (true, true) => OP_READ | OP_WRITE,
        (true, false) => OP_READ,
        (false, true) => OP_WRITE,
        (false, false) => 0,
    };
    let stats = &conn.stats;
    ConnReport {
        peer: conn.peer,
        session: conn.session,
        interest,
        queued: conn.pending.len(),
        packets_received: stats.packets_received,
        packets_sent: stats.packets_sent,
        established_wall_ms: stats.established_wall_ms,
        timeout_ms: conn.timeout_ms,
        last_op: stats.last_op,
        last_cxid: stats.last_cxid,
        last_zxid: stats.last_zxid,
        last_response_ms: stats.last_response_ms,
        last_latency_ms: stats.last_latency_ms,
        min_latency_ms: if stats.responses == 0 {
            0
        } else {
            stats.min_latency_ms
        },
        avg_latency_ms: stats
            .total_latency_ms
            .checked_div(stats.responses)
            .unwrap_or(0),
        max_latency_ms: stats.max_latency_ms,
        last_heard_ms: conn.last_heard_us / 1000,
    }
}
