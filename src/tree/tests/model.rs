//! Random transactions against a plain map with a history of all its states.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::jute::data::{Stat, StatPersisted};
use crate::jute::txn::CreateContainerTxn;
use crate::tree::digest;
use crate::tree::{Outcome, View};
use crate::types::{SessionId, Zxid, container_owner, path};

#[derive(Clone, Debug, PartialEq)]
struct ModelNode {
    stat: StatPersisted,
    data: Vec<u8>,
    acl: Vec<Acl>,
}

/// One state of the tree.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    nodes: BTreeMap<String, ModelNode>,
}

impl Model {
    fn of(tree: &Tree) -> Model {
        let mut model = Model::default();
        tree.view(tree.tip_zxid()).for_each(&mut |path, node| {
            let node = ModelNode {
                stat: node.persisted(),
                data: node.data().expect("nothing is null here").to_vec(),
                acl: node.acl().to_vec(),
            };
            assert!(model.nodes.insert(path.to_owned(), node).is_none());
        });
        model
    }

    fn children(&self, of: &str) -> BTreeSet<String> {
        let is_child = |path: &&String| *path != "/" && path::parent(path) == of;
        let children = self.nodes.keys().filter(is_child);
        children.map(|path| path::name(path).to_owned()).collect()
    }

    fn stat(&self, path: &str) -> Option<Stat> {
        let node = self.nodes.get(path)?;
        let num_children = self.children(path).len() as i32;
        let stat = &node.stat;
        Some(Stat {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            version: stat.version,
            cversion: stat.cversion * 2 - num_children,
            aversion: stat.aversion,
            ephemeral_owner: stat.ephemeral_owner.max(0),
            data_length: node.data.len() as i32,
            num_children,
            pzxid: stat.pzxid,
        })
    }

    fn ephemerals(&self, session: i64) -> Vec<String> {
        let is_owned = |(_, node): &(&String, &ModelNode)| node.stat.ephemeral_owner == session;
        let owned = self.nodes.iter().filter(is_owned);
        owned.map(|(path, _)| path.clone()).collect()
    }

    fn digest(&self) -> u64 {
        let digests = self
            .nodes
            .iter()
            .map(|(path, node)| u64::from(digest::of_node(path, Some(&node.data), &node.stat)));
        digests.fold(0, u64::wrapping_add)
    }

    fn create(&mut self, zxid: i64, path: &str, data: &[u8], owner: i64) -> bool {
        if self.nodes.contains_key(path) || !self.nodes.contains_key(path::parent(path)) {
            return false;
        }
        let parent = self.nodes.get_mut(path::parent(path)).expect("checked");
        parent.stat.cversion += 1;
        parent.stat.pzxid = zxid;
        let stat = StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: 1000 + zxid,
            mtime: 1000 + zxid,
            ephemeral_owner: owner,
            ..StatPersisted::default()
        };
        let node = ModelNode {
            stat,
            data: data.to_vec(),
            acl: vec![open_acl()],
        };
        self.nodes.insert(path.to_owned(), node);
        true
    }

    fn delete(&mut self, zxid: i64, path: &str) -> bool {
        if path == "/" || !self.children(path).is_empty() || !self.nodes.contains_key(path) {
            return false;
        }
        self.nodes.remove(path);
        let parent = self.nodes.get_mut(path::parent(path)).expect("a tree");
        parent.stat.pzxid = zxid;
        true
    }

    /// Whether there was anything.
    fn delete_subtree(&mut self, zxid: i64, path: &str) -> bool {
        let is_below = |node: &&String| path::is_at_or_below(node, path);
        let below: Vec<_> = self.nodes.keys().rev().filter(is_below).cloned().collect();
        for node in &below {
            assert!(self.delete(zxid, node));
        }
        !below.is_empty()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Create { path: usize, len: usize, owner: i64 },
    Delete(usize),
    SetData { path: usize, len: usize },
    SetAcl { path: usize, id: usize },
    Close(i64),
    Multi(Vec<Op>),
}

/// What a test does besides applying.
#[derive(Clone, Debug)]
enum Step {
    Apply(Op),
    OpenView(u8),
    AdvanceView { which: u8, by: u8 },
    DropView(u8),
    Reclaim(u8),
}

const PATHS: usize = 3 + 9 + 27;

/// Three levels of three names each.
fn path_of(at: usize) -> String {
    let (a, b) = (at % 3, at / 3 % 3);
    match at {
        0..3 => format!("/n{a}"),
        3..12 => format!("/n{a}/m{}", at / 3 - 1),
        _ => format!("/n{a}/m{b}/deeper-{}", (at - 12) / 9),
    }
}

fn op(depth: u32) -> BoxedStrategy<Op> {
    let plain = prop_oneof![
        5 => (0..PATHS, 0..200usize, prop_oneof![Just(0), 1..4i64, Just(container_owner())])
            .prop_map(|(path, len, owner)| Op::Create { path, len, owner }),
        3 => (0..PATHS).prop_map(Op::Delete),
        3 => (0..PATHS, 0..200usize).prop_map(|(path, len)| Op::SetData { path, len }),
        1 => (0..PATHS, 0..3usize).prop_map(|(path, id)| Op::SetAcl { path, id }),
        1 => (1..4i64).prop_map(Op::Close),
    ];
    if depth == 0 {
        plain.boxed()
    } else {
        let multi = prop::collection::vec(op(0), 1..5).prop_map(Op::Multi);
        prop_oneof![8 => plain, 1 => multi].boxed()
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => op(1).prop_map(Step::Apply),
        1 => any::<u8>().prop_map(Step::OpenView),
        2 => any::<(u8, u8)>().prop_map(|(which, by)| Step::AdvanceView { which, by }),
        1 => any::<u8>().prop_map(Step::DropView),
        2 => any::<u8>().prop_map(Step::Reclaim),
    ]
}

/// The tree under test, the model, and the model's states by zxid.
struct World {
    driver: Driver,
    states: BTreeMap<i64, Model>,
    views: Vec<View>,
    /// Below this no view can be made.
    floor: i64,
}

impl World {
    fn new() -> World {
        let driver = Driver::new(config());
        let states = BTreeMap::from([(0, Model::of(&driver.tree))]);
        World {
            driver,
            states,
            views: Vec::new(),
            floor: 0,
        }
    }

    fn state(&self, zxid: i64) -> &Model {
        let (_, state) = self.states.range(..=zxid).next_back().expect("from 0 on");
        state
    }

    fn apply(&mut self, op: &Op) {
        let zxid = self.driver.zxid + 1;
        let mut model = self.state(zxid).clone();
        let expected = self.apply_to_model(&mut model, zxid, op);
        let mut paths = Vec::new();
        let mut data = Vec::new();
        buffers(op, &mut paths, &mut data);
        let session = session_of(op);
        let txn = txn_of(op, &mut paths.iter(), &mut data.iter());
        let applied = self.driver.apply(session, &txn);
        let succeeded = match &applied.outcome {
            Outcome::Multi(outcomes) => outcomes
                .iter()
                .map(|(_, outcome)| !matches!(outcome, Outcome::Failed(_)))
                .collect(),
            outcome => vec![!matches!(outcome, Outcome::Failed(_))],
        };
        assert_eq!(succeeded, expected, "{op:?}");
        self.states.insert(zxid, model);
        self.check_tip();
    }

    /// Which of the operations succeed.
    fn apply_to_model(&self, model: &mut Model, zxid: i64, op: &Op) -> Vec<bool> {
        match op {
            Op::Multi(ops) => ops
                .iter()
                .flat_map(|op| self.apply_to_model(model, zxid, op))
                .collect(),
            Op::Create { path, len, owner } => {
                let (path, data) = (path_of(*path), data_of(*len));
                let is_new = model.create(zxid, &path, &data, *owner);
                if !is_new && let Some(node) = model.nodes.get_mut(&path) {
                    // What Apache does where the node is there already.
                    node.acl = vec![open_acl()];
                    if *owner >= 0 {
                        let parent = model.nodes.get_mut(path::parent(&path)).expect("a tree");
                        parent.stat.cversion += 1;
                        parent.stat.pzxid = zxid;
                    }
                }
                vec![is_new]
            }
            Op::Delete(path) => {
                let path = path_of(*path);
                let is_there = model.delete_subtree(zxid, &path);
                if !is_there && let Some(parent) = model.nodes.get_mut(path::parent(&path)) {
                    parent.stat.pzxid = zxid;
                }
                vec![is_there]
            }
            Op::SetData { path, len } => {
                let node = model.nodes.get_mut(&path_of(*path));
                vec![node.is_some_and(|node| {
                    node.data = data_of(*len);
                    node.stat.version = 7;
                    node.stat.mzxid = zxid;
                    node.stat.mtime = 1000 + zxid;
                    true
                })]
            }
            Op::SetAcl { path, id } => {
                let node = model.nodes.get_mut(&path_of(*path));
                vec![node.is_some_and(|node| {
                    node.acl = auth_acl(&id.to_string());
                    node.stat.aversion = 3;
                    true
                })]
            }
            Op::Close(session) => {
                for path in model.ephemerals(*session) {
                    model.delete_subtree(zxid, &path);
                }
                vec![true]
            }
        }
    }

    fn check_tip(&self) {
        let (tree, zxid) = (&self.driver.tree, self.driver.zxid);
        let model = self.state(zxid);
        assert_eq!(tree.tip_zxid(), Zxid(zxid));
        assert_eq!(tree.digest(), model.digest());
        assert_eq!(tree.stats().node_count(), model.nodes.len() as u64 + 1);
        let mut owned = 0;
        for session in 1..4 {
            let ephemerals = model.ephemerals(session);
            owned += ephemerals.len() as u64;
            assert_eq!(tree.ephemerals(SessionId(session)), ephemerals);
        }
        assert_eq!(tree.stats().ephemeral_count(), owned);
        let size: usize = model
            .nodes
            .iter()
            .map(|(path, node)| path.len() + node.data.len())
            .sum();
        assert_eq!(tree.stats().approximate_data_size(), size as i64);
        let mut containers = model.ephemerals(container_owner());
        containers.retain(|path| model.children(path).is_empty());
        assert_eq!(tree.reap_candidates(i64::MAX, 1), containers);
    }

    fn check_view(&self, view: &View, zxid: i64) {
        let model = self.state(zxid);
        for path in (0..PATHS).map(path_of).chain(["/".to_string()]) {
            let node = view.node_at(&path, Zxid(zxid));
            assert_eq!(node.map(|node| node.stat()), model.stat(&path), "{path}");
            let Some(node) = node else { continue };
            let wanted = &model.nodes[&path];
            assert_eq!(node.data(), Some(&*wanted.data));
            assert_eq!(node.acl()[..], wanted.acl[..]);
            assert_eq!(node.path(), path);
            let mut children = BTreeSet::new();
            node.for_each_child(&mut |name| assert!(children.insert(name.to_owned())));
            assert_eq!(children, model.children(&path));
        }
        for session in 1..4 {
            let ephemerals = view.ephemerals_at(SessionId(session), Zxid(zxid));
            assert_eq!(ephemerals, model.ephemerals(session));
        }
        let descendants = view.descendants_at("/", Zxid(zxid));
        assert_eq!(descendants, model.nodes.len() - 1);
        assert_eq!(self.driver.tree.digest_at(Zxid(zxid)), model.digest());
    }

    fn check_whole_view(&self, view: &View) {
        let mut shown = Model::default();
        let mut sum = 0u64;
        view.for_each(&mut |path, node| {
            assert!(path == "/" || shown.nodes.contains_key(path::parent(path)));
            sum = sum.wrapping_add(node.digest());
            let node = ModelNode {
                stat: node.persisted(),
                data: node.data().expect("nothing is null here").to_vec(),
                acl: node.acl().to_vec(),
            };
            assert!(shown.nodes.insert(path.to_owned(), node).is_none());
        });
        let model = self.state(view.zxid().0);
        assert_eq!(&shown, model);
        assert_eq!(sum, model.digest());
        let mut sessions = BTreeSet::new();
        view.for_each_ephemeral_session(&mut |session, paths| {
            assert_eq!(paths, model.ephemerals(session.0));
            sessions.insert(session.0);
        });
        let owners = model.nodes.values().map(|node| node.stat.ephemeral_owner);
        assert_eq!(sessions, owners.filter(|owner| *owner > 0).collect());
    }

    fn step(&mut self, step: &Step) {
        let tip = self.driver.zxid;
        match step {
            Step::Apply(op) => self.apply(op),
            Step::OpenView(at) => {
                let oldest = self.views.iter().map(|view| view.zxid().0).min();
                let oldest = oldest.unwrap_or(tip).max(self.floor);
                let zxid = oldest + i64::from(*at) % (tip - oldest + 1);
                self.views.push(self.driver.tree.view(Zxid(zxid)));
            }
            Step::AdvanceView { which, by } if !self.views.is_empty() => {
                let which = usize::from(*which) % self.views.len();
                let view = &mut self.views[which];
                let zxid = view.zxid().0;
                view.advance(Zxid(zxid + i64::from(*by) % (tip - zxid + 1)));
            }
            Step::DropView(which) if !self.views.is_empty() => {
                let which = usize::from(*which) % self.views.len();
                self.views.swap_remove(which);
            }
            Step::AdvanceView { .. } | Step::DropView(_) => {}
            Step::Reclaim(most) => {
                self.driver.tree.reclaim(usize::from(*most));
                let oldest = self.views.iter().map(|view| view.zxid().0).min();
                self.floor = self.floor.max(oldest.unwrap_or(tip));
            }
        }
        for view in &self.views {
            let (from, tip) = (view.zxid().0, self.driver.zxid);
            for zxid in [from, (from + tip) / 2, tip] {
                self.check_view(view, zxid);
            }
        }
    }
}

fn session_of(op: &Op) -> i64 {
    match op {
        Op::Create { owner, .. } => (*owner).max(0),
        Op::Close(session) => *session,
        Op::Multi(_) => 1,
        _ => 0,
    }
}

fn data_of(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + len) as u8).collect()
}

/// What the transactions of `op` borrow.
fn buffers(op: &Op, paths: &mut Vec<String>, data: &mut Vec<Vec<u8>>) {
    match op {
        Op::Create { path, len, .. } | Op::SetData { path, len } => {
            paths.push(path_of(*path));
            data.push(data_of(*len));
        }
        Op::Delete(path) | Op::SetAcl { path, .. } => paths.push(path_of(*path)),
        Op::Close(_) => {}
        Op::Multi(ops) => ops.iter().for_each(|op| buffers(op, paths, data)),
    }
}

fn txn_of<'a>(
    op: &Op,
    paths: &mut impl Iterator<Item = &'a String>,
    data: &mut impl Iterator<Item = &'a Vec<u8>>,
) -> Txn<'a> {
    let mut path = || paths.next().expect("one was made").as_str();
    let mut bytes = || data.next().expect("one was made").as_slice();
    match op {
        Op::Create { owner, .. } if *owner == container_owner() => {
            Txn::CreateContainer(CreateContainerTxn {
                path: path().into(),
                data: Some(bytes()),
                acl: vec![open_acl()],
                parent_cversion: -1,
            })
        }
        Op::Create { owner, .. } => create_with(path(), bytes(), *owner > 0, -1),
        Op::Delete(_) => delete(path()),
        Op::SetData { .. } => set_data(path(), bytes(), 7),
        Op::SetAcl { id, .. } => set_acl(path(), auth_acl(&id.to_string()), 3),
        Op::Close(_) => close(None),
        Op::Multi(ops) => {
            let mut txns = Vec::new();
            for op in ops {
                txns.push(txn_of(op, &mut *paths, &mut *data));
            }
            Txn::Multi(txns)
        }
    }
}

/// In a multi all operations are of one session.
fn with_one_session(op: &Op) -> Op {
    let Op::Multi(ops) = op else {
        return op.clone();
    };
    let ops = ops.iter().map(|op| match op {
        Op::Create { path, len, owner } if *owner > 0 => Op::Create {
            path: *path,
            len: *len,
            owner: 1,
        },
        Op::Close(_) => Op::Close(1),
        other => other.clone(),
    });
    Op::Multi(ops.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]

    #[test]
    fn every_view_shows_its_state(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            let step = match step {
                Step::Apply(op) => Step::Apply(with_one_session(&op)),
                step => step,
            };
            world.step(&step);
        }
        for view in &world.views {
            world.check_whole_view(view);
        }
        // Views outlive the writer.
        let World { driver, states, views, .. } = world;
        drop(driver);
        for view in &views {
            let (_, state) = states.range(..=view.zxid().0).next_back().expect("from 0 on");
            let mut count = 0;
            view.for_each(&mut |_, _| count += 1);
            assert_eq!(count, state.nodes.len());
        }
    }
}
