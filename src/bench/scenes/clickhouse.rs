//! What a replicated table of ClickHouse writes for each insert (ReplicatedMergeTree): a holder
//! and a block number, both ephemeral and sequential; then one transaction that adds the log
//! entry, the block's hash and the part, and gives the block number back; then the replica takes
//! the entry into its queue, and works it off. What is older than a hundred inserts is removed.
//! The whole is measured as `insert`. Each session makes one insert at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::jute::Record;
use crate::jute::proto::CreateResponse;

use super::super::actor::Actor;
use super::super::operation::Operation;
use super::super::recorder::Recorder;
use super::super::request::Verdict;
use super::super::workload::Step;
use super::ask::{Ask, Done, Mode, append_multi, read_multi};
use super::{Scene, verdict};

/// Inserts whose log entry, hash and part stay (ClickHouse keeps a window of them too).
const KEPT: usize = 100;

/// The scenario.
#[derive(Debug)]
pub struct Inserts {
    connections: u32,
    base: String,
    data: Arc<[u8]>,
}

impl Inserts {
    /// One table for each connection.
    pub fn new(base: &str, connections: u32, data: Vec<u8>) -> Inserts {
        Inserts {
            connections,
            base: base.to_owned(),
            data: data.into(),
        }
    }

    fn table(&self, number: u32) -> String {
        format!("{}/table-{number}", self.base)
    }
}

impl Scene for Inserts {
    fn znodes(&self) -> Vec<(String, Vec<u8>)> {
        let below = [
            "",
            "/temp",
            "/block_numbers",
            "/log",
            "/blocks",
            "/parts",
            "/queue",
            "/log_pointer",
        ];
        let table = |number| {
            let table = self.table(number);
            below.map(|name| (format!("{table}{name}"), Vec::new()))
        };
        (0..self.connections).flat_map(table).collect()
    }

    fn actor(&self, number: u32) -> Box<dyn Actor> {
        Box::new(Inserter {
            table: self.table(number),
            data: Arc::clone(&self.data),
            next: Some(Stage::Hold),
            session: 0,
            insert: 0,
            holder: String::new(),
            block: String::new(),
            entry: String::new(),
            queued: String::new(),
            kept: VecDeque::new(),
            since_ns: 0,
        })
    }
}

#[derive(Debug)]
struct Inserter {
    table: String,
    data: Arc<[u8]>,
    /// `None` while a reply is to come.
    next: Option<Stage>,
    session: i64,
    /// Number of the insert in the session.
    insert: u64,
    holder: String,
    block: String,
    entry: String,
    queued: String,
    /// Inserts that will be removed, with their log entries.
    kept: VecDeque<(u64, String)>,
    since_ns: u64,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Hold,
    Number,
    Commit,
    ReadEntry,
    Queue,
    Finish,
    Remove,
}

const STAGES: [Stage; 7] = [
    Stage::Hold,
    Stage::Number,
    Stage::Commit,
    Stage::ReadEntry,
    Stage::Queue,
    Stage::Finish,
    Stage::Remove,
];

impl Inserter {
    fn hash(&self, insert: u64) -> String {
        format!("{}/blocks/{:x}-{insert}", self.table, self.session)
    }

    fn part(&self, insert: u64) -> String {
        format!("{}/parts/all-{:x}-{insert}", self.table, self.session)
    }

    fn append(&self, stage: Stage, xid: i32, out: &mut Vec<u8>) -> Operation {
        let (table, data) = (&self.table, &self.data[..]);
        let (hash, part) = (&self.hash(self.insert)[..], &self.part(self.insert)[..]);
        let create = |path, mode| Ask::Create { path, data, mode };
        let delete = |path| Ask::Delete { path };
        match stage {
            Stage::Hold => {
                let path = format!("{table}/temp/abandonable_lock-");
                create(&path, Mode::EphemeralSequential).append(xid, out)
            }
            Stage::Number => {
                // That the hash is not there yet is checked by creating and removing it.
                let path = format!("{table}/block_numbers/block-");
                let asks = [
                    create(hash, Mode::Persistent),
                    delete(hash),
                    create(&path, Mode::EphemeralSequential),
                ];
                append_multi(&asks, xid, out)
            }
            Stage::Commit => {
                let path = format!("{table}/log/log-");
                let asks = [
                    create(&path, Mode::PersistentSequential),
                    create(hash, Mode::Persistent),
                    create(part, Mode::Persistent),
                    delete(&self.block),
                    delete(&self.holder),
                ];
                append_multi(&asks, xid, out)
            }
            Stage::ReadEntry => {
                let (path, watch) = (&self.entry[..], false);
                Ask::Get { path, watch }.append(xid, out)
            }
            Stage::Queue => {
                let path = format!("{table}/queue/queue-");
                let pointer = format!("{table}/log_pointer");
                let set = Ask::Set {
                    path: &pointer,
                    data: b"1",
                    version: -1,
                };
                append_multi(&[create(&path, Mode::PersistentSequential), set], xid, out)
            }
            Stage::Finish => delete(&self.queued).append(xid, out),
            Stage::Remove => {
                let (insert, entry) = &self.kept[0];
                let (hash, part) = (self.hash(*insert), self.part(*insert));
                append_multi(&[delete(entry), delete(&hash), delete(&part)], xid, out)
            }
        }
    }

    /// Takes what a stage yields; `None` if the reply is not what it must be.
    fn take(&mut self, stage: Stage, body: &[u8]) -> Option<Verdict> {
        let created = match stage {
            Stage::Hold => {
                CreateResponse::from_slice(body)
                    .ok()?
                    .path
                    .clone_into(&mut self.holder);
                return Some(Verdict::Right);
            }
            Stage::ReadEntry | Stage::Finish => return Some(Verdict::Right),
            _ => match read_multi(body).ok()? {
                Done::Created(created) => created,
                Done::Refused(code) => return Some(Verdict::Refused(code)),
            },
        };
        match stage {
            Stage::Number => created.get(1)?.clone_into(&mut self.block),
            Stage::Commit => created.first()?.clone_into(&mut self.entry),
            Stage::Queue => created.first()?.clone_into(&mut self.queued),
            _ => _ = self.kept.pop_front(),
        }
        Some(Verdict::Right)
    }

    /// The stage after one that went well.
    fn after(&mut self, stage: Stage, recorder: &mut Recorder, now_ns: u64) -> Stage {
        if matches!(stage, Stage::Finish) {
            recorder.answered(Operation::Insert, Verdict::Right, self.since_ns, now_ns);
            self.kept.push_back((self.insert, self.entry.clone()));
            self.insert += 1;
        }
        match STAGES.get(stage as usize + 1) {
            Some(Stage::Remove) if self.kept.len() <= KEPT => Stage::Hold,
            Some(next) => *next,
            None => Stage::Hold,
        }
    }
}

impl Actor for Inserter {
    fn begin(&mut self, session_id: i64) -> Option<String> {
        self.session = session_id;
        self.insert = 0;
        self.kept.clear();
        self.next = Some(Stage::Hold);
        None
    }

    fn next(&mut self, xid: i32, now_ns: u64, out: &mut Vec<u8>) -> Option<Step> {
        let stage = self.next.take()?;
        if matches!(stage, Stage::Hold) {
            self.since_ns = now_ns;
        }
        let operation = self.append(stage, xid, out);
        Some(Step::new(operation, stage as u32))
    }

    fn judge(
        &mut self,
        step: Step,
        reply: Result<&[u8], i32>,
        recorder: &mut Recorder,
        now_ns: u64,
    ) -> Verdict {
        let stage = STAGES[step.target as usize];
        let judged = match reply {
            Ok(body) => self.take(stage, body).unwrap_or(Verdict::Wrong),
            refused => verdict(refused),
        };
        self.next = Some(match judged {
            Verdict::Right => self.after(stage, recorder, now_ns),
            _ => {
                self.insert += 1;
                Stage::Hold
            }
        });
        judged
    }
}
