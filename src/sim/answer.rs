//! Whether an answer is right: what it says must be the truth as of the zxid in its header, and that
//! must be new enough.

use crate::jute::data::Stat;
use crate::jute::proto::{
    Create2Response, CreateResponse, ErrorResponse, ExistsResponse, MultiHeader, SetDataResponse,
};
use crate::jute::{Decoder, JuteError, Record, op};
use crate::sequencer::LocalSessions;
use crate::types::{ErrorCode, Zxid, path};

use super::ask::{Asked, Op};
use super::checks::Invariant;
use super::model::{Model, Node};

/// What is wrong with an answer.
pub type Wrong = (Invariant, String);

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
            Op::Create { .. } | Op::Set { .. } | Op::Delete { .. } => self.check_write(model),
            Op::Multi(ops) => self.check_multi(model, ops),
            Op::Sync(_) => self.check_sync(),
            Op::Exists(path, _) => self.check_exists(model.node_at(path, self.zxid)),
            Op::Get(path, _) => self.check_get(model.node_at(path, self.zxid)),
            Op::Children(path, _) => {
                let children = model.children_at(path, self.zxid);
                self.check_children(model.node_at(path, self.zxid), &children)
            }
            Op::AddWatch(..) | Op::Restore(_) | Op::Ping | Op::Close | Op::Check { .. } => Ok(()),
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
        let wrong = |what: String| {
            (
                Invariant::ReadsTrue,
                format!("{op:?} at {zxid}, code {err}: {what}"),
            )
        };
        let nodes = model.frozen_at(zxid);
        let nodes = nodes.ok_or_else(|| wrong("no member without a leader ended there".into()))?;
        let is_refused = err == ErrorCode::NotReadOnly.code();
        let is_right = match op {
            Op::Ping | Op::Close => return Ok(()),
            _ if op.is_write() || matches!(op, Op::Sync(_)) => {
                require(is_refused, Invariant::ReadsTrue, || {
                    "it was not refused".into()
                })
            }
            Op::Exists(path, _) => self.check_exists(nodes.get(path)),
            Op::Get(path, _) => self.check_get(nodes.get(path)),
            Op::Children(path, _) => {
                let prefix = format!("{path}/");
                let below = nodes.keys().filter_map(|path| path.strip_prefix(&prefix));
                let names: Vec<&str> = below.filter(|name| !name.contains('/')).collect();
                self.check_children(nodes.get(path), &names)
            }
            _ => Ok(()),
        };
        is_right.map_err(|(_, what)| wrong(what))
    }

    /// Whether the error is one that says nothing about the tree: no room on the disk, or the
    /// session is over.
    pub fn is_refusal(&self) -> bool {
        const REFUSALS: [ErrorCode; 4] = [
            ErrorCode::SystemError,
            ErrorCode::SessionExpired,
            ErrorCode::UnknownSession,
            ErrorCode::SessionMoved,
        ];
        REFUSALS.iter().any(|code| code.code() == self.err)
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
            let expected = expected_error(model, op, self.zxid);
            return require(expected == self.err, Invariant::ReadsTrue, || {
                format!("expected the code {expected}")
            });
        }
        let expected = expected_error(model, op, Zxid(self.zxid.0 - 1));
        require(expected == 0, Invariant::WritesDurable, || {
            format!("expected the code {expected}")
        })?;
        self.check_effect(model, op, self.body).map(|_| ())
    }

    /// A write takes effect between its request and its answer.
    fn check_order(&self, has_effect: bool) -> Result<(), Wrong> {
        let before = self.asked.acknowledged;
        let is_after = self.zxid > before || !has_effect && self.zxid == before;
        require(is_after, Invariant::WritesLinearizable, || {
            format!("{before} had been acknowledged before it was asked for")
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
                with_stat,
            } => {
                let (made, stat) = created(&mut from, *with_stat).map_err(unreadable)?;
                let is_name = if mode.is_sequential() {
                    made.len() == path.len() + 10 && made.starts_with(path.as_str())
                } else {
                    made == *path
                };
                let owner = if mode.is_ephemeral() { self.session } else { 0 };
                is_name
                    && changes(&made)
                    && node(&made).is_some_and(|node| {
                        node.data == *data
                            && node.stat.czxid == self.zxid.0
                            && node.stat.ephemeral_owner == owner
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
            .map(|op| expected_error(model, op, as_of))
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
        require(codes == expected, Invariant::ReadsTrue, || {
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

    /// The node that a read must have found, or its absence.
    fn found<'m>(&self, node: Option<&'m Node>) -> Result<Option<&'m Node>, Wrong> {
        let expected = node.map_or(ErrorCode::NoNode.code(), |_| 0);
        require(self.err == expected, Invariant::ReadsTrue, || {
            format!("expected the code {expected}")
        })?;
        Ok(node)
    }
}

/// The error of an operation on the tree as of a zxid; 0 for none.
fn expected_error(model: &Model, op: &Op, zxid: Zxid) -> i32 {
    let node = model.node_at(op.path(), zxid);
    let code = match (op, node) {
        (Op::Create { mode, path, .. }, node) => {
            let parent = path::parent(path);
            if parent != "/" && model.node_at(parent, zxid).is_none() {
                ErrorCode::NoNode
            } else if node.is_some() && !mode.is_sequential() {
                ErrorCode::NodeExists
            } else {
                ErrorCode::Ok
            }
        }
        (_, None) => ErrorCode::NoNode,
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
