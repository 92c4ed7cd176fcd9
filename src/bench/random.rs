//! Numbers that look random and are the same for the same seed on every machine.

/// SplitMix64: small, fast, good enough to spread keys.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `0..bound`, up to a bias of `bound` in 2^32.
    pub fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// Uniform in `0.0..1.0`.
    pub fn fraction(&mut self) -> f64 {
        // As many bits as a float's mantissa holds.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A number that looks random and is always the same for `number` and `salt`.
pub fn scatter(number: u32, salt: u64) -> u64 {
    Random(u64::from(number) ^ salt.rotate_left(32)).next()
}
