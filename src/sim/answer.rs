//! Whether an answer is right: what it says must be the truth as of the zxid in its header, and that
//! must be new enough.

use crate::jute::data::Stat;
use crate::jute::proto::{
    Create2Response, CreateResponse, ErrorResponse, ExistsResponse, GetAclResponse, MultiHeader,
    SetAclResponse, SetDataResponse,
};
use crate::jute::{Decoder, JuteError, Record, op};
use crate::sequencer::LocalSessions;
use crate::types::{CreateMode, ErrorCode, Zxid, container_owner, path, perms, ttl_owner};

use super::ask::{Asked, Op};
use super::checks::{Invariant, Wrong};
use super::guard::{Guard, allows, masked};
use super::model::{Model, Node};

/// An answer.
pub struct Answer<'a> {
    /// What it is for.
    pub asked: &'a Asked,
    /// The zxid in its header.
    pub zxid: Zxid,
    /// The error code in its header.
    pub err: i32,
    /// What follows.
    pub body: &'a [u8],
    /// The session that asked.
    pub session: i64,
    /// What sessions of one member may do.
    pub local_sessions: LocalSessions,
}

impl Answer<'_> {
    /// Compares it with the history.
    ///
    /// # Errors
    /// Where it is not right.
    pub fn check(&self, model: &Model) -> Result<(), Wrong> {
        self.check_known(model)?;
        let is_right = match &self.asked.op {
            Op::Create { .. } | Op::Set { .. } | Op::SetAcl { .. } | Op::Delete { .. } => {
                self.check_write(model)
            }
            Op::Multi(ops) => self.check_multi(model, ops),
            Op::Sync(_) => self.check_sync(),
            Op::Exists(path, _) => self.check_exists(model.node_at(path, self.zxid)),
            Op::Get(path, _) => self.check_get(model.node_at(path, self.zxid)),
            Op::Children(path, _) => {
                let children = model.children_at(path, self.zxid);
                self.check_children(model.node_at(path, self.zxid), &children)
            }
            Op::GetAcl(path) => self.check_acl(model.node_at(path, self.zxid)),
            Op::AddWatch(..)
            | Op::Restore(_)
            | Op::Authenticate(_)
            | Op::Ping
            | Op::Close
            | Op::Check { .. } => Ok(()),
        };
        is_right.map_err(|(invariant, what)| {
            let (op, zxid, err) = (&self.asked.op, self.zxid, self.err);
            (invariant, format!("{op:?} at {zxid}, code {err}: {what}"))
        })
    }

    /// The same, of a member that knows no leader: it shows what its log holds, and takes no write.
    ///
    /// # Errors
    /// Where it is not right.
    pub fn check_without_leader(&self, model: &Model) -> Result<(), Wrong> {
        let (op, zxid, err) = (&self.asked.op, self.zxid, self.err);
        let wrong =
            |(invariant, what): Wrong| (invariant, format!("{op:?} at {zxid}, code {err}: {what}"));
        let nodes = model.frozen_at(zxid).ok_or_else(|| {
            let what = "no member without a leader ended there".into();
            wrong((Invariant::ReadsTrue, what))
        })?;
        let is_refused = err == ErrorCode::NotReadOnly.code();
        let is_right = match op {
            Op::Ping | Op::Close => return Ok(()),
            _ if op.is_write() || matches!(op, Op::Sync(_)) => {
                require(is_refused, Invariant::ReadOnly, || {
                    "it was not refused".into()
                })
            }
            Op::Exists(path, _) => self.check_exists(nodes.get(path)),
            Op::Get(path, _) => self.check_get(nodes.get(path)),
            Op::GetAcl(path) => self.check_acl(nodes.get(path)),
            Op::Children(path, _) => {
                let prefix = format!("{path}/");
                let below = nodes.keys().filter_map(|path| path.strip_prefix(&prefix));
                let names: Vec<&str> = below.filter(|name| !name.contains('/')).collect();
                self.check_children(nodes.get(path), &names)
            }
            _ => Ok(()),
        };
        is_right.map_err(wrong)
    }

    /// Whether the error is one that says nothing about the tree: no room on the disk, or the
    /// session is over.
    pub fn is_refusal(&self) -> bool {
        REFUSALS.contains(&self.err)
    }

    fn check_known(&self, model: &Model) -> Result<(), Wrong> {
        require(
            model.entry(self.zxid).is_some(),
            Invariant::Integrity,
            || {
                format!(
                    "{:?} is answered as of {}, which was never committed",
                    self.asked.op, self.zxid
                )
            },
        )
    }

    fn check_write(&self, model: &Model) -> Result<(), Wrong> {
        if self.is_refusal() {
            return Ok(());
        }
        let op = &self.asked.op;
        if op.makes_ephemeral() && self.local_sessions == LocalSessions::Enabled {
            let expected = ErrorCode::EphemeralOnLocalSession.code();
            return require(self.err == expected, Invariant::Ephemerals, || {
                "the session is known to one member alone".into()
            });
        }
        self.check_order(self.err == 0)?;
        if self.err != 0 {
            let expected = self.expected_error(model, op, self.zxid);
            return self.require_code(expected, self.err, Invariant::ReadsTrue);
        }
        let expected = self.expected_error(model, op, Zxid(self.zxid.0 - 1));
        self.require_code(expected, 0, Invariant::WritesDurable)?;
        self.check_effect(model, op, self.body).map(|_| ())
    }

    /// A write takes effect between its request and its answer.
    fn check_order(&self, has_effect: bool) -> Result<(), Wrong> {
        let before = self.asked.shown;
        let is_after = self.zxid > before || !has_effect && self.zxid == before;
        require(is_after, Invariant::WritesLinearizable, || {
            format!("{before} had been shown before it was asked for")
        })
    }

    /// Whether a write has had its effect at the answer's zxid; how many bytes its result takes.
    fn check_effect(&self, model: &Model, op: &Op, body: &[u8]) -> Result<usize, Wrong> {
        let mut from = Decoder::new(body);
        let entry = model.entry(self.zxid).expect("looked at before");
        let changes = |path: &str| entry.changes.iter().any(|(changed, _)| changed == path);
        let node = |path: &str| model.node_at(path, self.zxid);
        let has_effect = match op {
            Op::Create {
                path,
                data,
                mode,
                guard,
                ttl_ms,
                with_stat,
            } => {
                let (made, stat) = created(&mut from, *with_stat).map_err(unreadable)?;
                let is_name = if mode.is_sequential() {
                    made.len() == path.len() + 10 && made.starts_with(path.as_str())
                } else {
                    made == *path
                };
                let owner = match mode {
                    CreateMode::Container => container_owner(),
                    mode if mode.is_ttl() => ttl_owner(*ttl_ms).expect("clients ask for good ones"),
                    mode if mode.is_ephemeral() => self.session,
                    _ => 0,
                };
                is_name
                    && changes(&made)
                    && node(&made).is_some_and(|node| {
                        node.data == *data
                            && node.stat.czxid == self.zxid.0
                            && node.owner == owner
                            && self.is_stored(*guard, node)
                            && stat.is_none_or(|stat| same_node(&stat, &node.stat))
                    })
            }
            Op::Set { path, data, .. } => {
                let response = SetDataResponse::decode(&mut from).map_err(unreadable)?;
                changes(path)
                    && node(path).is_some_and(|node| {
                        node.data == *data
                            && node.stat.mzxid == self.zxid.0
                            && same_node(&response.stat, &node.stat)
                    })
            }
            Op::SetAcl { path, guard, .. } => {
                let response = SetAclResponse::decode(&mut from).map_err(unreadable)?;
                let before = model.node_at(path, Zxid(self.zxid.0 - 1));
                before.zip(node(path)).is_some_and(|(before, node)| {
                    node.stat.aversion == before.stat.aversion + 1
                        && self.is_stored(*guard, node)
                        && same_node(&response.stat, &node.stat)
                })
            }
            Op::Delete { path, .. } => changes(path) && node(path).is_none(),
            _ => true,
        };
        require(has_effect, Invariant::WritesDurable, || {
            format!("{op:?} is not what {} did: {entry:x?}", self.zxid)
        })?;
        Ok(body.len() - from.rest().len())
    }

    fn check_multi(&self, model: &Model, ops: &[Op]) -> Result<(), Wrong> {
        if self.is_refusal() {
            return Ok(());
        }
        let codes = self.result_codes(model, ops)?;
        // One that only checks makes no transaction.
        let is_effective = ops.iter().any(|op| !matches!(op, Op::Check { .. }))
            && codes.iter().all(|code| *code == 0);
        self.check_order(is_effective)?;
        let as_of = if is_effective {
            Zxid(self.zxid.0 - 1)
        } else {
            self.zxid
        };
        let errors: Vec<i32> = ops
            .iter()
            .map(|op| self.expected_error(model, op, as_of))
            .collect();
        let failed = errors.iter().position(|code| *code != 0);
        let expected: Vec<i32> = match failed {
            None => errors,
            Some(first) => (0..ops.len())
                .map(|at| match at.cmp(&first) {
                    std::cmp::Ordering::Less => 0,
                    std::cmp::Ordering::Equal => errors[first],
                    std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency.code(),
                })
                .collect(),
        };
        let is_access = codes.iter().chain(&expected).any(|code| *code == NO_AUTH);
        let broken = if is_access {
            Invariant::AccessControl
        } else {
            Invariant::ReadsTrue
        };
        require(codes == expected, broken, || {
            format!("codes {codes:?} instead of {expected:?}")
        })
    }

    /// The code of each result; each success is checked.
    fn result_codes(&self, model: &Model, ops: &[Op]) -> Result<Vec<i32>, Wrong> {
        let mut codes = Vec::new();
        let mut from = Decoder::new(self.body);
        for op in ops {
            let header = MultiHeader::decode(&mut from).map_err(unreadable)?;
            if header.kind == op::ERROR {
                let error = ErrorResponse::decode(&mut from).map_err(unreadable)?;
                codes.push(error.err);
                continue;
            }
            let used = match op {
                Op::Delete { .. } | Op::Check { .. } => {
                    self.check_effect(model, op, &[])?;
                    0
                }
                _ => self.check_effect(model, op, from.rest())?,
            };
            from.take(used).map_err(unreadable)?;
            codes.push(0);
        }
        Ok(codes)
    }

    fn check_sync(&self) -> Result<(), Wrong> {
        if self.err != 0 {
            return require(self.is_refusal(), Invariant::ReadsTrue, || {
                "sync failed".into()
            });
        }
        let shown = self.asked.shown;
        require(self.zxid >= shown, Invariant::SyncsLinearizable, || {
            format!("{shown} had been shown before it was asked for")
        })
    }

    fn check_exists(&self, node: Option<&Node>) -> Result<(), Wrong> {
        let Some(node) = self.found(node)? else {
            return Ok(());
        };
        let response = ExistsResponse::from_slice(self.body).map_err(unreadable)?;
        same(&response.stat, &node.stat)
    }

    fn check_get(&self, node: Option<&Node>) -> Result<(), Wrong> {
        let Some(node) = self.found(node)? else {
            return Ok(());
        };
        let mut from = Decoder::new(self.body);
        let data = Option::<&[u8]>::decode(&mut from).map_err(unreadable)?;
        let stat = Stat::decode(&mut from).map_err(unreadable)?;
        same(data.unwrap_or_default(), node.data.as_slice())?;
        same(&stat, &node.stat)
    }

    fn check_children(&self, node: Option<&Node>, names: &[&str]) -> Result<(), Wrong> {
        let Some(node) = self.found(node)? else {
            return Ok(());
        };
        let mut from = Decoder::new(self.body);
        let mut children = Vec::<&str>::decode(&mut from).map_err(unreadable)?;
        let stat = Stat::decode(&mut from).map_err(unreadable)?;
        children.sort_unstable();
        same(children.as_slice(), names)?;
        same(&stat, &node.stat)
    }

    fn check_acl(&self, node: Option<&Node>) -> Result<(), Wrong> {
        let Some(node) = self.found_by(node, perms::READ | perms::ADMIN)? else {
            return Ok(());
        };
        let response = GetAclResponse::from_slice(self.body).map_err(unreadable)?;
        let acl = match allows(&node.acl, perms::ADMIN, self.asked.users) {
            true => node.acl.to_vec(),
            false => masked(&node.acl),
        };
        same(&response.acl, &acl)?;
        same(&response.stat, &node.stat)
    }

    fn found<'m>(&self, node: Option<&'m Node>) -> Result<Option<&'m Node>, Wrong> {
        self.found_by(node, perms::READ)
    }

    /// The node that a read must have found, if it is there and one of these permissions is granted.
    fn found_by<'m>(&self, node: Option<&'m Node>, perms: i32) -> Result<Option<&'m Node>, Wrong> {
        let (node, expected) = match node {
            None => (None, ErrorCode::NoNode.code()),
            Some(node) if !allows(&node.acl, perms, self.asked.users) => (None, NO_AUTH),
            Some(node) => (Some(node), 0),
        };
        self.require_code(expected, self.err, Invariant::ReadsTrue)?;
        Ok(node)
    }

    fn require_code(&self, expected: i32, code: i32, broken: Invariant) -> Result<(), Wrong> {
        let is_access = expected == NO_AUTH || code == NO_AUTH;
        let broken = if is_access {
            Invariant::AccessControl
        } else {
            broken
        };
        require(code == expected, broken, || {
            format!("expected the code {expected}")
        })
    }

    /// Whether a node has the list that was sent for it.
    fn is_stored(&self, guard: Guard, node: &Node) -> bool {
        guard.stored(self.asked.users).as_deref() == Some(&*node.acl)
    }

    /// The error of an operation on the tree as of a zxid; 0 for none.
    fn expected_error(&self, model: &Model, op: &Op, zxid: Zxid) -> i32 {
        let users = self.asked.users;
        let may = |node: &Node, perms| allows(&node.acl, perms, users);
        let node = model.node_at(op.path(), zxid);
        let parent = match path::parent(op.path()) {
            "/" => None,
            parent => Some(model.node_at(parent, zxid)),
        };
        let may_in = |perms| !matches!(parent, Some(Some(parent)) if !may(parent, perms));
        let code = match (op, node) {
            (Op::Create { guard, .. } | Op::SetAcl { guard, .. }, _)
                if guard.stored(users).is_none() =>
            {
                ErrorCode::InvalidAcl
            }
            (Op::Create { .. } | Op::Delete { .. }, _) if parent == Some(None) => ErrorCode::NoNode,
            (Op::Create { .. }, _) if !may_in(perms::CREATE) => ErrorCode::NoAuth,
            (Op::Create { mode, .. }, Some(_)) if !mode.is_sequential() => ErrorCode::NodeExists,
            (Op::Create { .. }, _) => ErrorCode::Ok,
            (Op::Delete { .. }, _) if !may_in(perms::DELETE) => ErrorCode::NoAuth,
            (_, None) => ErrorCode::NoNode,
            (Op::Set { .. }, Some(node)) if !may(node, perms::WRITE) => ErrorCode::NoAuth,
            (Op::SetAcl { .. }, Some(node)) if !may(node, perms::ADMIN) => ErrorCode::NoAuth,
            (Op::Check { .. }, Some(node)) if !may(node, perms::READ) => ErrorCode::NoAuth,
            (Op::SetAcl { version, .. }, Some(node))
                if *version != -1 && *version != node.stat.aversion =>
            {
                ErrorCode::BadVersion
            }
            (
                Op::Set { version, .. } | Op::Delete { version, .. } | Op::Check { version, .. },
                Some(node),
            ) if *version != -1 && *version != node.stat.version => ErrorCode::BadVersion,
            (Op::Delete { path, .. }, Some(_)) if !model.children_at(path, zxid).is_empty() => {
                ErrorCode::NotEmpty
            }
            _ => ErrorCode::Ok,
        };
        code.code()
    }
}

/// Codes that say nothing about the tree.
pub const REFUSALS: [i32; 4] = [
    ErrorCode::SystemError as i32,
    ErrorCode::SessionExpired as i32,
    ErrorCode::UnknownSession as i32,
    ErrorCode::SessionMoved as i32,
];

/// The code of an operation that is not allowed.
const NO_AUTH: i32 = ErrorCode::NoAuth as i32;

fn created(from: &mut Decoder<'_>, with_stat: bool) -> Result<(String, Option<Stat>), JuteError> {
    if with_stat {
        let response = Create2Response::decode(from)?;
        Ok((response.path.to_owned(), Some(response.stat)))
    } else {
        Ok((CreateResponse::decode(from)?.path.to_owned(), None))
    }
}

/// Whether two Stats of a node within one transaction agree: a multi may go on to make children.
fn same_node(told: &Stat, is: &Stat) -> bool {
    let fields = |stat: &Stat| {
        (
            stat.czxid,
            stat.mzxid,
            stat.mtime,
            stat.version,
            stat.aversion,
            stat.ephemeral_owner,
            stat.data_length,
        )
    };
    fields(told) == fields(is)
}

fn same<T: PartialEq + std::fmt::Debug + ?Sized>(told: &T, is: &T) -> Result<(), Wrong> {
    require(told == is, Invariant::ReadsTrue, || {
        format!("{told:?} instead of {is:?}")
    })
}

fn require(holds: bool, invariant: Invariant, what: impl FnOnce() -> String) -> Result<(), Wrong> {
    if holds {
        Ok(())
    } else {
        Err((invariant, what()))
    }
}

fn unreadable(error: JuteError) -> Wrong {
    (Invariant::ReadsTrue, error.to_string())
}
