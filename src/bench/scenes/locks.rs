//! Locks by ZooKeeper's recipe: an ephemeral sequential znode each, the lowest holds the lock, and
//! every other watches the one before it. That no two hold a lock at a time is checked, and that
//! names and events are those that can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::client::EventKind;
use crate::jute::Record;
use crate::jute::proto::{CreateResponse, GetChildrenResponse, WatcherEvent};

use super::super::actor::Actor;
use super::super::operation::Operation;
use super::super::recorder::Recorder;
use super::super::request::Verdict;
use super::super::workload::Step;
use super::Scene;
use super::ask::{Ask, Mode, is_numbered};

const NO_NODE: i32 = -101;

/// How the contenders' znodes are called.
const CONTENDER: &str = "c-";

/// The scenario.
#[derive(Debug)]
pub struct Locks {
    locks: Vec<Arc<Lock>>,
}

#[derive(Debug)]
struct Lock {
    path: String,
    /// Contenders that hold it, by their own account: 0 or 1.
    holders: AtomicI32,
}

impl Locks {
    /// So many locks; connections contend for them in turn.
    pub fn new(base: &str, count: u32) -> Locks {
        let lock = |number| {
            Arc::new(Lock {
                path: format!("{base}/lock-{number}"),
                holders: AtomicI32::new(0),
            })
        };
        Locks {
            locks: (0..count).map(lock).collect(),
        }
    }
}

impl Scene for Locks {
    fn znodes(&self) -> Vec<(String, Vec<u8>)> {
        let locks = self.locks.iter();
        locks.map(|lock| (lock.path.clone(), Vec::new())).collect()
    }

    fn actor(&self, number: u32) -> Box<dyn Actor> {
        Box::new(Contender {
            lock: Arc::clone(&self.locks[number as usize % self.locks.len()]),
            next: Next::Create,
            own: String::new(),
            watched: None,
            since_ns: 0,
        })
    }
}

#[derive(Debug)]
struct Contender {
    lock: Arc<Lock>,
    next: Next,
    /// The path of its own znode.
    own: String,
    /// The znode whose end it waits for.
    watched: Option<String>,
    /// When it began to contend.
    since_ns: u64,
}

/// What a contender does next.
#[derive(Debug)]
enum Next {
    Create,
    List,
    /// Watch this znode.
    Watch(String),
    /// It holds the lock.
    Release,
    /// Its delete was refused; it does not hold the lock any more.
    Delete,
    /// A reply or an event is to come.
    Nothing,
}

impl Contender {
    /// Its znode was created, or what it watched has gone: who is the lowest?
    fn listed(&mut self, body: &[u8], recorder: &mut Recorder, now_ns: u64) -> Verdict {
        let Ok(list) = GetChildrenResponse::from_slice(body) else {
            return Verdict::Wrong;
        };
        let own = self.own.rsplit('/').next().unwrap_or_default();
        let mut names = list.children.iter();
        if !list.children.contains(&own) || !names.all(|name| is_numbered(name, CONTENDER)) {
            return Verdict::Wrong;
        }
        let before = list.children.iter().filter(|name| **name < own).max();
        if let Some(before) = before {
            self.next = Next::Watch(format!("{}/{before}", self.lock.path));
            return Verdict::Right;
        }
        self.next = Next::Release;
        recorder.answered(Operation::Acquire, Verdict::Right, self.since_ns, now_ns);
        match self.lock.holders.fetch_add(1, Ordering::AcqRel) {
            0 => Verdict::Right,
            _ => Verdict::Wrong,
        }
    }
}

impl Actor for Contender {
    fn begin(&mut self, _session_id: i64) -> Option<String> {
        if matches!(self.next, Next::Release) {
            self.lock.holders.fetch_sub(1, Ordering::AcqRel);
        }
        self.next = Next::Create;
        self.watched = None;
        None
    }

    fn next(&mut self, xid: i32, now_ns: u64, out: &mut Vec<u8>) -> Option<Step> {
        let operation = match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Create => {
                self.since_ns = now_ns;
                let path = &format!("{}/{CONTENDER}", self.lock.path)[..];
                let (data, mode) = (&[][..], Mode::EphemeralSequential);
                Ask::Create { path, data, mode }.append(xid, out)
            }
            Next::List => {
                let (path, watch) = (&self.lock.path[..], false);
                Ask::Children { path, watch }.append(xid, out)
            }
            Next::Watch(path) => {
                let (path, watch) = (&self.watched.insert(path)[..], true);
                Ask::Exists { path, watch }.append(xid, out)
            }
            held @ (Next::Release | Next::Delete) => {
                if matches!(held, Next::Release) {
                    // Before anybody else can know of it.
                    self.lock.holders.fetch_sub(1, Ordering::AcqRel);
                }
                Ask::Delete { path: &self.own }.append(xid, out)
            }
            Next::Nothing => return None,
        };
        Some(Step::new(operation, 0))
    }

    fn judge(
        &mut self,
        step: Step,
        reply: Result<&[u8], i32>,
        recorder: &mut Recorder,
        now_ns: u64,
    ) -> Verdict {
        match (step.operation, reply) {
            (Operation::CreateEphemeral, Ok(body)) => match CreateResponse::from_slice(body) {
                Ok(created)
                    if is_numbered(created.path, &format!("{}/{CONTENDER}", self.lock.path)) =>
                {
                    created.path.clone_into(&mut self.own);
                    self.next = Next::List;
                    Verdict::Right
                }
                _ => Verdict::Wrong,
            },
            (Operation::GetChildren, Ok(body)) => self.listed(body, recorder, now_ns),
            // The watch is set; its event comes later.
            (Operation::Exists, Ok(_)) => Verdict::Right,
            (Operation::Exists, Err(NO_NODE)) => {
                self.watched = None;
                self.next = Next::List;
                Verdict::Right
            }
            (Operation::Delete, Ok(_) | Err(NO_NODE)) => {
                self.next = Next::Create;
                Verdict::Right
            }
            (operation, reply) => {
                self.next = match operation {
                    Operation::CreateEphemeral => Next::Create,
                    Operation::Delete => Next::Delete,
                    _ => Next::List,
                };
                reply.map_or_else(Verdict::Refused, |_| Verdict::Wrong)
            }
        }
    }

    fn notified(&mut self, event: &WatcherEvent<'_>, recorder: &mut Recorder, now_ns: u64) {
        let is_due = self.watched.take().is_some_and(|path| path == event.path);
        if is_due && event.kind == EventKind::NodeDeleted as i32 {
            self.next = Next::List;
        } else {
            recorder.answered(Operation::Event, Verdict::Wrong, now_ns, now_ns);
        }
    }
}
