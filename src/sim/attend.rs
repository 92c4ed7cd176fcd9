//! After a process has done something: what comes of it goes where it belongs.

use std::sync::Arc;

use crate::exchange::{Batch, ConnId};
use crate::jute::Record;
use crate::replica::{Mode, Output, Replica};
use crate::shard::Close;
use crate::snapshot;
use crate::types::{LinkId, Zxid};
use crate::zab::learner::SIGNATURE;

use super::checks::Invariant;
use super::course::say;
use super::event::{Event, Turn};
use super::model::Entry;
use super::network::Piece;
use super::process::{self, HEARTBEAT_MS, SILENCE_LIMIT_MS, SYNC_LIMIT_MS, ToShard};
use super::world::World;

/// Superseded versions of the tree that are freed at once.
const RECLAIM_BURST: usize = 100;

/// How old may be what a follower shows, in microseconds: while a quorum is asked whether its leader
/// still leads it may hear of no commit, what it has not acknowledged for a `syncLimit` cuts it off, and
/// a link that is cut is noticed within the limit on silence; with room for the way of the news and for
/// clocks that differ.
const STALE_US_MAX: u64 =
    (2 * SYNC_LIMIT_MS * 17 / 16 + SILENCE_LIMIT_MS + HEARTBEAT_MS + 250) * 1100;

impl World {
    /// Carries away everything that a process has to say.
    pub fn attend(&mut self, at: usize) {
        if self.members[at].process.is_none() {
            return;
        }
        self.start_writes(at);
        self.outputs(at);
        self.publish(at);
        self.send_links(at);
        self.attend_shards(at);
        self.start_writes(at);
        self.wake_in_time(at);
        self.check_removals(at);
        self.note_committed(at);
        let Some(process) = &mut self.members[at].process else {
            return;
        };
        let tree = process.replica.sequencer().tree();
        self.checks.applied(at, tree.tip_zxid(), tree.digest());
        process.replica.reclaim(RECLAIM_BURST);
        let epoch = process.replica.current_epoch();
        let is_new_epoch = std::mem::replace(&mut process.epoch, epoch) != epoch;
        if let Some(error) = process.replica.take_failure() {
            say!(self.course, "member {at} ends: {error}");
            self.fail_process(at);
        } else if is_new_epoch {
            self.epoch_adopted(at);
        }
    }

    fn start_writes(&mut self, at: usize) {
        let now_us = self.course.now_us;
        let is_slow = self.members[at].slow_until_us > now_us;
        while let Some(process) = &mut self.members[at].process
            && let Some(write) = process.replica.poll_write(now_us)
        {
            let id = write.id;
            process.writes.insert(id, write);
            let random = &mut self.course.random;
            let wait_us = match (is_slow, random.one_in(60)) {
                (true, _) => random.between(30_000, 400_000),
                (false, true) => random.between(5_000, 60_000),
                (false, false) => random.between(300, 3_000),
            };
            self.turn_after(at, wait_us, Turn::Written(id));
        }
        while let Some(process) = &mut self.members[at].process
            && let Some(task) = process.replica.poll_segment_task()
        {
            process.segments.push_back(task);
            let wait_us = self.course.random.between(500, 8_000);
            self.turn_after(at, wait_us, Turn::Segment);
        }
        if let Some(process) = &mut self.members[at].process
            && let Some(request) = process.replica.poll_snapshot()
        {
            process.snapshot = Some(request);
            let wait_us = self.course.random.between(1_000, 60_000);
            self.turn_after(at, wait_us, Turn::Snapshot);
        }
    }

    fn outputs(&mut self, at: usize) {
        while let Some(process) = &mut self.members[at].process
            && let Some(output) = process.replica.poll_output()
        {
            match output {
                Output::Election(to, bytes) => self.send_vote(at, process::index_of(to), bytes),
                Output::Dial(leader) => {
                    let wait_us = self.course.random.between(100, 1_000);
                    self.turn_after(at, wait_us, Turn::Dial(leader));
                }
                Output::Close(link) => self.close_link(at, link),
                Output::SendTree {
                    link,
                    view,
                    sessions,
                } => {
                    let mut tree = Vec::new();
                    snapshot::wire::encode(&view, &sessions, &mut |bytes: &[u8]| {
                        tree.extend_from_slice(bytes);
                        Ok(())
                    })
                    .expect("a vector takes all");
                    SIGNATURE.encode(&mut tree);
                    self.with(at, |replica, now| {
                        replica.tree_piece(link, &tree, true, now)
                    });
                }
                Output::Serve { seen, is_read_only } if is_read_only => {
                    self.serve_readers(at, seen);
                }
                Output::Serve { seen, .. } => self.serve(at, seen),
                Output::Retire => self.retire(at),
            }
        }
    }

    fn send_vote(&mut self, at: usize, to: usize, bytes: Vec<u8>) {
        let Some(process) = &mut self.members[at].process else {
            return;
        };
        process.messages.insert(to, bytes.clone());
        if let Some(&(pipe, near)) = process.peers.get(&to) {
            let piece = Piece::Message(bytes);
            self.network.send(&mut self.course, pipe, 1 - near, piece);
        }
    }

    /// The end of a link's pipe that is far from a member.
    fn far_end(&mut self, pipe: u64, at: usize) -> Option<usize> {
        let ends = self.network.pipe_mut(pipe)?.ends;
        Some(usize::from(ends[0].node() == at))
    }

    fn close_link(&mut self, at: usize, link: LinkId) {
        if let Some(process) = &mut self.members[at].process
            && let Some(pipe) = process.links.remove(&link)
            && let Some(far) = self.far_end(pipe, at)
        {
            self.network
                .send(&mut self.course, pipe, far, Piece::Closed);
        }
    }

    fn send_links(&mut self, at: usize) {
        let mut ready = Vec::new();
        if let Some(process) = &self.members[at].process {
            process.replica.links_with_output(&mut ready);
        }
        for link in ready {
            let mut bytes = Vec::new();
            self.with(at, |replica, _| replica.take_link_output(link, &mut bytes));
            let process = self.members[at].process.as_ref();
            let pipe = process.and_then(|process| process.links.get(&link).copied());
            if let Some(pipe) = pipe
                && let Some(far) = self.far_end(pipe, at)
            {
                self.network.send_bytes(&mut self.course, pipe, far, bytes);
            }
        }
    }

    /// A member that knows no leader begins to serve those who make do with reading, unless it has
    /// found one meanwhile.
    fn serve_readers(&mut self, at: usize, seen: Zxid) {
        let process = self.members[at].process.as_mut();
        let process = process.expect("it has just spoken");
        process.stint += 1;
        process.seen = seen;
        let view = process.replica.view();
        process.published = view.zxid();
        let views: Vec<_> = process
            .shards
            .iter()
            .map(|_| process.replica.view())
            .collect();
        if process.replica.is_read_only() {
            self.model.freeze(&view);
        }
        say!(self.course, "member {at} lets read as of {}", view.zxid());
        for (shard, view) in views.into_iter().enumerate() {
            self.tell_shard(at, shard, ToShard::ServeReaders(Box::new(view), seen));
        }
    }

    /// A member begins to serve clients.
    fn serve(&mut self, at: usize, seen: Zxid) {
        let process = self.members[at].process.as_mut();
        let process = process.expect("it has just spoken");
        let replica: &Replica = &process.replica;
        let (view, mode) = (replica.view(), replica.mode());
        let (zxid, digest) = (
            view.zxid(),
            replica.sequencer().tree().digest_at(view.zxid()),
        );
        let epoch = seen.epoch();
        let views: Vec<_> = process.shards.iter().map(|_| replica.view()).collect();
        process.stint += 1;
        process.seen = seen;
        process.published = zxid;
        process.view = Some(process.replica.view());
        say!(
            self.course,
            "member {at} serves as {mode:?} from {zxid} on, epoch {epoch}"
        );
        for (shard, view) in views.into_iter().enumerate() {
            self.tell_shard(at, shard, ToShard::Serve(Box::new(view), seen));
        }
        let newest = self.model.newest();
        if mode == Mode::Leader {
            self.checks.leads(at, epoch);
            // Where its messages were late there may be newer epochs already.
            let before = self.model.newest_before(Zxid::new(epoch, 0));
            self.checks
                .require(zxid >= before, Invariant::PrimaryIntegrity, || {
                    format!("member {at} leads epoch {epoch} from {zxid} on and lacks {before}")
                });
        }
        // A leader begins with what nobody may have delivered yet. So may a learner: its leader
        // commits before it delivers where a sync has to wait.
        let is_committed = mode == Mode::Leader || self.is_committed(zxid);
        if zxid > newest && is_committed {
            let jumped = self.model.jump(self.course.now_us, digest, &view);
            if let Err((invariant, what)) = jumped {
                self.checks.fail(invariant, what);
            }
        }
        if self.model.entry(zxid).is_none() && self.model.is_in_jump(zxid) {
            self.model.land(digest, &view);
        }
        let known = self.model.entry(zxid).map(|entry| entry.digest);
        self.checks
            .require(known == Some(digest), Invariant::PrefixConsistency, || {
                format!("member {at} serves {zxid} with the digest {digest:x}, known is {known:x?}")
            });
    }

    /// Whether an established leader has committed this; it may be gone since.
    fn is_committed(&self, zxid: Zxid) -> bool {
        let mut ends = self.committed.iter();
        ends.any(|end| end.epoch() == zxid.epoch() && *end >= zxid)
    }

    /// Notes up to where an established leader has committed.
    fn note_committed(&mut self, at: usize) {
        let process = self.members[at].process.as_ref();
        let leader = process.and_then(|process| process.replica.leader());
        if let Some(leader) = leader.filter(|leader| leader.is_established()) {
            self.committed.insert(leader.committed());
        }
    }

    fn retire(&mut self, at: usize) {
        say!(self.course, "member {at} retires");
        let Some(process) = &mut self.members[at].process else {
            return;
        };
        process.view = None;
        for shard in 0..process.shards.len() {
            let process = self.members[at].process.as_ref();
            let view = process.expect("it was there").replica.view();
            self.tell_shard(at, shard, ToShard::Retire(Box::new(view)));
        }
    }

    fn tell_shard(&mut self, at: usize, shard: usize, message: ToShard) {
        let wait_us = thread_delay_us(&mut self.course.random);
        let due_us = self.course.now_us + wait_us;
        if let Some(process) = &mut self.members[at].process {
            let thread = &mut process.shards[shard];
            thread.inbox.push_back(message);
            thread.inbox_due_us = thread.inbox_due_us.max(due_us);
            let wait_us = thread.inbox_due_us - self.course.now_us;
            self.turn_after(at, wait_us, Turn::ToShard(shard));
        }
    }

    fn publish(&mut self, at: usize) {
        while let Some(process) = &mut self.members[at].process
            && let Some(batch) = process.replica.poll_publish()
        {
            self.check_batch(at, &batch);
            let batch = Arc::new(batch);
            for shard in 0..self.members[at].shards {
                self.tell_shard(at, shard, ToShard::Batch(Arc::clone(&batch)));
            }
        }
    }

    /// What a member delivers must be what everybody delivers.
    fn check_batch(&mut self, at: usize, batch: &Batch) {
        let Some(process) = &mut self.members[at].process else {
            return;
        };
        for item in &batch.items {
            let before = process.published;
            if item.zxid <= before {
                let is_silent = item.changes.is_empty() && item.zxid == before;
                self.checks.require(is_silent, Invariant::TotalOrder, || {
                    format!("member {at} delivers {} after {before}", item.zxid)
                });
                continue;
            }
            process.published = item.zxid;
            let digest = process.replica.sequencer().tree().digest_at(item.zxid);
            let Some(view) = &mut process.view else {
                continue;
            };
            let changes = item.changes.iter().map(|change| view.changed(change));
            let entry = Entry {
                digest,
                changes: changes.map(|c| (c.path.to_string(), c.kind)).collect(),
            };
            view.advance(item.zxid);
            let skipped = self.model.range(before, Zxid(item.zxid.0 - 1)).next();
            if let Some((skipped, _)) = skipped {
                let what = format!("member {at} delivers {} without {skipped}", item.zxid);
                self.checks.fail(Invariant::TotalOrder, what);
            }
            let is_in_jump = self.model.is_in_jump(item.zxid);
            let known = self.model.entry(item.zxid);
            if is_in_jump && known.is_none_or(|known| known.digest == digest) {
                if let Err((invariant, what)) = self.model.fill(item.zxid, entry, view) {
                    self.checks.fail(invariant, what);
                }
                continue;
            }
            if let Some(known) = known {
                self.checks
                    .require(*known == entry, Invariant::PrefixConsistency, || {
                        format!("{} is {known:x?}, and {entry:x?} at member {at}", item.zxid)
                    });
                continue;
            }
            let newest = self.model.newest();
            self.checks
                .require(item.zxid > newest, Invariant::PrefixConsistency, || {
                    format!(
                        "member {at} delivers {}, which {newest} went without",
                        item.zxid
                    )
                });
            let has_led = self.checks.has_led(item.zxid.epoch());
            self.checks.require(has_led, Invariant::Integrity, || {
                format!(
                    "member {at} delivers {} of an epoch without leader",
                    item.zxid
                )
            });
            let added = self.model.add(self.course.now_us, item.zxid, entry, view);
            if let Err((invariant, what)) = added {
                self.checks.fail(invariant, what);
            }
        }
    }

    /// A shard takes one message.
    pub fn take_to_shard(&mut self, at: usize, shard: usize) {
        let now = self.members[at].shard_now(self.course.now_us);
        let Some(process) = &mut self.members[at].process else {
            return;
        };
        let thread = &mut process.shards[shard];
        match thread.inbox.pop_front() {
            Some(ToShard::Batch(batch)) => thread.shard.publish(&batch, now),
            Some(ToShard::Serve(view, seen)) => thread.shard.begin(*view, seen, false, now),
            Some(ToShard::ServeReaders(view, seen)) => thread.shard.begin(*view, seen, true, now),
            Some(ToShard::Retire(view)) => thread.shard.retire(*view, now),
            None => {}
        }
    }

    fn attend_shards(&mut self, at: usize) {
        for shard in 0..self.members[at].shards {
            let Some(process) = &mut self.members[at].process else {
                return;
            };
            let thread = &mut process.shards[shard];
            let mut sent = 0;
            let ring = &mut thread.ring;
            thread.shard.drain_to_sequencer(|message| {
                ring.push_back(message);
                sent += 1;
                Ok(())
            });
            let mut dirty = Vec::new();
            thread.shard.take_dirty(&mut dirty);
            for _ in 0..sent {
                self.ring_sequencer(at, shard);
            }
            for conn in dirty {
                self.attend_conn(at, shard, conn);
            }
        }
    }

    fn ring_sequencer(&mut self, at: usize, shard: usize) {
        let wait_us = thread_delay_us(&mut self.course.random);
        let due_us = self.course.now_us + wait_us;
        if let Some(process) = &mut self.members[at].process {
            let thread = &mut process.shards[shard];
            thread.ring_due_us = thread.ring_due_us.max(due_us);
            let wait_us = thread.ring_due_us - self.course.now_us;
            self.turn_after(at, wait_us, Turn::FromShard(shard));
        }
    }

    /// Sends what a connection has to say, and closes it where it is to be.
    pub fn attend_conn(&mut self, at: usize, shard: usize, conn: ConnId) {
        let now = self.members[at].shard_now(self.course.now_us);
        let Some(process) = &mut self.members[at].process else {
            return;
        };
        let thread = &mut process.shards[shard];
        let Some(&pipe) = thread.conns.get(&conn) else {
            return;
        };
        let status = thread.shard.status(conn);
        let mut bytes = Vec::new();
        if status.close != Close::Now {
            thread.shard.take_output(conn, &mut bytes);
            thread.shard.sent(conn, bytes.len(), now);
        }
        let is_closing = thread.shard.status(conn).close != Close::No;
        if is_closing {
            thread.shard.closed(conn);
            thread.conns.remove(&conn);
        }
        let Some(far) = self.far_end(pipe, at) else {
            return;
        };
        self.network.send_bytes(&mut self.course, pipe, far, bytes);
        if is_closing {
            self.network
                .send(&mut self.course, pipe, far, Piece::Closed);
        }
    }

    fn wake_in_time(&mut self, at: usize) {
        let now_us = self.course.now_us;
        let member = &mut self.members[at];
        let Some(process) = &mut member.process else {
            return;
        };
        let Some(wake_ms) = process
            .replica
            .next_wake_ms()
            .filter(|ms| *ms < u64::MAX / 2000)
        else {
            return;
        };
        // No sooner than a driver would: its clock has no finer steps than a millisecond.
        let due_us = member.clock.true_us(now_us, wake_ms).max(now_us + 1_000);
        if due_us < process.wakes_us {
            process.wakes_us = due_us;
            let life = member.life;
            let turn = Turn::Wake;
            let event = Event::Process {
                member: at,
                life,
                turn,
            };
            self.course.queue.add(due_us, event);
        }
    }

    /// A voter that serves shows nothing that is too old. Observers are not cut off for being late,
    /// as the reference's are not; and who has just been asleep may answer before it looks.
    pub fn check_timeliness(&mut self, at: usize) {
        let now_us = self.course.now_us;
        let member = &self.members[at];
        let Some(process) = &member.process else {
            return;
        };
        if process.view.is_none() || at >= self.shape.voters || now_us < STALE_US_MAX {
            return;
        }
        if now_us - member.resumed_us < 20_000 {
            return;
        }
        let due = self.model.newest_at(now_us - STALE_US_MAX);
        let published = process.published;
        self.checks
            .require(published >= due, Invariant::Timeliness, || {
                format!(
                    "member {at} serves {published}, and {due} was committed {} ms ago",
                    STALE_US_MAX / 1000
                )
            });
    }
}

/// How long a message takes from one thread to another, in microseconds.
fn thread_delay_us(random: &mut super::random::Random) -> u64 {
    if random.one_in(100) {
        random.below(10_000)
    } else {
        random.below(150)
    }
}
