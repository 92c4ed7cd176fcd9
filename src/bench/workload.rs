//! Which operation on which key comes next. Deterministic for a seed.

use std::fmt;
use std::str::FromStr;

use super::keys::Keys;
use super::operation::Operation;
use super::random::Random;

/// Operations with weights, such as `get=9,set=1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Operation and the sum of the weights up to and with its own.
    cumulative: Vec<(Operation, u32)>,
}

impl Mix {
    fn total(&self) -> u32 {
        self.cumulative
            .last()
            .map(|&(_, upto)| upto)
            .expect("a mix has at least one weight above 0")
    }

    /// Whether `operation` can come.
    pub fn contains(&self, operation: Operation) -> bool {
        self.operations().any(|known| known == operation)
    }

    /// The operations that can come.
    pub fn operations(&self) -> impl Iterator<Item = Operation> {
        self.cumulative.iter().map(|&(operation, _)| operation)
    }

    fn pick(&self, random: &mut Random) -> Operation {
        if let [(only, _)] = self.cumulative[..] {
            return only;
        }
        let point = random.below(self.total());
        self.cumulative
            .iter()
            .find(|&&(_, upto)| point < upto)
            .map(|&(operation, _)| operation)
            .expect("the point lies below the total")
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Mix, String> {
        let mut cumulative: Vec<(Operation, u32)> = Vec::new();
        let mut total = 0_u32;
        for part in text.split(',').map(str::trim) {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let operation = Operation::REQUESTS
                .iter()
                .copied()
                .find(|operation| operation.name().eq_ignore_ascii_case(name))
                .ok_or_else(|| {
                    let known: Vec<&str> =
                        Operation::REQUESTS.iter().map(|one| one.name()).collect();
                    format!("`{name}` is not one of {}", known.join(", "))
                })?;
            let weight: u32 = weight
                .parse()
                .map_err(|_| format!("weight `{weight}` is not a whole number"))?;
            if cumulative.iter().any(|&(known, _)| known == operation) {
                return Err(format!("`{name}` is given twice"));
            }
            total = total
                .checked_add(weight)
                .ok_or("the weights are too large")?;
            if weight > 0 {
                cumulative.push((operation, total));
            }
        }
        if total == 0 {
            return Err("at least one weight must be above 0".to_owned());
        }
        Ok(Mix { cumulative })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = 0;
        for (place, (operation, upto)) in self.cumulative.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(out, "{comma}{}={}", operation.name(), upto - before)?;
            before = *upto;
        }
        Ok(())
    }
}

/// One request to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What to do.
    pub operation: Operation,
    /// The prepared key, or for create and delete the number of the connection's own znode.
    pub target: u32,
    /// What a write of a key puts into its value, so that it is known again; otherwise 0.
    pub stamp: u32,
}

impl Step {
    /// One that puts no stamp into a value.
    pub fn new(operation: Operation, target: u32) -> Step {
        Step {
            operation,
            target,
            stamp: 0,
        }
    }
}

/// The requests of one connection, one after the other.
#[derive(Clone, Debug)]
pub struct Generator {
    random: Random,
    created: u32,
    deleted: u32,
    /// Writes of keys so far.
    written: u32,
}

impl Generator {
    /// Generators of one run differ by `connection`; the same numbers give the same requests.
    pub fn new(seed: u64, connection: u64) -> Generator {
        Generator {
            random: Random::new(seed ^ Random::new(connection).next()),
            created: 0,
            deleted: 0,
            written: 0,
        }
    }

    /// The next request.
    pub fn next(&mut self, mix: &Mix, keys: &Keys) -> Step {
        let operation = match mix.pick(&mut self.random) {
            Operation::Delete if self.created == self.deleted => Operation::Create,
            picked => picked,
        };
        let target = match operation {
            Operation::Create | Operation::CreateEphemeral => {
                self.created = self.created.wrapping_add(1);
                self.created
            }
            // The server handles the requests of a session in order, so the znode is there by
            // then even if its create is not answered yet.
            Operation::Delete => {
                self.deleted = self.deleted.wrapping_add(1);
                self.deleted
            }
            Operation::Get | Operation::Set | Operation::Exists | Operation::Multi => {
                keys.pick(&mut self.random)
            }
            _ => 0,
        };
        let mut step = Step::new(operation, target);
        if matches!(operation, Operation::Set | Operation::Multi) {
            self.written = self.written.wrapping_add(1);
            step.stamp = self.written;
        }
        step
    }

    /// Forgets the connection's own znodes: a new session has a new, empty directory.
    pub fn forget_created(&mut self) {
        self.created = 0;
        self.deleted = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Popularity;
    use super::*;

    fn keys(count: u32) -> Keys {
        Keys::new(count, Popularity::Uniform)
    }

    fn mix(text: &str) -> Mix {
        text.parse().expect("a valid mix")
    }

    #[test]
    fn weights_hold_and_keys_spread() {
        let mix = mix("get=9,set=1");
        let mut generator = Generator::new(1, 0);
        let mut sets = 0_u32;
        let mut hits = [0_u32; 100];
        for _ in 0..100_000 {
            let step = generator.next(&mix, &keys(100));
            sets += u32::from(step.operation == Operation::Set);
            hits[step.target as usize] += 1;
        }
        assert!((9_500..10_500).contains(&sets), "{sets} sets");
        assert!(hits.iter().all(|hit| (800..1_200).contains(hit)));
    }

    #[test]
    fn connections_differ_and_seeds_repeat() {
        let mix = mix("get");
        let steps = |seed, connection| {
            let mut generator = Generator::new(seed, connection);
            std::array::from_fn::<_, 16, _>(|_| generator.next(&mix, &keys(1_000_000)))
        };
        assert_eq!(steps(7, 3), steps(7, 3));
        assert_ne!(steps(7, 3), steps(7, 4));
        assert_ne!(steps(7, 3), steps(8, 3));
    }

    #[test]
    fn deletes_follow_creates() {
        let mut generator = Generator::new(1, 1);
        let only_deletes = mix("delete");
        let steps: [Step; 4] = std::array::from_fn(|_| generator.next(&only_deletes, &keys(1)));
        let expected = [
            (Operation::Create, 1),
            (Operation::Delete, 1),
            (Operation::Create, 2),
            (Operation::Delete, 2),
        ];
        assert_eq!(steps.map(|step| (step.operation, step.target)), expected);
        generator.next(&only_deletes, &keys(1));
        generator.forget_created();
        let first = generator.next(&only_deletes, &keys(1));
        assert_eq!((first.operation, first.target), (Operation::Create, 1));
    }

    #[test]
    fn mixes_are_parsed() {
        assert!(mix("get=1,set=0").contains(Operation::Get));
        assert!(!mix("get=1,set=0").contains(Operation::Set));
        assert!(mix("getchildren, sync=3").contains(Operation::Sync));
        for bad in [
            "",
            "put",
            "get=x",
            "get=0",
            "get=-1",
            "get,get",
            "get=4294967295,set=1",
        ] {
            assert!(bad.parse::<Mix>().is_err(), "`{bad}`");
        }
    }
}
