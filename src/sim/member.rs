//! A member's machine: its process comes and goes, its disk and clock stay.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use crate::exchange::ToSequencer;
use crate::io::SECTOR;
use crate::io::memory::MemoryDisk;
use crate::replica::Replica;
use crate::sequencer::Now;
use crate::snapshot::{self, RETAIN_COUNT_MIN};
use crate::storage::Purger;
use crate::types::{LinkId, ServerId};

use super::checks::Invariant;
use super::clock::Clock;
use super::course::say;
use super::event::{Event, Turn};
use super::network::{End, Piece};
use super::process::{self, DATA_DIR, Process, Start, TICK_MS};
use super::world::World;

/// A member of the ensemble.
pub struct Member {
    /// Its disk.
    pub disk: MemoryDisk,
    /// Its clocks.
    pub clock: Clock,
    /// Its process, while one runs.
    pub process: Option<Process>,
    /// How many processes it has had.
    pub life: u32,
    /// Threads that serve its clients.
    pub shards: usize,
    /// Until when its process is stopped, in microseconds.
    pub paused_until_us: u64,
    /// What has come meanwhile.
    pub backlog: VecDeque<Event>,
    /// Until when its disk is slow, in microseconds.
    pub slow_until_us: u64,
    /// Until when its disk is full, in microseconds.
    pub full_until_us: u64,
    /// Whether something is wrong with its disk that makes starts and writes fail.
    pub is_disk_faulty: bool,
    /// When its last pause ended, in microseconds.
    pub resumed_us: u64,
}

impl Member {
    /// A machine without data.
    pub fn new(clock: Clock, shards: usize) -> Member {
        Member {
            disk: MemoryDisk::default(),
            clock,
            process: None,
            life: 0,
            shards,
            paused_until_us: 0,
            backlog: VecDeque::new(),
            slow_until_us: 0,
            full_until_us: 0,
            is_disk_faulty: false,
            resumed_us: 0,
        }
    }

    /// The time on its clocks.
    pub fn now(&self, now_us: u64) -> Now {
        Now {
            monotonic_ms: self.clock.monotonic_ms(now_us),
            wall_ms: self.clock.wall_ms(now_us),
        }
    }

    /// The same, for a shard.
    pub fn shard_now(&self, now_us: u64) -> crate::shard::Now {
        crate::shard::Now {
            us: self.clock.monotonic_us(now_us),
            wall_ms: self.clock.wall_ms(now_us),
        }
    }

    /// Its folder.
    pub fn folder() -> std::path::PathBuf {
        Path::new(DATA_DIR).join("zkore-1")
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is killed: what it wrote stays in the page cache, and the other ends of its connections
    /// hear of it.
    Killed,
    /// The machine loses its power: what was not synced is lost or torn, and nobody is told.
    PowerLoss,
}

/// How often a shard tells whom it heard from, and how long it lets its sockets have their turn
/// before, in microseconds.
const HEARD_INTERVAL_US: u64 = 50_000;
const HEARD_SETTLE_US: u64 = 5_000;

/// Between two looks at timeouts: of the sequencer and of a shard, in microseconds.
const TICK_US: u64 = 5_000;
const SHARD_TICK_US: u64 = TICK_MS * 1000;

impl World {
    /// Has a member's present process do something in a while.
    pub fn turn_after(&mut self, member: usize, wait_us: u64, turn: Turn) {
        let life = self.members[member].life;
        let event = Event::Process { member, life, turn };
        self.course.after(wait_us, event);
    }

    /// Does something with a member's process, if it runs.
    pub fn with(&mut self, member: usize, act: impl FnOnce(&mut Replica, Now)) {
        let now = self.members[member].now(self.course.now_us);
        if let Some(process) = &mut self.members[member].process {
            act(&mut process.replica, now);
        }
    }

    /// Starts a member's process.
    pub fn start(&mut self, at: usize) {
        let now_us = self.course.now_us;
        let member = &mut self.members[at];
        if member.process.is_some() {
            return;
        }
        let start = Start {
            member: at,
            ensemble: self.ensemble.clone(),
            disk: member.disk.clone(),
            shards: member.shards,
            snap_count: self.snap_count,
            reap: self.reap,
            leniency: self.leniency,
            seed: self.course.random.next(),
            now: member.now(now_us),
        };
        let process = match Process::start(start) {
            Ok(process) => process,
            Err(error) => return self.start_failed(at, &error.to_string()),
        };
        member.life += 1;
        let tip = process.replica.sequencer().tree().tip_zxid();
        say!(self.course, "member {at} starts at {tip}");
        member.process = Some(process);
        for shard in 0..member.shards {
            self.turn_after(at, SHARD_TICK_US, Turn::ShardTick(shard));
            self.turn_after(at, HEARD_INTERVAL_US, Turn::NoteHeard(shard));
        }
        self.turn_after(at, TICK_US, Turn::Tick);
        self.turn_after(at, 1_000_000, Turn::Upkeep);
        if let Some(interval_us) = self.purge_interval_us {
            self.turn_after(at, interval_us, Turn::Purge);
        }
        for other in 0..self.members.len() {
            if other != at {
                let wait_us = self.course.random.between(500, 5_000);
                self.course.after(wait_us, Event::Meet(at, other));
            }
        }
        self.attend(at);
    }

    fn start_failed(&mut self, at: usize, error: &str) {
        say!(self.course, "member {at} cannot start: {error}");
        let member = &self.members[at];
        let is_expected = member.is_disk_faulty || member.full_until_us > self.course.now_us;
        self.checks.require(is_expected, Invariant::Recovery, || {
            format!("member {at} cannot start: {error}")
        });
        // A disk that has died in the middle of recovery is as after a loss of power.
        let random = &mut self.course.random;
        let member = &mut self.members[at];
        member.disk = member.disk.crash(&mut || random.one_in(2));
        let wait_us = self.course.random.between(20_000, 300_000);
        self.course.after(wait_us, Event::Start(at));
    }

    /// Ends a member's process; it is started again after a while.
    pub fn end_process(&mut self, at: usize, ending: Ending, away_us: u64) {
        let Some(mut process) = self.members[at].process.take() else {
            return;
        };
        say!(self.course, "member {at}: {ending:?}");
        self.finish_writes(&mut process);
        if ending == Ending::PowerLoss {
            let random = &mut self.course.random;
            let disk = &mut self.members[at].disk;
            *disk = disk.crash(&mut || random.one_in(2));
        }
        let member = &mut self.members[at];
        member.disk.die_at(u64::MAX);
        member.disk.fail_at(u64::MAX);
        if member.full_until_us > self.course.now_us {
            // A machine that has lost its power has a disk of the same size as before.
            let left = self.course.random.below(100_000);
            member.disk.leave_room(Some(left));
        }
        member.backlog.clear();
        member.paused_until_us = 0;
        member.is_disk_faulty = false;
        let ended = member.life;
        self.drop_pipes(at, ended, ending);
        self.course.after(away_us, Event::Start(at));
    }

    /// Writes under way are done wholly, in part, or not at all.
    fn finish_writes(&mut self, process: &mut Process) {
        for write in std::mem::take(&mut process.writes).into_values() {
            let sectors = write.buffer.len() / SECTOR;
            let kept = self.course.random.index(sectors + 1) * SECTOR;
            if kept > 0 && self.course.random.one_in(2) {
                // After a loss of power this may fail, and nothing is written.
                let _ = write.file.write_at(write.offset, &write.buffer[..kept]);
            }
        }
    }

    fn drop_pipes(&mut self, at: usize, life: u32, ending: Ending) {
        let is_ours = |end: &End| end.process() == Some((at, life));
        let ours: Vec<(u64, usize)> = self
            .network
            .pipes()
            .filter_map(|(name, pipe)| {
                let end = pipe.ends.iter().position(is_ours)?;
                Some((name, 1 - end))
            })
            .collect();
        // A machine without power says nothing; who sends to it when it is back is told then.
        let is_told = ending == Ending::Killed || self.course.random.one_in(2);
        for (pipe, far) in ours {
            if is_told {
                self.network
                    .send(&mut self.course, pipe, far, Piece::Closed);
            }
        }
    }

    /// Lets a process have its turn.
    pub fn take_turn(&mut self, at: usize, turn: Turn) {
        match turn {
            Turn::Tick => {
                self.with(at, |replica, now| replica.tick(now));
                self.turn_after(at, TICK_US, Turn::Tick);
            }
            Turn::Wake => {
                self.with(at, |replica, now| replica.tick(now));
                if let Some(process) = &mut self.members[at].process {
                    process.wakes_us = u64::MAX;
                }
            }
            Turn::Written(id) => self.written(at, id),
            Turn::Segment => self.make_segment(at),
            Turn::Snapshot => self.write_snapshot(at),
            Turn::Purge => self.purge(at),
            Turn::Upkeep => {
                self.with(at, |replica, _| replica.upkeep());
                self.turn_after(at, 1_000_000, Turn::Upkeep);
            }
            Turn::Dial(leader) => self.dial(at, leader),
            Turn::Dialed(leader, link) => {
                self.with(at, |replica, now| replica.dialed(leader, link, now));
            }
            Turn::FromShard(shard) => self.take_from_shard(at, shard),
            Turn::ToShard(shard) => self.take_to_shard(at, shard),
            Turn::ShardTick(shard) => {
                let now = self.members[at].shard_now(self.course.now_us);
                if let Some(process) = &mut self.members[at].process {
                    process.shards[shard].shard.tick(now);
                }
                self.turn_after(at, SHARD_TICK_US, Turn::ShardTick(shard));
            }
            Turn::NoteHeard(shard) => {
                let as_of_ms = self.members[at].now(self.course.now_us).monotonic_ms;
                self.turn_after(at, HEARD_SETTLE_US, Turn::Heard(shard, as_of_ms));
            }
            Turn::Heard(shard, as_of_ms) => {
                if let Some(process) = &mut self.members[at].process {
                    process.shards[shard].shard.heard(as_of_ms);
                }
                self.turn_after(at, HEARD_INTERVAL_US, Turn::NoteHeard(shard));
            }
        }
        self.attend(at);
        if turn == Turn::Tick {
            self.check_timeliness(at);
        }
    }

    fn written(&mut self, at: usize, id: u64) {
        let (now, now_us) = (self.members[at].now(self.course.now_us), self.course.now_us);
        let Some(process) = &mut self.members[at].process else {
            return;
        };
        let Some(write) = process.writes.remove(&id) else {
            return;
        };
        let length = write.buffer.len();
        let result = write.file.write_at(write.offset, &write.buffer);
        let result = result.map(|()| length).map_err(std::io::Error::other);
        let completed = process
            .replica
            .complete(write.id, write.buffer, result, now, now_us);
        if let Err(error) = completed {
            say!(self.course, "member {at} ends: {error}");
            self.fail_process(at);
        }
    }

    /// A process that cannot write ends itself.
    pub fn fail_process(&mut self, at: usize) {
        // What is in the page cache after a failed sync is not to be trusted; after the power has
        // gone there is none.
        let ending = if self.course.random.one_in(2) {
            Ending::PowerLoss
        } else {
            Ending::Killed
        };
        let ending = if self.members[at].disk.is_dead() {
            Ending::PowerLoss
        } else {
            ending
        };
        let away_us = self.course.random.between(20_000, 300_000);
        self.end_process(at, ending, away_us);
    }

    fn make_segment(&mut self, at: usize) {
        let member = &mut self.members[at];
        let now = member.now(self.course.now_us);
        if let Some(process) = &mut member.process
            && let Some(task) = process.segments.pop_front()
        {
            let result = task.run(&member.disk);
            // What failed is tried again.
            let _ = process.replica.segment_done(result, now);
        }
    }

    fn write_snapshot(&mut self, at: usize) {
        let member = &mut self.members[at];
        let now = member.now(self.course.now_us);
        if let Some(process) = &mut member.process
            && let Some(request) = process.snapshot.take()
        {
            let zxid = request.view.zxid();
            // A failure leaves the log.
            let folder = Member::folder();
            let _ = snapshot::write(&member.disk, &folder, &request.view, &request.sessions);
            drop(request);
            process.replica.snapshot_ended(now);
            say!(self.course, "member {at} has written a snapshot of {zxid}");
        }
    }

    /// As a server does with `autopurge.purgeInterval`.
    fn purge(&mut self, at: usize) {
        let disk = Arc::new(self.members[at].disk.clone());
        let purger = Purger::new(disk, Member::folder(), Member::folder());
        // A failure leaves files.
        if let Ok(Some(purged)) = purger.purge(RETAIN_COUNT_MIN)
            && purged.segments > 0
        {
            let (count, oldest_kept) = (purged.segments, purged.oldest_kept);
            say!(
                self.course,
                "member {at} has purged {count} segments before {oldest_kept}"
            );
        }
        if let Some(interval_us) = self.purge_interval_us {
            self.turn_after(at, interval_us, Turn::Purge);
        }
    }

    /// Connects a member to the quorum port of the one that it takes for the leader.
    fn dial(&mut self, from: usize, leader: ServerId) {
        let to = process::index_of(leader);
        let now_us = self.course.now_us;
        let is_parted =
            self.network.is_parted(from, to, now_us) || self.network.is_parted(to, from, now_us);
        let is_unresolved = self.faults.is_unresolved(to, self.shape);
        if is_parted || is_unresolved || self.members[to].process.is_none() {
            // Refused at once, or given up after a while.
            let wait_us = match (is_unresolved, is_parted) {
                (true, _) => self.course.random.between(1_000, 300_000),
                (_, true) => 200_000,
                _ => 1_000,
            };
            return self.turn_after(from, wait_us, Turn::Dialed(leader, None));
        }
        let (near, far) = (self.network.next_link(), self.network.next_link());
        let end = |member: usize, life: u32, link: LinkId| End::Link { member, life, link };
        let ends = [
            end(from, self.members[from].life, near),
            end(to, self.members[to].life, far),
        ];
        let pipe = self.network.open(ends);
        if let Some(process) = &mut self.members[from].process {
            process.links.insert(near, pipe);
        }
        self.network.send(&mut self.course, pipe, 1, Piece::Opened);
        self.turn_after(from, 1_000, Turn::Dialed(leader, Some(near)));
    }

    /// Two members make an election link, if they can and have none.
    pub fn meet(&mut self, first: usize, second: usize) {
        let now_us = self.course.now_us;
        let has_link = |world: &World, at: usize, to: usize| {
            let process = world.members[at].process.as_ref();
            process.is_some_and(|process| process.peers.contains_key(&to))
        };
        let runs = |world: &World, at: usize| world.members[at].process.is_some();
        let links = [has_link(self, first, second), has_link(self, second, first)];
        if !runs(self, first) || !runs(self, second) || links == [true, true] {
            return;
        }
        if self.network.is_parted(first, second, now_us)
            || self.network.is_parted(second, first, now_us)
        {
            return self.course.after(50_000, Event::Meet(first, second));
        }
        // A new connection takes the place of one that only the other end believes in.
        for (at, other) in [(first, second), (second, first)] {
            if has_link(self, at, other) {
                self.lose_peer(at, other);
            }
        }
        let end = |member: usize| End::Peer {
            member,
            life: self.members[member].life,
        };
        let pipe = self.network.open([end(first), end(second)]);
        for (near, (at, other)) in [(first, second), (second, first)].into_iter().enumerate() {
            let Some(process) = &mut self.members[at].process else {
                continue;
            };
            process.peers.insert(other, (pipe, near));
            // The last message may have been lost with the link before.
            if let Some(message) = process.messages.get(&other).cloned() {
                let piece = Piece::Message(message);
                self.network.send(&mut self.course, pipe, 1 - near, piece);
            }
            self.with(at, |replica, now| {
                replica.reachable(process::server_id(other), true, now);
            });
            self.attend(at);
        }
    }

    /// A member has no election link to another any more.
    pub fn lose_peer(&mut self, at: usize, other: usize) {
        if let Some(process) = &mut self.members[at].process {
            process.peers.remove(&other);
        }
        let other = process::server_id(other);
        self.with(at, |replica, now| replica.reachable(other, false, now));
        self.attend(at);
    }

    /// What a shard's ring holds goes into the replica, if that takes anything.
    fn take_from_shard(&mut self, at: usize, shard: usize) {
        let now = self.members[at].now(self.course.now_us);
        let Some(process) = &mut self.members[at].process else {
            return;
        };
        if !process.replica.is_open() {
            return self.turn_after(at, 1_000, Turn::FromShard(shard));
        }
        let message: Option<ToSequencer> = process.shards[shard].ring.pop_front();
        if let Some(message) = message {
            process.replica.handle(message, now);
        }
    }
}
