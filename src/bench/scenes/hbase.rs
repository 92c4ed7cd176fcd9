//! What a region server of HBase 1 writes for each region that it opens: a znode in
//! `region-in-transition` that the master watches goes from OFFLINE by OPENING, confirmed once, to
//! OPENED, each step checking the version before, and is deleted. The whole is measured as
//! `assignment`. As many requests are outstanding as the pipeline says, over several regions.
//!
//! A version has data of its own, so that what is read can be told from what was there before.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::client::EventKind;
use crate::jute::Record;
use crate::jute::proto::{CreateResponse, GetDataResponse, SetDataResponse, WatcherEvent};

use super::super::actor::Actor;
use super::super::operation::Operation;
use super::super::recorder::Recorder;
use super::super::request::Verdict;
use super::super::value::Values;
use super::super::workload::Step;
use super::ask::{Ask, Mode};
use super::{Scene, verdict};

/// The requests of one region: how often it is written, looked at before and after.
const STEPS: u32 = 7;

/// The step that sets a watch; the one after it makes the event.
const WATCHED: u32 = 1;

/// The scenario.
#[derive(Debug)]
pub struct Assignment {
    cluster: Arc<Cluster>,
}

#[derive(Debug)]
struct Cluster {
    directory: String,
    regions: u32,
    values: Arc<Values>,
}

impl Assignment {
    /// Each server has so many regions.
    pub fn new(base: &str, regions: u32, values: Arc<Values>) -> Assignment {
        Assignment {
            cluster: Arc::new(Cluster {
                directory: format!("{base}/region-in-transition"),
                regions,
                values,
            }),
        }
    }
}

impl Scene for Assignment {
    fn znodes(&self) -> Vec<(String, Vec<u8>)> {
        vec![(self.cluster.directory.clone(), Vec::new())]
    }

    fn actor(&self, _number: u32) -> Box<dyn Actor> {
        Box::new(Server {
            cluster: Arc::clone(&self.cluster),
            session: 0,
            place: 0,
            since_ns: VecDeque::new(),
            watched: VecDeque::new(),
        })
    }
}

#[derive(Debug)]
struct Server {
    cluster: Arc<Cluster>,
    session: i64,
    /// The next request, over all regions.
    place: u32,
    /// When the regions under way began.
    since_ns: VecDeque<u64>,
    /// The regions whose watch is set, in the order in which they are written next.
    watched: VecDeque<u32>,
}

/// The version of a region's znode after a step.
fn version_after(step: u32) -> u32 {
    step.saturating_sub(1).min(3)
}

impl Server {
    fn path(&self, region: u32) -> String {
        format!("{}/{:x}-{region}", self.cluster.directory, self.session)
    }

    /// Whether a reply holds what it must; `None` if it cannot be read.
    fn is_right(&self, region: u32, step: u32, body: &[u8]) -> Option<bool> {
        let (values, version) = (&self.cluster.values, version_after(step));
        Some(match step {
            0 => CreateResponse::from_slice(body).ok()?.path == self.path(region),
            1 | 5 => {
                let GetDataResponse { data, stat } = GetDataResponse::from_slice(body).ok()?;
                stat.version == version as i32
                    && values.is(region, version, data.unwrap_or_default())
            }
            2..=4 => {
                let stat = SetDataResponse::from_slice(body).ok()?.stat;
                stat.version == version as i32 && stat.data_length as usize == values.size(region)
            }
            _ => body.is_empty(),
        })
    }
}

impl Actor for Server {
    fn begin(&mut self, session_id: i64) -> Option<String> {
        self.session = session_id;
        self.place = 0;
        self.since_ns.clear();
        self.watched.clear();
        None
    }

    fn next(&mut self, xid: i32, now_ns: u64, out: &mut Vec<u8>) -> Option<Step> {
        let Cluster {
            regions, values, ..
        } = &*self.cluster;
        let region = self.place / STEPS % regions;
        let step = self.place % STEPS;
        // The last region's last step comes before the first's first.
        self.place = (self.place + 1) % (STEPS * regions);
        let path = &self.path(region)[..];
        let data = || values.of(region, version_after(step));
        let operation = match step {
            0 => {
                self.since_ns.push_back(now_ns);
                let mode = Mode::Ephemeral;
                let data = &data()[..];
                Ask::Create { path, data, mode }.append(xid, out)
            }
            1 | 5 => {
                let watch = step == WATCHED;
                Ask::Get { path, watch }.append(xid, out)
            }
            2..=4 => Ask::Set {
                path,
                data: &data(),
                version: step as i32 - 2,
            }
            .append(xid, out),
            _ => Ask::Delete { path }.append(xid, out),
        };
        Some(Step::new(operation, region * STEPS + step))
    }

    fn judge(
        &mut self,
        step: Step,
        reply: Result<&[u8], i32>,
        recorder: &mut Recorder,
        now_ns: u64,
    ) -> Verdict {
        let (region, place) = (step.target / STEPS, step.target % STEPS);
        if place == WATCHED && reply.is_ok() {
            self.watched.push_back(region);
        }
        if step.operation == Operation::Delete
            && let Some(since_ns) = self.since_ns.pop_front()
        {
            let whole = verdict(reply, |_| Some(true));
            recorder.answered(Operation::Assignment, whole, since_ns, now_ns);
        }
        verdict(reply, |body| self.is_right(region, place, body))
    }

    fn notified(&mut self, event: &WatcherEvent<'_>, recorder: &mut Recorder, now_ns: u64) {
        let region = self.watched.pop_front();
        let is_due = region.is_some_and(|region| event.path == self.path(region));
        if !is_due || event.kind != EventKind::NodeDataChanged as i32 {
            recorder.answered(Operation::Event, Verdict::Wrong, now_ns, now_ns);
        }
    }
}
