//! What Kafka's controller does when it takes over (KafkaController.onControllerFailover of Kafka
//! 3): it takes an epoch, lists the topics, reads every topic's assignment and every partition's
//! state, and elects a leader for every partition, each a transaction that checks the epoch.
//!
//! One session, as many requests outstanding as the pipeline says (Kafka's
//! `zookeeper.max.in.flight.requests`, 10). A whole start is measured as `start`; then it begins
//! anew. Several connections share the topics.
//!
//! A partition's state of version v bears the stamp v, so that data and version are seen to belong
//! together.

use std::sync::Arc;

use crate::jute::proto::{GetDataResponse, SetDataResponse};
use crate::jute::{Decoder, Record, op};

use super::super::actor::Actor;
use super::super::names::Names;
use super::super::operation::Operation;
use super::super::recorder::Recorder;
use super::super::request::Verdict;
use super::super::value::Values;
use super::super::workload::Step;
use super::Scene;
use super::ask::{Ask, Done, append_multi, read_multi};

/// Partitions of a topic.
const PER_TOPIC: u32 = 100;

/// How topics' names begin.
const TOPIC: &str = "topic-";

/// Bytes of an assignment for each partition, about those of a list of three replicas.
const PER_ASSIGNMENT: usize = 20;

/// The scenario.
#[derive(Debug)]
pub struct Controller {
    cluster: Arc<Cluster>,
}

#[derive(Debug)]
struct Cluster {
    base: String,
    connections: u32,
    partitions: u32,
    /// The names of all topics.
    topics: Names,
    /// The states, by partition and version.
    values: Arc<Values>,
}

impl Controller {
    /// Of a cluster with so many partitions.
    pub fn new(base: &str, connections: u32, partitions: u32, values: Arc<Values>) -> Controller {
        Controller {
            cluster: Arc::new(Cluster {
                base: base.to_owned(),
                connections,
                partitions,
                topics: Names::new(TOPIC, topics(partitions)),
                values,
            }),
        }
    }
}

fn topics(partitions: u32) -> u32 {
    partitions.div_ceil(PER_TOPIC)
}

/// What a topic's znode holds for each of its partitions.
fn assignment(topic: u32) -> String {
    format!("{topic:0PER_ASSIGNMENT$}")
}

impl Cluster {
    fn topics(&self) -> u32 {
        topics(self.partitions)
    }

    fn topics_path(&self) -> String {
        format!("{}/brokers/topics", self.base)
    }

    fn topic_path(&self, topic: u32) -> String {
        format!("{}/{TOPIC}{topic}", self.topics_path())
    }

    fn state_path(&self, partition: u32) -> String {
        let topic = self.topic_path(partition / PER_TOPIC);
        format!("{topic}/partitions/{}/state", partition % PER_TOPIC)
    }

    fn epoch_path(&self, number: u32) -> String {
        format!("{}/controller_epoch-{number}", self.base)
    }
}

impl Scene for Controller {
    fn znodes(&self) -> Vec<(String, Vec<u8>)> {
        let Cluster {
            base,
            connections,
            partitions,
            values,
            ..
        } = &*self.cluster;
        let empty = |path: String| (path, Vec::new());
        let mut znodes = vec![
            empty(format!("{base}/brokers")),
            empty(self.cluster.topics_path()),
        ];
        znodes.extend((0..*connections).map(|one| empty(self.cluster.epoch_path(one))));
        for topic in 0..self.cluster.topics() {
            let assignment = assignment(topic).repeat(PER_TOPIC as usize);
            let path = self.cluster.topic_path(topic);
            znodes.push((path.clone(), assignment.into_bytes()));
            znodes.push(empty(format!("{path}/partitions")));
        }
        for partition in 0..*partitions {
            let state = self.cluster.state_path(partition);
            let parent = state.trim_end_matches("/state").to_owned();
            znodes.push(empty(parent));
            znodes.push((state, values.of(partition, 0)));
        }
        znodes
    }

    fn actor(&self, number: u32) -> Box<dyn Actor> {
        let cluster = Arc::clone(&self.cluster);
        let mine = |count: u32| count.saturating_sub(number).div_ceil(cluster.connections);
        Box::new(Start {
            number,
            phase: Phase::Epoch,
            asked: 0,
            answered: 0,
            epoch_version: 0,
            versions: vec![0; mine(cluster.partitions) as usize],
            topics: mine(cluster.topics()),
            since_ns: 0,
            cluster,
        })
    }
}

#[derive(Debug)]
struct Start {
    cluster: Arc<Cluster>,
    number: u32,
    phase: Phase,
    /// Requests of the phase.
    asked: u32,
    answered: u32,
    epoch_version: i32,
    /// Of the states of this session's partitions.
    versions: Vec<i32>,
    topics: u32,
    since_ns: u64,
}

/// What is read or written; the next begins when all of one is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Epoch,
    List,
    Topics,
    States,
    Elections,
}

impl Start {
    fn count(&self) -> u32 {
        match self.phase {
            Phase::Epoch | Phase::List => 1,
            Phase::Topics => self.topics,
            Phase::States | Phase::Elections => self.versions.len() as u32,
        }
    }

    /// The number in the cluster of this session's topic or partition.
    fn global(&self, place: u32) -> u32 {
        place * self.cluster.connections + self.number
    }

    fn append(&self, place: u32, xid: i32, out: &mut Vec<u8>) -> Operation {
        let cluster = &*self.cluster;
        let epoch = cluster.epoch_path(self.number);
        match self.phase {
            Phase::Epoch => Ask::Set {
                path: &epoch,
                data: b"1",
                version: -1,
            }
            .append(xid, out),
            Phase::List => {
                let (path, watch) = (&cluster.topics_path()[..], true);
                Ask::Children { path, watch }.append(xid, out)
            }
            Phase::Topics => {
                let (path, watch) = (&cluster.topic_path(self.global(place))[..], true);
                Ask::Get { path, watch }.append(xid, out)
            }
            Phase::States => {
                let (path, watch) = (&cluster.state_path(self.global(place))[..], false);
                Ask::Get { path, watch }.append(xid, out)
            }
            Phase::Elections => {
                let partition = self.global(place);
                let state = cluster.state_path(partition);
                let version = self.versions[place as usize];
                let check = Ask::Check {
                    path: &epoch,
                    version: self.epoch_version,
                };
                let set = Ask::Set {
                    path: &state,
                    data: &cluster.values.of(partition, version as u32 + 1),
                    version,
                };
                append_multi(&[check, set], xid, out)
            }
        }
    }

    fn read(&mut self, place: u32, body: &[u8]) -> Option<Verdict> {
        let global = self.global(place);
        let known = &mut self.versions[..];
        let right = match self.phase {
            Phase::Epoch => {
                let before = self.epoch_version;
                self.epoch_version = SetDataResponse::from_slice(body).ok()?.stat.version;
                self.epoch_version > before
            }
            Phase::List => self.cluster.topics.are(&mut Decoder::new(body)).ok()?,
            Phase::Topics => {
                let data = GetDataResponse::from_slice(body).ok()?.data?;
                let expected = assignment(global);
                data.len() == PER_ASSIGNMENT * PER_TOPIC as usize
                    && data
                        .chunks(PER_ASSIGNMENT)
                        .all(|one| one == expected.as_bytes())
            }
            Phase::States => {
                let GetDataResponse { data, stat } = GetDataResponse::from_slice(body).ok()?;
                let (version, data) = (stat.version, data.unwrap_or_default());
                let before = std::mem::replace(&mut known[place as usize], version);
                version >= before && self.cluster.values.is(global, version as u32, data)
            }
            Phase::Elections => match read_multi(body, &[op::CHECK, op::SET_DATA]).ok()? {
                Done::All { versions, .. } => {
                    let version = &mut known[place as usize];
                    *version += 1;
                    versions == [*version]
                }
                Done::Refused(code) => return Some(Verdict::Refused(code)),
            },
        };
        right.then_some(Verdict::Right)
    }

    /// A reply was counted: goes on to the next phase after the last.
    fn advance(&mut self, recorder: &mut Recorder, now_ns: u64) {
        self.answered += 1;
        while self.answered == self.count() {
            (self.asked, self.answered) = (0, 0);
            self.phase = match self.phase {
                Phase::Epoch => Phase::List,
                Phase::List => Phase::Topics,
                Phase::Topics => Phase::States,
                Phase::States => Phase::Elections,
                Phase::Elections => {
                    recorder.answered(Operation::Start, Verdict::Right, self.since_ns, now_ns);
                    Phase::Epoch
                }
            };
        }
    }
}

impl Actor for Start {
    fn begin(&mut self, _session_id: i64) -> Option<String> {
        self.phase = Phase::Epoch;
        (self.asked, self.answered) = (0, 0);
        // Another server may not have what the last session saw.
        self.epoch_version = 0;
        self.versions.fill(0);
        None
    }

    fn next(&mut self, xid: i32, now_ns: u64, out: &mut Vec<u8>) -> Option<Step> {
        if self.asked == self.count() {
            return None;
        }
        let target = self.asked;
        self.asked += 1;
        if self.phase == Phase::Epoch {
            self.since_ns = now_ns;
        }
        let operation = self.append(target, xid, out);
        Some(Step::new(operation, target))
    }

    fn judge(
        &mut self,
        step: Step,
        reply: Result<&[u8], i32>,
        recorder: &mut Recorder,
        now_ns: u64,
    ) -> Verdict {
        let judged = match reply {
            Ok(body) => self.read(step.target, body).unwrap_or(Verdict::Wrong),
            Err(code) => Verdict::Refused(code),
        };
        self.advance(recorder, now_ns);
        judged
    }
}
