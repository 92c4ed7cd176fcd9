//! One writes, many watch: how long until the last has the event.
//!
//! Connections form groups: one writer and its watchers. A writer writes when all its watchers
//! have set their watch. In `watch-fanout` there is one group, the write is a setData, and no watch is
//! set again before the last event is there, so that nothing else is under way meanwhile. In
//! `service-discovery` a tenth of the connections are writers, each a service whose instance comes
//! and goes; its watchers read the list of instances anew, and each instance's data.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::jute::Record;
use crate::jute::proto::GetChildrenResponse;

use super::super::actor::Actor;
use super::super::operation::Operation;
use super::super::recorder::Recorder;
use super::super::request::Verdict;
use super::super::workload::Step;
use super::ask::{Ask, Mode};
use super::{Scene, verdict};

/// Connections for each service.
const PER_SERVICE: u32 = 10;

/// The scenario.
#[derive(Debug)]
pub struct Fanout {
    groups: Vec<Arc<Group>>,
}

/// A writer and its watchers.
#[derive(Debug)]
struct Group {
    /// What is watched.
    path: String,
    /// The instance that comes and goes; none where the znode's data is what changes.
    instance: Option<String>,
    data: Vec<u8>,
    watchers: u32,
    /// Watchers that have set their watch since the last write.
    armed: AtomicU32,
    /// Watchers that have had the event of the last write.
    heard: AtomicU32,
    /// When the last write was sent; 0 before the first.
    written_ns: AtomicU64,
}

impl Fanout {
    /// All watch one znode's data.
    pub fn of_data(base: &str, connections: u32, data: Vec<u8>) -> Fanout {
        let path = format!("{base}/watched");
        Fanout {
            groups: vec![Arc::new(Group::new(path, None, data, connections - 1))],
        }
    }

    /// Services whose instances are watched.
    pub fn of_children(base: &str, connections: u32, data: Vec<u8>) -> Fanout {
        let services = connections.div_ceil(PER_SERVICE);
        let group = |number: u32| {
            let path = format!("{base}/service-{number}");
            let instance = Some(format!("{path}/instance"));
            let members = (connections - number).div_ceil(services);
            Arc::new(Group::new(path, instance, data.clone(), members - 1))
        };
        Fanout {
            groups: (0..services).map(group).collect(),
        }
    }
}

impl Group {
    /// Whether watchers are to wait: some have not heard of the last write.
    fn is_under_way(&self) -> bool {
        self.instance.is_none()
            && self.written_ns.load(Ordering::Acquire) > 0
            && self.heard.load(Ordering::Acquire) < self.watchers
    }

    fn new(path: String, instance: Option<String>, data: Vec<u8>, watchers: u32) -> Group {
        Group {
            path,
            instance,
            data,
            watchers,
            armed: AtomicU32::new(0),
            heard: AtomicU32::new(0),
            written_ns: AtomicU64::new(0),
        }
    }
}

impl Scene for Fanout {
    fn znodes(&self) -> Vec<(String, Vec<u8>)> {
        let groups = self.groups.iter();
        groups
            .map(|group| (group.path.clone(), group.data.clone()))
            .collect()
    }

    fn actor(&self, number: u32) -> Box<dyn Actor> {
        let groups = self.groups.len() as u32;
        let group = Arc::clone(&self.groups[(number % groups) as usize]);
        if number < groups {
            Box::new(Writer {
                group,
                is_writing: false,
                is_there: false,
            })
        } else {
            Box::new(Watcher {
                group,
                watch: Watch::None,
                unread: Vec::new(),
            })
        }
    }
}

#[derive(Debug)]
struct Writer {
    group: Arc<Group>,
    is_writing: bool,
    /// The instance exists.
    is_there: bool,
}

impl Actor for Writer {
    fn begin(&mut self, _session_id: i64) -> Option<String> {
        self.is_writing = false;
        self.is_there = false;
        None
    }

    fn waits_for_others(&self) -> bool {
        true
    }

    fn next(&mut self, xid: i32, now_ns: u64, out: &mut Vec<u8>) -> Option<Step> {
        let group = &*self.group;
        if self.is_writing || group.armed.load(Ordering::Acquire) < group.watchers {
            return None;
        }
        group.armed.store(0, Ordering::Relaxed);
        group.heard.store(0, Ordering::Relaxed);
        group.written_ns.store(now_ns, Ordering::Release);
        self.is_writing = true;
        let (data, mode) = (&group.data[..], Mode::Ephemeral);
        let (operation, ask) = match &group.instance {
            None => {
                let (path, version) = (&group.path[..], -1);
                (
                    Operation::Set,
                    Ask::Set {
                        path,
                        data,
                        version,
                    },
                )
            }
            Some(path) if self.is_there => (Operation::Delete, Ask::Delete { path }),
            Some(path) => (Operation::CreateEphemeral, Ask::Create { path, data, mode }),
        };
        ask.append(xid, out);
        Some(Step::new(operation, 0))
    }

    fn judge(
        &mut self,
        step: Step,
        reply: Result<&[u8], i32>,
        _recorder: &mut Recorder,
        _now_ns: u64,
    ) -> Verdict {
        self.is_writing = false;
        self.is_there = step.operation == Operation::CreateEphemeral;
        verdict(reply)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    None,
    Asked,
    Set,
}

#[derive(Debug)]
struct Watcher {
    group: Arc<Group>,
    watch: Watch,
    /// Instances of the last list whose data is not asked for yet.
    unread: Vec<String>,
}

impl Actor for Watcher {
    fn begin(&mut self, _session_id: i64) -> Option<String> {
        if self.watch == Watch::Set {
            self.group.armed.fetch_sub(1, Ordering::AcqRel);
            // Nobody is to wait for what this one misses.
            self.group.heard.fetch_add(1, Ordering::AcqRel);
        }
        self.watch = Watch::None;
        None
    }

    fn next(&mut self, xid: i32, _now_ns: u64, out: &mut Vec<u8>) -> Option<Step> {
        if let Some(path) = self.unread.pop() {
            let (path, watch) = (&path[..], false);
            Ask::Get { path, watch }.append(xid, out);
            return Some(Step::new(Operation::Get, 1));
        }
        if self.watch != Watch::None || self.group.is_under_way() {
            return None;
        }
        self.watch = Watch::Asked;
        let (path, watch) = (&self.group.path[..], true);
        let (operation, ask) = match self.group.instance {
            None => (Operation::Get, Ask::Get { path, watch }),
            Some(_) => (Operation::GetChildren, Ask::Children { path, watch }),
        };
        ask.append(xid, out);
        Some(Step::new(operation, 0))
    }

    fn judge(
        &mut self,
        step: Step,
        reply: Result<&[u8], i32>,
        _recorder: &mut Recorder,
        _now_ns: u64,
    ) -> Verdict {
        const NO_NODE: i32 = -101;
        if step.target == 1 {
            // An instance may have gone since it was listed.
            return match reply {
                Err(NO_NODE) => Verdict::Right,
                reply => verdict(reply),
            };
        }
        let body = match reply {
            Ok(body) => body,
            Err(code) => {
                self.watch = Watch::None;
                return Verdict::Refused(code);
            }
        };
        if step.operation == Operation::GetChildren {
            let Ok(list) = GetChildrenResponse::from_slice(body) else {
                return Verdict::Wrong;
            };
            let path = &self.group.path;
            let names = list.children.into_iter();
            self.unread = names.map(|name| format!("{path}/{name}")).collect();
        }
        self.watch = Watch::Set;
        self.group.armed.fetch_add(1, Ordering::AcqRel);
        Verdict::Right
    }

    fn notified(&mut self, _path: &str, recorder: &mut Recorder, now_ns: u64) {
        if self.watch != Watch::Set {
            return;
        }
        self.watch = Watch::None;
        let from_ns = self.group.written_ns.load(Ordering::Acquire);
        recorder.answered(Operation::Event, Verdict::Right, from_ns, now_ns);
        let heard = self.group.heard.fetch_add(1, Ordering::AcqRel) + 1;
        if heard == self.group.watchers {
            recorder.answered(Operation::LastEvent, Verdict::Right, from_ns, now_ns);
        }
    }
}
