//! Rounds of pings that prove leadership, for sync.
//!
//! A round that is asked for while another is under way starts when that one ends: those who asked
//! meanwhile share it.

/// Which rounds were asked for, run and are confirmed. Numbers rise from 1.
#[derive(Debug, Default)]
pub struct Rounds {
    asked: u64,
    running: u64,
    confirmed: u64,
}

impl Rounds {
    /// Asks for a round that begins from now on; its number.
    pub fn ask(&mut self) -> u64 {
        self.asked = self.running + 1;
        self.asked
    }

    /// Begins the next round, if one was asked for and none is under way.
    pub fn begin_if_idle(&mut self) -> bool {
        let begins = self.running == self.confirmed && self.asked > self.running;
        if begins {
            self.running = self.asked;
        }
        begins
    }

    /// The round under way, or the last one.
    pub fn running(&self) -> u64 {
        self.running
    }

    /// The round under way was answered by a quorum; its number.
    pub fn confirm(&mut self) -> Option<u64> {
        if self.confirmed == self.running {
            return None;
        }
        self.confirmed = self.running;
        Some(self.confirmed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_during_a_round_shares_the_next_one() {
        let mut rounds = Rounds::default();
        assert!(!rounds.begin_if_idle());
        assert_eq!(rounds.ask(), 1);
        assert!(rounds.begin_if_idle());
        assert_eq!((rounds.ask(), rounds.ask()), (2, 2));
        assert!(!rounds.begin_if_idle());
        assert_eq!(rounds.confirm(), Some(1));
        assert!(rounds.begin_if_idle());
        assert_eq!(rounds.confirm(), Some(2));
        assert_eq!(rounds.confirm(), None);
    }
}
