//! Locks by ZooKeeper's recipe: an ephemeral sequential znode each, the lowest holds the lock, and
//! every other watches the one before it. That no two hold a lock at a time is checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::jute::Record;
use crate::jute::proto::{CreateResponse, GetChildrenResponse};

use super::super::actor::Actor;
use super::super::operation::Operation;
use super::super::recorder::Recorder;
use super::super::request::Verdict;
use super::super::workload::Step;
use super::Scene;
use super::ask::{Ask, Mode};

const NO_NODE: i32 = -101;

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
        if !list.children.contains(&own) {
            return Verdict::Wrong;
        }
        // The numbers have ten digits, so names sort as numbers do.
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
        None
    }

    fn next(&mut self, xid: i32, now_ns: u64, out: &mut Vec<u8>) -> Option<Step> {
        let operation = match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Create => {
                self.since_ns = now_ns;
                let path = &format!("{}/c-", self.lock.path)[..];
                let (data, mode) = (&[][..], Mode::EphemeralSequential);
                Ask::Create { path, data, mode }.append(xid, out)
            }
            Next::List => {
                let (path, watch) = (&self.lock.path[..], false);
                Ask::Children { path, watch }.append(xid, out)
            }
            Next::Watch(path) => {
                let (path, watch) = (&path[..], true);
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
                Ok(created) => {
                    created.path.clone_into(&mut self.own);
                    self.next = Next::List;
                    Verdict::Right
                }
                Err(_) => Verdict::Wrong,
            },
            (Operation::GetChildren, Ok(body)) => self.listed(body, recorder, now_ns),
            // The watch is set; its event comes later.
            (Operation::Exists, Ok(_)) => Verdict::Right,
            (Operation::Exists, Err(NO_NODE)) => {
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

    fn notified(&mut self, _path: &str, _recorder: &mut Recorder, _now_ns: u64) {
        if matches!(self.next, Next::Nothing) {
            self.next = Next::List;
        }
    }
}
