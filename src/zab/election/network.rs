//! A network of elections in virtual time, for tests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::*;
use crate::types::{Member, MemberAddress, Role};

/// Voters 1 to `voters`, and observers after them.
pub(super) fn ensemble(voters: i64, observers: i64) -> Ensemble {
    let member = |id| Member {
        addresses: vec![MemberAddress {
            host: "127.0.0.1".into(),
            quorum_port: 2888,
            election_port: 3888,
        }],
        role: if id <= voters {
            Role::Participant
        } else {
            Role::Observer
        },
        client: None,
    };
    Ensemble {
        members: (1..=voters + observers)
            .map(|id| (ServerId(id), member(id)))
            .collect(),
        ..Ensemble::default()
    }
}

pub(super) struct Node {
    pub(super) election: Election,
    pub(super) zxid: Zxid,
    pub(super) epoch: i64,
    pub(super) decision: Option<Decision>,
    is_up: bool,
}

/// Messages of one sender to one receiver stay in order; otherwise the seed decides.
pub(super) struct Network {
    pub(super) now_ms: u64,
    pub(super) nodes: BTreeMap<i64, Node>,
    links: BTreeMap<(i64, i64), VecDeque<Vec<u8>>>,
    cut: BTreeSet<(i64, i64)>,
    /// How many of 100 messages get lost.
    pub(super) loss_percent: u64,
    /// Whether servers are told who is connected.
    pub(super) tells_reachable: bool,
    ensemble: Arc<Ensemble>,
    random: u64,
}

impl Network {
    pub(super) fn new(ensemble: Ensemble, seed: u64) -> Network {
        Network {
            now_ms: 1000,
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            loss_percent: 0,
            tells_reachable: true,
            ensemble: Arc::new(ensemble),
            random: seed.wrapping_mul(2).wrapping_add(1),
        }
    }

    /// A number below `bound` (xorshift64*).
    pub(super) fn random(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    /// Starts a server, with nothing but its data.
    pub(super) fn start(&mut self, id: i64, epoch: i64, zxid: Zxid) {
        let config = ElectionConfig::new(ServerId(id), Arc::clone(&self.ensemble));
        self.start_configured(id, epoch, zxid, config);
    }

    /// Starts a server without data that was told something else of the ensemble.
    pub(super) fn start_with(&mut self, id: i64, ensemble: Ensemble) {
        let config = ElectionConfig::new(ServerId(id), Arc::new(ensemble));
        self.start_configured(id, 0, Zxid::ZERO, config);
    }

    fn start_configured(&mut self, id: i64, epoch: i64, zxid: Zxid, config: ElectionConfig) {
        let node = Node {
            election: Election::new(config),
            zxid,
            epoch,
            decision: None,
            is_up: true,
        };
        self.nodes.insert(id, node);
        self.look(id);
        let others: Vec<i64> = self.nodes.keys().copied().filter(|&it| it != id).collect();
        for other in others {
            self.report(id, other);
        }
    }

    pub(super) fn look(&mut self, id: i64) {
        let now_ms = self.now_ms;
        let node = self.node(id);
        node.decision = None;
        node.election.look(node.zxid, node.epoch, now_ms);
    }

    pub(super) fn stop(&mut self, id: i64) {
        self.node(id).is_up = false;
        let others: Vec<i64> = self.nodes.keys().copied().collect();
        for other in others {
            self.report(id, other);
        }
    }

    /// Cuts or joins the link between two servers, both ways.
    pub(super) fn cut(&mut self, one: i64, other: i64, is_cut: bool) {
        for pair in [(one, other), (other, one)] {
            if is_cut {
                self.cut.insert(pair);
            } else {
                self.cut.remove(&pair);
            }
        }
        self.report(one, other);
    }

    pub(super) fn node(&mut self, id: i64) -> &mut Node {
        self.nodes.get_mut(&id).expect("started")
    }

    fn is_joined(&self, from: i64, to: i64) -> bool {
        let is_up = |id| self.nodes.get(&id).is_some_and(|node: &Node| node.is_up);
        is_up(from) && is_up(to) && !self.cut.contains(&(from, to))
    }

    fn report(&mut self, one: i64, other: i64) {
        if !self.tells_reachable || one == other {
            return;
        }
        let (is_joined, now_ms) = (self.is_joined(one, other), self.now_ms);
        for (at, peer) in [(one, other), (other, one)] {
            let election = &mut self.node(at).election;
            election.reachable(ServerId(peer), is_joined, now_ms);
        }
    }

    /// Delivers all messages, then lets time pass up to the next timeout, until `now + ms`.
    pub(super) fn run(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        loop {
            self.deliver_all();
            let wakes = self.nodes.values().filter(|node| node.is_up);
            let wake = wakes.filter_map(|node| node.election.next_wake_ms()).min();
            let Some(wake_ms) = wake.filter(|&wake_ms| wake_ms <= end_ms) else {
                break;
            };
            self.now_ms = self.now_ms.max(wake_ms);
            let now_ms = self.now_ms;
            for node in self.nodes.values_mut().filter(|node| node.is_up) {
                node.election.tick(now_ms);
            }
        }
        self.now_ms = end_ms;
    }

    fn deliver_all(&mut self) {
        loop {
            self.collect();
            let ways = self.links.len() as u64;
            if ways == 0 {
                break;
            }
            let at = self.random(ways) as usize;
            let &(from, to) = self.links.keys().nth(at).expect("below the length");
            let queue = self.links.get_mut(&(from, to)).expect("just found");
            let message = queue.pop_front().expect("no empty queue is kept");
            if queue.is_empty() {
                self.links.remove(&(from, to));
            }
            let is_lost = self.loss_percent > 0 && self.random(100) < self.loss_percent;
            if self.is_joined(from, to) && !is_lost {
                let now_ms = self.now_ms;
                let node = self.node(to);
                node.election.receive(ServerId(from), &message, now_ms);
            }
        }
    }

    fn collect(&mut self) {
        for (&id, node) in &mut self.nodes {
            while let Some((to, message)) = node.election.poll_send() {
                self.links.entry((id, to.0)).or_default().push_back(message);
            }
            node.decision = node.election.poll_decision().or(node.decision);
        }
    }

    /// A line for each server that is up: what it does, for whom it votes, in which round.
    pub(super) fn table(&self) -> String {
        let mut table = String::new();
        for (id, node) in self.nodes.iter().filter(|(_, node)| node.is_up) {
            let vote = node.election.vote();
            let state = format!("{:?}", node.election.state()).to_lowercase();
            table += &format!("{id} {state} {} in {}\n", vote.leader, vote.election_epoch);
        }
        table
    }

    /// The leaders that some server has decided for, by round.
    pub(super) fn leaders(&self) -> BTreeMap<i64, BTreeSet<ServerId>> {
        let mut leaders: BTreeMap<i64, BTreeSet<ServerId>> = BTreeMap::new();
        for node in self.nodes.values().filter(|node| node.decision.is_some()) {
            let vote = node.election.vote();
            leaders
                .entry(vote.election_epoch)
                .or_default()
                .insert(vote.leader);
        }
        leaders
    }
}
