//! Identifiers as newtypes, so that swapped arguments do not compile.

use std::fmt;

/// A transaction id: 32 bits of epoch, 32 bits of counter.
///
/// Displays as Apache ZooKeeper prints it: `0x` and lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid(pub i64);

impl Zxid {
    /// Before the first transaction.
    pub const ZERO: Zxid = Zxid(0);

    /// The zxid with this epoch and counter.
    pub fn new(epoch: u32, counter: u32) -> Zxid {
        Zxid((i64::from(epoch) << 32) | i64::from(counter))
    }

    /// The leader's epoch: the upper 32 bits.
    pub fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The position within the epoch: the lower 32 bits.
    pub fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The next zxid, or `None` when the counter of this epoch is used up.
    pub fn next(self) -> Option<Zxid> {
        if self.counter() == u32::MAX {
            None
        } else {
            Some(Zxid(self.0 + 1))
        }
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A session id. The top byte is the id of the server that created the session.
///
/// Displays as Apache ZooKeeper prints it: `0x` and lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub i64);

impl SessionId {
    /// No session.
    pub const NONE: SessionId = SessionId(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number of a member of an ensemble: `myid`, the N of `server.N` (Apache's `sid`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerId(pub i64);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A connection between a leader and a learner, as this server's driver numbers them. Never used
/// twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zxid_splits_into_epoch_and_counter() {
        let zxid = Zxid::new(7, 0xffff_fffe);
        assert_eq!((zxid.epoch(), zxid.counter()), (7, 0xffff_fffe));
        let last = zxid.next().expect("one position is left");
        assert_eq!(last.counter(), u32::MAX);
        assert_eq!(last.next(), None);
        assert_eq!(Zxid(0x1a).to_string(), "0x1a");
    }
}
