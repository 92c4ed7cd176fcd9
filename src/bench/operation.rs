//! What is done and measured, by name.

/// What a connection can be asked to do, or what a scenario measures beside its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Operation {
    /// getData of a prepared key.
    Get,
    /// setData of a prepared key.
    Set,
    /// create of a new znode in the connection's own directory.
    Create,
    /// The same, ephemeral.
    CreateEphemeral,
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
    /// ping.
    Ping,
    /// The connection is cut, and the session taken up again with a new one.
    Reconnect,
    /// The session is closed, with all its ephemerals, and a new one opened.
    Renew,
    /// A watch event, from the moment when what caused it was sent.
    Event,
    /// The same for the last of all watchers.
    LastEvent,
    /// A lock, from the first request until it is held.
    Acquire,
    /// A whole start of a controller.
    Start,
    /// A whole assignment of a region.
    Assignment,
    /// A whole insert.
    Insert,
}

impl Operation {
    /// Every operation, in the order of reports; an operation's place is its number.
    pub const ALL: [Operation; 18] = [
        Operation::Get,
        Operation::Set,
        Operation::Create,
        Operation::CreateEphemeral,
        Operation::Delete,
        Operation::Exists,
        Operation::GetChildren,
        Operation::Multi,
        Operation::Sync,
        Operation::Ping,
        Operation::Reconnect,
        Operation::Renew,
        Operation::Event,
        Operation::LastEvent,
        Operation::Acquire,
        Operation::Start,
        Operation::Assignment,
        Operation::Insert,
    ];

    /// Those that are one request each, which is what a mix is made of and what counts in totals.
    pub const REQUESTS: &[Operation] = Self::ALL.split_at(Operation::Event as usize).0;

    /// The name in `--mix` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::Set => "set",
            Operation::Create => "create",
            Operation::CreateEphemeral => "createEphemeral",
            Operation::Delete => "delete",
            Operation::Exists => "exists",
            Operation::GetChildren => "getChildren",
            Operation::Multi => "multi",
            Operation::Sync => "sync",
            Operation::Ping => "ping",
            Operation::Reconnect => "reconnect",
            Operation::Renew => "renew",
            Operation::Event => "event",
            Operation::LastEvent => "lastEvent",
            Operation::Acquire => "acquire",
            Operation::Start => "start",
            Operation::Assignment => "assignment",
            Operation::Insert => "insert",
        }
    }

    /// Whether it is one request, and no sum of several or event.
    pub fn is_request(self) -> bool {
        (self as usize) < Operation::Event as usize
    }

    /// Whether it needs a directory of the session's own.
    pub fn is_on_own_znodes(self) -> bool {
        matches!(
            self,
            Operation::Create | Operation::CreateEphemeral | Operation::Delete
        )
    }

    /// Whether it changes the connection itself, so that it waits for all replies before it.
    pub fn is_of_session(self) -> bool {
        matches!(self, Operation::Reconnect | Operation::Renew)
    }
}
