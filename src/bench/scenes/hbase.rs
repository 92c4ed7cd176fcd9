//! What a region server of HBase 1 writes for each region that it opens: a znode in
//! `region-in-transition` that the master watches goes from OFFLINE by OPENING, confirmed once, to
//! OPENED, each step checking the version before, and is deleted. The whole is measured as
//! `assignment`. As many requests are outstanding as the pipeline says, over several regions.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::actor::Actor;
use super::super::operation::Operation;
use super::super::recorder::Recorder;
use super::super::request::Verdict;
use super::super::workload::Step;
use super::ask::{Ask, Mode};
use super::{Scene, verdict};

/// The requests of one region: how often it is written, looked at before and after.
const STEPS: u32 = 7;

/// The scenario.
#[derive(Debug)]
pub struct Assignment {
    cluster: Arc<Cluster>,
}

#[derive(Debug)]
struct Cluster {
    directory: String,
    regions: u32,
    data: Vec<u8>,
}

impl Assignment {
    /// Each server has so many regions.
    pub fn new(base: &str, regions: u32, data: Vec<u8>) -> Assignment {
        Assignment {
            cluster: Arc::new(Cluster {
                directory: format!("{base}/region-in-transition"),
                regions,
                data,
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
}

impl Actor for Server {
    fn begin(&mut self, session_id: i64) -> Option<String> {
        self.session = session_id;
        self.place = 0;
        self.since_ns.clear();
        None
    }

    fn next(&mut self, xid: i32, now_ns: u64, out: &mut Vec<u8>) -> Option<Step> {
        let Cluster {
            directory,
            regions,
            data,
        } = &*self.cluster;
        let region = self.place / STEPS % regions;
        let step = self.place % STEPS;
        // The last region's last step comes before the first's first.
        self.place = (self.place + 1) % (STEPS * regions);
        let path = &format!("{directory}/{:x}-{region}", self.session)[..];
        let operation = match step {
            0 => {
                self.since_ns.push_back(now_ns);
                let mode = Mode::Ephemeral;
                Ask::Create { path, data, mode }.append(xid, out)
            }
            1 | 5 => {
                let watch = step == 1;
                Ask::Get { path, watch }.append(xid, out)
            }
            2..=4 => Ask::Set {
                path,
                data,
                version: step as i32 - 2,
            }
            .append(xid, out),
            _ => Ask::Delete { path }.append(xid, out),
        };
        Some(Step::new(operation, step))
    }

    fn judge(
        &mut self,
        step: Step,
        reply: Result<&[u8], i32>,
        recorder: &mut Recorder,
        now_ns: u64,
    ) -> Verdict {
        if step.operation == Operation::Delete
            && let Some(since_ns) = self.since_ns.pop_front()
        {
            let whole = verdict(reply);
            recorder.answered(Operation::Assignment, whole, since_ns, now_ns);
        }
        verdict(reply)
    }
}
