//! What reaches the election and quorum ports, into all that reads it. Shared by the property tests
//! and the fuzz targets.

use std::sync::Arc;

use zkore::peer::greeting;
use zkore::snapshot::wire::WireDecoder;
use zkore::tree::TreeConfig;
use zkore::types::{Ensemble, LinkId, Member, MemberAddress, Role, ServerId, Zxid};
use zkore::zab::election::{Election, ElectionConfig, wire};
use zkore::zab::leader::{HostFailed, Leader, LeaderConfig, LeaderHost, Summary};
use zkore::zab::learner::{AppendFault, Learner, LearnerConfig, LearnerHost, TreeFault};
use zkore::zab::{PacketReader, Proposals};

const MEMBERS: i64 = 3;
const LIMIT_MS: u64 = 1000;

/// Bytes of a path or value in a tree that may come.
const FIELD_BYTES_MAX: usize = 1 << 20;

fn ensemble() -> Arc<Ensemble> {
    let member = |id: i64| {
        let address = MemberAddress {
            host: "127.0.0.1".into(),
            quorum_port: 2000 + id as u16,
            election_port: 3000 + id as u16,
        };
        let member = Member {
            addresses: vec![address],
            role: Role::Participant,
            client: None,
        };
        (ServerId(id), member)
    };
    Arc::new(Ensemble {
        members: (1..=MEMBERS).map(member).collect(),
        ..Ensemble::default()
    })
}

/// A server that stores nothing and takes every tree and transaction.
#[derive(Default)]
struct Host {
    tip: Zxid,
    decoder: Option<WireDecoder>,
}

impl LeaderHost for Host {
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
        self.tip
    }

    fn is_quiet(&self) -> bool {
        true
    }

    fn truncate(&mut self, zxid: Zxid) -> Result<(), TreeFault> {
        self.tip = self.tip.min(zxid);
        Ok(())
    }

    fn tree_bytes(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(usize, bool), TreeFault> {
        let config = TreeConfig {
            extended_types: false,
            digest_enabled: true,
        };
        let decoder = self
            .decoder
            .get_or_insert_with(|| WireDecoder::new(config, FIELD_BYTES_MAX));
        let bad = |error: zkore::snapshot::wire::WireError| TreeFault::Bad(error.to_string());
        let taken = decoder.feed(bytes).map_err(bad)?;
        let is_whole = decoder.is_done();
        if is_whole {
            let decoder = self.decoder.take().expect("it was there just now");
            decoder.finish(zxid).map_err(bad)?;
            self.tip = zxid;
        }
        Ok((taken, is_whole))
    }

    fn append(&mut self, payload: &[u8]) -> Result<Zxid, AppendFault> {
        let (header, _, _) = zkore::jute::txn::decode_txn(payload)
            .map_err(|error| AppendFault::Bad(error.to_string()))?;
        self.tip = Zxid(header.zxid);
        Ok(self.tip)
    }
}

/// Bytes on the election port: a greeting, and messages of a member at any point of an election.
pub fn election_port(bytes: &[u8]) {
    let after = match greeting::read(bytes) {
        Ok(Some((_, length))) => &bytes[length..],
        _ => bytes,
    };
    let mut election = Election::new(ElectionConfig::new(ServerId(1), ensemble()));
    election.look(Zxid::ZERO, 0, 0);
    for (number, message) in after.chunks(45).enumerate() {
        let from = ServerId(2 + (number % 3) as i64);
        let _ = wire::read(message);
        election.receive(from, message, number as u64);
        election.tick(number as u64 * 10);
        while election.poll_send().is_some() {}
        if election.poll_decision().is_some() {
            election.look(Zxid::ZERO, 0, number as u64);
        }
    }
    election.receive(ServerId(2), after, LIMIT_MS);
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
    let mut host = Host::default();
    let mut leader = Leader::new(config, summary(tip), Proposals::new(tip), 0, &mut host);
    let (known, stranger) = (LinkId(1), LinkId(2));
    leader.link_opened(known, 0);
    let mut learner = learner(2, tip);
    let mut learner_host = Host {
        tip,
        ..Host::default()
    };
    // The two come in step, as far as one link goes.
    for _ in 0..4 {
        let mut said = Vec::new();
        learner.take_output(&mut said);
        leader.receive(known, &said, 0, &mut host);
        said.clear();
        leader.take_output(known, &mut said);
        learner.receive(&said, 0, &mut learner_host);
        learner.durable(tip, &mut learner_host);
    }
    assert!(leader.is_established() && learner.is_active());
    leader.link_opened(stranger, 0);
    let mut fresh = self::learner(3, tip);
    let mut fresh_host = Host {
        tip,
        ..Host::default()
    };
    for part in bytes.chunks(piece.max(1)) {
        leader.receive(known, part, 1, &mut host);
        leader.receive(stranger, part, 1, &mut host);
        learner.receive(part, 1, &mut learner_host);
        fresh.receive(part, 1, &mut fresh_host);
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

fn learner(id: i64, tip: Zxid) -> Learner {
    let config = LearnerConfig {
        my_id: ServerId(id),
        is_observer: false,
        config_version: 0,
        init_limit_ms: LIMIT_MS,
        sync_limit_ms: LIMIT_MS,
        silence_limit_ms: LIMIT_MS,
    };
    Learner::new(config, summary(tip), 0)
}
