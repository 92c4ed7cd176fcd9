//! Full disks.

use super::checks::Invariant;
use super::course::say;
use super::event::Event;
use super::options::Aim;
use super::world::World;

/// Bytes that are left on a disk that is nearly full, at most.
const LEFT_BYTES_MAX: u64 = 200_000;

/// The same for a leader's, which is to be full soon.
const LEADER_LEFT_BYTES_MAX: u64 = 20_000;

/// For how long a leader's disk is full, in microseconds.
const LEADER_FULL_US: u64 = 5_000_000;

/// How long all writes may be refused where one member's disk alone is full, in microseconds: until it
/// has given way.
const REFUSED_US_MAX: u64 = 3_000_000;

impl World {
    /// A member's disk is nearly full.
    pub fn fill_disk(&mut self, at: usize, span_us: u64) {
        self.fill(at, span_us, LEFT_BYTES_MAX);
    }

    /// The leader's disk is nearly full, while all members serve and have room.
    pub fn fill_leader(&mut self) {
        let now_us = self.course.now_us;
        let all_serve = self.members.iter().all(|member| {
            let process = member.process.as_ref();
            let serves = process.is_some_and(|process| process.view.is_some());
            serves && member.full_until_us <= now_us
        });
        let can_be_replaced = all_serve && self.shape.voters > 1;
        if let Some(at) = self.leader().filter(|_| can_be_replaced) {
            self.fill(at, LEADER_FULL_US, LEADER_LEFT_BYTES_MAX);
        }
    }

    fn fill(&mut self, at: usize, span_us: u64, left_max: u64) {
        say!(self.course, "the disk of member {at} is nearly full");
        let left = self.course.random.below(left_max);
        let member = &mut self.members[at];
        member.full_until_us = self.course.now_us + span_us;
        member.disk.leave_room(Some(left));
        self.course.after(span_us, Event::Room(at));
    }

    /// There is room again, if nothing has filled the disk anew meanwhile.
    pub fn make_room(&mut self, at: usize) {
        if self.members[at].full_until_us <= self.course.now_us {
            self.members[at].disk.leave_room(None);
        }
    }

    /// A client's write was refused for want of room.
    pub fn write_refused(&mut self) {
        let now_us = self.course.now_us;
        let since_us = *self.refused_since_us.get_or_insert(now_us);
        let is_over = self.faults.aim() != Aim::Full || now_us <= since_us + REFUSED_US_MAX;
        self.checks.require(is_over, Invariant::Progress, || {
            format!(
                "writes are refused for {} ms where one disk alone is full",
                (now_us - since_us) / 1000
            )
        });
    }
}
