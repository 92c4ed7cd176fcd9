//! Module `org.apache.zookeeper.txn` of the schema.

#![allow(missing_docs, reason = "the fields are those of the schema")]

use std::borrow::Cow;

use super::data::Acl;
use super::{Decoder, JuteError, Record, op, record};

record! {
    /// The digest of the tree after a transaction.
    TxnDigest {
        version: i32,
        tree_digest: i64,
    }
}

record! {
    /// Precedes each transaction.
    TxnHeader {
        client_id: i64,
        cxid: i32,
        zxid: i64,
        time: i64,
        kind: i32,
    }
}

record! {
    /// Creation as logged before 3.3.
    CreateTxnV0<'a> {
        path: &'a str,
        data: Option<&'a [u8]>,
        acl: Vec<Acl>,
        ephemeral: bool,
    }
}

record! {
    /// Creates a node. A `parent_cversion` of −1 asks the tree to count. The path is owned where the
    /// server has appended a sequence number to it.
    CreateTxn<'a> {
        path: Cow<'a, str>,
        data: Option<&'a [u8]>,
        acl: Vec<Acl>,
        ephemeral: bool,
        parent_cversion: i32,
    }
}

record! {
    /// Creates a node with a time to live.
    CreateTtlTxn<'a> {
        path: Cow<'a, str>,
        data: Option<&'a [u8]>,
        acl: Vec<Acl>,
        parent_cversion: i32,
        ttl_ms: i64,
    }
}

record! {
    /// Creates a container.
    CreateContainerTxn<'a> {
        path: Cow<'a, str>,
        data: Option<&'a [u8]>,
        acl: Vec<Acl>,
        parent_cversion: i32,
    }
}

record! {
    /// Deletes a node.
    DeleteTxn<'a> {
        path: &'a str,
    }
}

record! {
    /// Replaces data; `version` is the new one.
    SetDataTxn<'a> {
        path: &'a str,
        data: Option<&'a [u8]>,
        version: i32,
    }
}

record! {
    /// A check that held, within a multi.
    CheckVersionTxn<'a> {
        path: &'a str,
        version: i32,
    }
}

record! {
    /// Replaces the ACL; `version` is the new one.
    SetAclTxn<'a> {
        path: &'a str,
        acl: Vec<Acl>,
        version: i32,
    }
}

record! {
    /// Opens a session.
    CreateSessionTxn {
        timeout_ms: i32,
    }
}

record! {
    /// Closes a session and deletes its ephemerals.
    CloseSessionTxn<'a> {
        paths_to_delete: Vec<Cow<'a, str>>,
    }
}

record! {
    /// A request that failed, where it must be recorded.
    ErrorTxn {
        err: i32,
    }
}

/// The body of a transaction, chosen by the type in its [`TxnHeader`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the record of its name")]
pub enum Txn<'a> {
    /// `create` and `create2`: the flag tells which of the two types the header has.
    Create {
        txn: CreateTxn<'a>,
        is_create2: bool,
    },
    CreateTtl(CreateTtlTxn<'a>),
    CreateContainer(CreateContainerTxn<'a>),
    /// `delete` and `deleteContainer`: the flag tells which of the two types the header has.
    Delete {
        txn: DeleteTxn<'a>,
        is_container: bool,
    },
    SetData(SetDataTxn<'a>),
    SetAcl(SetAclTxn<'a>),
    Check(CheckVersionTxn<'a>),
    CreateSession(CreateSessionTxn),
    /// Without a list where the record is empty, as older servers log it: the tree then deletes
    /// the session's ephemerals by its own index.
    CloseSession(Option<CloseSessionTxn<'a>>),
    Error(ErrorTxn),
    Multi(Vec<Txn<'a>>),
}

impl<'a> Txn<'a> {
    /// The operation code that stands in the header for this body.
    pub fn kind(&self) -> i32 {
        match self {
            Txn::Create {
                is_create2: false, ..
            } => op::CREATE,
            Txn::Create {
                is_create2: true, ..
            } => op::CREATE2,
            Txn::CreateTtl(_) => op::CREATE_TTL,
            Txn::CreateContainer(_) => op::CREATE_CONTAINER,
            Txn::Delete {
                is_container: false,
                ..
            } => op::DELETE,
            Txn::Delete {
                is_container: true, ..
            } => op::DELETE_CONTAINER,
            Txn::SetData(_) => op::SET_DATA,
            Txn::SetAcl(_) => op::SET_ACL,
            Txn::Check(_) => op::CHECK,
            Txn::CreateSession(_) => op::CREATE_SESSION,
            Txn::CloseSession(_) => op::CLOSE_SESSION,
            Txn::Error(_) => op::ERROR,
            Txn::Multi(_) => op::MULTI,
        }
    }

    /// Appends the body (without header) to `out`.
    pub fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Txn::Create { txn, .. } => txn.encode(out),
            Txn::CreateTtl(txn) => txn.encode(out),
            Txn::CreateContainer(txn) => txn.encode(out),
            Txn::Delete { txn, .. } => txn.encode(out),
            Txn::SetData(txn) => txn.encode(out),
            Txn::SetAcl(txn) => txn.encode(out),
            Txn::Check(txn) => txn.encode(out),
            Txn::CreateSession(txn) => txn.encode(out),
            Txn::CloseSession(Some(txn)) => txn.encode(out),
            Txn::CloseSession(None) => {}
            Txn::Error(txn) => txn.encode(out),
            Txn::Multi(txns) => encode_multi(txns, out),
        }
    }

    /// Reads the body that belongs to the operation code `kind`.
    pub fn decode_body(kind: i32, from: &mut Decoder<'a>) -> Result<Txn<'a>, JuteError> {
        Ok(match kind {
            op::CREATE | op::CREATE2 => Txn::Create {
                txn: Record::decode(from)?,
                is_create2: kind == op::CREATE2,
            },
            op::CREATE_TTL => Txn::CreateTtl(Record::decode(from)?),
            op::CREATE_CONTAINER => Txn::CreateContainer(Record::decode(from)?),
            op::DELETE | op::DELETE_CONTAINER => Txn::Delete {
                txn: Record::decode(from)?,
                is_container: kind == op::DELETE_CONTAINER,
            },
            op::SET_DATA | op::RECONFIG => Txn::SetData(Record::decode(from)?),
            op::SET_ACL => Txn::SetAcl(Record::decode(from)?),
            op::CHECK => Txn::Check(Record::decode(from)?),
            op::CREATE_SESSION => Txn::CreateSession(Record::decode(from)?),
            op::CLOSE_SESSION if from.is_empty() => Txn::CloseSession(None),
            op::CLOSE_SESSION => Txn::CloseSession(Some(Record::decode(from)?)),
            op::ERROR => Txn::Error(Record::decode(from)?),
            op::MULTI => decode_multi(from)?,
            unknown => return Err(JuteError::UnknownType(unknown)),
        })
    }
}

/// Record `MultiTxn`: each operation as a type and a buffer with its body.
fn encode_multi(txns: &[Txn<'_>], out: &mut Vec<u8>) {
    (txns.len() as i32).encode(out);
    for txn in txns {
        txn.kind().encode(out);
        let length_at = out.len();
        0i32.encode(out);
        txn.encode_body(out);
        let length = (out.len() - length_at - 4) as i32;
        out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    }
}

fn decode_multi<'a>(from: &mut Decoder<'a>) -> Result<Txn<'a>, JuteError> {
    let count = i32::decode(from)?;
    let mut txns = Vec::new();
    for _ in 0..count {
        let kind = i32::decode(from)?;
        if kind == op::MULTI {
            return Err(JuteError::UnknownType(kind));
        }
        let body = Option::<&[u8]>::decode(from)?.unwrap_or_default();
        txns.push(Txn::decode_body(kind, &mut Decoder::new(body))?);
    }
    Ok(Txn::Multi(txns))
}

/// Appends a whole transaction: header, body, and the tree's digest where one is kept.
///
/// These bytes are the payload of the log and of proposals (Apache's `SerializeUtils`).
pub fn encode_txn(
    header: &TxnHeader,
    txn: &Txn<'_>,
    digest: Option<&TxnDigest>,
    out: &mut Vec<u8>,
) {
    debug_assert!(
        header.kind == txn.kind() || is_reconfig(header, txn),
        "the header says what the body is"
    );
    header.encode(out);
    txn.encode_body(out);
    if let Some(digest) = digest {
        digest.encode(out);
    }
}

/// A reconfiguration is logged as the change of data that it comes to (Apache's
/// `PrepRequestProcessor`).
fn is_reconfig(header: &TxnHeader, txn: &Txn<'_>) -> bool {
    header.kind == op::RECONFIG && matches!(txn, Txn::SetData(_))
}

/// Reads a whole transaction back; the digest is absent where older servers wrote none.
pub fn decode_txn(bytes: &[u8]) -> Result<(TxnHeader, Txn<'_>, Option<TxnDigest>), JuteError> {
    let mut from = Decoder::new(bytes);
    let header = TxnHeader::decode(&mut from)?;
    let txn = Txn::decode_body(header.kind, &mut from)?;
    let digest = if from.is_empty() {
        None
    } else {
        Some(TxnDigest::decode(&mut from)?)
    };
    Ok((header, txn, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_survive_a_round_trip() {
        let create = Txn::Create {
            txn: CreateTxn {
                path: "/a".into(),
                data: Some(b"x"),
                acl: vec![Acl {
                    perms: 31,
                    scheme: "world".into(),
                    id: "anyone".into(),
                }],
                ephemeral: true,
                parent_cversion: 3,
            },
            is_create2: true,
        };
        let multi = Txn::Multi(vec![
            create.clone(),
            Txn::Delete {
                txn: DeleteTxn { path: "/b" },
                is_container: false,
            },
            Txn::Check(CheckVersionTxn {
                path: "/c",
                version: 1,
            }),
            Txn::Error(ErrorTxn { err: -2 }),
        ]);
        let close = Txn::CloseSession(Some(CloseSessionTxn {
            paths_to_delete: vec!["/a".into(), "/b".into()],
        }));
        let set_data = Txn::SetData(SetDataTxn {
            path: "/zookeeper/config",
            data: Some(b"version=1"),
            version: 1,
        });
        for (kind, txn) in [
            (create.kind(), create),
            (multi.kind(), multi),
            (close.kind(), close),
            (op::SET_DATA, set_data.clone()),
            (op::RECONFIG, set_data),
        ] {
            let header = TxnHeader {
                client_id: 1,
                cxid: 2,
                zxid: 3,
                time: 4,
                kind,
            };
            for digest in [
                None,
                Some(TxnDigest {
                    version: 2,
                    tree_digest: -5,
                }),
            ] {
                let mut bytes = Vec::new();
                encode_txn(&header, &txn, digest.as_ref(), &mut bytes);
                let (header_back, txn_back, digest_back) = decode_txn(&bytes).expect("whole");
                assert_eq!(
                    (header_back, txn_back, digest_back),
                    (header.clone(), txn.clone(), digest)
                );
                for end in 0..bytes.len() {
                    let _ = decode_txn(&bytes[..end]);
                }
            }
        }
    }
}
