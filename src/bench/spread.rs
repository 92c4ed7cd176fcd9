//! A small whole number that differs from znode to znode: its data's size, its path's depth.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// How numbers are spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Uniform, both ends included.
    Range(u32, u32),
    /// Values with the sum of the weights up to and with their own.
    Weighted(Vec<(u32, u32)>),
}

impl Spread {
    /// Always the same.
    #[cfg(test)]
    pub fn only(value: u32) -> Spread {
        Spread {
            kind: Kind::Range(value, value),
        }
    }

    /// The value for a random number.
    pub fn pick(&self, random: u64) -> u32 {
        let below = |bound: u64| ((u128::from(random) * u128::from(bound)) >> 64) as u32;
        match &self.kind {
            Kind::Range(low, high) => low + below(u64::from(high - low) + 1),
            Kind::Weighted(values) => {
                let total = values.last().map_or(1, |&(_, upto)| upto);
                let point = below(u64::from(total));
                let found = values.iter().find(|&&(_, upto)| point < upto);
                found.map_or(0, |&(value, _)| value)
            }
        }
    }

    /// The smallest and the largest value.
    pub fn bounds(&self) -> (u32, u32) {
        match &self.kind {
            Kind::Range(low, high) => (*low, *high),
            Kind::Weighted(values) => {
                let values = || values.iter().map(|&(value, _)| value);
                (values().min().unwrap_or(0), values().max().unwrap_or(0))
            }
        }
    }

    /// Checks that all values lie in `low..=high`.
    pub fn within(self, low: u32, high: u32) -> Result<Spread, String> {
        let (least, most) = self.bounds();
        if least < low || most > high {
            return Err(format!("not within {low} and {high}"));
        }
        Ok(self)
    }
}

impl FromStr for Spread {
    type Err = String;

    fn from_str(text: &str) -> Result<Spread, String> {
        let number = |text: &str| {
            let parsed = text.trim().parse::<u32>();
            parsed.map_err(|_| format!("`{text}` is not a whole number"))
        };
        let kind = if let Some((low, high)) = text.split_once("..") {
            let (low, high) = (number(low)?, number(high)?);
            if low > high {
                return Err(format!("{low} is above {high}"));
            }
            Kind::Range(low, high)
        } else if text.contains('=') {
            let mut values = Vec::new();
            let mut total = 0_u32;
            for part in text.split(',') {
                let (value, weight) = part.split_once('=').unwrap_or((part, "1"));
                total = total
                    .checked_add(number(weight)?)
                    .ok_or("the weights are too large")?;
                values.push((number(value)?, total));
            }
            if total == 0 {
                return Err("at least one weight must be above 0".to_owned());
            }
            Kind::Weighted(values)
        } else {
            let value = number(text)?;
            Kind::Range(value, value)
        };
        Ok(Spread { kind })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Range(low, high) if low == high => write!(out, "{low}"),
            Kind::Range(low, high) => write!(out, "{low}..{high}"),
            Kind::Weighted(values) => {
                let mut before = 0;
                for (place, (value, upto)) in values.iter().enumerate() {
                    let comma = if place > 0 { "," } else { "" };
                    write!(out, "{comma}{value}={}", upto - before)?;
                    before = *upto;
                }
                Ok(())
            }
        }
    }
}

/// A number where there is only one, else what the command line takes.
impl Serialize for Spread {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.kind {
            Kind::Range(low, high) if low == high => serializer.serialize_u32(low),
            _ => serializer.collect_str(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;

    #[test]
    fn values_come_as_often_as_said() {
        for (text, expected) in [
            ("7", vec![(7, 1.0)]),
            ("3..6", vec![(3, 0.25), (4, 0.25), (5, 0.25), (6, 0.25)]),
            ("100=9,1024=1", vec![(100, 0.9), (1024, 0.1)]),
        ] {
            let spread: Spread = text.parse().expect("valid");
            assert_eq!(spread.to_string(), text);
            let mut random = Random::new(3);
            let mut seen = std::collections::BTreeMap::new();
            for _ in 0..100_000 {
                *seen.entry(spread.pick(random.next())).or_insert(0) += 1;
            }
            assert_eq!(seen.len(), expected.len(), "{text}");
            for (value, share) in expected {
                let off = f64::from(seen[&value]) / 100_000.0 - share;
                assert!(off.abs() < 0.01, "{text}: {value} is off by {off}");
            }
        }
        let whole: Spread = "0..4294967295".parse().expect("valid");
        assert_eq!((whole.pick(0), whole.pick(u64::MAX)), (0, u32::MAX));
    }

    #[test]
    fn bad_words_are_refused() {
        for bad in ["", "x", "5..1", "1..", "1=0", "1=x", "-1", "1,2"] {
            assert!(bad.parse::<Spread>().is_err(), "`{bad}`");
        }
        assert!(Spread::only(3).within(1, 2).is_err());
    }
}
