//! What the znodes hold: data that shows whose it is, so that a wrong answer is seen.
//!
//! The size of a key's value is drawn once, by its number, so that a wrong length is seen too.
//! Layout of a value of at least [`TAG_BYTES`]: the key, a stamp that changes with every write,
//! then a slice of one pattern that starts where the key says. Shorter values are only the slice.

use super::random::scatter;
use super::spread::Spread;

/// Bytes of key and stamp.
const TAG_BYTES: usize = 8;

/// Distinct places where a slice of the pattern can start; prime to the pattern's period.
const STARTS: usize = 251;

/// Keeps sizes apart from what else is drawn by a key's number.
const SIZE_SALT: u64 = 0x7369_7a65;

/// Makes and checks values.
#[derive(Clone, Debug)]
pub struct Values {
    sizes: Spread,
    pattern: Vec<u8>,
}

impl Values {
    /// Values of as many bytes as `sizes` says.
    pub fn new(sizes: Spread) -> Values {
        let (_, size_max) = sizes.bounds();
        let pattern = (0..size_max as usize + STARTS)
            .map(|place| (place * 7 % 256) as u8)
            .collect();
        Values { sizes, pattern }
    }

    /// Bytes in the value of `key`.
    pub fn size(&self, key: u32) -> usize {
        self.sizes.pick(scatter(key, SIZE_SALT)) as usize
    }

    /// Appends the value of `key`.
    pub fn append(&self, key: u32, stamp: u32, out: &mut Vec<u8>) {
        let size = self.size(key);
        if size < TAG_BYTES {
            out.extend_from_slice(self.slice(key, size));
            return;
        }
        out.extend_from_slice(&key.to_be_bytes());
        out.extend_from_slice(&stamp.to_be_bytes());
        out.extend_from_slice(self.slice(key, size - TAG_BYTES));
    }

    /// The value of `key` that `stamp` marks.
    pub fn of(&self, key: u32, stamp: u32) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.size(key));
        self.append(key, stamp, &mut data);
        data
    }

    /// Whether `data` is the value of `key` that `stamp` marks, as far as it has room for one.
    pub fn is(&self, key: u32, stamp: u32, data: &[u8]) -> bool {
        self.matches(key, data) && Values::stamp(data).is_none_or(|known| known == stamp)
    }

    /// Whether `data` is a value of `key`, whatever its stamp.
    pub fn matches(&self, key: u32, data: &[u8]) -> bool {
        if data.len() != self.size(key) {
            return false;
        }
        match data.split_at_checked(TAG_BYTES) {
            Some((tag, rest)) => {
                tag.starts_with(&key.to_be_bytes()) && rest == self.slice(key, rest.len())
            }
            None => data == self.slice(key, data.len()),
        }
    }

    /// The stamp in a value; `None` where it is too short for one.
    pub fn stamp(data: &[u8]) -> Option<u32> {
        let (tag, _) = data.split_at_checked(TAG_BYTES)?;
        let (_, stamp) = tag.split_last_chunk()?;
        Some(u32::from_be_bytes(*stamp))
    }

    fn slice(&self, key: u32, length: usize) -> &[u8] {
        let start = key as usize % STARTS;
        &self.pattern[start..start + length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_recognised_and_damage_is_seen() {
        for size in [0, 1, 7, 8, 9, 100, 5_000] {
            let values = Values::new(Spread::only(size as u32));
            let mut data = Vec::new();
            values.append(12_345, 6, &mut data);
            assert_eq!(data.len(), size);
            assert!(values.matches(12_345, &data));
            assert_eq!(Values::stamp(&data), (size >= TAG_BYTES).then_some(6));
            assert!(values.is(12_345, 6, &values.of(12_345, 6)));
            assert_eq!(values.is(12_345, 7, &data), size < TAG_BYTES);
            for place in (0..size).filter(|place| size < 8 || !(4..8).contains(place)) {
                data[place] ^= 1;
                assert!(!values.matches(12_345, &data), "size {size}, byte {place}");
                data[place] ^= 1;
            }
            data.push(0);
            assert!(!values.matches(12_345, &data));
        }
    }

    #[test]
    fn another_key_does_not_match() {
        let values = Values::new(Spread::only(100));
        let mut data = Vec::new();
        values.append(1, 0, &mut data);
        assert!(!values.matches(2, &data));
        assert!(!values.matches(1 + STARTS as u32, &data));
    }
}
