//! Which of the prepared keys comes next.

use std::fmt;
use std::str::FromStr;

use super::random::{Random, scatter};

/// The exponent where `zipf` is given without one; YCSB's.
const EXPONENT_DEFAULT: f64 = 0.99;

/// Spreads the popular keys over the tree, so that they are no neighbours.
const RANK_SALT: u64 = 0x7a69_7066;

/// How often each key is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Popularity {
    /// All the same.
    Uniform,
    /// The key of rank r as often as 1 / r^exponent says.
    Zipf(f64),
}

impl FromStr for Popularity {
    type Err = String;

    fn from_str(text: &str) -> Result<Popularity, String> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("uniform", "") => Ok(Popularity::Uniform),
            ("zipf", "") => Ok(Popularity::Zipf(EXPONENT_DEFAULT)),
            ("zipf", exponent) => match exponent.parse::<f64>() {
                Ok(exponent) if exponent > 0.0 && exponent <= 10.0 => {
                    Ok(Popularity::Zipf(exponent))
                }
                _ => Err(format!("exponent `{exponent}` is not above 0 and up to 10")),
            },
            _ => Err(format!("`{text}` is not uniform, zipf or zipf:EXPONENT")),
        }
    }
}

impl fmt::Display for Popularity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Popularity::Uniform => write!(out, "uniform"),
            Popularity::Zipf(exponent) => write!(out, "zipf:{exponent}"),
        }
    }
}

/// Picks keys by their popularity.
#[derive(Clone, Debug)]
pub struct Keys {
    count: u32,
    zipf: Option<Zipf>,
}

impl Keys {
    /// Of `count` keys, at least 1.
    pub fn new(count: u32, popularity: Popularity) -> Keys {
        let zipf = match popularity {
            Popularity::Uniform => None,
            Popularity::Zipf(exponent) => Some(Zipf::new(count, exponent)),
        };
        Keys { count, zipf }
    }

    /// The next key, below the count.
    pub fn pick(&self, random: &mut Random) -> u32 {
        match &self.zipf {
            None => random.below(self.count),
            Some(zipf) => {
                let rank = zipf.rank(random);
                (scatter(rank, RANK_SALT) % u64::from(self.count)) as u32
            }
        }
    }
}

/// Ranks by Zipf's law, by rejection-inversion (Hörmann and Derflinger, "Rejection-inversion to
/// generate variates from monotone discrete distributions", 1996): no table, whatever the count.
#[derive(Clone, Debug)]
struct Zipf {
    exponent: f64,
    count: f64,
    /// The integral's range: from half a rank before the first, cut so that rank 1 has its
    /// whole weight, to half a rank after the last.
    low: f64,
    high: f64,
    /// Candidates this close below their rank need no second look.
    squeeze: f64,
}

impl Zipf {
    fn new(count: u32, exponent: f64) -> Zipf {
        let count = f64::from(count);
        let mut zipf = Zipf {
            exponent,
            count,
            low: 0.0,
            high: 0.0,
            squeeze: 0.0,
        };
        zipf.low = zipf.integral(1.5) - 1.0;
        zipf.high = zipf.integral(count + 0.5);
        zipf.squeeze = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    /// A rank, from 1 to the count.
    fn rank(&self, random: &mut Random) -> u32 {
        loop {
            let point = self.high + random.fraction() * (self.low - self.high);
            let candidate = self.inverse(point);
            let rank = candidate.round().clamp(1.0, self.count);
            if rank - candidate <= self.squeeze
                || point >= self.integral(rank + 0.5) - self.weight(rank)
            {
                return rank as u32;
            }
        }
    }

    fn weight(&self, rank: f64) -> f64 {
        rank.powf(-self.exponent)
    }

    /// The integral of [`Zipf::weight`] from 1 to `rank`.
    fn integral(&self, rank: f64) -> f64 {
        let rest = 1.0 - self.exponent;
        if rest.abs() < 1e-9 {
            return rank.ln();
        }
        ((rest * rank.ln()).exp_m1()) / rest
    }

    fn inverse(&self, area: f64) -> f64 {
        let rest = 1.0 - self.exponent;
        if rest.abs() < 1e-9 {
            return area.exp();
        }
        // Rounding may leave the argument just below −1.
        ((area * rest).max(-1.0).ln_1p() / rest).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_follow_zipf() {
        for exponent in [0.5, 0.99, 1.0, 2.0] {
            let zipf = Zipf::new(50, exponent);
            let mut random = Random::new(1);
            let mut hits = [0_u32; 51];
            const DRAWS: u32 = 200_000;
            for _ in 0..DRAWS {
                hits[zipf.rank(&mut random) as usize] += 1;
            }
            let sum: f64 = (1..=50).map(|rank| zipf.weight(f64::from(rank))).sum();
            for rank in [1, 2, 3, 10, 50] {
                let expected = f64::from(DRAWS) * zipf.weight(f64::from(rank)) / sum;
                let seen = f64::from(hits[rank as usize]);
                // Five standard deviations.
                let off = (seen - expected).abs() / expected.sqrt();
                assert!(off < 5.0, "{exponent}, rank {rank}: {seen}, not {expected}");
            }
            assert_eq!(hits[0], 0);
        }
    }

    #[test]
    fn one_key_is_always_the_same() {
        let mut random = Random::new(9);
        for popularity in [Popularity::Uniform, Popularity::Zipf(1.0)] {
            let keys = Keys::new(1, popularity);
            assert!((0..100).all(|_| keys.pick(&mut random) == 0));
        }
    }

    #[test]
    fn words_are_parsed() {
        assert_eq!("uniform".parse(), Ok(Popularity::Uniform));
        assert_eq!("zipf".parse(), Ok(Popularity::Zipf(0.99)));
        assert_eq!("zipf:1.2".parse(), Ok(Popularity::Zipf(1.2)));
        for bad in ["", "zipf:0", "zipf:x", "zipf:-1", "pareto", "uniform:1"] {
            assert!(bad.parse::<Popularity>().is_err(), "`{bad}`");
        }
    }
}
