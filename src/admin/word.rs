//! The four-letter words themselves.

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

/// What it takes to answer a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminQueryKind {
    /// Nothing: this is the answer.
    Text(&'static str),
    /// The trace mask.
    ShowTraceMask,
    /// A mask of 8 bytes that follows; the answer repeats it.
    SetTraceMask,
    /// The whole server.
    Server,
}

/// What telnet sends when it is interrupted. Apache knows it as a command that does nothing, to
/// keep its log clean.
const TELNET_CLOSE: [u8; 4] = [0xff, 0xf4, 0xff, 0xfd];
const TELNET_CLOSE_NAME: &str = "telnet close";

impl Word {
    /// Every word.
    pub const ALL: [Word; 18] = [
        Word::Conf,
        Word::Cons,
        Word::Crst,
        Word::Dirs,
        Word::Dump,
        Word::Envi,
        Word::Gtmk,
        Word::Hash,
        Word::Isro,
        Word::Mntr,
        Word::Ruok,
        Word::Srst,
        Word::Srvr,
        Word::Stat,
        Word::Stmk,
        Word::Wchc,
        Word::Wchp,
        Word::Wchs,
    ];

    /// The word as it is sent.
    pub fn name(self) -> &'static str {
        match self {
            Word::Conf => "conf",
            Word::Cons => "cons",
            Word::Crst => "crst",
            Word::Dirs => "dirs",
            Word::Dump => "dump",
            Word::Envi => "envi",
            Word::Gtmk => "gtmk",
            Word::Hash => "hash",
            Word::Isro => "isro",
            Word::Mntr => "mntr",
            Word::Ruok => "ruok",
            Word::Srst => "srst",
            Word::Srvr => "srvr",
            Word::Stat => "stat",
            Word::Stmk => "stmk",
            Word::Wchc => "wchc",
            Word::Wchp => "wchp",
            Word::Wchs => "wchs",
        }
    }

    /// The word of this name.
    pub fn from_name(name: &str) -> Option<Word> {
        Word::ALL.into_iter().find(|word| word.name() == name)
    }

    /// The name of the command that these bytes are, as the whitelist spells it, if they are one.
    pub fn name_of(bytes: &[u8; 4]) -> Option<&'static str> {
        if *bytes == TELNET_CLOSE {
            return Some(TELNET_CLOSE_NAME);
        }
        Word::ALL
            .into_iter()
            .map(Word::name)
            .find(|name| name.as_bytes() == bytes)
    }

    /// What it takes to answer.
    pub fn kind(self) -> AdminQueryKind {
        match self {
            Word::Ruok => AdminQueryKind::Text("imok"),
            Word::Gtmk => AdminQueryKind::ShowTraceMask,
            Word::Stmk => AdminQueryKind::SetTraceMask,
            _ => AdminQueryKind::Server,
        }
    }
}
