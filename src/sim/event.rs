//! What is to happen, in order of time.

use std::collections::BTreeMap;

use crate::types::{LinkId, ServerId};

use super::ask::Op;

/// Something that is due.
#[derive(Clone, Debug)]
pub enum Event {
    /// A member's process is started.
    Start(usize),
    /// A process of a member does something; not if it has ended meanwhile.
    Process {
        /// Whose.
        member: usize,
        /// Which of its processes, counted from 1.
        life: u32,
        /// What.
        turn: Turn,
    },
    /// What is on its way through a pipe arrives at this end of it.
    Arrival {
        /// The pipe.
        pipe: u64,
        /// The end: 0 or 1.
        end: usize,
    },
    /// Two members try to make an election link.
    Meet(usize, usize),
    /// A member's paused process goes on.
    Resume(usize),
    /// A client has its turn.
    Client(usize),
    /// A client asks for something, whatever else it waits for.
    Press(usize, Op),
    /// A process of a member ends with the power of its machine, which comes back after a while.
    PowerLoss {
        /// Whose.
        member: usize,
        /// Which of its processes.
        life: u32,
        /// How long until it is started again, in microseconds.
        away_us: u64,
    },
    /// A member's disk is wiped.
    Wipe(usize),
    /// There is room on a member's disk again.
    Room(usize),
    /// Something goes wrong.
    Fault,
}

/// What a process does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Looks at its timeouts.
    Tick,
    /// The same, since an election is to go on.
    Wake,
    /// A write of the log has ended.
    Written(u64),
    /// The background thread has a log segment to make or to name.
    Segment,
    /// The background thread writes a snapshot.
    Snapshot,
    /// It purges what newer snapshots make needless.
    Purge,
    /// What an idle log does now and then.
    Upkeep,
    /// Connects to the leader.
    Dial(ServerId),
    /// What came of that.
    Dialed(ServerId, Option<LinkId>),
    /// Takes a message out of a shard's ring.
    FromShard(usize),
    /// A shard takes a message out of its inbox.
    ToShard(usize),
    /// A shard looks at its timeouts.
    ShardTick(usize),
    /// A shard begins its report of who was heard from.
    NoteHeard(usize),
    /// It ends that report, which is complete up to this time in milliseconds.
    Heard(usize, u64),
}

impl Turn {
    /// The shard whose thread does it.
    pub fn shard(&self) -> Option<usize> {
        match self {
            Turn::ToShard(shard)
            | Turn::ShardTick(shard)
            | Turn::NoteHeard(shard)
            | Turn::Heard(shard, _) => Some(*shard),
            _ => None,
        }
    }
}

/// Events by time; those of one moment in the order in which they were added.
#[derive(Default)]
pub struct Queue {
    events: BTreeMap<(u64, u64), Event>,
    added: u64,
}

impl Queue {
    /// Adds an event that is due at this time, in microseconds.
    pub fn add(&mut self, at_us: u64, event: Event) {
        self.added += 1;
        self.events.insert((at_us, self.added), event);
    }

    /// The next event, and when it is due.
    pub fn pop(&mut self) -> Option<(u64, Event)> {
        let ((at_us, _), event) = self.events.pop_first()?;
        Some((at_us, event))
    }
}
