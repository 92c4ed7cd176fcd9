//! Multi requests and their results (Apache's `MultiOperationRecord` and `MultiResponse`).

use crate::jute::data::{Acl, Stat};
use crate::jute::proto::{
    CheckVersionRequest, Create2Response, CreateRequest, CreateResponse, CreateTtlRequest,
    DeleteRequest, ErrorResponse, GetChildrenRequest, GetChildrenResponse, GetDataRequest,
    GetDataResponse, MULTI_END, MultiHeader, SetDataRequest, SetDataResponse,
};
use crate::jute::{Decoder, JuteError, Record, op};
use crate::types::CreateMode;

/// One operation of a transaction, or of a multi-read. A multi holds one of the two sorts only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the single operations")]
pub enum Op {
    Create {
        path: String,
        data: Option<Vec<u8>>,
        acl: Vec<Acl>,
        mode: CreateMode,
        /// Time to live in milliseconds, for the TTL modes only.
        ttl_ms: Option<i64>,
    },
    Delete {
        path: String,
        /// −1 matches any.
        version: i32,
    },
    SetData {
        path: String,
        data: Option<Vec<u8>>,
        /// −1 matches any.
        version: i32,
    },
    Check {
        path: String,
        /// −1 matches any.
        version: i32,
    },
    /// Of a multi-read.
    GetData { path: String },
    /// Of a multi-read.
    GetChildren { path: String },
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the single operations")]
pub enum OpResult {
    /// The stat is sent for containers and TTL nodes only.
    Create {
        path: String,
        stat: Option<Stat>,
    },
    Delete,
    SetData {
        stat: Stat,
    },
    Check,
    GetData {
        data: Option<Vec<u8>>,
        stat: Stat,
    },
    GetChildren {
        children: Vec<String>,
    },
    /// The number of an error code; 0 for an operation that was undone because another failed.
    Error(i32),
}

impl Op {
    /// The path, as the client names it.
    pub fn path(&self) -> &str {
        match self {
            Op::Create { path, .. }
            | Op::Delete { path, .. }
            | Op::SetData { path, .. }
            | Op::Check { path, .. }
            | Op::GetData { path }
            | Op::GetChildren { path } => path,
        }
    }

    /// Whether the operation belongs into a multi-read.
    pub fn is_read(&self) -> bool {
        matches!(self, Op::GetData { .. } | Op::GetChildren { .. })
    }

    fn kind(&self) -> i32 {
        match self {
            Op::Create { mode, .. } if mode.is_ttl() => op::CREATE_TTL,
            Op::Create { mode, .. } if mode.is_container() => op::CREATE_CONTAINER,
            Op::Create { .. } => op::CREATE,
            Op::Delete { .. } => op::DELETE,
            Op::SetData { .. } => op::SET_DATA,
            Op::Check { .. } => op::CHECK,
            Op::GetData { .. } => op::GET_DATA,
            Op::GetChildren { .. } => op::GET_CHILDREN,
        }
    }

    fn encode_body(&self, path: &str, out: &mut Vec<u8>) {
        match self {
            Op::Create {
                data,
                acl,
                mode,
                ttl_ms,
                ..
            } => {
                let (data, acl, flags) = (data.as_deref(), acl.clone(), *mode as i32);
                if mode.is_ttl() {
                    CreateTtlRequest {
                        path,
                        data,
                        acl,
                        flags,
                        ttl_ms: ttl_ms.unwrap_or(-1),
                    }
                    .encode(out);
                } else {
                    CreateRequest {
                        path,
                        data,
                        acl,
                        flags,
                    }
                    .encode(out);
                }
            }
            Op::Delete { version, .. } => DeleteRequest {
                path,
                version: *version,
            }
            .encode(out),
            Op::SetData { data, version, .. } => SetDataRequest {
                path,
                data: data.as_deref(),
                version: *version,
            }
            .encode(out),
            Op::Check { version, .. } => CheckVersionRequest {
                path,
                version: *version,
            }
            .encode(out),
            Op::GetData { .. } => GetDataRequest { path, watch: false }.encode(out),
            Op::GetChildren { .. } => GetChildrenRequest { path, watch: false }.encode(out),
        }
    }
}

/// The body of a multi request; `server_path` puts the chroot before a path.
pub fn encode_request(ops: &[Op], server_path: impl Fn(&str) -> String) -> Vec<u8> {
    let mut out = Vec::new();
    for op in ops {
        MultiHeader {
            kind: op.kind(),
            done: false,
            err: -1,
        }
        .encode(&mut out);
        op.encode_body(&server_path(op.path()), &mut out);
    }
    MULTI_END.encode(&mut out);
    out
}

/// Reads the body of a multi reply; `client_path` takes the chroot off a path.
pub fn decode_response(
    body: &[u8],
    client_path: impl Fn(&str) -> String,
) -> Result<Vec<OpResult>, JuteError> {
    let mut from = Decoder::new(body);
    let mut results = Vec::new();
    loop {
        let header = MultiHeader::decode(&mut from)?;
        if header.done {
            return Ok(results);
        }
        results.push(match header.kind {
            op::CREATE => OpResult::Create {
                path: client_path(CreateResponse::decode(&mut from)?.path),
                stat: None,
            },
            op::CREATE2 | op::CREATE_TTL | op::CREATE_CONTAINER => {
                let created = Create2Response::decode(&mut from)?;
                OpResult::Create {
                    path: client_path(created.path),
                    stat: Some(created.stat),
                }
            }
            op::DELETE => OpResult::Delete,
            op::SET_DATA => OpResult::SetData {
                stat: SetDataResponse::decode(&mut from)?.stat,
            },
            op::CHECK => OpResult::Check,
            op::GET_DATA => {
                let read = GetDataResponse::decode(&mut from)?;
                OpResult::GetData {
                    data: read.data.map(<[u8]>::to_vec),
                    stat: read.stat,
                }
            }
            op::GET_CHILDREN => OpResult::GetChildren {
                children: GetChildrenResponse::decode(&mut from)?
                    .children
                    .into_iter()
                    .map(str::to_owned)
                    .collect(),
            },
            op::ERROR => OpResult::Error(ErrorResponse::decode(&mut from)?.err),
            unknown => return Err(JuteError::UnknownType(unknown)),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_headers_and_bodies() {
        let ops = [
            Op::Delete {
                path: "/a".into(),
                version: -1,
            },
            Op::Check {
                path: "/b".into(),
                version: 3,
            },
        ];
        let body = encode_request(&ops, |path| format!("/root{path}"));
        let mut from = Decoder::new(&body);
        let header = MultiHeader::decode(&mut from).expect("header");
        assert_eq!((header.kind, header.done), (op::DELETE, false));
        let delete = DeleteRequest::decode(&mut from).expect("delete");
        assert_eq!((delete.path, delete.version), ("/root/a", -1));
        assert_eq!(
            MultiHeader::decode(&mut from).expect("header").kind,
            op::CHECK
        );
        let check = CheckVersionRequest::decode(&mut from).expect("check");
        assert_eq!((check.path, check.version), ("/root/b", 3));
        assert_eq!(MultiHeader::decode(&mut from), Ok(MULTI_END));
        assert!(from.is_empty());
    }

    #[test]
    fn results_are_read_back() {
        let header = |kind| MultiHeader {
            kind,
            done: false,
            err: 0,
        };
        let mut body = header(op::CREATE).to_vec();
        CreateResponse { path: "/root/a" }.encode(&mut body);
        header(op::DELETE).encode(&mut body);
        header(op::ERROR).encode(&mut body);
        ErrorResponse { err: -101 }.encode(&mut body);
        MULTI_END.encode(&mut body);
        let strip = |path: &str| path.trim_start_matches("/root").to_owned();
        assert_eq!(
            decode_response(&body, strip),
            Ok(vec![
                OpResult::Create {
                    path: "/a".into(),
                    stat: None
                },
                OpResult::Delete,
                OpResult::Error(-101),
            ])
        );
        assert!(decode_response(&body[..body.len() - 1], strip).is_err());
        assert_eq!(
            decode_response(&header(77).to_vec(), strip),
            Err(JuteError::UnknownType(77))
        );
    }
}
