//! The cells that are counted in. Each has one writer and any number of readers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that grows.
///
/// One thread adds; adding is a load and a store, not an atomic read-modify-write, so two writers
/// would lose counts (and nothing worse).
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds some.
    pub fn add(&self, more: u64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// The sum so far.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Starts again from 0.
    pub fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

/// Count, sum, least and greatest of some values (Apache's `AvgMinMaxCounter`).
#[derive(Debug)]
pub struct Summary {
    pub(super) count: Counter,
    pub(super) sum: Counter,
    /// `u64::MAX` while there is none.
    pub(super) min: AtomicU64,
    pub(super) max: AtomicU64,
}

impl Default for Summary {
    fn default() -> Summary {
        Summary {
            count: Counter::default(),
            sum: Counter::default(),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }
}

impl Summary {
    /// Takes a value in.
    pub fn record(&self, value: u64) {
        self.count.increment();
        self.sum.add(value);
        if value < self.min.load(Relaxed) {
            self.min.store(value, Relaxed);
        }
        if value > self.max.load(Relaxed) {
            self.max.store(value, Relaxed);
        }
    }

    /// Forgets all values.
    pub fn reset(&self) {
        self.count.reset();
        self.sum.reset();
        self.min.store(u64::MAX, Relaxed);
        self.max.store(0, Relaxed);
    }
}

/// Smallest, greatest and latest of some sizes (Apache's `BufferStats`).
#[derive(Debug)]
pub struct Sizes {
    /// `u64::MAX` while there is none, in all three.
    pub(super) last: AtomicU64,
    pub(super) min: AtomicU64,
    pub(super) max: AtomicU64,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes {
            last: AtomicU64::new(u64::MAX),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(u64::MAX),
        }
    }
}

impl Sizes {
    /// Takes a size in.
    pub fn record(&self, size: u64) {
        self.last.store(size, Relaxed);
        if size < self.min.load(Relaxed) {
            self.min.store(size, Relaxed);
        }
        let max = self.max.load(Relaxed);
        if max == u64::MAX || size > max {
            self.max.store(size, Relaxed);
        }
    }

    /// Forgets all sizes.
    pub fn reset(&self) {
        for cell in [&self.last, &self.min, &self.max] {
            cell.store(u64::MAX, Relaxed);
        }
    }
}

/// Bits of a value that a bucket tells apart: values are kept to within 1/16.
const PRECISION_BITS: u32 = 4;
const BUCKETS_PER_POWER: usize = 1 << PRECISION_BITS;
/// The largest power of two that is told apart; larger values share the last bucket.
const POWERS: usize = 36;
const BUCKETS: usize = POWERS * BUCKETS_PER_POWER;

/// A [`Summary`] with percentiles (Apache's `AvgMinMaxPercentileCounter`).
///
/// Apache keeps a random sample of 4,096 values; this keeps all, each to within 1/16.
#[derive(Debug)]
pub struct Distribution {
    pub(super) summary: Summary,
    pub(super) buckets: Box<[Counter]>,
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution {
            summary: Summary::default(),
            buckets: (0..BUCKETS).map(|_| Counter::default()).collect(),
        }
    }
}

impl Distribution {
    /// Takes a value in.
    pub fn record(&self, value: u64) {
        self.summary.record(value);
        self.buckets[bucket(value)].increment();
    }

    /// Forgets all values.
    pub fn reset(&self) {
        self.summary.reset();
        for counter in &self.buckets {
            counter.reset();
        }
    }
}

/// The bucket of a value: exact below 16, then 16 buckets to each power of two.
fn bucket(value: u64) -> usize {
    if value < BUCKETS_PER_POWER as u64 {
        return value as usize;
    }
    let power = 63 - value.leading_zeros();
    let within = (value >> (power - PRECISION_BITS)) as usize & (BUCKETS_PER_POWER - 1);
    let index = (power - PRECISION_BITS + 1) as usize * BUCKETS_PER_POWER + within;
    index.min(BUCKETS - 1)
}

/// The middle of a bucket.
pub(super) fn bucket_value(index: usize) -> u64 {
    if index < BUCKETS_PER_POWER {
        return index as u64;
    }
    let shift = (index / BUCKETS_PER_POWER - 1) as u32;
    let low = ((BUCKETS_PER_POWER + index % BUCKETS_PER_POWER) as u64) << shift;
    low + (1_u64 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_keep_values_within_a_sixteenth() {
        for value in (0..100_000).chain([1 << 30, (1 << 34) + 12_345]) {
            let kept = bucket_value(bucket(value));
            assert!(kept.abs_diff(value) * 16 <= value, "{value} kept as {kept}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        let ordered = (0..10_000).map(bucket).collect::<Vec<_>>();
        assert!(ordered.is_sorted());
    }
}
