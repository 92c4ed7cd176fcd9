//! What a replicated table of ClickHouse writes for each insert (ReplicatedMergeTree): a holder
//! and a block number, both ephemeral and sequential; then one transaction that adds the log
//! entry, the block's hash and the part, and gives the block number back; then the replica takes
//! the entry into its queue, and works it off. What is older than a hundred inserts is removed.
//! The whole is measured as `insert`. Each session makes one insert at a time, and each insert has
//! data of its own.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::jute::proto::{CreateResponse, GetDataResponse};
use crate::jute::{Record, op};

use super::super::actor::Actor;
use super::super::operation::Operation;
use super::super::recorder::Recorder;
use super::super::request::Verdict;
use super::super::value::Values;
use super::super::workload::Step;
use super::Scene;
use super::ask::{Ask, Done, Mode, append_multi, is_numbered, read_multi};

/// Inserts whose log entry, hash and part stay (ClickHouse keeps a window of them too).
const KEPT: usize = 100;

/// How the sequential znodes of a table are called below it.
const HOLDER: &str = "temp/abandonable_lock-";
const BLOCK: &str = "block_numbers/block-";
const ENTRY: &str = "log/log-";
const QUEUED: &str = "queue/queue-";

/// The scenario.
#[derive(Debug)]
pub struct Inserts {
    connections: u32,
    base: String,
    values: Arc<Values>,
}

impl Inserts {
    /// One table for each connection.
    pub fn new(base: &str, connections: u32, values: Arc<Values>) -> Inserts {
        Inserts {
            connections,
            base: base.to_owned(),
            values,
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
            number,
            table: self.table(number),
            values: Arc::clone(&self.values),
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
    number: u32,
    table: String,
    values: Arc<Values>,
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

/// Takes the name of a new sequential znode, which comes after the last one; `None` if it cannot be
/// that.
fn take_name(last: &mut String, path: &str, prefix: &str) -> Option<()> {
    let is_next = is_numbered(path, prefix) && path > last.as_str();
    is_next.then(|| path.clone_into(last))
}

impl Inserter {
    fn hash(&self, insert: u64) -> String {
        format!("{}/blocks/{:x}-{insert}", self.table, self.session)
    }

    fn part(&self, insert: u64) -> String {
        format!("{}/parts/all-{:x}-{insert}", self.table, self.session)
    }

    fn append(&self, stage: Stage, xid: i32, out: &mut Vec<u8>) -> Operation {
        let table = &self.table;
        let data = &self.values.of(self.number, self.insert as u32)[..];
        let (hash, part) = (&self.hash(self.insert)[..], &self.part(self.insert)[..]);
        let create = |path, mode| Ask::Create { path, data, mode };
        let delete = |path| Ask::Delete { path };
        match stage {
            Stage::Hold => {
                let path = format!("{table}/{HOLDER}");
                create(&path, Mode::EphemeralSequential).append(xid, out)
            }
            Stage::Number => {
                // That the hash is not there yet is checked by creating and removing it.
                let path = format!("{table}/{BLOCK}");
                let asks = [
                    create(hash, Mode::Persistent),
                    delete(hash),
                    create(&path, Mode::EphemeralSequential),
                ];
                append_multi(&asks, xid, out)
            }
            Stage::Commit => {
                let path = format!("{table}/{ENTRY}");
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
                let path = format!("{table}/{QUEUED}");
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
        const CREATE: i32 = op::CREATE;
        const DELETE: i32 = op::DELETE;
        let kinds: &[i32] = match stage {
            Stage::Hold => {
                let path = CreateResponse::from_slice(body).ok()?.path;
                take_name(&mut self.holder, path, &format!("{}/{HOLDER}", self.table))?;
                return Some(Verdict::Right);
            }
            Stage::ReadEntry => {
                let data = GetDataResponse::from_slice(body).ok()?.data?;
                let is_right = self.values.is(self.number, self.insert as u32, data);
                return is_right.then_some(Verdict::Right);
            }
            Stage::Finish => return body.is_empty().then_some(Verdict::Right),
            Stage::Number => &[CREATE, DELETE, CREATE],
            Stage::Commit => &[CREATE, CREATE, CREATE, DELETE, DELETE],
            Stage::Queue => &[CREATE, op::SET_DATA],
            Stage::Remove => &[DELETE, DELETE, DELETE],
        };
        let created = match read_multi(body, kinds).ok()? {
            Done::All { created, .. } => created,
            Done::Refused(code) => return Some(Verdict::Refused(code)),
        };
        let (table, hash) = (&self.table, self.hash(self.insert));
        match (stage, &created[..]) {
            (Stage::Number, [first, block]) if *first == hash => {
                take_name(&mut self.block, block, &format!("{table}/{BLOCK}"))?;
            }
            (Stage::Commit, [entry, first, part])
                if *first == hash && *part == self.part(self.insert) =>
            {
                take_name(&mut self.entry, entry, &format!("{table}/{ENTRY}"))?;
            }
            (Stage::Queue, [queued]) => {
                take_name(&mut self.queued, queued, &format!("{table}/{QUEUED}"))?;
            }
            (Stage::Remove, []) => _ = self.kept.pop_front(),
            _ => return None,
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
            Err(code) => Verdict::Refused(code),
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
