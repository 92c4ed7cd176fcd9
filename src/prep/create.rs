//! The four operations that create nodes (Apache's `pRequest2TxnCreate`).

use std::borrow::Cow;

use super::{Work, parent_part, valid};
use crate::jute::data::Acl;
use crate::jute::op;
use crate::jute::proto::{CreateRequest, CreateTtlRequest};
use crate::jute::txn::{CreateContainerTxn, CreateTtlTxn, CreateTxn, Txn};
use crate::types::{
    CreateMode, EphemeralKind, ErrorCode, SessionId, container_owner, perms, ttl_owner,
};

/// A request to create a node, whichever operation it came as.
pub(super) struct Create<'a> {
    /// The operation, which decides what the transaction is; the flags do not.
    pub op: i32,
    pub path: &'a str,
    pub data: Option<&'a [u8]>,
    pub acl: Vec<Acl>,
    pub flags: i32,
    /// −1 for operations without a time to live.
    pub ttl_ms: i64,
}

impl<'a> Create<'a> {
    pub fn of_request(op: i32, request: CreateRequest<'a>) -> Create<'a> {
        Create {
            op,
            path: request.path,
            data: request.data,
            acl: request.acl,
            flags: request.flags,
            ttl_ms: -1,
        }
    }

    /// Whether its mode is an ephemeral one.
    pub fn is_ephemeral(&self) -> bool {
        CreateMode::from_flags(self.flags).is_some_and(CreateMode::is_ephemeral)
    }

    pub fn of_ttl_request(request: CreateTtlRequest<'a>) -> Create<'a> {
        Create {
            op: op::CREATE_TTL,
            path: request.path,
            data: request.data,
            acl: request.acl,
            flags: request.flags,
            ttl_ms: request.ttl_ms,
        }
    }
}

impl Work<'_> {
    pub(super) fn create<'a>(&mut self, mut request: Create<'a>) -> Result<Txn<'a>, ErrorCode> {
        let mode = CreateMode::from_flags(request.flags).ok_or(ErrorCode::BadArguments)?;
        self.check_mode(mode, &request)?;
        let parent_path = parent_part(request.path)?;
        let acl = self.fixed(std::mem::take(&mut request.acl))?;
        let parent = self.tip.node(parent_path)?;
        self.require(parent.acl, perms::CREATE)?;
        let path = if mode.is_sequential() {
            Cow::Owned(sequential(request.path, parent.child_counter))
        } else {
            Cow::Borrowed(request.path)
        };
        valid(&path)?;
        if self.tip.node(&path).is_ok() {
            return Err(ErrorCode::NodeExists);
        }
        if self.kind_of(parent.ephemeral_owner) == EphemeralKind::Normal {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let parent_cversion = parent.child_counter.wrapping_add(1);
        let bytes = request.data.map_or(0, <[u8]>::len);
        self.check_quota_of_create(&path, bytes)?;
        let owner = owner(mode, &request, self.session);
        self.tip.create(&path, parent_path, owner, bytes, &acl);
        Ok(txn(&request, mode, path, acl, parent_cversion))
    }

    fn check_mode(&self, mode: CreateMode, request: &Create<'_>) -> Result<(), ErrorCode> {
        if mode.is_ttl() && !self.config.extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        // A createTTL that is not of a TTL mode and has a negative time passes in the reference,
        // and kills it when the transaction is applied.
        let is_ttl_good = if mode.is_ttl() || request.op == op::CREATE_TTL {
            mode.is_ttl() && ttl_owner(request.ttl_ms).is_some()
        } else {
            request.ttl_ms < 0
        };
        if !is_ttl_good {
            return Err(ErrorCode::BadArguments);
        }
        if mode.is_ephemeral() {
            self.ephemerals?;
        }
        match self.session_state {
            Err(ErrorCode::UnknownSession) if mode.is_ephemeral() => Err(ErrorCode::SessionExpired),
            state => state,
        }
    }
}

/// The name with the parent's counter: ten digits, or nine after a minus once it has wrapped.
fn sequential(path: &str, counter: i32) -> String {
    format!("{path}{counter:010}")
}

/// The owner that the tree will give to the node.
fn owner(mode: CreateMode, request: &Create<'_>, session: SessionId) -> i64 {
    match request.op {
        op::CREATE_CONTAINER => container_owner(),
        op::CREATE_TTL => ttl_owner(request.ttl_ms).expect("the time to live was checked"),
        _ if mode.is_ephemeral() => session.0,
        _ => 0,
    }
}

fn txn<'a>(
    request: &Create<'a>,
    mode: CreateMode,
    path: Cow<'a, str>,
    acl: Vec<Acl>,
    parent_cversion: i32,
) -> Txn<'a> {
    let data = request.data;
    match request.op {
        op::CREATE_CONTAINER => Txn::CreateContainer(CreateContainerTxn {
            path,
            data,
            acl,
            parent_cversion,
        }),
        op::CREATE_TTL => Txn::CreateTtl(CreateTtlTxn {
            path,
            data,
            acl,
            parent_cversion,
            ttl_ms: request.ttl_ms,
        }),
        operation => Txn::Create {
            txn: CreateTxn {
                path,
                data,
                acl,
                ephemeral: mode.is_ephemeral(),
                parent_cversion,
            },
            is_create2: operation == op::CREATE2,
        },
    }
}
