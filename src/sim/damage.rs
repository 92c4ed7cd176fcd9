//! Disks that lose what they were given: one bit, or everything. Only of one member in a run, and
//! only where the others have it all: what is left of a majority is not the members' to bring back.

use crate::io::Disk;
use crate::io::memory::MemoryDisk;
use crate::zab::leader::Leader;

use super::course::say;
use super::event::Event;
use super::member::{Ending, Member};
use super::world::World;

/// The newest segments of a log, in which nothing is flipped: what was written last before a crash
/// cannot be told from a torn end if it is damaged.
const SEGMENTS_SPARED: usize = 2;

/// Bytes at the beginning of a file in which a bit is flipped: there is something in a segment.
const FLIPPED_BYTES_MAX: usize = 24 << 10;

/// How long a member is away before its disk is wiped, and until it is started again, in
/// microseconds.
const WIPED_AFTER_US: u64 = 400_000;
const WIPED_AWAY_US: u64 = 600_000;

impl World {
    /// Whether this member's disk may be damaged.
    fn may_damage(&mut self, at: usize) -> bool {
        let is_one_of_many = self.shape.voters >= 3;
        let damaged = *self.damaged.get_or_insert(at);
        is_one_of_many && damaged == at && self.members[at].process.is_some()
    }

    /// While a member is away a bit of its disk flips.
    pub fn flip(&mut self, at: usize) {
        if !self.may_damage(at) {
            return;
        }
        let away_us = self.course.random.between(20_000, 300_000);
        self.end_process(at, Ending::Killed, away_us);
        let folder = Member::folder();
        let disk = &self.members[at].disk;
        let mut names = disk.list(&folder).unwrap_or_default();
        let number = |name: &str| {
            let digits = name.strip_prefix("log.")?;
            i64::from_str_radix(digits, 16).ok()
        };
        let mut segments: Vec<i64> = names.iter().filter_map(|name| number(name)).collect();
        segments.sort_unstable();
        segments.truncate(segments.len().saturating_sub(SEGMENTS_SPARED));
        names.retain(|name| match number(name) {
            Some(zxid) => segments.binary_search(&zxid).is_ok(),
            None => name.starts_with("snapshot.") && !name.ends_with(".bad"),
        });
        if names.is_empty() {
            return;
        }
        let name = &names[self.course.random.index(names.len())];
        let path = folder.join(name);
        let mut bytes = disk.bytes(&path);
        let length = bytes.len().min(FLIPPED_BYTES_MAX);
        if length > 0 {
            let offset = self.course.random.index(length);
            bytes[offset] ^= 1 << self.course.random.below(8);
            disk.set_bytes(&path, &bytes);
            say!(
                self.course,
                "member {at}: a bit flips in {name} at {offset}"
            );
        }
    }

    /// An operator takes a member away, to give it an empty disk.
    pub fn begin_wiping(&mut self, at: usize) {
        if self.may_damage(at) {
            self.end_process(at, Ending::PowerLoss, WIPED_AWAY_US);
            self.course.after(WIPED_AFTER_US, Event::Wipe(at));
        }
    }

    /// The disk is wiped, if a majority without this member has everything.
    pub fn wipe(&mut self, at: usize) {
        if self.members[at].process.is_some() || self.is_calm {
            return;
        }
        let processes = |at: usize| {
            let others = self.members.iter().enumerate();
            others
                .take(self.shape.voters)
                .filter(move |(member, _)| *member != at)
                .filter_map(|(_, member)| member.process.as_ref())
        };
        let leader = processes(at).find_map(|process| process.replica.leader());
        let Some(leader) = leader.filter(|leader| Leader::is_established(leader)) else {
            return;
        };
        let (committed, epoch) = (leader.committed(), leader.epoch().map(i64::from));
        let have_all = processes(at).filter(|process| {
            process.view.is_some()
                && Some(process.replica.current_epoch()) == epoch
                && process.replica.wal().durable_zxid() >= committed
        });
        if have_all.count() > self.shape.voters / 2 {
            say!(self.course, "the disk of member {at} is wiped");
            self.members[at].disk = MemoryDisk::default();
        }
    }
}
