//! What a run is to be.

use std::fmt;
use std::str::FromStr;

/// How many members an ensemble has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Members that vote.
    pub voters: usize,
    /// Members that follow without a vote.
    pub observers: usize,
}

/// The shapes that seeds choose from.
pub const SHAPES: [Shape; 5] = [
    Shape {
        voters: 1,
        observers: 0,
    },
    Shape {
        voters: 3,
        observers: 0,
    },
    Shape {
        voters: 3,
        observers: 1,
    },
    Shape {
        voters: 5,
        observers: 0,
    },
    Shape {
        voters: 5,
        observers: 2,
    },
];

/// Members of one kind that a simulated ensemble can have.
const MEMBERS_MAX: usize = 9;

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.observers {
            0 => write!(f, "{}", self.voters),
            observers => write!(f, "{}+{observers}", self.voters),
        }
    }
}

impl FromStr for Shape {
    type Err = String;

    /// Reads `3`, or `5+2` for 5 voters and 2 observers.
    fn from_str(text: &str) -> Result<Shape, String> {
        let (voters, observers) = text.split_once('+').unwrap_or((text, "0"));
        let read = |part: &str| part.parse::<usize>().ok();
        match (read(voters), read(observers)) {
            (Some(voters @ 1..=MEMBERS_MAX), Some(observers @ 0..=MEMBERS_MAX)) => {
                Ok(Shape { voters, observers })
            }
            _ => Err(format!(
                "{text}: wanted a number of voters from 1 to {MEMBERS_MAX}, or voters+observers"
            )),
        }
    }
}

/// What a run is out for: faults that come together at one moment find what chance alone hardly
/// ever would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// Anything.
    Chance,
    /// Learners lose their power when they have taken a new epoch for theirs, and the leader that
    /// they were synchronised with goes away.
    NewEpoch,
    /// Leaders are cut off with what they alone have logged.
    LostLeader,
    /// Ways between members get slow.
    Slowness,
    /// Processes are stopped.
    Sleep,
    /// Leaders sleep through the election of another one, and are asked before they know.
    Deposed,
    /// The member that wins most elections cannot be reached on its quorum port, to the end of the
    /// run.
    Unresolved,
    /// The disks of leaders run full.
    Full,
}

impl FromStr for Aim {
    type Err = String;

    fn from_str(text: &str) -> Result<Aim, String> {
        Ok(match text {
            "chance" => Aim::Chance,
            "new-epoch" => Aim::NewEpoch,
            "lost-leader" => Aim::LostLeader,
            "slowness" => Aim::Slowness,
            "sleep" => Aim::Sleep,
            "deposed" => Aim::Deposed,
            "unresolved" => Aim::Unresolved,
            "full" => Aim::Full,
            _ => {
                return Err(format!(
                    "{text}: wanted chance, new-epoch, lost-leader, slowness, sleep, deposed, unresolved or full"
                ));
            }
        })
    }
}

/// How ensembles are run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The ensemble; chosen by the seed where it is not named.
    pub shape: Option<Shape>,
    /// What it is out for; chosen by the seed where it is not named.
    pub aim: Option<Aim>,
    /// Whether anything goes wrong.
    pub has_faults: bool,
    /// Whether the whole trace is printed.
    pub is_traced: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            shape: None,
            aim: None,
            has_faults: true,
            is_traced: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_as_they_are_written() {
        for shape in SHAPES {
            assert_eq!(shape.to_string().parse(), Ok(shape));
        }
        for wrong in ["", "0", "3+", "+2", "many", "10", "-3"] {
            assert!(wrong.parse::<Shape>().is_err(), "{wrong}");
        }
    }
}
