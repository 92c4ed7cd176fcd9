//! What the leader's and learner's parts of ZAB do to this server.

use std::sync::Arc;

use crate::sequencer::{Log, Now, Sequencer};
use crate::snapshot::wire::{WireDecoder, WireError};
use crate::storage::{Storage, StorageError};
use crate::tree::TreeConfig;
use crate::types::Zxid;
use crate::wal::Wal;
use crate::zab::Proposals;
use crate::zab::leader::{HostFailed, Leader, LeaderHost};
use crate::zab::learner::{AppendFault, LearnerHost, TreeFault};

use super::ReplicaError;

/// Where the sequencer's transactions go: into the log, and to the followers of a leader.
pub struct LogOf<'a> {
    pub wal: &'a mut Wal,
    pub leader: Option<&'a mut Leader>,
    pub now_ms: u64,
}

impl Log for LogOf<'_> {
    fn has_room(&mut self, payload_len: usize) -> bool {
        self.wal.check_room(payload_len).is_ok()
    }

    fn append(&mut self, zxid: Zxid, payload: &[u8]) {
        self.wal
            .append(zxid, payload)
            .expect("there was room for it just now");
        if let Some(leader) = &mut self.leader {
            leader.propose(zxid, payload);
        }
    }

    fn ask_round(&mut self) -> u64 {
        self.leader
            .as_mut()
            .map_or(0, |leader| leader.ask_round(self.now_ms))
    }
}

/// Bytes of log that are read back for one learner before clients are served; further behind, a
/// tree is shorter.
const READ_BACK_BYTES_MAX: usize = 32 << 20;

/// This server, for its leader's part.
pub struct OfLeader<'a> {
    pub storage: &'a mut Storage,
    /// Whether clients are served, so that nothing may block.
    pub is_serving: bool,
    pub failure: &'a mut Option<ReplicaError>,
}

impl OfLeader<'_> {
    fn note(&mut self, result: Result<(), StorageError>) -> Result<(), HostFailed> {
        note(self.failure, result)
    }
}

impl LeaderHost for OfLeader<'_> {
    fn accept_epoch(&mut self, epoch: u32) -> Result<(), HostFailed> {
        let result = self.storage.set_accepted_epoch(i64::from(epoch));
        self.note(result)
    }

    fn adopt_epoch(&mut self, epoch: u32) -> Result<(), HostFailed> {
        let result = self.storage.set_current_epoch(i64::from(epoch));
        self.note(result)
    }

    fn read_log(&mut self, after: Zxid, up_to: Zxid) -> Option<Vec<(Zxid, Arc<[u8]>)>> {
        if self.is_serving {
            return None;
        }
        let mut records = Vec::new();
        let read =
            self.storage
                .read_log(after, up_to, READ_BACK_BYTES_MAX, &mut |zxid, payload| {
                    records.push((zxid, payload.into()));
                });
        match read {
            Ok(read) if read.follows(after) && read.is_complete => Some(records),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(%error, "the log cannot be read back; a learner gets the whole tree");
                None
            }
        }
    }
}

fn note(
    failure: &mut Option<ReplicaError>,
    result: Result<(), StorageError>,
) -> Result<(), HostFailed> {
    result.map_err(|error| {
        failure.get_or_insert(error.into());
        HostFailed
    })
}

/// Bytes of one path or value in a tree that a leader sends: more than any `jute.maxbuffer` that is
/// in use.
const FIELD_BYTES_MAX: usize = 256 << 20;

/// This server, for its learner's part.
pub struct OfLearner<'a> {
    pub storage: &'a mut Storage,
    pub wal: &'a mut Option<Wal>,
    pub sequencer: &'a mut Sequencer,
    pub proposals: &'a mut Proposals,
    pub decoder: &'a mut Option<WireDecoder>,
    pub tree_config: &'a TreeConfig,
    /// What `/zookeeper/config` holds.
    pub config_text: &'a str,
    pub is_snapshotting: bool,
    /// Set where there is no room for the log.
    pub is_aside: &'a mut bool,
    pub now: Now,
    pub failure: &'a mut Option<ReplicaError>,
}

impl OfLearner<'_> {
    /// Refuses to go back behind what this server knows to be committed: a leader without it is one
    /// of another ensemble, or of one that has lost data.
    fn refuse_to_lose(&self, zxid: Zxid) -> Result<(), String> {
        let committed = self.sequencer.published_zxid();
        if zxid >= committed || zxid.counter() == 0 && zxid.epoch() > committed.epoch() {
            return Ok(());
        }
        Err(format!(
            "the leader's data end at {zxid}, and this server knows {committed} to be committed: \
             the leader belongs to another ensemble, or data were lost there. Nothing was changed \
             here; to give this server's data up, move its data folder away and start it again"
        ))
    }

    fn take_tree(&mut self, zxid: Zxid) -> Result<(), TreeFault> {
        let decoder = self.decoder.take().expect("it has just become whole");
        let bad = |error: WireError| TreeFault::Bad(error.to_string());
        let (mut tree, sessions) = decoder.finish(zxid).map_err(bad)?;
        tree.set_config(self.config_text);
        let wal = self.wal.take().expect("the storage gives it back");
        let committed = self.sequencer.published_zxid();
        let view = tree.view(zxid);
        let replaced = self.storage.replace(wal, &view, &sessions, committed);
        match replaced {
            Ok(wal) => *self.wal = Some(wal),
            Err(error) => {
                self.failure.get_or_insert(error.into());
                return Err(TreeFault::Host(HostFailed));
            }
        }
        self.sequencer.replace(tree, &sessions, self.now);
        *self.proposals = Proposals::new(zxid);
        Ok(())
    }
}

impl LearnerHost for OfLearner<'_> {
    fn is_quiet(&self) -> bool {
        let wal = self.wal.as_ref();
        !self.is_snapshotting && wal.is_some_and(|wal| wal.is_quiet() && !wal.has_unwritten())
    }

    fn accept_epoch(&mut self, epoch: u32) -> Result<(), HostFailed> {
        let result = self.storage.set_accepted_epoch(i64::from(epoch));
        note(self.failure, result)
    }

    fn adopt_epoch(&mut self, epoch: u32) -> Result<(), HostFailed> {
        let result = self.storage.set_current_epoch(i64::from(epoch));
        note(self.failure, result)
    }

    fn tip(&self) -> Zxid {
        self.sequencer.tree().tip_zxid()
    }

    fn truncate(&mut self, zxid: Zxid) -> Result<(), TreeFault> {
        self.refuse_to_lose(zxid).map_err(TreeFault::Bad)?;
        if zxid >= self.tip() {
            return Ok(());
        }
        let wal = self.wal.take().expect("the storage gives it back");
        match self.storage.truncate(wal, zxid) {
            Ok(recovered) => {
                *self.wal = Some(recovered.wal);
                *self.proposals = Proposals::new(recovered.tree.tip_zxid());
                self.sequencer
                    .replace(recovered.tree, &recovered.sessions, self.now);
                self.sequencer.set_config(self.config_text);
                Ok(())
            }
            Err(error) => {
                self.failure.get_or_insert(error.into());
                Err(TreeFault::Host(HostFailed))
            }
        }
    }

    fn tree_bytes(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(usize, bool), TreeFault> {
        if self.decoder.is_none() {
            self.refuse_to_lose(zxid).map_err(TreeFault::Bad)?;
        }
        let config = self.tree_config;
        let decoder = self
            .decoder
            .get_or_insert_with(|| WireDecoder::new(config.clone(), FIELD_BYTES_MAX));
        let taken = decoder
            .feed(bytes)
            .map_err(|error| TreeFault::Bad(error.to_string()))?;
        let is_whole = decoder.is_done();
        if is_whole {
            self.take_tree(zxid)?;
        }
        Ok((taken, is_whole))
    }

    fn append(&mut self, payload: &[u8]) -> Result<Zxid, AppendFault> {
        let wal = self.wal.as_mut().expect("the storage gives it back");
        let mut log = LogOf {
            wal,
            leader: None,
            now_ms: self.now.monotonic_ms,
        };
        let applied = self.sequencer.apply(payload, self.now, &mut log);
        *self.is_aside |= applied == Err(AppendFault::NoRoom);
        let zxid = applied?;
        self.proposals.push(zxid, payload.into());
        self.proposals.trim(self.sequencer.published_zxid());
        Ok(zxid)
    }
}
