//! Session passwords: proof of ownership that needs no storage.

use crate::types::SessionId;

/// What Apache mixes into the id, so that its passwords and ours are the same.
const SECRET: i64 = 0xb341_5c00;

/// The password of a session (Apache's `ZooKeeperServer.generatePasswd`). It keeps clients from
/// taking each other's sessions by mistake; anybody can compute it from the id.
pub fn session_password(session: SessionId) -> [u8; 16] {
    let mut generator = JavaRandom::new(session.0 ^ SECRET);
    let mut password = [0; 16];
    for word in password.chunks_exact_mut(4) {
        word.copy_from_slice(&generator.next_i32().to_le_bytes());
    }
    password
}

/// The linear congruential generator that `java.util.Random` is documented to be: 48 bits, of which
/// each step yields the upper 32.
struct JavaRandom {
    state: u64,
}

const MULTIPLIER: u64 = 0x5_deec_e66d;
const INCREMENT: u64 = 0xb;
const STATE_MASK: u64 = (1 << 48) - 1;

impl JavaRandom {
    fn new(seed: i64) -> JavaRandom {
        JavaRandom {
            state: (seed as u64 ^ MULTIPLIER) & STATE_MASK,
        }
    }

    fn next_i32(&mut self) -> i32 {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & STATE_MASK;
        (self.state >> 16) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generator_is_that_of_java() {
        assert_eq!(JavaRandom::new(0).next_i32(), -1_155_484_576);
        assert_eq!(JavaRandom::new(42).next_i32(), -1_170_105_035);
    }

    #[test]
    fn passwords_are_those_of_the_reference() {
        for (session, password) in [
            (0, "f22acd4a97e69d6d20a49bb638eadb38"),
            (1, "054cc74a37327db215e702e20c73f005"),
            (0x100_0123_4567_0000, "4be494d27cc739baa123244a251a7415"),
            (-2, "0dd532b5c441e3927c04b55e50fd9421"),
            (i64::MAX, "20f62cb5648dc2d771471c8a2486a9ee"),
        ] {
            let computed: String = session_password(SessionId(session))
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(computed, password, "{session:#x}");
        }
    }
}
