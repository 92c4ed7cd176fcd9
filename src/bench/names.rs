//! The names of a directory's children, so that a list is checked name by name without keeping one.

use crate::jute::{Decoder, JuteError, Record};

use super::random::Random;

/// Children of one prefix, numbered from 0.
#[derive(Debug)]
pub struct Names {
    count: u32,
    /// Of all names' digests: the same in whatever order a server lists them.
    sum: u64,
}

impl Names {
    /// `{prefix}0`, `{prefix}1` and so on.
    pub fn new(prefix: &str, count: u32) -> Names {
        let digests = (0..count).map(|number| digest(&format!("{prefix}{number}")));
        Names {
            count,
            sum: digests.fold(0, u64::wrapping_add),
        }
    }

    /// Whether `list` is an encoded list of these names, each once.
    pub fn are(&self, list: &mut Decoder<'_>) -> Result<bool, JuteError> {
        if i64::from(i32::decode(list)?) != i64::from(self.count) {
            return Ok(false);
        }
        let mut sum = 0_u64;
        for _ in 0..self.count {
            sum = sum.wrapping_add(digest(<&str>::decode(list)?));
        }
        Ok(sum == self.sum && list.is_empty())
    }
}

/// FNV-1a, mixed once more: sums of it tell lists apart.
fn digest(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Random::new(hash).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_compared_name_by_name() {
        let names = Names::new("c", 23);
        let are = |list: &[String]| {
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            names.are(&mut Decoder::new(&list.to_vec()))
        };
        let right: Vec<String> = (0..23).rev().map(|number| format!("c{number}")).collect();
        assert_eq!(are(&right), Ok(true));
        assert_eq!(are(&right[1..]), Ok(false));
        for place in 0..23 {
            for wrong in ["c0", "c22", "c23", "c", "c01", ""] {
                let mut list = right.clone();
                if list[place] != wrong {
                    wrong.clone_into(&mut list[place]);
                    assert_eq!(are(&list), Ok(false), "{wrong} at {place}");
                }
            }
        }
    }
}
