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

use std::fmt;
use std::sync::Arc;

use clap::ValueEnum;

use super::actor::Actor;
use super::args::Options;
use super::request::Verdict;

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
    /// The scenario of a run; `None` for a mix.
    pub fn scene(self, options: &Options) -> Option<Arc<dyn Scene>> {
        let base = &options.base;
        let (_, value_size_max) = options.value_size.bounds();
        let data = vec![b'z'; value_size_max as usize];
        let (connections, keys) = (options.connections, options.keys);
        Some(match self {
            Scenario::Mix => return None,
            Scenario::WatchFanout => Arc::new(fanout::Fanout::of_data(base, connections, data)),
            Scenario::ServiceDiscovery => {
                Arc::new(fanout::Fanout::of_children(base, connections, data))
            }
            Scenario::Locks => Arc::new(locks::Locks::new(base, keys)),
            Scenario::KafkaController => {
                Arc::new(kafka::Controller::new(base, connections, keys, data))
            }
            Scenario::HbaseAssignment => Arc::new(hbase::Assignment::new(base, keys, data)),
            Scenario::ClickhouseInserts => {
                Arc::new(clickhouse::Inserts::new(base, connections, data))
            }
        })
    }
}

/// The verdict where only the code matters.
fn verdict(reply: Result<&[u8], i32>) -> Verdict {
    reply.map_or_else(Verdict::Refused, |_| Verdict::Right)
}
