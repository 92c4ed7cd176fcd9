//! What ZooKeeper does, written as plainly as possible: a sorted map of nodes, copied before each
//! write and put back if the write fails.

use std::collections::BTreeMap;

use zkore::auth::Identity;
use zkore::jute::data::{Acl, Stat};
use zkore::jute::op;
use zkore::tree::{ChangeKind, Outcome};
use zkore::types::{ErrorCode, SessionId};

use super::quota;

const CONTAINER: i64 = i64::MIN;
const TTL_MARK: i64 = 0xff_u64.wrapping_shl(56) as i64;

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub data: Option<Vec<u8>>,
    pub acl: Vec<Acl>,
    pub czxid: i64,
    pub mzxid: i64,
    pub pzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub aversion: i32,
    /// Children ever created.
    pub counter: i32,
    pub owner: i64,
}

#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub extended_types: bool,
    pub enforce_quota: bool,
    pub skip_acl: bool,
}

#[derive(Clone, Debug)]
pub struct Client {
    pub session: SessionId,
    pub state: Result<(), ErrorCode>,
    pub identities: Vec<Identity>,
}

#[derive(Clone, Debug)]
pub enum Request {
    Create {
        op: i32,
        path: String,
        data: Option<Vec<u8>>,
        acl: Vec<Acl>,
        flags: i32,
        ttl_ms: i64,
    },
    Delete {
        path: String,
        version: i32,
    },
    SetData {
        path: String,
        data: Option<Vec<u8>>,
        version: i32,
    },
    SetAcl {
        path: String,
        acl: Vec<Acl>,
        version: i32,
    },
    Check {
        path: String,
        version: i32,
    },
    Multi(Vec<Request>),
    Sync,
    CloseSession,
}

/// What happened to a node, and by whose leave one may hear of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub path: String,
    pub kind: ChangeKind,
    pub acl: Vec<Acl>,
    pub parent_acl: Option<Vec<Acl>>,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub nodes: BTreeMap<String, Node>,
    pub zxid: i64,
    pub now_ms: i64,
    pub rules: Rules,
    /// Changes of the write that is under way, or of the last one.
    pub changes: Vec<Change>,
    /// As it was before the multi that is under way: quotas are checked against that.
    before: Option<Box<Model>>,
}

type Answer = Result<Outcome, ErrorCode>;

impl Model {
    pub fn new(rules: Rules, now_ms: i64) -> Model {
        let node = |acl: Acl, aversion| Node {
            data: Some(Vec::new()),
            acl: vec![acl],
            czxid: 0,
            mzxid: 0,
            pzxid: 0,
            ctime: 0,
            mtime: 0,
            version: 0,
            aversion,
            counter: 0,
            owner: 0,
        };
        let nodes = [
            ("/", node(world(31), 0)),
            ("/zookeeper", node(world(31), 0)),
            ("/zookeeper/quota", node(world(31), 0)),
            ("/zookeeper/config", node(world(1), -1)),
        ];
        Model {
            nodes: nodes.map(|(path, node)| (path.to_owned(), node)).into(),
            zxid: 0,
            now_ms,
            rules,
            changes: Vec::new(),
            before: None,
        }
    }

    /// Answers a request; what it changes is left in `changes`.
    pub fn ask(&mut self, client: &Client, request: &Request) -> Outcome {
        self.changes.clear();
        let mut trial = self.clone();
        trial.zxid += 1;
        let outcome = match request {
            Request::Multi(requests) => trial.multi(client, requests),
            _ => trial.one(client, request).unwrap_or_else(Outcome::Failed),
        };
        if is_write(request) && !matches!(outcome, Outcome::Failed(_) | Outcome::MultiFailed(_)) {
            *self = trial;
        }
        outcome
    }

    fn multi(&mut self, client: &Client, requests: &[Request]) -> Outcome {
        let mut results = Vec::new();
        self.before = Some(Box::new(self.clone()));
        for request in requests {
            match self.one(client, request) {
                Ok(outcome) => results.push((kind_in_multi(request), outcome)),
                Err(code @ (ErrorCode::SessionMoved | ErrorCode::MarshallingError)) => {
                    return Outcome::Failed(code);
                }
                Err(code) => {
                    let mut codes = vec![ErrorCode::RuntimeInconsistency; requests.len()];
                    codes[..results.len()].fill(ErrorCode::Ok);
                    codes[results.len()] = code;
                    return Outcome::MultiFailed(codes);
                }
            }
        }
        self.before = None;
        Outcome::Multi(results)
    }

    fn check_quota(&self, path: &str, bytes: i64, count: i64) -> Result<(), ErrorCode> {
        quota::check(self.before.as_deref().unwrap_or(self), path, bytes, count)
    }

    fn one(&mut self, client: &Client, request: &Request) -> Answer {
        match request {
            Request::Create {
                op,
                path,
                data,
                acl,
                flags,
                ttl_ms,
            } => self.create(client, *op, path, data, acl, *flags, *ttl_ms),
            Request::Delete { path, version } => self.delete(client, path, *version),
            Request::SetData {
                path,
                data,
                version,
            } => self.set_data(client, path, data, *version),
            Request::SetAcl { path, acl, version } => self.set_acl(client, path, acl, *version),
            Request::Check { path, version } => self.check(client, path, *version),
            Request::Sync => client.state.map(|()| Outcome::Done),
            Request::CloseSession => Ok(self.close(client.session)),
            Request::Multi(_) => unreachable!("multis are not nested"),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of the request")]
    #[allow(
        clippy::too_many_lines,
        reason = "one check after the other, to be read at once"
    )]
    fn create(
        &mut self,
        client: &Client,
        op: i32,
        path: &str,
        data: &Option<Vec<u8>>,
        acl: &[Acl],
        flags: i32,
        ttl_ms: i64,
    ) -> Answer {
        let (is_ephemeral, is_sequential, is_ttl) = match flags {
            0 | 4 => (false, false, false),
            1 => (true, false, false),
            2 => (false, true, false),
            3 => (true, true, false),
            5 => (false, false, true),
            6 => (false, true, true),
            _ => return Err(ErrorCode::BadArguments),
        };
        if is_ttl && !self.rules.extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        let has_ttl = (1..1 << 40).contains(&ttl_ms);
        if is_ttl != has_ttl || (is_ttl != (op == op::CREATE_TTL)) {
            return Err(ErrorCode::BadArguments);
        }
        match client.state {
            Err(ErrorCode::UnknownSession) if is_ephemeral => {
                return Err(ErrorCode::SessionExpired);
            }
            state => state?,
        }
        let parent_path = parent(path).ok_or(ErrorCode::BadArguments)?;
        let acl = fixed(acl, &client.identities)?;
        let parent_node = self
            .nodes
            .get(parent_path)
            .ok_or(ErrorCode::NoNode)?
            .clone();
        self.permit(&parent_node, 4, client)?;
        let mut path = path.to_owned();
        if is_sequential {
            path += &format!("{:010}", parent_node.counter);
        }
        if !is_path(&path) {
            return Err(ErrorCode::BadArguments);
        }
        if self.nodes.contains_key(&path) {
            return Err(ErrorCode::NodeExists);
        }
        if self.is_ephemeral(&parent_node) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        self.check_quota(&path, length(data), 1)?;
        let owner = match op {
            op::CREATE_CONTAINER => CONTAINER,
            op::CREATE_TTL => TTL_MARK | ttl_ms,
            _ if is_ephemeral => client.session.0,
            _ => 0,
        };
        let node = Node {
            data: data.clone(),
            acl,
            czxid: self.zxid,
            mzxid: self.zxid,
            pzxid: self.zxid,
            ctime: self.now_ms,
            mtime: self.now_ms,
            version: 0,
            aversion: 0,
            counter: 0,
            owner,
        };
        self.nodes.insert(path.clone(), node);
        let parent_node = self.nodes.get_mut(parent_path).expect("looked up");
        parent_node.counter += 1;
        parent_node.pzxid = self.zxid;
        let stat = self.stat(&path);
        quota::after_create(self, &path);
        self.changed(&path, ChangeKind::Created);
        Ok(Outcome::Created {
            path: path.into(),
            stat,
        })
    }

    fn delete(&mut self, client: &Client, path: &str, version: i32) -> Answer {
        client.state?;
        let reserved = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
        let parent_path = parent(path)
            .filter(|_| !reserved.contains(&path))
            .ok_or(ErrorCode::BadArguments)?;
        let parent_node = self.nodes.get(parent_path).ok_or(ErrorCode::NoNode)?;
        self.permit(parent_node, 8, client)?;
        let node = self.nodes.get(path).ok_or(ErrorCode::NoNode)?;
        expect_version(node.version, version)?;
        if self.children(path).next().is_some() {
            return Err(ErrorCode::NotEmpty);
        }
        self.remove(path);
        Ok(Outcome::Done)
    }

    fn remove(&mut self, path: &str) {
        self.changed(path, ChangeKind::Deleted);
        let node = self.nodes.remove(path).expect("it was looked up");
        let parent_path = parent(path).expect("it is not the root");
        self.nodes.get_mut(parent_path).expect("parents stay").pzxid = self.zxid;
        quota::after_delete(self, path, length(&node.data));
    }

    /// Notes a change, while the node is there.
    fn changed(&mut self, path: &str, kind: ChangeKind) {
        let parent_acl = || self.nodes[parent(path).expect("not the root")].acl.clone();
        self.changes.push(Change {
            path: path.to_owned(),
            kind,
            acl: self.nodes[path].acl.clone(),
            parent_acl: (kind != ChangeKind::DataChanged).then(parent_acl),
        });
    }

    fn set_data(
        &mut self,
        client: &Client,
        path: &str,
        data: &Option<Vec<u8>>,
        version: i32,
    ) -> Answer {
        client.state?;
        let node = self.named(path)?.clone();
        self.permit(&node, 2, client)?;
        let difference = length(data) - length(&node.data);
        self.check_quota(path, difference, 0)?;
        expect_version(node.version, version)?;
        let (zxid, now_ms) = (self.zxid, self.now_ms);
        let node = self.nodes.get_mut(path).expect("looked up");
        node.data.clone_from(data);
        node.version += 1;
        node.mzxid = zxid;
        node.mtime = now_ms;
        let stat = self.stat(path);
        quota::after_set(self, path, difference);
        self.changed(path, ChangeKind::DataChanged);
        Ok(Outcome::Stat(stat))
    }

    fn set_acl(&mut self, client: &Client, path: &str, acl: &[Acl], version: i32) -> Answer {
        client.state?;
        if !is_path(path) {
            return Err(ErrorCode::BadArguments);
        }
        let acl = fixed(acl, &client.identities)?;
        let node = self.named(path)?;
        self.permit(node, 16, client)?;
        expect_version(node.aversion, version)?;
        let node = self.nodes.get_mut(path).expect("looked up");
        node.acl = acl;
        node.aversion += 1;
        Ok(Outcome::Stat(self.stat(path)))
    }

    fn check(&mut self, client: &Client, path: &str, version: i32) -> Answer {
        client.state?;
        let node = self.named(path)?;
        self.permit(node, 1, client)?;
        expect_version(node.version, version)?;
        Ok(Outcome::Done)
    }

    fn close(&mut self, session: SessionId) -> Outcome {
        for path in self.ephemerals(session) {
            self.remove(&path);
        }
        Outcome::Done
    }

    fn named(&self, path: &str) -> Result<&Node, ErrorCode> {
        if !is_path(path) {
            return Err(ErrorCode::BadArguments);
        }
        self.nodes.get(path).ok_or(ErrorCode::NoNode)
    }

    fn permit(&self, node: &Node, perm: i32, client: &Client) -> Result<(), ErrorCode> {
        let is_permitted = self.may(&node.acl, perm, &client.identities);
        is_permitted.then_some(()).ok_or(ErrorCode::NoAuth)
    }

    pub fn may(&self, acl: &[Acl], perm: i32, ids: &[Identity]) -> bool {
        self.rules.skip_acl
            || ids.iter().any(|id| id.scheme == "super")
            || acl.iter().any(|entry| {
                entry.perms & perm != 0
                    && match entry.scheme.as_str() {
                        "world" => true,
                        "ip" => entry.id.starts_with("127."),
                        _ => ids
                            .iter()
                            .any(|id| id.scheme == "digest" && id.id == entry.id),
                    }
            })
    }

    fn is_ephemeral(&self, node: &Node) -> bool {
        let is_ttl = self.rules.extended_types && node.owner & TTL_MARK == TTL_MARK;
        node.owner != 0 && node.owner != CONTAINER && !is_ttl
    }

    pub fn children(&self, path: &str) -> impl Iterator<Item = &str> {
        let path = path.to_owned();
        self.nodes
            .keys()
            .filter(move |child| *child != "/" && parent(child) == Some(path.as_str()))
            .map(|child| child.rsplit('/').next().expect("paths have a slash"))
    }

    pub fn ephemerals(&self, session: SessionId) -> Vec<String> {
        let owned = self
            .nodes
            .iter()
            .filter(|(_, node)| node.owner == session.0);
        owned.map(|(path, _)| path.clone()).collect()
    }

    pub fn descendants(&self, path: &str) -> usize {
        let below = if path == "/" {
            "/".to_owned()
        } else {
            format!("{path}/")
        };
        let all = self.nodes.keys();
        all.filter(|other| other.len() > below.len() && other.starts_with(&below))
            .count()
    }

    /// Empty containers that had a child, and empty TTL nodes past their time.
    pub fn reapable(&self) -> Vec<String> {
        let is_over = |path: &str, node: &Node| {
            let is_ttl = self.rules.extended_types && node.owner & TTL_MARK == TTL_MARK;
            self.children(path).next().is_none()
                && ((node.owner == CONTAINER && node.counter > 0)
                    || (is_ttl && self.now_ms - node.mtime > node.owner & !TTL_MARK))
        };
        let over = self.nodes.iter().filter(|(path, node)| is_over(path, node));
        over.map(|(path, _)| path.clone()).collect()
    }

    /// What the reaper does to a node.
    pub fn reap(&mut self, path: &str) {
        self.changes.clear();
        self.zxid += 1;
        self.remove(path);
    }

    pub fn stat(&self, path: &str) -> Stat {
        let node = &self.nodes[path];
        let num_children = self.children(path).count() as i32;
        Stat {
            czxid: node.czxid,
            mzxid: node.mzxid,
            ctime: node.ctime,
            mtime: node.mtime,
            version: node.version,
            cversion: node.counter * 2 - num_children,
            aversion: node.aversion,
            // Clients are told of sessions only, not of containers and times to live.
            ephemeral_owner: if self.is_ephemeral(node) {
                node.owner
            } else {
                0
            },
            data_length: length(&node.data) as i32,
            num_children,
            pzxid: node.pzxid,
        }
    }
}

/// Whether a request that passes takes a zxid.
pub fn is_write(request: &Request) -> bool {
    match request {
        Request::Multi(requests) => requests.iter().any(is_write),
        Request::Check { .. } | Request::Sync => false,
        _ => true,
    }
}

fn kind_in_multi(request: &Request) -> i32 {
    match request {
        Request::Create { op, .. } => *op,
        Request::Delete { .. } => op::DELETE,
        Request::SetData { .. } => op::SET_DATA,
        Request::Check { .. } => op::CHECK,
        _ => unreachable!("not an operation of a multi"),
    }
}

pub fn world(perms: i32) -> Acl {
    Acl {
        perms,
        scheme: "world".into(),
        id: "anyone".into(),
    }
}

pub fn length(data: &Option<Vec<u8>>) -> i64 {
    data.as_ref().map_or(0, |data| data.len() as i64)
}

/// Everything before the last slash; a path without one, or with a NUL, cannot be split.
pub fn parent(path: &str) -> Option<&str> {
    let at = path.rfind('/').filter(|_| !path.contains('\0'))?;
    Some(if at == 0 { "/" } else { &path[..at] })
}

fn is_path(path: &str) -> bool {
    let is_name = |name: &str| {
        !matches!(name, "" | "." | "..") && name.chars().all(|letter| letter > '\u{1f}')
    };
    path == "/"
        || path
            .strip_prefix('/')
            .is_some_and(|names| names.split('/').all(is_name))
}

fn expect_version(current: i32, expected: i32) -> Result<(), ErrorCode> {
    if expected == -1 || expected == current {
        Ok(())
    } else {
        Err(ErrorCode::BadVersion)
    }
}

fn fixed(acl: &[Acl], identities: &[Identity]) -> Result<Vec<Acl>, ErrorCode> {
    let mut fixed = Vec::new();
    let mut seen: Vec<&Acl> = Vec::new();
    for entry in acl {
        if seen.contains(&entry) {
            continue;
        }
        seen.push(entry);
        match (entry.scheme.as_str(), entry.id.as_str()) {
            ("world", "anyone") | ("ip", "127.0.0.0/8" | "10.0.0.1") => fixed.push(entry.clone()),
            ("digest", id) if id.contains(':') => fixed.push(entry.clone()),
            ("auth", _) => {
                let users = identities.iter().filter(|id| id.scheme == "digest");
                let own: Vec<Acl> = users
                    .map(|user| Acl {
                        perms: entry.perms,
                        scheme: "digest".into(),
                        id: user.id.clone(),
                    })
                    .collect();
                if own.is_empty() {
                    return Err(ErrorCode::InvalidAcl);
                }
                fixed.extend(own);
            }
            _ => return Err(ErrorCode::InvalidAcl),
        }
    }
    if fixed.is_empty() {
        return Err(ErrorCode::InvalidAcl);
    }
    Ok(fixed)
}
