//! What must not be in a history, in words.

use std::fmt;

use crate::types::{SessionId, Zxid};

use super::{Call, Operation, Outcome, Report};

/// Something that ZooKeeper promises not to happen. The strings describe operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A path's writes and synced reads have no order that explains all answers.
    NotLinearizable {
        /// The path.
        path: String,
        /// Operations that could be placed before it got stuck.
        after: usize,
        /// The node then.
        state: String,
        /// Some of those that had to be next.
        stuck: Vec<String>,
    },
    /// A multi was done in part.
    Torn {
        /// Its parts.
        parts: Vec<String>,
        /// Reads that have seen some of them, at different moments; empty where its own answer tells.
        seen: Vec<String>,
    },
    /// Two writes were given one zxid.
    OneZxid {
        /// The zxid.
        zxid: Zxid,
        /// The writes.
        writes: [String; 2],
    },
    /// A write was acknowledged before another one, or a synced read, was called, which has an older
    /// zxid.
    AgainstTime {
        /// What was answered first.
        first: String,
        /// What was called later.
        second: String,
    },
    /// Two clients were told different things of the same change.
    Contradiction {
        /// What one saw.
        first: String,
        /// What the other saw.
        second: String,
    },
    /// A node's version did not grow from one change to the next: the first one was lost.
    Lost {
        /// The change that is not in the later one's version.
        first: String,
        /// The later one.
        second: String,
    },
    /// A node's version grew by more than the writes that can have been done.
    Doubled {
        /// The path.
        path: String,
        /// Changes that no client asked for.
        too_many: i64,
    },
    /// A session was answered from an older state than it had seen.
    Backwards {
        /// The session.
        session: SessionId,
        /// The zxid that it had seen.
        seen: Zxid,
        /// The answer.
        answer: String,
        /// The change up to `seen` that the answer lacks, where that shows it.
        lacks: Option<String>,
    },
    /// A session saw a change, or was told of a later one, before its watch told it of that change.
    Missed {
        /// The session.
        session: SessionId,
        /// What set the watch.
        watch: String,
        /// The first change after that.
        change: String,
        /// What came instead of the event.
        before: String,
    },
    /// An event that no change explains, or for which there was no watch.
    Causeless {
        /// The event.
        event: String,
        /// What set the watch.
        watch: Option<String>,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::NotLinearizable {
                path,
                after,
                state,
                stuck,
            } => write!(
                f,
                "{path}: not linearizable: after {after} operations the node is {state}, and \
                 nothing explains{}",
                listed(stuck)
            ),
            Violation::Torn { parts, seen } => {
                write!(f, "a multi done in part:{}", listed(parts))?;
                match seen.is_empty() {
                    true => Ok(()),
                    false => write!(f, "\n  as seen by{}", listed(seen)),
                }
            }
            Violation::OneZxid { zxid, writes } => {
                write!(f, "zxid {zxid} twice:{}", listed(writes))
            }
            Violation::AgainstTime { first, second } => write!(
                f,
                "zxids against time: answered first, with the newer zxid\n    {first}\n  then called\n    {second}"
            ),
            Violation::Contradiction { first, second } => {
                write!(f, "one change seen in two ways:\n    {first}\n    {second}")
            }
            Violation::Lost { first, second } => {
                write!(f, "a change is lost:\n    {first}\n  before\n    {second}")
            }
            Violation::Doubled { path, too_many } => {
                write!(f, "{path}: {too_many} changes that nobody asked for")
            }
            Violation::Backwards {
                session,
                seen,
                answer,
                lacks,
            } => write!(
                f,
                "session {session} had seen {seen} and then got\n    {answer}{}",
                and("which lacks", lacks.as_ref())
            ),
            Violation::Missed {
                session,
                watch,
                change,
                before,
            } => write!(
                f,
                "session {session} was not told by its watch\n    {watch}\n  of\n    {change}\n  before\n    {before}"
            ),
            Violation::Causeless { event, watch } => {
                write!(f, "an event without a cause:\n    {event}")?;
                match watch {
                    Some(watch) => write!(f, "{}", and("of the watch", Some(watch))),
                    None => write!(f, "\n  and no watch was set"),
                }
            }
        }
    }
}

/// Operations, each in a line of its own.
fn listed(operations: &[String]) -> String {
    let lines = operations.iter().map(|each| format!("\n    {each}"));
    lines.collect()
}

/// One more operation, if there is one, with what it is.
fn and(what: &str, operation: Option<&String>) -> String {
    operation.map_or_else(String::new, |each| format!("\n  {what}\n    {each}"))
}

/// Violations that a report shows in full.
const SHOWN: usize = 10;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in self.violations.iter().take(SHOWN) {
            writeln!(f, "{violation}")?;
        }
        if self.violations.len() > SHOWN {
            writeln!(f, "and {} more", self.violations.len() - SHOWN)?;
        }
        for path in &self.undecided {
            writeln!(f, "{path}: undecided: too many orders to try")?;
        }
        writeln!(
            f,
            "{}: {} operations on {} paths, {} writes done, {} multis, {} ephemerals, {} events, \
             {} reads after sync, {} without an answer",
            if self.is_sound() {
                "sound"
            } else {
                "NOT SOUND"
            },
            self.operations,
            self.paths,
            self.writes_done,
            self.multis,
            self.ephemerals,
            self.events,
            self.synced_reads,
            self.unknown
        )
    }
}

/// An operation in one line.
pub(super) fn describe(operations: &[Operation], number: usize) -> String {
    let operation = &operations[number];
    let call = match &operation.call {
        Call::Create {
            value,
            is_ephemeral,
        } => format!(
            "create {} {value:?}{}",
            operation.path,
            if *is_ephemeral { " ephemeral" } else { "" }
        ),
        Call::Set {
            value,
            expected_version,
        } => format!(
            "set {} {value:?}{}",
            operation.path,
            expectation(*expected_version)
        ),
        Call::Delete { expected_version } => format!(
            "delete {}{}",
            operation.path,
            expectation(*expected_version)
        ),
        Call::Read { is_watching } => format!(
            "read {}{}",
            operation.path,
            if *is_watching { " and watch" } else { "" }
        ),
        Call::Sync => "sync".to_owned(),
        Call::Watch => format!("watch {}", operation.path),
        Call::Event(kind) => format!("event {} {kind:?}", operation.path),
        Call::Connect => "connect anew".to_owned(),
        Call::End => "end".to_owned(),
    };
    let outcome = match &operation.outcome {
        Outcome::Unknown => "no answer".to_owned(),
        Outcome::Done(answer) => {
            let mut words = vec![format!("done at {} µs", answer.answered_us)];
            words.extend(
                answer
                    .value
                    .as_ref()
                    .map(|value| format!("value {value:?}")),
            );
            words.extend(answer.version.map(|version| format!("version {version}")));
            words.extend(answer.mzxid.map(|mzxid| format!("mzxid {mzxid}")));
            words.extend(answer.zxid.map(|zxid| format!("zxid {zxid}")));
            words.join(", ")
        }
        Outcome::Refused(refusal, answer) => {
            format!("{refusal:?} at {} µs", answer.answered_us)
        }
    };
    let server = match operation.server.as_str() {
        "" => String::new(),
        server => format!(" on {server}"),
    };
    format!(
        "#{}: client {} session {}{server} at {} µs: {call}: {outcome}",
        number + 1,
        operation.process,
        operation.session,
        operation.invoked_us
    )
}

fn expectation(version: Option<i32>) -> String {
    version.map_or_else(String::new, |version| format!(" if version {version}"))
}
