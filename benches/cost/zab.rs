//! ZAB's part of a write, without disks and sockets: a leader that proposes, hears acknowledgements and
//! commits, and a follower that appends, acknowledges and hears the commit.

use std::hint::black_box;
use std::sync::Arc;

use zkore::jute::op;
use zkore::jute::quorum::kind;
use zkore::jute::txn::{SetDataTxn, Txn, TxnHeader, encode_txn};
use zkore::types::{Ensemble, LinkId, Member, MemberAddress, Role, ServerId, Zxid};
use zkore::zab::leader::{HostFailed, Leader, LeaderConfig, LeaderHost, Summary};
use zkore::zab::learner::{
    AppendFault, Learner, LearnerConfig, LearnerEvent, LearnerHost, TreeFault,
};
use zkore::zab::{Proposals, encode_packet};

use super::{DATA, path_of};

/// Proposals at once.
pub const BATCH: u64 = 16;

const LEARNERS: i64 = 2;
const LIMIT_MS: u64 = 60_000;
const NEW: Summary = Summary {
    accepted_epoch: 0,
    current_epoch: 0,
    zxid: Zxid::ZERO,
};

/// Where the zxid lies in a transaction.
const ZXID: std::ops::Range<usize> = 12..20;

/// A log that keeps nothing but its end.
struct Host {
    tip: Zxid,
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

    fn truncate(&mut self, _: Zxid) -> Result<(), TreeFault> {
        Err(TreeFault::Bad("nobody is ahead here".to_owned()))
    }

    fn tree_bytes(&mut self, _: Zxid, _: &[u8]) -> Result<(usize, bool), TreeFault> {
        Err(TreeFault::Bad("nobody is behind here".to_owned()))
    }

    fn append(&mut self, payload: &[u8]) -> Result<Zxid, AppendFault> {
        let bytes = payload[ZXID].try_into().expect("a transaction");
        self.tip = Zxid(i64::from_be_bytes(bytes));
        Ok(self.tip)
    }
}

/// An established leader with two learners that serve.
struct World {
    leader: Leader,
    host: Host,
    learners: Vec<(LinkId, Learner, Host)>,
    /// The newest transaction.
    zxid: Zxid,
    payload: Vec<u8>,
}

impl World {
    fn new() -> World {
        let config = LeaderConfig {
            my_id: ServerId(1),
            ensemble: ensemble(),
            init_limit_ms: LIMIT_MS,
            sync_limit_ms: LIMIT_MS,
            silence_limit_ms: LIMIT_MS,
            heartbeat_ms: LIMIT_MS,
        };
        let mut host = Host { tip: Zxid::ZERO };
        let mut leader = Leader::new(config, NEW, Proposals::new(Zxid::ZERO), 0, &mut host);
        let mut learners: Vec<_> = (1..=LEARNERS).map(learner).collect();
        for (link, ..) in &learners {
            leader.link_opened(*link, 0);
        }
        let mut bytes = Vec::new();
        while !learners.iter().all(|(_, learner, _)| learner.is_active()) {
            for (link, learner, own) in &mut learners {
                learner.durable(own.tip, own);
                bytes.clear();
                learner.take_output(&mut bytes);
                leader.receive(*link, &bytes, 0, &mut host);
                bytes.clear();
                leader.take_output(*link, &mut bytes);
                learner.receive(&bytes, 0, own);
                while learner.poll_event().is_some() {}
            }
            while leader.poll_event().is_some() {}
        }
        World {
            zxid: Zxid::new(leader.epoch().expect("it is chosen"), 0),
            leader,
            host,
            learners,
            payload: transaction(),
        }
    }

    /// Makes the payload that of the next transaction.
    fn next(&mut self) {
        self.zxid = Zxid(self.zxid.0 + 1);
        self.payload[ZXID].copy_from_slice(&self.zxid.0.to_be_bytes());
    }
}

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
        members: (1..=1 + LEARNERS).map(member).collect(),
        ..Ensemble::default()
    })
}

fn learner(number: i64) -> (LinkId, Learner, Host) {
    let config = LearnerConfig {
        my_id: ServerId(1 + number),
        is_observer: false,
        config_version: 0,
        tree_base: Zxid::ZERO,
        init_limit_ms: LIMIT_MS,
        sync_limit_ms: LIMIT_MS,
        silence_limit_ms: LIMIT_MS,
    };
    let host = Host { tip: Zxid::ZERO };
    (LinkId(number as u64), Learner::new(config, NEW, 0), host)
}

fn transaction() -> Vec<u8> {
    let header = TxnHeader {
        client_id: 1,
        cxid: 1,
        zxid: 0,
        time: 1,
        kind: op::SET_DATA,
    };
    let path = path_of(1);
    let txn = Txn::SetData(SetDataTxn {
        path: &path,
        data: Some(&DATA),
        version: 1,
    });
    let mut payload = Vec::new();
    encode_txn(&header, &txn, None, &mut payload);
    payload
}

/// A leader's part: its own log is durable first, then each follower says that its is.
pub fn lead() -> Box<dyn FnMut()> {
    let mut world = World::new();
    let mut bytes = Vec::new();
    Box::new(move || {
        for _ in 0..BATCH {
            world.next();
            world.leader.propose(world.zxid, &world.payload);
        }
        for (link, ..) in &world.learners {
            bytes.clear();
            world.leader.take_output(*link, &mut bytes);
            black_box(&bytes);
        }
        world.leader.durable(world.zxid);
        for (link, ..) in &world.learners {
            bytes.clear();
            encode_packet(kind::ACK, world.zxid.0, None, &mut bytes);
            world.leader.receive(*link, &bytes, 0, &mut world.host);
        }
        for (link, ..) in &world.learners {
            bytes.clear();
            world.leader.take_output(*link, &mut bytes);
            black_box(&bytes);
        }
        while let Some(event) = world.leader.poll_event() {
            black_box(event);
        }
        assert_eq!(world.leader.committed(), world.zxid);
    })
}

/// A follower's part.
pub fn follow() -> Box<dyn FnMut()> {
    let mut world = World::new();
    let mut bytes = Vec::new();
    Box::new(move || {
        bytes.clear();
        for _ in 0..BATCH {
            world.next();
            encode_packet(
                kind::PROPOSAL,
                world.zxid.0,
                Some(&world.payload),
                &mut bytes,
            );
        }
        let (_, learner, host) = &mut world.learners[0];
        learner.receive(&bytes, 0, host);
        learner.durable(host.tip, host);
        bytes.clear();
        learner.take_output(&mut bytes);
        assert!(!bytes.is_empty(), "it acknowledges");
        bytes.clear();
        encode_packet(kind::COMMIT, world.zxid.0, None, &mut bytes);
        learner.receive(&bytes, 0, host);
        let event = std::iter::from_fn(|| learner.poll_event()).last();
        assert_eq!(event, Some(LearnerEvent::Committed(world.zxid)));
    })
}
