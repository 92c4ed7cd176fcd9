//! Four-letter words: from a status of the server to the text that Apache would send.
//!
//! Pure functions. Fields, order and layout are those of Apache ZooKeeper 3.9, because scripts and
//! monitoring parse them. Where Apache prints in the order of its hash tables, the order here is
//! sorted.

mod date;
mod status;
mod text;
mod word;

pub use status::{
    ConnReport, LeaderReport, QuorumReport, QuorumSettings, Settings, ShardReport, Status,
};
pub use text::{answer, full_version};
pub use word::{AdminQueryKind, Word};
