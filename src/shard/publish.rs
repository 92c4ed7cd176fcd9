//! Walking a published batch: events, then the answer, then the reads behind it, step by step.

use crate::auth;
use crate::exchange::{Answer, Batch, ConnId, Item};
use crate::mutation::{self, Mutation};
use crate::tree::{Change, ChangeKind};
use crate::types::{Zxid, perms};

use super::{Close, Now, Shard, mark_dirty, reply};

impl Shard {
    /// Walks a batch that the sequencer published, then advances the view.
    ///
    /// Until the end the view stays at the zxid before the batch, so that every state between can
    /// still be read.
    pub fn publish(&mut self, batch: &Batch, now: Now) {
        self.now = now;
        let Some(last) = batch.items.last().filter(|_| self.is_serving) else {
            return;
        };
        // Before any client can see it: another shard must not refuse that client for it.
        self.shared.publish(last.zxid);
        let mut before = self.view.zxid();
        for item in &batch.items {
            debug_assert!(item.zxid >= before, "the history goes forward");
            let fires_late = mutation::is(Mutation::WatchAfterVisible);
            if !fires_late {
                self.fire_all(item);
            }
            if let Some((origin, answer)) = &item.answer
                && origin.shard == self.id
            {
                let zxids = (before, item.zxid);
                self.serve_guarded(origin.conn, |shard| {
                    shard.answer(origin.conn, answer, zxids)
                });
            }
            if fires_late {
                self.fire_all(item);
            }
            before = item.zxid;
        }
        self.view.advance(last.zxid);
        self.resume();
    }

    fn answer(&mut self, conn: ConnId, answer: &Answer, (before, zxid): (Zxid, Zxid)) {
        match answer {
            Answer::Reply {
                xid,
                outcome,
                received_us,
                ..
            } => {
                // What was asked before the server retired is not counted any more.
                if self.outstanding > 0 {
                    self.outstanding -= 1;
                    self.shared.request_answered();
                }
                self.decided(conn, *xid, outcome, *received_us, (before, zxid));
            }
            Answer::Attached {
                session,
                password,
                timeout_ms,
            } => self.attached(conn, *session, password, *timeout_ms),
            Answer::SessionRefused => self.session_refused(conn),
            Answer::Detached { session, reason } => {
                if let Some(found) = self.conns.get(conn)
                    && found.session == *session
                {
                    tracing::debug!(%session, ?reason, "closing the connection of a session");
                    self.close(conn, Close::Now);
                }
            }
        }
    }

    fn fire_all(&mut self, item: &Item) {
        if self.watches.is_empty() {
            return;
        }
        for change in &item.changes {
            self.fire(change, item.zxid);
        }
    }

    /// Tells those who watch of a change, if they may read the node.
    fn fire(&mut self, change: &Change, zxid: Zxid) {
        let Shard {
            watches,
            conns,
            config,
            metrics,
            dirty,
            view,
            ..
        } = self;
        let mut cut_off = Vec::new();
        let fired = watches.changed(&view.changed(change), &mut |conn, event, path, acl| {
            let Some(conn) = conns.get_mut(conn).filter(|conn| conn.is_open()) else {
                return;
            };
            if !auth::allows(acl, perms::READ, &conn.identities, &config.auth) {
                return;
            }
            let length = reply::notification(&mut conn.output, event, path, zxid);
            conn.stats.packets_sent += 1;
            metrics.packets_sent.increment();
            metrics.watch_bytes.add(length as u64);
            mark_dirty(dirty, conn);
            if conn.unsent_bytes() > config.send_hard_max() {
                cut_off.push(conn.id);
            }
        });
        let node = match change.kind {
            ChangeKind::Created => &metrics.node_created_watches,
            ChangeKind::Deleted => &metrics.node_deleted_watches,
            ChangeKind::DataChanged => &metrics.node_changed_watches,
        };
        for (summary, count) in [
            (node, fired.node),
            (&metrics.node_deleted_watches, fired.node_children),
            (&metrics.node_children_watches, fired.parent),
        ] {
            if count > 0 {
                summary.record(count as u64);
            }
        }
        for conn in cut_off {
            self.cut_off_if_slow(conn);
        }
    }
}
