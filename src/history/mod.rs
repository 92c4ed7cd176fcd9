//! Histories of client operations, and whether they are what ZooKeeper promises.
//!
//! A [`History`] is what some clients asked, what they were answered and when, as a test with faults
//! recorded it; [`read_lines`] reads one from JSON lines. [`check`] finds what must not be in it:
//! - by a search as Wing and Gong, Lowe and Porcupine do it (`linear`): for each path, all writes,
//!   refused ones too, and all reads that follow a sync took effect one at a time, each between its
//!   call and its answer. An operation of unknown outcome took effect once or never, at any time
//!   after its call;
//! - multi by multi (`multis`): all parts were done at one moment, or none was;
//! - by zxids, which make it cheap (`zxids`): the order of zxids is the order in time, over all paths;
//!   no zxid stands for two writes; no acknowledged write is lost and none done twice, as versions tell;
//!   whoever sees one state of a node sees the same;
//! - session by session (`sessions`): its replies never go backwards, and its reads include its own
//!   writes, on whichever member they were made;
//! - watch by watch (`watches`): it fires at the first change after it was set, before its session sees
//!   that change, and for nothing else, also across connections.
//!
//! Ephemerals are part of the search: the end of a session (`lives`) deletes what is there of its own, at
//! a time between the last answer that shows it alive and its end, if its client knows that.
//!
//! Paths are independent of each other but for zxids. At first every node is absent. Deletes of container
//! and TTL nodes are no operation, so such paths do not belong into a history, nor do watches of children
//! and recursive ones. A multi is given as its parts, which are of different paths.
//!
//! A file holds one JSON object a line, one operation each:
//!
//! | Field | Content |
//! |---|---|
//! | `process` | number of the client |
//! | `session` | its session id, an integer; absent or 0: none |
//! | `server` | the member, for reports; may be absent |
//! | `op` | `create`, `set`, `delete`, `read`, `sync`; `watch`: addWatch, persistent; `event`: a watch fired; `connect`: the session has a new connection, on which its watches were set again, the reply to that being this one; `end`: the session was closed, or is over |
//! | `path` | the node; absent for `connect` and `end` |
//! | `value` | what create and set wrote, what read found |
//! | `ephemeral` | true for a create whose node ends with the session |
//! | `watch` | true for a read that left a watch: a getData that found the node, or an exists |
//! | `event` | `created`, `changed` or `deleted` |
//! | `multi` | a number that this operation shares with the other parts of its multi, and with nothing else |
//! | `expected` | the version that set and delete asked for; absent: any |
//! | `outcome` | `ok`, `unknown`, or the error's name as Apache's KeeperException.Code has it (`NONODE`) |
//! | `invoked_us`, `answered_us` | when, in µs of one clock; no `answered_us` where it is unknown; of an event both are when it came; an end lies between them |
//! | `zxid` | of the write; for others, and refused ones, that in the reply's header; of an event that of the change, which of persistent watches must be there; may be absent |
//! | `mzxid`, `version` | of the node, after a set or as found by a read; may be absent |

mod linear;
mod lines;
mod lives;
mod model;
mod multis;
mod sessions;
#[cfg(test)]
mod tests;
mod violation;
mod watches;
mod zxids;

use std::collections::BTreeMap;

use crate::types::{SessionId, Zxid};

pub use lines::{HistoryError, read_lines};
pub use violation::Violation;

/// Configurations that the search of one path remembers, by default: about 100 MB.
pub const CONFIGURATIONS_LIMIT_DEFAULT: usize = 2_000_000;

/// What a client asked of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// create: the node is absent before and has version 0 after it.
    Create {
        /// The data; writes of one path with data of their own are checked best.
        value: String,
        /// Whether the end of the session deletes it.
        is_ephemeral: bool,
    },
    /// setData.
    Set {
        /// The data.
        value: String,
        /// The version that the node must have, `None` for any (-1 on the wire).
        expected_version: Option<i32>,
    },
    /// delete.
    Delete {
        /// The version that the node must have, `None` for any.
        expected_version: Option<i32>,
    },
    /// getData or exists.
    Read {
        /// Whether it left a watch, which fires once.
        is_watching: bool,
    },
    /// sync: makes the next read of the same session one that must be up to date.
    Sync,
    /// addWatch: a persistent watch.
    Watch,
    /// Nothing asked: a watch has fired.
    Event(ChangeKind),
    /// setWatches, with all watches that have not fired: the first thing asked on a new connection.
    Connect,
    /// The session is over: closed, or found so.
    End,
}

/// What a change did with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was absent before.
    Created,
    /// It has other data.
    Changed,
    /// It is absent after it.
    Deleted,
}

impl Call {
    /// Whether it can change the tree.
    pub fn is_write(&self) -> bool {
        matches!(
            self,
            Call::Create { .. } | Call::Set { .. } | Call::Delete { .. }
        )
    }

    /// Whether it says something of a node.
    fn is_of_node(&self) -> bool {
        self.is_write() || matches!(self, Call::Read { .. } | Call::Watch | Call::Event(_))
    }
}

/// How an operation ended, as far as its client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done(Answer),
    /// It was refused and did nothing.
    Refused(Refusal, Answer),
    /// There was no answer: a write was done or was not, or will be.
    Unknown,
}

/// What came with an answer.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Answer {
    /// When the client had it, in µs of the clock that all clients share.
    pub answered_us: u64,
    /// Of a write that was done: its zxid. Of others: the zxid in the reply's header, the last one
    /// that the member had published.
    pub zxid: Option<Zxid>,
    /// The data that a read found; `None` where it did not ask (exists).
    pub value: Option<String>,
    /// The zxid of the node's last change (`Stat.mzxid`) that a read found.
    pub mzxid: Option<Zxid>,
    /// The node's version after a create or set, or that a read found.
    pub version: Option<i32>,
}

/// Why an operation was refused, as far as that says something about the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The node is absent.
    NoNode,
    /// The node is there.
    NodeExists,
    /// The node is there, with another version.
    BadVersion,
    /// Anything that tells nothing about it.
    Other,
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Number of the client, for reports.
    pub process: u64,
    /// The session that it was sent in; [`SessionId::NONE`] exempts it from the checks of sessions.
    pub session: SessionId,
    /// The member that it was sent to, for reports; may be empty.
    pub server: String,
    /// What was asked.
    pub call: Call,
    /// Of which node; empty where it is of none.
    pub path: String,
    /// The multi that it is a part of; its parts are writes of different nodes.
    pub multi: Option<u64>,
    /// When, in µs. Operations of one session were sent in this order, and where it is the same
    /// in the order of the history.
    pub invoked_us: u64,
    /// What came of it.
    pub outcome: Outcome,
}

impl Operation {
    /// The answer, if there was one.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Done(answer) | Outcome::Refused(_, answer) => Some(answer),
            Outcome::Unknown => None,
        }
    }

    /// The answer to what was done.
    pub fn done(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Done(answer) => Some(answer),
            _ => None,
        }
    }

    /// Whether it sets a watch, or is what came of one.
    fn is_about_watches(&self) -> bool {
        matches!(
            self.call,
            Call::Read { is_watching: true } | Call::Watch | Call::Event(_)
        )
    }

    /// The zxid of a write that was done, if it is known.
    fn write_zxid(&self) -> Option<Zxid> {
        self.done()
            .filter(|_| self.call.is_write())
            .and_then(|answer| answer.zxid)
    }
}

/// Operations in any order; a report names them by their place, counted from 1 (the line in a file).
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The operations.
    pub operations: Vec<Operation>,
}

/// What [`check`] found.
#[derive(Debug, Default)]
pub struct Report {
    /// Operations looked at.
    pub operations: usize,
    /// Paths among them.
    pub paths: usize,
    /// Writes that were done.
    pub writes_done: usize,
    /// Multis.
    pub multis: usize,
    /// Ephemerals that were made.
    pub ephemerals: usize,
    /// Events of watches.
    pub events: usize,
    /// Operations without an answer.
    pub unknown: usize,
    /// Reads that had to be up to date.
    pub synced_reads: usize,
    /// What must not be.
    pub violations: Vec<Violation>,
    /// Paths whose search ended at its bound without a result.
    pub undecided: Vec<String>,
}

impl Report {
    /// Nothing is wrong and nothing was left undecided.
    pub fn is_sound(&self) -> bool {
        self.violations.is_empty() && self.undecided.is_empty()
    }
}

/// Checks a history. The search of each path remembers at most `configurations_limit`
/// configurations (about 40 bytes each, see [`CONFIGURATIONS_LIMIT_DEFAULT`]) and gives up beyond.
/// Without concurrent writes of unknown outcome it takes time in proportion to the history.
pub fn check(history: &History, configurations_limit: usize) -> Report {
    let operations = &history.operations;
    let mut violations = Vec::new();
    let ends = lives::ends(operations);
    let known = &*multis::settle(operations, &mut violations);
    let fresh_from = reads_after_sync(operations);
    let mut by_path: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, operation) in operations.iter().enumerate() {
        if operation.call.is_of_node() {
            by_path.entry(&operation.path).or_default().push(number);
        }
    }
    let mut report = Report {
        operations: operations.len(),
        paths: by_path.len(),
        writes_done: operations
            .iter()
            .filter(|each| each.call.is_write() && each.done().is_some())
            .count(),
        multis: multis::parts(operations).len(),
        ephemerals: operations
            .iter()
            .filter(|each| each.done().is_some() && lives::owner(each).is_some())
            .count(),
        events: operations
            .iter()
            .filter(|each| matches!(each.call, Call::Event(_)))
            .count(),
        unknown: operations
            .iter()
            .filter(|each| each.outcome == Outcome::Unknown)
            .count(),
        synced_reads: fresh_from.iter().flatten().count(),
        violations,
        ..Report::default()
    };
    zxids::check_order(known, &fresh_from, &mut report.violations);
    for (path, numbers) in &by_path {
        zxids::check_path(known, numbers, &mut report.violations);
        let entries = model::entries(known, numbers, &fresh_from, &ends);
        match linear::search(&entries, configurations_limit) {
            linear::Verdict::Linearizable => {}
            linear::Verdict::Impossible(stuck) => {
                report.violations.push(Violation::NotLinearizable {
                    path: (*path).to_owned(),
                    after: stuck.placed,
                    state: stuck.state,
                    stuck: stuck
                        .operations
                        .iter()
                        .map(|number| violation::describe(operations, *number))
                        .collect(),
                });
            }
            linear::Verdict::Undecided => report.undecided.push((*path).to_owned()),
        }
    }
    sessions::check(operations, known, &by_path, &ends, &mut report.violations);
    watches::check(operations, known, &by_path, &mut report.violations);
    report
}

/// For each read that follows a completed sync, with nothing of its session between them: when the
/// sync was called. What was acknowledged before that, such a read must see.
fn reads_after_sync(operations: &[Operation]) -> Vec<Option<u64>> {
    let mut fresh_from = vec![None; operations.len()];
    for numbers in sessions::in_order(operations).values() {
        let mut synced_from = None;
        for number in numbers {
            let operation = &operations[*number];
            match operation.call {
                Call::Sync => {
                    synced_from = operation.done().map(|_| operation.invoked_us);
                }
                // Several reads may follow one sync.
                Call::Read { .. } if operation.answer().is_some() => {
                    fresh_from[*number] = synced_from;
                }
                Call::Event(_) => {}
                _ => synced_from = None,
            }
        }
    }
    fresh_from
}
