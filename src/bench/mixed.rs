//! The actor of `--mix`: operations by weight, keys by popularity.

use std::sync::Arc;

use crate::jute::op;

use super::actor::Actor;
use super::keys::Keys;
use super::operation::Operation;
use super::recorder::Recorder;
use super::request::{Requests, Verdict, append_bare};
use super::seen::Seen;
use super::workload::{Generator, Mix, Step};

/// What the sessions of a mix have in common.
#[derive(Debug)]
pub struct Mixture {
    /// The operations and their weights.
    pub mix: Mix,
    /// The keys and their popularity.
    pub keys: Keys,
    /// The znodes.
    pub requests: Arc<Requests>,
}

/// One session of the mix.
#[derive(Debug)]
pub struct Mixed {
    mixture: Arc<Mixture>,
    generator: Generator,
    own_prefix: String,
    seen: Seen,
}

impl Mixed {
    /// A session that makes the requests of `generator`.
    pub fn new(mixture: Arc<Mixture>, generator: Generator) -> Mixed {
        Mixed {
            mixture,
            generator,
            own_prefix: String::new(),
            seen: Seen::default(),
        }
    }
}

impl Actor for Mixed {
    fn begin(&mut self, session_id: i64) -> Option<String> {
        self.generator.forget_created();
        self.seen.forget();
        let needed = self.mixture.mix.operations();
        needed
            .into_iter()
            .any(Operation::is_on_own_znodes)
            .then(|| {
                let directory = self.mixture.requests.own_directory(session_id);
                self.own_prefix = format!("{directory}/n");
                directory
            })
    }

    fn next(&mut self, xid: i32, _now_ns: u64, out: &mut Vec<u8>) -> Option<Step> {
        let Mixture {
            mix,
            keys,
            requests,
        } = &*self.mixture;
        let step = self.generator.next(mix, keys);
        match step.operation {
            Operation::Ping => append_bare(op::PING, op::XID_PING, out),
            operation if operation.is_of_session() => {}
            _ => requests.append(step, &self.own_prefix, xid, out),
        }
        Some(step)
    }

    fn judge(
        &mut self,
        step: Step,
        reply: Result<&[u8], i32>,
        _recorder: &mut Recorder,
        _now_ns: u64,
    ) -> Verdict {
        match reply {
            Ok(body) => {
                let requests = &self.mixture.requests;
                requests.judge(step, &self.own_prefix, &mut self.seen, body)
            }
            Err(code) => Verdict::Refused(code),
        }
    }
}
