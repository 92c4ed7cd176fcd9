//! Whether containers and nodes with a time to live go when they may, and only then.
//!
//! That nothing goes which has children is seen in the history ([`super::model`]). Whether the time of a
//! node was over is seen at the leader that removes it, by that one's date.

use std::collections::BTreeMap;

use crate::prep::ReapConfig;
use crate::tree::Tree;
use crate::types::{EphemeralKind, Zxid, ephemeral_kind};

use super::ask::REAPED;
use super::checks::Invariant;
use super::model::Node;
use super::world::World;

/// How long what is over may stay beyond the time until the leader's next look and its pauses, in
/// milliseconds.
const LATE_MS_MAX: i64 = 700;

/// What may go some day, as one member has it.
#[derive(Default)]
pub struct Reapables {
    as_of: Zxid,
    /// Whether the member decides what goes.
    decides: bool,
    nodes: BTreeMap<String, Reapable>,
}

/// A container or a node with a time to live.
struct Reapable {
    czxid: i64,
    kind: EphemeralKind,
    mtime_ms: i64,
    had_children: bool,
}

impl Reapable {
    /// Since when it is over, in milliseconds, but for children that it has; `None` where it stays.
    fn over_since_ms(&self, reap: &ReapConfig) -> Option<i64> {
        match self.kind {
            EphemeralKind::Container if self.had_children => Some(i64::MIN),
            EphemeralKind::Container => {
                (reap.max_never_used_ms != 0).then(|| self.mtime_ms + reap.max_never_used_ms)
            }
            EphemeralKind::Ttl { ttl_ms } => Some(self.mtime_ms + ttl_ms),
            EphemeralKind::Void | EphemeralKind::Normal => None,
        }
    }
}

fn reapables(tree: &Tree) -> BTreeMap<String, Reapable> {
    let mut nodes = BTreeMap::new();
    let Some(parent) = tree.node(REAPED) else {
        return nodes;
    };
    parent.for_each_child(&mut |name| {
        let path = format!("{REAPED}/{name}");
        let node = tree.node(&path).expect("it is listed");
        let stat = node.stat();
        let reapable = Reapable {
            czxid: stat.czxid,
            kind: ephemeral_kind(node.ephemeral_owner(), true),
            mtime_ms: stat.mtime,
            had_children: stat.cversion > 0,
        };
        nodes.insert(path, reapable);
    });
    nodes
}

impl World {
    /// Compares what a member has with what it had before its last step. Clients never delete these
    /// nodes, so what a leader has no more it has removed by itself.
    pub fn check_removals(&mut self, at: usize) {
        let now_ms = self.members[at].now(self.course.now_us).wall_ms;
        let Some(process) = &mut self.members[at].process else {
            return;
        };
        let decides = process
            .replica
            .leader()
            .is_some_and(|leader| leader.is_established());
        let tree = process.replica.sequencer().tree();
        let known = &process.reapables;
        if (known.as_of, known.decides) == (tree.tip_zxid(), decides) {
            return;
        }
        let nodes = reapables(tree);
        let as_of = tree.tip_zxid();
        let now = Reapables {
            as_of,
            decides,
            nodes,
        };
        let before = std::mem::replace(&mut process.reapables, now);
        if !(before.decides && decides) {
            return;
        }
        let now = &process.reapables.nodes;
        for (path, was) in &before.nodes {
            let stays = now.get(path).is_some_and(|is| is.czxid == was.czxid);
            let over_since_ms = was.over_since_ms(&self.reap);
            let is_over = over_since_ms.is_some_and(|since_ms| now_ms > since_ms);
            self.checks.require(stays || is_over, Invariant::Reaping, || {
                format!(
                    "member {at} removes {path} at {now_ms}, of {:?}, changed at {}, before its time",
                    was.kind, was.mtime_ms
                )
            });
        }
    }

    /// What has been over for long must be gone, by the leader's date.
    pub fn check_leftovers(&mut self) {
        let Some(leader) = self.leader() else {
            return;
        };
        let now_ms = self.members[leader].now(self.course.now_us).wall_ms;
        let Some(process) = &self.members[leader].process else {
            return;
        };
        let nodes = reapables(process.replica.sequencer().tree());
        let pause_ms = 60_000 / i64::from(self.reap.max_per_minute);
        let queue_ms = pause_ms * nodes.len() as i64;
        let late_ms_max = self.reap.check_interval_ms as i64 + queue_ms + LATE_MS_MAX;
        for (path, reapable) in &nodes {
            let node = self.model.node_at(path, self.model.newest());
            let over_since_ms = reapable.over_since_ms(&self.reap);
            let Some((node, since_ms)) = node.zip(over_since_ms) else {
                continue;
            };
            let late_ms = now_ms.saturating_sub(since_ms).min(self.childless_ms(node));
            self.checks
                .require(late_ms <= late_ms_max, Invariant::Reaping, || {
                    format!("{path} has been over for {late_ms} ms and is still there")
                });
        }
    }

    /// For how long nothing has changed about a node's children, in milliseconds; 0 while it has any.
    fn childless_ms(&self, node: &Node) -> i64 {
        if node.stat.num_children > 0 {
            return 0;
        }
        let since_us = self.model.committed_us(Zxid(node.stat.pzxid));
        (self.course.now_us - since_us) as i64 / 1000
    }
}
