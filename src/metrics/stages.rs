//! Where the time of a request goes: while a shard takes it in, and until its reply is with the kernel. Of a
//! write also between the two.
//!
//! What starts with `write_` counts from that moment, so the difference of two averages is what
//! the stage between them took on average. Nothing but that moment travels with a request: a
//! stage costs one look at the clock a burst and one count a request.

use super::{Distribution, Table};

/// The stages on a shard, in microseconds.
#[derive(Debug, Default)]
pub struct ShardStages {
    /// From taking the first bytes of a turn out of a socket until all that came in the turn is cut
    /// into requests, the reads among them answered and the writes queued (`receive_us`, ours): the
    /// longest that a request of the turn has waited. A value a turn, which costs no look at the clock.
    pub receive: Distribution,
    /// Until a write is handed to the sequencer (`write_handed_us`, ours).
    pub handed: Distribution,
    /// Until it is answered (`write_answered_us`, ours).
    pub answered: Distribution,
    /// From the first reply that waits for a connection's socket until the socket has it, of
    /// reads too (`output_wait_us`, ours).
    pub output: Distribution,
}

/// The stages on the sequencer, in microseconds.
#[derive(Debug, Default)]
pub struct WriteStages {
    /// Until the sequencer takes a write out of its ring (`write_taken_us`, ours).
    pub taken: Distribution,
    /// One log write, from handing it to the kernel to its completion (`log_write_us`, ours).
    pub log: Distribution,
    /// From a stretch of the history being durable here to its being committed by a quorum
    /// (`quorum_wait_us`, ours).
    pub quorum: Distribution,
    /// Until a write is published to the shards (`write_published_us`, ours).
    pub published: Distribution,
}

impl ShardStages {
    pub(super) fn reset(&self) {
        for stage in [&self.receive, &self.handed, &self.answered, &self.output] {
            stage.reset();
        }
    }

    pub(super) fn add_to(&self, table: &mut Table) {
        table.distribution("receive_us", &self.receive);
        table.distribution("write_handed_us", &self.handed);
        table.distribution("write_answered_us", &self.answered);
        table.distribution("output_wait_us", &self.output);
    }
}

impl WriteStages {
    pub(super) fn reset(&self) {
        for stage in [&self.taken, &self.log, &self.quorum, &self.published] {
            stage.reset();
        }
    }

    pub(super) fn add_to(&self, table: &mut Table) {
        table.distribution("write_taken_us", &self.taken);
        table.distribution("log_write_us", &self.log);
        table.distribution("quorum_wait_us", &self.quorum);
        table.distribution("write_published_us", &self.published);
    }
}
