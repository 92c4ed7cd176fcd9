//! What reaches the election and quorum ports, into all that reads it. Shared by the property tests
//! and the fuzz targets.

use std::sync::Arc;

use zkore::jute::op;
use zkore::jute::txn::{CreateSessionTxn, Txn, TxnHeader, encode_txn};
use zkore::metrics::WriteMetrics;
use zkore::peer::greeting;
use zkore::prep::{PrepConfig, ReapConfig};
use zkore::sequencer::{Log, Now, Sequencer, SequencerConfig, SnapshotPolicy};
use zkore::session::{SessionConfig, SessionTable};
use zkore::snapshot::wire::WireDecoder;
use zkore::tree::{Tree, TreeConfig};
use zkore::types::{Ensemble, ErrorCode, LinkId, Member, MemberAddress, Role, ServerId, Zxid};
use zkore::zab::election::{Election, ElectionConfig, wire};
use zkore::zab::leader::{
    HostFailed, Leader, LeaderConfig, LeaderEvent, LeaderHost, Summary, ToLearner,
};
use zkore::zab::learner::{
    AppendFault, Learner, LearnerConfig, LearnerEvent, LearnerHost, SIGNATURE, TreeFault,
};
use zkore::zab::{PacketReader, Proposals, Rejection};

const VOTERS: i64 = 3;
const LIMIT_MS: u64 = 1000;
const NOW: Now = Now {
    monotonic_ms: 1,
    wall_ms: 1,
};

/// Bytes of a path or value in a tree that may come.
const FIELD_BYTES_MAX: usize = 1 << 20;

/// Three voters and an observer.
fn ensemble() -> Arc<Ensemble> {
    let member = |id: i64| {
        let address = MemberAddress {
            host: "127.0.0.1".into(),
            quorum_port: 2000 + id as u16,
            election_port: 3000 + id as u16,
        };
        let member = Member {
            addresses: vec![address],
            role: match id <= VOTERS {
                true => Role::Participant,
                false => Role::Observer,
            },
            client: None,
        };
        (ServerId(id), member)
    };
    Arc::new(Ensemble {
        members: (1..=VOTERS + 1).map(member).collect(),
        ..Ensemble::default()
    })
}

/// A server that stores nothing, and takes every tree and transaction that can be one.
struct Host {
    sequencer: Sequencer,
    decoder: Option<WireDecoder>,
}

fn tree_config() -> TreeConfig {
    TreeConfig {
        extended_types: true,
        digest_enabled: true,
    }
}

impl Host {
    /// A learner's, with one transaction in its tree.
    fn new(tip: Zxid) -> Host {
        let session = SessionConfig {
            tick_ms: LIMIT_MS,
            server_id: 1,
            shards: 1,
        };
        let config = SequencerConfig {
            prep: PrepConfig::default(),
            reap: ReapConfig::default(),
            digest_enabled: true,
        };
        let mut sequencer = Sequencer::new(
            config,
            Tree::new(tree_config()),
            SessionTable::new(session, 0),
            SnapshotPolicy::new(Some(u32::MAX), None, 1),
            Arc::new(WriteMetrics::new()),
            NOW,
        );
        sequencer.follow(NOW);
        let mut host = Host {
            sequencer,
            decoder: None,
        };
        let header = TxnHeader {
            client_id: 1,
            cxid: 0,
            zxid: tip.0,
            time: 0,
            kind: op::CREATE_SESSION,
        };
        let open = Txn::CreateSession(CreateSessionTxn { timeout_ms: 1000 });
        let mut payload = Vec::new();
        encode_txn(&header, &open, None, &mut payload);
        assert_eq!(host.append(&payload), Ok(tip));
        // As a server begins with what was in its log: nobody waits for it.
        host.sequencer.follow(NOW);
        host
    }

    /// Does what a learner says.
    fn obey(&mut self, learner: &mut Learner) {
        while let Some(event) = learner.poll_event() {
            match event {
                LearnerEvent::Committed(zxid) => self.sequencer.commit(zxid),
                LearnerEvent::Revalidated(session, is_valid) => {
                    self.sequencer.revalidated(session, is_valid, NOW);
                }
                LearnerEvent::Synced => self.sequencer.synced(),
                LearnerEvent::Confirmed => self.sequencer.confirmed(),
                LearnerEvent::Rejected(rejection) => self.sequencer.rejected(rejection),
                LearnerEvent::Ping(zxid) => {
                    let touched = self.sequencer.take_touched(NOW);
                    learner.pong(zxid, touched);
                }
                LearnerEvent::UpToDate(_) | LearnerEvent::Ended(_) => {}
            }
        }
        while self.sequencer.poll_publish().is_some() {}
        self.sequencer.reclaim(usize::MAX);
        let tip = self.tip();
        learner.durable(tip, self);
        learner.take_output(&mut Vec::new());
    }
}

/// A log with room for everything.
struct Endless;

impl Log for Endless {
    fn has_room(&mut self, _: usize) -> bool {
        true
    }

    fn append(&mut self, _: Zxid, _: &[u8]) {}
}

/// A leader's: its log cannot be read back.
struct LeadersHost;

impl LeaderHost for LeadersHost {
    fn accept_epoch(&mut self, _: u32) -> Result<(), HostFailed> {
        Ok(())
    }

    fn adopt_epoch(&mut self, _: u32) -> Result<(), HostFailed> {
        Ok(())
    }

    fn read_log(&mut self, _: Zxid, _: Zxid) -> Option<Vec<(Zxid, Arc<[u8]>)>> {
        None
    }
}

impl LearnerHost for Host {
    fn accept_epoch(&mut self, _: u32) -> Result<(), HostFailed> {
        Ok(())
    }

    fn adopt_epoch(&mut self, _: u32) -> Result<(), HostFailed> {
        Ok(())
    }

    fn tip(&self) -> Zxid {
        self.sequencer.tree().tip_zxid()
    }

    fn is_quiet(&self) -> bool {
        true
    }

    /// Nothing is cut off, which a learner takes for a log that never held what it is to keep.
    fn truncate(&mut self, zxid: Zxid) -> Result<(), TreeFault> {
        match zxid < self.sequencer.published_zxid() {
            true => Err(TreeFault::Bad("it is committed".to_owned())),
            false => Ok(()),
        }
    }

    fn tree_bytes(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(usize, bool), TreeFault> {
        let decoder = self
            .decoder
            .get_or_insert_with(|| WireDecoder::new(tree_config(), FIELD_BYTES_MAX));
        let bad = |error: zkore::snapshot::wire::WireError| TreeFault::Bad(error.to_string());
        let taken = decoder.feed(bytes).map_err(bad)?;
        let is_whole = decoder.is_done();
        if is_whole {
            let decoder = self.decoder.take().expect("it was there just now");
            let (tree, sessions) = decoder.finish(zxid).map_err(bad)?;
            self.sequencer.replace(tree, &sessions, NOW);
        }
        Ok((taken, is_whole))
    }

    fn append(&mut self, payload: &[u8]) -> Result<Zxid, AppendFault> {
        self.sequencer.apply(payload, NOW, &mut Endless)
    }
}

/// Bytes on the election port: a greeting, and messages of the other members, each after its length,
/// at any point of an election.
pub fn election_port(bytes: &[u8]) {
    let mut rest = match greeting::read(bytes) {
        Ok(Some((_, length))) => &bytes[length..],
        _ => bytes,
    };
    let mut election = Election::new(ElectionConfig::new(ServerId(1), ensemble()));
    election.look(Zxid::ZERO, 0, 0);
    let mut now_ms = 0;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (message, after) = after.split_at(length);
        rest = after;
        // The last byte is part of a configuration, so it can be anything.
        let chance = u64::from(message.last().copied().unwrap_or_default());
        let from = ServerId(2 + (chance % 4) as i64);
        now_ms += chance % 64 * 10;
        election.reachable(from, chance % 8 != 7, now_ms);
        election.receive(from, message, now_ms);
        election.tick(now_ms);
        while let Some((_, message)) = election.poll_send() {
            let told = wire::read(&message).expect("our own");
            assert!(told.state.is_some() && told.config.is_some());
        }
        if election.poll_decision().is_some() {
            election.set_vote_epoch(1);
            election.receive(from, message, now_ms);
            election.look(Zxid::ZERO, 0, now_ms);
        }
    }
    let _ = wire::read(bytes);
    election.receive(ServerId(2), bytes, now_ms);
}

fn summary(tip: Zxid) -> Summary {
    Summary {
        accepted_epoch: 1,
        current_epoch: 1,
        zxid: tip,
    }
}

/// Bytes on the quorum port of a leader, from a stranger and from a learner in step; and bytes of a
/// leader to a learner. They come in pieces of this many bytes.
pub fn quorum_port(bytes: &[u8], piece: usize) {
    let tip = Zxid::new(1, 5);
    let config = LeaderConfig {
        my_id: ServerId(1),
        ensemble: ensemble(),
        init_limit_ms: LIMIT_MS,
        sync_limit_ms: LIMIT_MS,
        silence_limit_ms: LIMIT_MS,
        heartbeat_ms: LIMIT_MS,
    };
    let mut leader = Leader::new(
        config,
        summary(tip),
        Proposals::new(tip),
        0,
        &mut LeadersHost,
    );
    let (known, stranger) = (LinkId(1), LinkId(2));
    leader.link_opened(known, 0);
    let (mut learner, mut host) = (learner(2, tip), Host::new(tip));
    // The two come in step, as far as one link goes.
    for _ in 0..4 {
        let mut said = Vec::new();
        learner.take_output(&mut said);
        leader.receive(known, &said, 0, &mut LeadersHost);
        said.clear();
        leader.take_output(known, &mut said);
        learner.receive(&said, 0, &mut host);
        learner.durable(tip, &mut host);
    }
    assert!(leader.is_established() && learner.is_active());
    leader.propose(Zxid::new(2, 1), b"");
    leader.link_opened(stranger, 0);
    let (mut fresh, mut fresh_host) = (self::learner(3, tip), Host::new(tip));
    for part in bytes.chunks(piece.max(1)) {
        for link in [known, stranger] {
            leader.receive(link, part, 1, &mut LeadersHost);
        }
        obey(&mut leader);
        learner.receive(part, 1, &mut host);
        host.obey(&mut learner);
        fresh.receive(part, 1, &mut fresh_host);
        fresh_host.obey(&mut fresh);
    }
    for now_ms in [1, LIMIT_MS, 2 * LIMIT_MS + 2] {
        leader.tick(now_ms);
        learner.tick(now_ms);
        fresh.tick(now_ms);
    }
    let mut reader = PacketReader::default();
    reader.extend(bytes);
    while let Ok(Some((_, length))) = reader.peek() {
        reader.skip(length);
    }
}

/// Does what a leader says, the tree that a learner needs having no more than its signature.
fn obey(leader: &mut Leader) {
    while let Some(event) = leader.poll_event() {
        match event {
            LeaderEvent::Revalidate(link, session, _) => {
                leader.answer(link, &ToLearner::Revalidated(session, true));
            }
            LeaderEvent::SendTree(link, _) => {
                leader.tree_piece(link, SIGNATURE.as_bytes(), true, 0);
            }
            LeaderEvent::Request(link, request) if request.op == op::SYNC => {
                leader.hold(link, Zxid::new(2, 1));
                leader.ask_round(1);
            }
            LeaderEvent::Request(link, request) => {
                let rejection = Rejection {
                    session: request.session,
                    cxid: request.cxid,
                    after: Zxid::new(2, 1),
                    is_multi: false,
                    errors: vec![ErrorCode::NoNode],
                };
                leader.reject(link, &rejection);
                leader.answer(link, &ToLearner::Confirmed);
            }
            LeaderEvent::RoundConfirmed(_) => leader.release(LinkId(1), &ToLearner::Synced),
            LeaderEvent::Committed(zxid) => assert!(zxid <= Zxid::new(2, 1)),
            LeaderEvent::Established
            | LeaderEvent::Touched(..)
            | LeaderEvent::Close(..)
            | LeaderEvent::SteppedDown(_) => {}
        }
    }
    let links: Vec<LinkId> = leader.links_with_output().collect();
    for link in links {
        leader.take_output(link, &mut Vec::new());
    }
}

fn learner(id: i64, tip: Zxid) -> Learner {
    let config = LearnerConfig {
        my_id: ServerId(id),
        is_observer: false,
        config_version: 0,
        tree_base: Zxid::ZERO,
        init_limit_ms: LIMIT_MS,
        sync_limit_ms: LIMIT_MS,
        silence_limit_ms: LIMIT_MS,
    };
    Learner::new(config, summary(tip), 0)
}
