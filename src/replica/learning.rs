//! A server that follows or observes: what its learner's part says, done.

use crate::sequencer::{Now, ToLeader};
use crate::snapshot::wire::WireDecoder;
use crate::types::{LinkId, ServerId, Zxid};
use crate::wal::Wal;
use crate::zab::learner::{Learner, LearnerConfig, LearnerEvent};

use super::hosts::OfLearner;
use super::{Replica, Role};

/// A learner, and its link.
pub struct Learning {
    pub link: LinkId,
    pub leader: ServerId,
    pub learner: Learner,
    pub is_observer: bool,
    /// Whether clients are served.
    pub is_serving: bool,
    /// What `/zookeeper/config` holds.
    config_text: String,
    /// The tree that is coming.
    decoder: Option<WireDecoder>,
    /// Set once the leader allows to serve clients: the epoch.
    allowed: Option<u32>,
    /// The end of the log when its own part of it was settled: no view can be older.
    view_min: Zxid,
}

impl Replica {
    /// The link to the leader is there.
    pub(super) fn learn(&mut self, leader: ServerId, link: LinkId, now: Now) {
        let summary = self.summary();
        let Some(member) = &self.member else {
            return;
        };
        let is_observer = member.config.is_observer();
        let config = LearnerConfig {
            my_id: member.config.my_id,
            is_observer,
            config_version: member.config.ensemble.version,
            tree_base: self.storage.tree_base(),
            init_limit_ms: member.config.init_limit_ms,
            sync_limit_ms: member.config.sync_limit_ms,
            silence_limit_ms: member.config.silence_limit_ms,
        };
        let view_min = self.tip();
        let config_text = member.config.ensemble.to_string();
        self.sequencer.follow(now);
        self.role = Role::Learning(Box::new(Learning {
            link,
            leader,
            learner: Learner::new(config, summary, now.monotonic_ms),
            is_observer,
            is_serving: false,
            config_text,
            decoder: None,
            allowed: None,
            view_min,
        }));
    }

    pub(super) fn learner_received(&mut self, bytes: &[u8], now: Now) {
        self.with_learner(now, |learner, host| {
            learner.receive(bytes, now.monotonic_ms, host);
        });
    }

    fn with_learner(&mut self, now: Now, act: impl FnOnce(&mut Learner, &mut OfLearner<'_>)) {
        let Role::Learning(learning) = &mut self.role else {
            return;
        };
        let mut host = OfLearner {
            storage: &mut self.storage,
            wal: &mut self.wal,
            sequencer: &mut self.sequencer,
            proposals: &mut self.proposals,
            decoder: &mut learning.decoder,
            tree_config: &self.tree_config,
            config_text: &learning.config_text,
            is_snapshotting: self.is_snapshotting,
            is_aside: &mut self.is_aside,
            now,
            failure: &mut self.failure,
        };
        act(&mut learning.learner, &mut host);
    }

    /// Does what the learner's part says, and tells it what is durable.
    pub(super) fn settle_learner(&mut self, now: Now) {
        self.with_learner(now, |learner, host| {
            learner.retry(host);
            // Only now: the retry may have cut the log off.
            if let Some(durable) = host.wal.as_ref().map(Wal::durable_zxid) {
                learner.durable(durable, host);
            }
        });
        if self.has_failed() {
            return;
        }
        loop {
            let Role::Learning(learning) = &mut self.role else {
                return;
            };
            let Some(event) = learning.learner.poll_event() else {
                break;
            };
            match event {
                LearnerEvent::Committed(zxid) => self.sequencer.commit(zxid),
                LearnerEvent::UpToDate(epoch) => learning.allowed = Some(epoch),
                LearnerEvent::Revalidated(session, is_valid) => {
                    self.sequencer.revalidated(session, is_valid, now);
                }
                LearnerEvent::Synced => self.sequencer.synced(),
                LearnerEvent::Confirmed => self.sequencer.confirmed(),
                LearnerEvent::Rejected(rejection) => self.sequencer.rejected(rejection),
                LearnerEvent::Ping(zxid) => {
                    let touched = self.sequencer.take_touched(now);
                    learning.learner.pong(zxid, touched);
                }
                LearnerEvent::Ended(reason) => {
                    self.look(now, &reason);
                    return;
                }
            }
        }
        self.serve_if_allowed();
        self.forward_to_leader();
    }

    /// What this server had beyond what is committed must be committed before clients can see
    /// it, and there is no view of less.
    fn serve_if_allowed(&mut self) {
        let Role::Learning(learning) = &mut self.role else {
            return;
        };
        let Some(epoch) = learning.allowed else {
            return;
        };
        if learning.is_serving
            || self.sequencer.published_zxid()
                < learning.view_min.min(self.sequencer.tree().tip_zxid())
        {
            return;
        }
        learning.is_serving = true;
        let noted = self.storage.repaired();
        if let Err(error) = noted.and_then(|()| self.storage.tree_confirmed()) {
            self.failure.get_or_insert(error.into());
            return;
        }
        tracing::info!(
            epoch,
            observer = learning.is_observer,
            "in step with the leader"
        );
        if let Some(member) = &mut self.member {
            member.election.set_vote_epoch(i64::from(epoch));
        }
        self.serve(epoch);
    }

    fn forward_to_leader(&mut self) {
        let Role::Learning(learning) = &mut self.role else {
            return;
        };
        while let Some(message) = self.sequencer.poll_leader() {
            match message {
                ToLeader::Request(request) => learning.learner.request(&request),
                ToLeader::Revalidate(session, timeout_ms) => {
                    learning.learner.revalidate(session, timeout_ms);
                }
            }
        }
    }
}
