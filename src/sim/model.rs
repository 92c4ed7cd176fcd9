//! The one history that all members must agree to, with every node as of every zxid.
//!
//! It is learned from whoever delivers a transaction first, and compared with what everybody else
//! delivers and with what clients are told.

use std::collections::{BTreeMap, BTreeSet};

use crate::jute::data::Stat;
use crate::tree::{AclList, ChangeKind, View};
use crate::types::{EphemeralKind, Zxid, ephemeral_kind, path};

use super::ask::GUARDED;
use super::checks::{Invariant, Wrong};

/// Nodes below this belong to each server for itself.
const SYSTEM: &str = "/zookeeper";

/// A node as of some zxid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its data.
    pub data: Vec<u8>,
    /// Its Stat.
    pub stat: Stat,
    /// Its owner as it is stored: a session, or the mark of what is reaped.
    pub owner: i64,
    /// Its access control list.
    pub acl: AclList,
}

/// What one transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The digest of the tree after it.
    pub digest: u64,
    /// What it changed, in order.
    pub changes: Vec<(String, ChangeKind)>,
}

/// The history.
#[derive(Default)]
pub struct Model {
    entries: BTreeMap<Zxid, Entry>,
    /// When what was committed first, in microseconds, in order.
    times: Vec<(u64, Zxid)>,
    nodes: BTreeMap<String, Vec<(Zxid, Option<Node>)>>,
    /// By which transaction each value came: clients write no value twice.
    values: BTreeMap<Vec<u8>, i64>,
    /// Paths of a session's ephemerals now.
    ephemerals: BTreeMap<i64, BTreeSet<String>>,
    /// Sessions whose ephemerals were deleted, and when.
    closed: BTreeMap<i64, Zxid>,
    /// Stretches that were committed before anybody delivered them one by one: from after the one
    /// zxid up to and with the other.
    jumps: BTreeMap<Zxid, Zxid>,
    /// What members show that know no leader, by the end of their log: what that holds is the same
    /// everywhere, although it may never be committed.
    frozen: BTreeMap<Zxid, BTreeMap<String, Node>>,
}

impl Model {
    /// The newest zxid of all.
    pub fn newest(&self) -> Zxid {
        self.entries
            .last_key_value()
            .map_or(Zxid(-1), |(&zxid, _)| zxid)
    }

    /// The newest zxid of all before this one.
    pub fn newest_before(&self, zxid: Zxid) -> Zxid {
        let before = self.entries.range(..zxid).next_back();
        before.map_or(Zxid(-1), |(&zxid, _)| zxid)
    }

    /// What a transaction did.
    pub fn entry(&self, zxid: Zxid) -> Option<&Entry> {
        self.entries.get(&zxid)
    }

    /// The transactions after one, up to and with another.
    pub fn range(&self, after: Zxid, up_to: Zxid) -> impl Iterator<Item = (Zxid, &Entry)> {
        let is_some = after < up_to;
        let from = Zxid(after.0.saturating_add(1));
        is_some
            .then(|| self.entries.range(from..=up_to))
            .into_iter()
            .flatten()
            .map(|(&zxid, entry)| (zxid, entry))
    }

    /// The newest zxid that was committed at a time, in microseconds.
    pub fn newest_at(&self, time_us: u64) -> Zxid {
        let count = self.times.partition_point(|&(at_us, _)| at_us <= time_us);
        count.checked_sub(1).map_or(Zxid(-1), |at| self.times[at].1)
    }

    /// When a transaction was committed, or one after it was with it, in microseconds.
    pub fn committed_us(&self, zxid: Zxid) -> u64 {
        let before = self.times.partition_point(|&(_, at)| at < zxid);
        self.times.get(before).map_or(0, |&(at_us, _)| at_us)
    }

    /// A node as of a zxid.
    pub fn node_at(&self, path: &str, zxid: Zxid) -> Option<&Node> {
        let versions = self.nodes.get(path)?;
        let count = versions.partition_point(|(at, _)| *at <= zxid);
        versions.get(count.checked_sub(1)?)?.1.as_ref()
    }

    /// The names of a node's children as of a zxid, sorted.
    pub fn children_at(&self, parent: &str, zxid: Zxid) -> Vec<&str> {
        let prefix = if parent == "/" {
            "/".to_owned()
        } else {
            format!("{parent}/")
        };
        let below = self.nodes.range(prefix.clone()..);
        below
            .take_while(|(path, _)| path.starts_with(&prefix))
            .filter_map(|(path, _)| {
                let name = &path[prefix.len()..];
                let is_child = !name.is_empty() && !name.contains('/');
                (is_child && self.node_at(path, zxid).is_some()).then_some(name)
            })
            .collect()
    }

    /// The sessions that have ephemerals.
    pub fn owners(&self) -> impl Iterator<Item = i64> {
        self.ephemerals.keys().copied()
    }

    /// When the ephemerals of a session went.
    pub fn closed_at(&self, session: i64) -> Option<Zxid> {
        self.closed.get(&session).copied()
    }

    /// Whether a transaction belongs to a stretch that was only known as a whole.
    pub fn is_in_jump(&self, zxid: Zxid) -> bool {
        let before = self.jumps.range(..zxid).next_back();
        before.is_some_and(|(_, up_to)| zxid <= *up_to)
    }

    /// Takes in a transaction of such a stretch, from a view as of its zxid.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn fill(&mut self, zxid: Zxid, entry: Entry, view: &View) -> Result<(), Wrong> {
        for path in touched(&entry).into_iter().chain(GUARDED) {
            let node = node_of(view, path);
            self.note_value(path, node.as_ref())?;
            let versions = self.nodes.entry(path.to_owned()).or_default();
            match versions.binary_search_by_key(&zxid, |(at, _)| *at) {
                Ok(at) => versions[at].1 = node,
                Err(at) => versions.insert(at, (zxid, node)),
            }
        }
        self.entries.insert(zxid, entry);
        Ok(())
    }

    /// Takes in what a transaction did, from a view as of its zxid.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add(&mut self, now_us: u64, zxid: Zxid, entry: Entry, view: &View) -> Result<(), Wrong> {
        let mut gone: BTreeSet<i64> = BTreeSet::new();
        for (changed, kind) in &entry.changes {
            if *kind == ChangeKind::Deleted
                && let Some(node) = self.node_at(changed, zxid)
            {
                gone.extend(session_of(node));
                self.check_removal(changed, node, zxid)?;
            }
        }
        for path in touched(&entry) {
            self.set(path, zxid, view)?;
        }
        // Watches do not tell of another list.
        for path in GUARDED {
            self.set(path, zxid, view)?;
        }
        self.enter(now_us, zxid, entry, gone)
    }

    /// Takes in everything that differs between what is known and a view: what a new leader has
    /// committed that nobody had delivered.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn jump(&mut self, now_us: u64, digest: u64, view: &View) -> Result<(), Wrong> {
        let zxid = view.zxid();
        let (changes, gone) = self.changes_to(view);
        for (path, _) in &changes {
            self.set(path, zxid, view)?;
        }
        let entry = Entry { digest, changes };
        self.jumps.insert(self.newest(), zxid);
        self.enter(now_us, zxid, entry, gone)
    }

    /// Ends the sessions that lose their ephemerals with an entry, and takes it in.
    fn enter(
        &mut self,
        now_us: u64,
        zxid: Zxid,
        entry: Entry,
        gone: BTreeSet<i64>,
    ) -> Result<(), Wrong> {
        let result = self
            .close_sessions(zxid, gone)
            .and_then(|()| self.check_owners(zxid, &entry));
        self.entries.insert(zxid, entry);
        self.times.push((now_us, zxid));
        result
    }

    /// Somebody begins to serve in the middle of such a stretch: it becomes two.
    pub fn land(&mut self, digest: u64, view: &View) {
        let zxid = view.zxid();
        let (changes, _) = self.changes_to(view);
        for (path, _) in &changes {
            let versions = self.nodes.entry(path.clone()).or_default();
            let at = versions.partition_point(|(at, _)| *at <= zxid);
            versions.insert(at, (zxid, node_of(view, path)));
        }
        self.entries.insert(zxid, Entry { digest, changes });
    }

    /// What differs between what is known and a view, and the sessions that lose ephemerals.
    fn changes_to(&self, view: &View) -> (Vec<(String, ChangeKind)>, BTreeSet<i64>) {
        let zxid = view.zxid();
        let mut present = BTreeSet::new();
        view.for_each(&mut |path, _| {
            if !path.starts_with(SYSTEM) {
                present.insert(path.to_owned());
            }
        });
        let known: BTreeSet<String> = self.nodes.keys().cloned().collect();
        let (mut changes, mut gone) = (Vec::new(), BTreeSet::new());
        for path in known.union(&present) {
            let before = self.node_at(path, zxid);
            let kind = match (before, node_of(view, path)) {
                (Some(before), Some(after)) if *before == after => continue,
                (None, None) => continue,
                (Some(before), None) => {
                    gone.extend(session_of(before));
                    ChangeKind::Deleted
                }
                (None, Some(_)) => ChangeKind::Created,
                (Some(_), Some(_)) => ChangeKind::DataChanged,
            };
            changes.push((path.clone(), kind));
        }
        (changes, gone)
    }

    fn set(&mut self, path: &str, zxid: Zxid, view: &View) -> Result<(), Wrong> {
        let node = node_of(view, path);
        self.note_value(path, node.as_ref())?;
        let before = self.node_at(path, zxid).and_then(session_of);
        for (owner, is_there) in [(before, false), (node.as_ref().and_then(session_of), true)] {
            let Some(owner) = owner else {
                continue;
            };
            let paths = self.ephemerals.entry(owner).or_default();
            if is_there {
                paths.insert(path.to_owned());
            } else {
                paths.remove(path);
            }
            if paths.is_empty() {
                self.ephemerals.remove(&owner);
            }
        }
        if self.node_at(path, zxid) != node.as_ref() {
            let versions = self.nodes.entry(path.to_owned()).or_default();
            versions.push((zxid, node));
        }
        Ok(())
    }

    /// What is written once is not written again by something else, such as the same request taken a
    /// second time.
    fn note_value(&mut self, path: &str, node: Option<&Node>) -> Result<(), Wrong> {
        let Some(node) = node.filter(|node| !node.data.is_empty()) else {
            return Ok(());
        };
        let mzxid = node.stat.mzxid;
        let known = *self.values.entry(node.data.clone()).or_insert(mzxid);
        if known == mzxid {
            return Ok(());
        }
        let what = format!(
            "what {} wrote is written to {path} by {} again",
            Zxid(known),
            Zxid(mzxid)
        );
        Err((Invariant::WritesDurable, what))
    }

    /// Clients delete no containers and no nodes with a time to live: the reaping does, and those
    /// without children only.
    fn check_removal(&self, path: &str, node: &Node, zxid: Zxid) -> Result<(), Wrong> {
        let children = self.children_at(path, Zxid(zxid.0 - 1));
        let kind = ephemeral_kind(node.owner, true);
        let is_reaped = matches!(kind, EphemeralKind::Container | EphemeralKind::Ttl { .. });
        if is_reaped && !children.is_empty() {
            let what = format!("{zxid} removes {path}, which has {children:?}");
            return Err((Invariant::Reaping, what));
        }
        Ok(())
    }

    /// Clients never delete ephemerals themselves: who loses one has ended, and loses all.
    fn close_sessions(&mut self, zxid: Zxid, gone: BTreeSet<i64>) -> Result<(), Wrong> {
        for session in gone {
            if let Some(left) = self.ephemerals.get(&session) {
                let what = format!(
                    "{zxid} deletes ephemerals of the session {session:x} and leaves {left:?}"
                );
                return Err((Invariant::Ephemerals, what));
            }
            self.closed.insert(session, zxid);
        }
        Ok(())
    }

    /// A session that has ended has no ephemerals any more.
    fn check_owners(&self, zxid: Zxid, entry: &Entry) -> Result<(), Wrong> {
        for (path, kind) in &entry.changes {
            let owner = self.node_at(path, zxid).and_then(session_of);
            if *kind == ChangeKind::Created
                && let Some(owner) = owner
                && let Some(closed) = self.closed.get(&owner)
            {
                let what =
                    format!("the session {owner:x} ended at {closed} and has {path} at {zxid}");
                return Err((Invariant::Ephemerals, what));
            }
        }
        Ok(())
    }

    /// A member shows all that its log holds, to those who only read.
    pub fn freeze(&mut self, view: &View) {
        let nodes = self.frozen.entry(view.zxid()).or_default();
        view.for_each(&mut |path, _| {
            if let Some(node) = node_of(view, path) {
                nodes.insert(path.to_owned(), node);
            }
        });
    }

    /// The nodes that such a member shows as of a zxid.
    pub fn frozen_at(&self, zxid: Zxid) -> Option<&BTreeMap<String, Node>> {
        self.frozen.get(&zxid)
    }

    /// What a view shows otherwise than the history; both are as of the same zxid.
    pub fn difference(&self, view: &View) -> Option<String> {
        let mut difference = None;
        let mut count = 0;
        view.for_each(&mut |path, _| {
            if path.starts_with(SYSTEM) {
                return;
            }
            count += 1;
            let (ours, theirs) = (self.node_at(path, view.zxid()), node_of(view, path));
            if ours != theirs.as_ref() {
                difference.get_or_insert(format!("{path} is {theirs:?} and should be {ours:?}"));
            }
        });
        let known = self
            .nodes
            .keys()
            .filter(|path| self.node_at(path, view.zxid()).is_some())
            .count();
        if known != count {
            difference.get_or_insert(format!("there are {count} nodes and should be {known}"));
        }
        difference
    }
}

/// The nodes that a transaction changed in any way.
fn touched(entry: &Entry) -> BTreeSet<&str> {
    let mut touched = BTreeSet::new();
    for (changed, kind) in &entry.changes {
        touched.insert(changed.as_str());
        if *kind != ChangeKind::DataChanged {
            touched.insert(path::parent(changed));
        }
    }
    touched
}

/// The session that an ephemeral node belongs to.
fn session_of(node: &Node) -> Option<i64> {
    (ephemeral_kind(node.owner, true) == EphemeralKind::Normal).then_some(node.owner)
}

fn node_of(view: &View, path: &str) -> Option<Node> {
    view.node(path).map(|node| Node {
        data: node.data().unwrap_or_default().to_vec(),
        stat: node.stat(),
        owner: node.ephemeral_owner(),
        acl: node.acl().clone(),
    })
}
