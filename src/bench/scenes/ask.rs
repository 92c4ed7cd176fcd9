//! Requests of scenarios, one by one or as the operations of a multi.

use crate::jute::data::Stat;
use crate::jute::proto::{
    CheckVersionRequest, CreateRequest, DeleteRequest, ErrorResponse, GetChildrenRequest,
    GetDataRequest, MULTI_END, MultiHeader, SetDataRequest,
};
use crate::jute::{Decoder, JuteError, Record, op};

use super::super::operation::Operation;
use super::super::request::{framed, header, open_acl};

/// Digits of the number in the name of a sequential znode; so names sort as numbers do.
const SEQUENCE_DIGITS: usize = 10;

/// How a znode ends, and whether its name gets a number (the flags of a create).
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    Persistent = 0,
    Ephemeral = 1,
    PersistentSequential = 2,
    EphemeralSequential = 3,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    Get {
        path: &'a str,
        watch: bool,
    },
    Exists {
        path: &'a str,
        watch: bool,
    },
    Children {
        path: &'a str,
        watch: bool,
    },
    Set {
        path: &'a str,
        data: &'a [u8],
        version: i32,
    },
    Create {
        path: &'a str,
        data: &'a [u8],
        mode: Mode,
    },
    Delete {
        path: &'a str,
    },
    Check {
        path: &'a str,
        version: i32,
    },
}

impl Ask<'_> {
    /// Appends the request as a frame; what it counts as.
    pub fn append(&self, xid: i32, out: &mut Vec<u8>) -> Operation {
        framed(out, |out| {
            header(xid, self.kind(), out);
            self.encode(out);
        });
        self.operation()
    }

    fn operation(&self) -> Operation {
        match self {
            Ask::Get { .. } => Operation::Get,
            Ask::Exists { .. } => Operation::Exists,
            Ask::Children { .. } => Operation::GetChildren,
            Ask::Set { .. } => Operation::Set,
            Ask::Create { mode, .. } => match mode {
                Mode::Persistent | Mode::PersistentSequential => Operation::Create,
                Mode::Ephemeral | Mode::EphemeralSequential => Operation::CreateEphemeral,
            },
            Ask::Delete { .. } => Operation::Delete,
            // There is no check outside of a multi.
            Ask::Check { .. } => Operation::Multi,
        }
    }

    fn kind(&self) -> i32 {
        match self {
            Ask::Get { .. } => op::GET_DATA,
            Ask::Exists { .. } => op::EXISTS,
            Ask::Children { .. } => op::GET_CHILDREN,
            Ask::Set { .. } => op::SET_DATA,
            Ask::Create { .. } => op::CREATE,
            Ask::Delete { .. } => op::DELETE,
            Ask::Check { .. } => op::CHECK,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            // An exists has the same record as a getData.
            Ask::Get { path, watch } | Ask::Exists { path, watch } => {
                GetDataRequest { path, watch }.encode(out);
            }
            Ask::Children { path, watch } => GetChildrenRequest { path, watch }.encode(out),
            Ask::Set {
                path,
                data,
                version,
            } => {
                let data = Some(data);
                SetDataRequest {
                    path,
                    data,
                    version,
                }
                .encode(out);
            }
            Ask::Create { path, data, mode } => {
                let create = CreateRequest {
                    path,
                    data: Some(data),
                    acl: open_acl(),
                    flags: mode as i32,
                };
                create.encode(out);
            }
            Ask::Delete { path } => DeleteRequest { path, version: -1 }.encode(out),
            Ask::Check { path, version } => CheckVersionRequest { path, version }.encode(out),
        }
    }
}

/// Appends a transaction of `asks` as a frame; what it counts as.
pub fn append_multi(asks: &[Ask<'_>], xid: i32, out: &mut Vec<u8>) -> Operation {
    framed(out, |out| {
        header(xid, op::MULTI, out);
        for ask in asks {
            let header = MultiHeader {
                kind: ask.kind(),
                done: false,
                err: -1,
            };
            header.encode(out);
            ask.encode(out);
        }
        MULTI_END.encode(out);
    });
    Operation::Multi
}

/// What a transaction did.
#[derive(Debug, PartialEq, Eq)]
pub enum Done {
    /// All of it.
    All {
        /// The paths that it created, in its order.
        created: Vec<String>,
        /// The versions that it wrote, in its order.
        versions: Vec<i32>,
    },
    /// It failed as a whole, with this code.
    Refused(i32),
}

/// Reads the reply to [`append_multi`] of operations of these `kinds`, the opcodes of their asks.
pub fn read_multi(body: &[u8], kinds: &[i32]) -> Result<Done, JuteError> {
    let mut from = Decoder::new(body);
    let (mut created, mut versions) = (Vec::new(), Vec::new());
    let mut refused = None;
    for &kind in kinds {
        match MultiHeader::decode(&mut from)?.kind {
            op::ERROR => {
                let code = ErrorResponse::decode(&mut from)?.err;
                // All but the cause carry 0 or that they were not looked at.
                refused = refused.filter(|&known| known != 0).or(Some(code));
            }
            other if other != kind => return Err(JuteError::UnknownType(other)),
            op::CREATE => created.push(<&str>::decode(&mut from)?.to_owned()),
            op::SET_DATA => versions.push(Stat::decode(&mut from)?.version),
            _ => {}
        }
    }
    let end = MultiHeader::decode(&mut from)?;
    if end != MULTI_END {
        return Err(JuteError::UnknownType(end.kind));
    }
    Ok(refused.map_or(Done::All { created, versions }, Done::Refused))
}

/// Whether `path` is `prefix` and a number as the server gives to a sequential znode.
pub fn is_numbered(path: &str, prefix: &str) -> bool {
    let number = path.strip_prefix(prefix);
    number.is_some_and(|number| {
        number.len() == SEQUENCE_DIGITS && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}
