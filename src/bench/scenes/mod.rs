//! Scenarios: what sessions do together, beyond operations by weight.
//!
//! A scenario has znodes that are there before, and an actor for each connection. Actors of one
//! scenario may share atomics. All are closed loops.

mod ask;
mod clickhouse;
mod fanout;
mod hbase;
mod kafka;
mod locks;
#[cfg(test)]
mod tests;
mod turns;

use std::fmt;
use std::sync::Arc;

use clap::ValueEnum;

use super::actor::Actor;
use super::args::Options;
use super::request::Verdict;
use super::value::Values;

/// What the sessions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Operations by weight, as --mix says.
    Mix,
    /// One session writes a znode, all others watch it.
    WatchFanout,
    /// A tenth of the sessions are services that come and go, the others watch them.
    ServiceDiscovery,
    /// All sessions contend for --keys locks, by the recipe with ephemeral sequential znodes.
    Locks,
    /// What a Kafka controller reads and writes when it starts, for --keys partitions.
    KafkaController,
    /// What region servers of HBase 1 write when regions are assigned.
    HbaseAssignment,
    /// What ClickHouse's replicated tables write for each insert.
    ClickhouseInserts,
}

/// A scenario with its znodes.
pub trait Scene: fmt::Debug + Send + Sync {
    /// Paths and data of what must be there, each after its parent.
    fn znodes(&self) -> Vec<(String, Vec<u8>)>;

    /// What the connection of this number does.
    fn actor(&self, number: u32) -> Box<dyn Actor>;
}

impl Scenario {
    /// Whether a responder that keeps no znodes can serve it.
    pub fn has_ceiling(self) -> bool {
        matches!(self, Scenario::Mix | Scenario::WatchFanout)
    }

    /// The scenario of a run; `None` for a mix.
    pub fn scene(self, options: &Options) -> Option<Arc<dyn Scene>> {
        let base = &options.base;
        let values = Arc::new(Values::new(options.value_size.clone()));
        let (connections, keys) = (options.connections, options.keys);
        Some(match self {
            Scenario::Mix => return None,
            Scenario::WatchFanout => Arc::new(fanout::Fanout::of_data(base, connections, values)),
            Scenario::ServiceDiscovery => {
                Arc::new(fanout::Fanout::of_children(base, connections, values))
            }
            Scenario::Locks => Arc::new(locks::Locks::new(base, keys)),
            Scenario::KafkaController => {
                Arc::new(kafka::Controller::new(base, connections, keys, values))
            }
            Scenario::HbaseAssignment => Arc::new(hbase::Assignment::new(base, keys, values)),
            Scenario::ClickhouseInserts => {
                Arc::new(clickhouse::Inserts::new(base, connections, values))
            }
        })
    }
}

/// The verdict on a reply whose body, if there is one, must be as `is_right` says; `None` of it is
/// a body that cannot be read.
fn verdict(reply: Result<&[u8], i32>, is_right: impl FnOnce(&[u8]) -> Option<bool>) -> Verdict {
    match reply {
        Err(code) => Verdict::Refused(code),
        Ok(body) if is_right(body) == Some(true) => Verdict::Right,
        Ok(_) => Verdict::Wrong,
    }
}
