//! Turns requests into transactions or errors (Apache's `PrepRequestProcessor`).
//!
//! A request is checked against the tip of the tree, which holds every change that was prepared
//! before it, committed or not. So a request that passes here will apply, and one that fails has
//! failed for good: it needs no zxid and no log record, only its turn among the answers of its
//! session. The checks, their order and their errors are those of the reference; where a comment
//! says otherwise the reference would crash or lose data.
//!
//! Reads are not covered, nor is what needs a session's connection.

mod create;
mod multi;
mod pending;
mod quota;
mod reap;

pub use reap::ReapConfig;

use std::borrow::Cow;

use crate::auth::{AuthConfig, Identity, allows, fixup_acl};
use crate::jute::data::Acl;
use crate::jute::proto::{
    CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, ReconfigRequest,
    SetAclRequest, SetDataRequest, SyncRequest,
};
use crate::jute::txn::{
    CheckVersionTxn, CloseSessionTxn, CreateSessionTxn, DeleteTxn, SetAclTxn, SetDataTxn, Txn,
};
use crate::jute::{JuteError, Record, op};
use crate::tree::{AclList, Outcome, Tree};
use crate::types::{EphemeralKind, ErrorCode, SessionId, ephemeral_kind, path, perms};

use create::Create;
use pending::Tip;

/// What preparing must know of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrepConfig {
    /// How access is decided.
    pub auth: AuthConfig,
    /// Whether TTL nodes can be created (`zookeeper.extendedTypesEnabled`, default false).
    pub extended_types: bool,
    /// Whether hard quotas refuse writes (`zookeeper.enforceQuota`, default false).
    pub enforce_quota: bool,
    /// Whether reconfiguration is allowed (`reconfigEnabled`, default false).
    pub reconfig_enabled: bool,
    /// Whether closing a session leaves the paths of its ephemerals out of the transaction; they
    /// go either way (`zookeeper.closeSessionTxn.enabled` set to false).
    pub close_session_without_paths: bool,
}

/// A request, as far as preparing looks at it.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// Operation code, see [`crate::jute::op`].
    pub op: i32,
    /// The request record, undecoded.
    pub body: &'a [u8],
    /// The client's session.
    pub session: SessionId,
    /// Whether the client may act for that session: [`crate::session::SessionTable::check`].
    pub session_state: Result<(), ErrorCode>,
    /// Whether that session may own ephemeral nodes: one that this member alone knows may not.
    pub ephemerals: Result<(), ErrorCode>,
    /// The identities of the connection.
    pub identities: &'a [Identity],
    /// Whether a learner forwards it, which waits for a transaction in any case.
    pub is_forwarded: bool,
}

/// What a request came to. It borrows from the request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared<'a> {
    /// It changes something: this is to be logged, applied at the tip, and answered with what
    /// applying it gives.
    Txn(Txn<'a>),
    /// It changes nothing, and is answered so in its turn: sync, and a multi without changes.
    Ordered(Outcome),
    /// It failed and is answered so in its turn. The connection closes after `SessionMoved` (which
    /// is not answered at all) and `Unimplemented`, as in the reference. The header of the answer
    /// to a failed multi has the error 0.
    Failed(Outcome),
}

/// Prepares requests.
#[derive(Clone, Debug)]
pub struct Preparer {
    config: PrepConfig,
}

/// The checks of one request, or of the operations of one multi.
struct Work<'w> {
    config: &'w PrepConfig,
    tip: Tip<'w>,
    session: SessionId,
    session_state: Result<(), ErrorCode>,
    ephemerals: Result<(), ErrorCode>,
    identities: &'w [Identity],
}

impl Preparer {
    /// A preparer with this configuration.
    pub fn new(config: PrepConfig) -> Preparer {
        Preparer { config }
    }

    /// Prepares a client's request against the tip of `tree`.
    ///
    /// An operation that is none of a client's, or is one of those that shards answer, gives
    /// `Unimplemented`; among them is `check` outside of a multi, as in the reference.
    pub fn prepare<'a>(&self, tree: &Tree, request: &RequestView<'a>) -> Prepared<'a> {
        let mut work = Work {
            config: &self.config,
            tip: Tip::new(tree),
            session: request.session,
            session_state: request.session_state,
            ephemerals: request.ephemerals,
            identities: request.identities,
        };
        let result = match request.op {
            op::MULTI => return multi::prepare(&mut work, request.body, request.is_forwarded),
            op::SYNC => {
                return match work.sync(request.body) {
                    Ok(()) => Prepared::Ordered(Outcome::Done),
                    Err(code) => Prepared::Failed(Outcome::Failed(code)),
                };
            }
            op::CLOSE_SESSION => Ok(self.close_session(tree, request.session)),
            _ => work.single(request.op, request.body),
        };
        match result {
            Ok(txn) => Prepared::Txn(txn),
            Err(code) => Prepared::Failed(Outcome::Failed(code)),
        }
    }

    /// The transaction that closes a session, which may be known or not, and deletes its
    /// ephemerals.
    pub fn close_session(&self, tree: &Tree, session: SessionId) -> Txn<'static> {
        let ephemerals = if self.config.close_session_without_paths {
            Vec::new()
        } else {
            tree.ephemerals(session)
        };
        Txn::CloseSession(Some(CloseSessionTxn {
            paths_to_delete: ephemerals.into_iter().map(Cow::Owned).collect(),
        }))
    }
}

/// The transaction that opens a session.
pub fn create_session(timeout_ms: i32) -> Txn<'static> {
    Txn::CreateSession(CreateSessionTxn { timeout_ms })
}

/// Whether a request is to make an ephemeral node, by an operation for which the session of one
/// member alone becomes one of the ensemble (Apache's `checkUpgradeSession`).
pub fn makes_ephemeral(op: i32, body: &[u8]) -> bool {
    match op {
        op::CREATE | op::CREATE2 => {
            decode(body).is_ok_and(|request| Create::of_request(op, request).is_ephemeral())
        }
        op::MULTI => multi::makes_ephemeral(body),
        _ => false,
    }
}

impl Work<'_> {
    fn single<'a>(&mut self, op: i32, body: &'a [u8]) -> Result<Txn<'a>, ErrorCode> {
        match op {
            op::CREATE | op::CREATE2 | op::CREATE_CONTAINER => {
                refuse_null_path(body)?;
                let request: CreateRequest<'a> = decode(body)?;
                self.create(Create::of_request(op, request))
            }
            op::CREATE_TTL => {
                refuse_null_path(body)?;
                let request: CreateTtlRequest<'a> = decode(body)?;
                self.create(Create::of_ttl_request(request))
            }
            op::DELETE => {
                refuse_null_path(body)?;
                self.delete(&decode(body)?)
            }
            op::DELETE_CONTAINER => {
                refuse_null_path(body)?;
                self.delete_container(decode(body)?)
            }
            op::SET_DATA => self.set_data(&decode(body)?),
            op::SET_ACL => self.set_acl(decode(body)?),
            op::RECONFIG => self.reconfig(body),
            _ => Err(ErrorCode::Unimplemented),
        }
    }

    fn sync(&self, body: &[u8]) -> Result<(), ErrorCode> {
        self.session_state?;
        decode::<SyncRequest<'_>>(body).map(|_| ())
    }

    fn delete<'a>(&mut self, request: &DeleteRequest<'a>) -> Result<Txn<'a>, ErrorCode> {
        self.session_state?;
        let parent_path = parent_of_deletable(request.path)?;
        let parent = self.tip.node(parent_path)?;
        self.require(parent.acl, perms::DELETE)?;
        let node = self.tip.node(request.path)?;
        next_version(node.version, request.version)?;
        if node.num_children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        self.tip.delete(request.path, parent_path);
        Ok(Txn::Delete {
            txn: DeleteTxn { path: request.path },
            is_container: false,
        })
    }

    /// What the server's own reaping asks for, when a client sends it. The reference then checks
    /// neither session nor permission; here both hold as for a delete.
    fn delete_container<'a>(&mut self, path: &'a str) -> Result<Txn<'a>, ErrorCode> {
        self.session_state?;
        let parent_path = parent_of_deletable(path)?;
        let node = self.tip.node(path)?;
        if node.num_children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        if self.kind_of(node.ephemeral_owner) == EphemeralKind::Normal {
            return Err(ErrorCode::BadVersion);
        }
        let parent = self.tip.node(parent_path)?;
        self.require(parent.acl, perms::DELETE)?;
        Ok(Txn::Delete {
            txn: DeleteTxn { path },
            is_container: true,
        })
    }

    fn set_data<'a>(&mut self, request: &SetDataRequest<'a>) -> Result<Txn<'a>, ErrorCode> {
        self.session_state?;
        valid(request.path)?;
        let node = self.tip.node(request.path)?;
        self.require(node.acl, perms::WRITE)?;
        let bytes = request.data.map_or(0, <[u8]>::len);
        self.check_quota_of_set(request.path, node.data_len, bytes)?;
        let version = next_version(node.version, request.version)?;
        self.tip.set_data(request.path, version, bytes);
        Ok(Txn::SetData(SetDataTxn {
            path: request.path,
            data: request.data,
            version,
        }))
    }

    fn set_acl<'a>(&mut self, request: SetAclRequest<'a>) -> Result<Txn<'a>, ErrorCode> {
        self.session_state?;
        valid(request.path)?;
        let acl = self.fixed(request.acl)?;
        let node = self.tip.node(request.path)?;
        self.require(node.acl, perms::ADMIN)?;
        let version = next_version(node.aversion, request.version)?;
        Ok(Txn::SetAcl(SetAclTxn {
            path: request.path,
            acl,
            version,
        }))
    }

    fn check<'a>(&mut self, request: &CheckVersionRequest<'a>) -> Result<Txn<'a>, ErrorCode> {
        self.session_state?;
        valid(request.path)?;
        let node = self.tip.node(request.path)?;
        self.require(node.acl, perms::READ)?;
        let version = next_version(node.version, request.version)?;
        Ok(Txn::Check(CheckVersionTxn {
            path: request.path,
            version,
        }))
    }

    /// A server alone refuses reconfiguration even where it is enabled.
    fn reconfig<'a>(&self, body: &'a [u8]) -> Result<Txn<'a>, ErrorCode> {
        decode::<ReconfigRequest<'_>>(body)?;
        if !self.config.reconfig_enabled {
            return Err(ErrorCode::ReconfigDisabled);
        }
        self.session_state?;
        Err(ErrorCode::Unimplemented)
    }

    fn require(&self, acl: &AclList, perm: i32) -> Result<(), ErrorCode> {
        if allows(acl, perm, self.identities, &self.config.auth) {
            Ok(())
        } else {
            Err(ErrorCode::NoAuth)
        }
    }

    fn fixed(&self, acl: Vec<Acl>) -> Result<Vec<Acl>, ErrorCode> {
        fixup_acl(acl, self.identities, &self.config.auth).map_err(|_| ErrorCode::InvalidAcl)
    }

    fn kind_of(&self, ephemeral_owner: i64) -> EphemeralKind {
        ephemeral_kind(ephemeral_owner, self.config.extended_types)
    }
}

/// Reads a request record. Bytes that are no record are the client's `MarshallingError`; bytes that
/// are no text would be an invalid path to the reference, which reads them as replacement
/// characters.
fn decode<'a, T: Record<'a>>(body: &'a [u8]) -> Result<T, ErrorCode> {
    T::from_slice(body).map_err(|error| match error {
        JuteError::BadUtf8 => ErrorCode::BadArguments,
        _ => ErrorCode::MarshallingError,
    })
}

/// A path that is null rather than empty is a `MarshallingError` where the reference splits it
/// before it checks it.
fn refuse_null_path(record: &[u8]) -> Result<(), ErrorCode> {
    const NULL_LENGTH: [u8; 4] = (-1_i32).to_be_bytes();
    if record.starts_with(&NULL_LENGTH) {
        Err(ErrorCode::MarshallingError)
    } else {
        Ok(())
    }
}

fn valid(path: &str) -> Result<(), ErrorCode> {
    path::validate(path, false).map_err(|_| ErrorCode::BadArguments)
}

/// What stands before the last slash: empty for a child of the root. The rest of the path is
/// checked later, if at all, as in the reference.
fn parent_part(path: &str) -> Result<&str, ErrorCode> {
    match path.rfind('/') {
        Some(at) if !path.contains('\0') => Ok(&path[..at]),
        _ => Err(ErrorCode::BadArguments),
    }
}

fn parent_of_deletable(path: &str) -> Result<&str, ErrorCode> {
    let is_special = path == "/"
        || path == path::SYSTEM_ROOT
        || path == path::QUOTA_ROOT
        || path == path::CONFIG_NODE;
    if is_special {
        return Err(ErrorCode::BadArguments);
    }
    parent_part(path)
}

/// The version after this one, if it is the expected one or any is (−1). Versions wrap around.
fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected != -1 && expected != current {
        return Err(ErrorCode::BadVersion);
    }
    Ok(current.wrapping_add(1))
}

#[cfg(test)]
mod tests;
