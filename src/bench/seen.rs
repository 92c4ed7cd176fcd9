//! What a session has seen of its keys last, so that a lost write or a stale read shows.
//!
//! A session sees its own writes, and its reads never go back (ZooKeeper's consistency
//! guarantees). So the zxid of a key's last write, which every Stat bears, only grows within a
//! session, and one zxid is always one value. What other sessions write needs no account.
//!
//! Bounded: of keys that share a place only the last is known, and what is forgotten is not
//! checked. A server at fault is so for many keys.

use std::cmp::Ordering;

/// Places a session: 3 KiB, so that those of many sessions still fit the processor's cache.
const PLACES: usize = 128;

/// A key as a reply showed it.
#[derive(Clone, Copy, Debug)]
struct Sight {
    key: u32,
    /// Which write's data it is, if that was seen ([`super::value`]).
    stamp: Option<u32>,
    /// The zxid of the last write; every real one is above 0.
    mzxid: i64,
}

impl Sight {
    fn none(key: u32) -> Sight {
        Sight {
            key,
            stamp: None,
            mzxid: 0,
        }
    }
}

/// The keys that one session saw last.
#[derive(Debug, Default)]
pub struct Seen {
    /// Empty before the first.
    sights: Vec<Sight>,
}

impl Seen {
    /// A read shows the write `mzxid`, and the `stamp` of the data if it shows that: whether both
    /// can be.
    pub fn read(&mut self, key: u32, mzxid: i64, stamp: Option<u32>) -> bool {
        let last = self.last(key);
        match mzxid.cmp(&last.mzxid) {
            Ordering::Less => return false,
            Ordering::Equal => {
                let both = last.stamp.zip(stamp);
                if both.is_some_and(|(known, shown)| known != shown) {
                    return false;
                }
                last.stamp = last.stamp.or(stamp);
            }
            Ordering::Greater => *last = Sight { key, stamp, mzxid },
        }
        true
    }

    /// The session's own write of `stamp` is acknowledged as `mzxid`: whether it can be.
    pub fn wrote(&mut self, key: u32, mzxid: i64, stamp: Option<u32>) -> bool {
        let last = self.last(key);
        let is_new = mzxid > last.mzxid;
        if is_new {
            *last = Sight { key, stamp, mzxid };
        }
        is_new
    }

    /// A new session promises nothing of what an earlier one saw.
    pub fn forget(&mut self) {
        self.sights.clear();
    }

    fn last(&mut self, key: u32) -> &mut Sight {
        if self.sights.is_empty() {
            self.sights.resize(PLACES, Sight::none(0));
        }
        let sight = &mut self.sights[key as usize % PLACES];
        if sight.key != key {
            *sight = Sight::none(key);
        }
        sight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_never_goes_back() {
        let mut seen = Seen::default();
        assert!(seen.read(7, 5, Some(1)) && seen.read(7, 5, Some(1)));
        assert!(!seen.read(7, 4, Some(1)), "a stale read");
        assert!(!seen.read(7, 5, Some(2)), "one zxid with two values");
        assert!(seen.wrote(7, 9, Some(3)) && seen.read(7, 9, None));
        assert!(!seen.wrote(7, 9, Some(4)), "a write that did nothing");
        assert!(!seen.read(7, 8, Some(1)), "a lost write");
        assert!(!seen.read(7, 9, Some(1)), "lost data of a write");
        assert!(seen.read(7, 10, Some(1)), "what another session wrote");
        seen.forget();
        assert!(seen.read(7, 2, Some(8)), "a session of its own");
    }

    #[test]
    fn keys_of_one_place_are_kept_apart() {
        let (one, other) = (3, 3 + PLACES as u32);
        let mut seen = Seen::default();
        assert!(seen.wrote(one, 9, None) && seen.read(other, 2, None));
        assert!(seen.read(one, 1, None), "it was forgotten");
        assert_eq!(seen.sights.len(), PLACES);
    }
}
