//! Which operation on which key comes next. Deterministic for a seed.

use std::str::FromStr;

/// What a connection can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Operation {
    /// getData of a prepared key.
    Get,
    /// setData of a prepared key.
    Set,
    /// create of a new znode in the connection's own directory.
    Create,
    /// delete of the oldest znode that the connection created; where there is none, a create.
    Delete,
    /// exists of a prepared key.
    Exists,
    /// getChildren of a prepared directory.
    GetChildren,
    /// A transaction of setData on several keys.
    Multi,
    /// sync.
    Sync,
}

impl Operation {
    /// Every operation, in the order of reports; an operation's place is its number.
    pub const ALL: [Operation; 8] = [
        Operation::Get,
        Operation::Set,
        Operation::Create,
        Operation::Delete,
        Operation::Exists,
        Operation::GetChildren,
        Operation::Multi,
        Operation::Sync,
    ];

    /// The name in `--mix` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::Set => "set",
            Operation::Create => "create",
            Operation::Delete => "delete",
            Operation::Exists => "exists",
            Operation::GetChildren => "getChildren",
            Operation::Multi => "multi",
            Operation::Sync => "sync",
        }
    }
}

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
        self.cumulative.iter().any(|&(known, _)| known == operation)
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
            let operation = Operation::ALL
                .into_iter()
                .find(|operation| operation.name().eq_ignore_ascii_case(name))
                .ok_or_else(|| {
                    let known = Operation::ALL.map(Operation::name).join(", ");
                    format!("`{name}` is not one of {known}")
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

/// One request to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What to do.
    pub operation: Operation,
    /// The prepared key, or for create and delete the number of the connection's own znode.
    pub target: u32,
}

/// The requests of one connection, one after the other.
#[derive(Clone, Debug)]
pub struct Generator {
    random: Random,
    created: u32,
    deleted: u32,
}

impl Generator {
    /// Generators of one run differ by `connection`; the same numbers give the same requests.
    pub fn new(seed: u64, connection: u64) -> Generator {
        let mut random = Random(seed);
        random.0 ^= Random(connection).next();
        Generator {
            random,
            created: 0,
            deleted: 0,
        }
    }

    /// The next request, over `keys` prepared keys.
    pub fn next(&mut self, mix: &Mix, keys: u32) -> Step {
        let operation = match mix.pick(&mut self.random) {
            Operation::Delete if self.created == self.deleted => Operation::Create,
            picked => picked,
        };
        let target = match operation {
            Operation::Create => {
                self.created = self.created.wrapping_add(1);
                self.created
            }
            // The server handles the requests of a session in order, so the znode is there by
            // then even if its create is not answered yet.
            Operation::Delete => {
                self.deleted = self.deleted.wrapping_add(1);
                self.deleted
            }
            Operation::GetChildren | Operation::Sync => 0,
            Operation::Get | Operation::Set | Operation::Exists | Operation::Multi => {
                self.random.below(keys)
            }
        };
        Step { operation, target }
    }

    /// Forgets the connection's own znodes: a new session has a new, empty directory.
    pub fn forget_created(&mut self) {
        self.created = 0;
        self.deleted = 0;
    }
}

/// SplitMix64: small, fast, good enough to spread keys, and the same on every machine.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `0..bound`, up to a bias of `bound` in 2^32.
    fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let step = generator.next(&mix, 100);
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
            std::array::from_fn::<_, 16, _>(|_| generator.next(&mix, 1_000_000))
        };
        assert_eq!(steps(7, 3), steps(7, 3));
        assert_ne!(steps(7, 3), steps(7, 4));
        assert_ne!(steps(7, 3), steps(8, 3));
    }

    #[test]
    fn deletes_follow_creates() {
        let mut generator = Generator::new(1, 1);
        let only_deletes = mix("delete");
        let steps: [Step; 4] = std::array::from_fn(|_| generator.next(&only_deletes, 1));
        let expected = [
            (Operation::Create, 1),
            (Operation::Delete, 1),
            (Operation::Create, 2),
            (Operation::Delete, 2),
        ];
        assert_eq!(steps.map(|step| (step.operation, step.target)), expected);
        generator.next(&only_deletes, 1);
        generator.forget_created();
        let first = generator.next(&only_deletes, 1);
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
