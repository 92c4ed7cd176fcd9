//! One writes, many watch: how long until the last has the event.
//!
//! Connections form groups: one writer and its watchers. A writer writes when all its watchers
//! have set their watch. In `watch-fanout` there is one group, the write is a setData, and no watch is
//! set again before the last event is there, so that nothing else is under way meanwhile. In
//! `service-discovery` a tenth of the connections are writers, each a service whose instance comes
//! and goes; its watchers read the list of instances anew, and each instance's data.
//!
//! Every event must be the one that was asked for, and what is read after it newer than what was
//! read before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::client::EventKind;
use crate::jute::Record;
use crate::jute::proto::{CreateResponse, GetChildrenResponse, GetDataResponse, WatcherEvent};

use super::super::actor::Actor;
use super::super::operation::Operation;
use super::super::recorder::Recorder;
use super::super::request::Verdict;
use super::super::value::Values;
use super::super::workload::Step;
use super::ask::{Ask, Mode};
use super::turns::{Armed, Turns};
use super::{Scene, verdict};

/// Connections for each service.
const PER_SERVICE: u32 = 10;

/// The one instance of a service.
const INSTANCE: &str = "instance";

/// The scenario.
#[derive(Debug)]
pub struct Fanout {
    groups: Vec<Arc<Group>>,
}

/// A writer and its watchers.
#[derive(Debug)]
struct Group {
    number: u32,
    /// What is watched.
    path: String,
    /// The instance that comes and goes; none where the znode's data is what changes.
    instance: Option<String>,
    /// By group and write.
    values: Arc<Values>,
    turns: Turns,
    /// When the last write was sent; 0 before the first.
    written_ns: AtomicU64,
    /// Somebody lost a session meanwhile, and with it the order of writes and watches.
    is_disturbed: AtomicBool,
}

impl Fanout {
    /// All watch one znode's data.
    pub fn of_data(base: &str, connections: u32, values: Arc<Values>) -> Fanout {
        let path = format!("{base}/watched");
        let group = Group::new(0, path, None, values, connections - 1);
        Fanout {
            groups: vec![Arc::new(group)],
        }
    }

    /// Services whose instances are watched.
    pub fn of_children(base: &str, connections: u32, values: Arc<Values>) -> Fanout {
        let services = connections.div_ceil(PER_SERVICE);
        let group = |number: u32| {
            let path = format!("{base}/service-{number}");
            let instance = Some(format!("{path}/{INSTANCE}"));
            let members = (connections - number).div_ceil(services);
            let values = Arc::clone(&values);
            Arc::new(Group::new(number, path, instance, values, members - 1))
        };
        Fanout {
            groups: (0..services).map(group).collect(),
        }
    }
}

impl Group {
    /// Whether watchers are to wait: some have not heard of the last write.
    fn is_under_way(&self) -> bool {
        self.instance.is_none() && self.turns.is_under_way()
    }

    /// A session begins; not the first of its connection if others have written already.
    fn note_session(&self) {
        if self.turns.have_begun() {
            self.is_disturbed.store(true, Ordering::Release);
        }
    }

    fn new(
        number: u32,
        path: String,
        instance: Option<String>,
        values: Arc<Values>,
        watchers: u32,
    ) -> Group {
        Group {
            number,
            path,
            instance,
            values,
            turns: Turns::new(watchers),
            written_ns: AtomicU64::new(0),
            is_disturbed: AtomicBool::new(false),
        }
    }
}

impl Scene for Fanout {
    fn znodes(&self) -> Vec<(String, Vec<u8>)> {
        let groups = self.groups.iter();
        groups
            .map(|group| (group.path.clone(), group.values.of(group.number, 0)))
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
                written: 0,
            })
        } else {
            Box::new(Watcher {
                group,
                watch: Watch::None,
                is_unread: false,
                data_shown: (0, None),
                list_shown: None,
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
    /// Writes so far, each with data of its own.
    written: u32,
}

impl Actor for Writer {
    fn begin(&mut self, _session_id: i64) -> Option<String> {
        self.group.note_session();
        self.is_writing = false;
        self.is_there = false;
        None
    }

    fn waits_for_others(&self) -> bool {
        true
    }

    fn next(&mut self, xid: i32, now_ns: u64, out: &mut Vec<u8>) -> Option<Step> {
        let group = &*self.group;
        if self.is_writing || !group.turns.try_write() {
            return None;
        }
        group.written_ns.store(now_ns, Ordering::Release);
        self.is_writing = true;
        self.written = self.written.wrapping_add(1);
        let data = &group.values.of(group.number, self.written)[..];
        let mode = Mode::Ephemeral;
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
        verdict(reply, |body| match step.operation {
            Operation::CreateEphemeral => {
                let created = CreateResponse::from_slice(body).ok()?;
                Some(self.group.instance.as_deref() == Some(created.path))
            }
            Operation::Delete => Some(body.is_empty()),
            _ => Some(true),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    None,
    Asked,
    Set(Armed),
}

#[derive(Debug)]
struct Watcher {
    group: Arc<Group>,
    watch: Watch,
    /// The last list has the instance, whose data is not asked for yet.
    is_unread: bool,
    /// The zxid and the stamp of the data that was read last.
    data_shown: (i64, Option<u32>),
    /// Whether the list that was read last has the instance.
    list_shown: Option<bool>,
}

impl Watcher {
    /// Whether a reply holds the group's data: of another write than the last if it `is_changed`,
    /// otherwise of no older one. `None` if it cannot be read.
    fn is_data_right(&mut self, body: &[u8], is_changed: bool) -> Option<bool> {
        let GetDataResponse { data, stat } = GetDataResponse::from_slice(body).ok()?;
        let data = data.unwrap_or_default();
        let (mzxid, stamp) = (stat.mzxid, Values::stamp(data));
        let (mzxid_before, stamp_before) = self.data_shown;
        let is_in_order = if is_changed {
            mzxid > mzxid_before && (stamp.is_none() || stamp != stamp_before)
        } else {
            mzxid >= mzxid_before
        };
        let is_right = is_in_order && self.group.values.matches(self.group.number, data);
        if is_right {
            self.data_shown = (mzxid, stamp);
        }
        Some(is_right)
    }

    /// Whether a reply lists what can be there: the instance if it was not in the last list, nothing
    /// if it was. `None` if it cannot be read.
    fn is_list_right(&mut self, body: &[u8]) -> Option<bool> {
        let list = GetChildrenResponse::from_slice(body).ok()?.children;
        let is_there = match list[..] {
            [] => false,
            [INSTANCE] => true,
            _ => return Some(false),
        };
        self.is_unread = is_there;
        let before = self.list_shown.replace(is_there);
        // The writer does not go on before this watch is set again; the end of its session may.
        let is_disturbed = self.group.is_disturbed.load(Ordering::Acquire);
        Some(before != Some(is_there) || is_disturbed)
    }
}

impl Actor for Watcher {
    fn begin(&mut self, _session_id: i64) -> Option<String> {
        if let Watch::Set(watch) = self.watch {
            // If a write spent it, nobody is to wait for this one to hear of that.
            self.group.turns.disarm(watch);
        }
        self.group.note_session();
        self.watch = Watch::None;
        self.is_unread = false;
        self.data_shown = (0, None);
        self.list_shown = None;
        None
    }

    fn next(&mut self, xid: i32, _now_ns: u64, out: &mut Vec<u8>) -> Option<Step> {
        if let Some(path) = &self.group.instance
            && std::mem::take(&mut self.is_unread)
        {
            let watch = false;
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
                reply => verdict(reply, |body| self.is_data_right(body, false)),
            };
        }
        let judged = verdict(reply, |body| match step.operation {
            Operation::GetChildren => self.is_list_right(body),
            _ => self.is_data_right(body, true),
        });
        if reply.is_ok() {
            self.watch = Watch::Set(self.group.turns.arm());
        } else {
            self.watch = Watch::None;
        }
        judged
    }

    fn notified(&mut self, event: &WatcherEvent<'_>, recorder: &mut Recorder, now_ns: u64) {
        let kind = match self.group.instance {
            None => EventKind::NodeDataChanged,
            Some(_) => EventKind::NodeChildrenChanged,
        };
        let is_due = event.path == self.group.path && event.kind == kind as i32;
        let watch = match self.watch {
            Watch::Set(watch) if is_due => watch,
            _ => {
                recorder.answered(Operation::Event, Verdict::Wrong, now_ns, now_ns);
                return;
            }
        };
        self.watch = Watch::None;
        let Some(is_last) = self.group.turns.disarm(watch) else {
            // No write: a lost session took the instance along, or left a write that came late.
            return;
        };
        let from_ns = self.group.written_ns.load(Ordering::Acquire);
        recorder.answered(Operation::Event, Verdict::Right, from_ns, now_ns);
        if is_last {
            recorder.answered(Operation::LastEvent, Verdict::Right, from_ns, now_ns);
        }
    }
}
