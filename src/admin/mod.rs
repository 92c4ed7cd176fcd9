//! Four-letter words: from a status of the server to the text that Apache would send.

/// A four-letter word (Apache's `FourLetterCommands`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are Apache's own")]
pub enum Word {
    Conf,
    Cons,
    Crst,
    Dirs,
    Dump,
    Envi,
    Gtmk,
    Hash,
    Isro,
    Mntr,
    Ruok,
    Srst,
    Srvr,
    Stat,
    Stmk,
    Wchc,
    Wchp,
    Wchs,
}

/// One shard's part of a [`Status`].
#[derive(Clone, Debug, Default)]
pub struct ShardReport {}

/// The server as the words show it.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// One report a shard.
    pub shards: Vec<ShardReport>,
}

/// The text that answers a word.
pub fn answer(_word: Word, _status: &Status) -> String {
    todo!()
}
