//! The real parts and the model, side by side.

use std::collections::BTreeMap;

use zkore::auth::{AuthConfig, allows};
use zkore::exchange::{ConnId, Origin, Owner, ShardId};
use zkore::jute::data::{Acl, Stat};
use zkore::jute::proto::SetWatches2;
use zkore::jute::txn::{Txn, TxnDigest, TxnHeader, decode_txn, encode_txn};
use zkore::prep::{PrepConfig, Prepared, Preparer, ReapConfig, RequestView, create_session};
use zkore::session::{SessionConfig, SessionTable, session_password};
use zkore::tree::{Applied, Changed, NodeRef, Outcome, Tree, TreeConfig, View};
use zkore::types::{ErrorCode, SessionId, Zxid, perms};
use zkore::watch::{AddWatchMode, LastChange, WatcherType, Watches};

use super::random::{self, Random};
use super::reference::{self, Client, Model, Request, Rules};
use super::watching::{Event, Kind, Watching};
use super::wire;

const TICK_MS: u64 = 100;
const TIMEOUT_MS: i32 = 350;
const ACTORS: usize = 4;
const SHARD: ShardId = ShardId(0);

/// A client: awake, or away with what it remembers.
struct Actor {
    client: Client,
    conn: u64,
    deadline_ms: u64,
    away: Option<Away>,
}

struct Away {
    zxid: i64,
    watches: Vec<(String, Kind, bool)>,
}

pub struct World {
    random: Random,
    is_verbose: bool,
    preparer: Preparer,
    auth: AuthConfig,
    tree: Tree,
    replica: Tree,
    view: View,
    held: Vec<(View, Model)>,
    sessions: SessionTable,
    watches: Watches,
    model: Model,
    watching: Watching,
    actors: Vec<Actor>,
    clock_ms: u64,
    conns: u64,
}

impl World {
    pub fn new(mut random: Random, is_verbose: bool) -> World {
        let rules = Rules {
            extended_types: !random.once_in(3),
            enforce_quota: random.once_in(2),
            skip_acl: random.once_in(10),
        };
        let auth = AuthConfig {
            skip_acl: rules.skip_acl,
            ..AuthConfig::default()
        };
        let tree_config = TreeConfig {
            extended_types: rules.extended_types,
            digest_enabled: !random.once_in(10),
        };
        let sessions = SessionConfig {
            tick_ms: TICK_MS,
            server_id: 1,
            shards: 1,
        };
        let now_ms = 1_700_000_000_000;
        let tree = Tree::new(tree_config.clone());
        let mut world = World {
            is_verbose,
            preparer: Preparer::new(PrepConfig {
                auth: auth.clone(),
                extended_types: rules.extended_types,
                enforce_quota: rules.enforce_quota,
                reconfig_enabled: false,
                close_session_without_paths: false,
            }),
            auth,
            view: tree.view(Zxid::ZERO),
            tree,
            replica: Tree::new(tree_config),
            held: Vec::new(),
            sessions: SessionTable::new(sessions, now_ms),
            watches: Watches::new(),
            model: Model::new(rules, now_ms),
            watching: Watching::default(),
            actors: Vec::new(),
            clock_ms: 10_000,
            conns: 0,
            random,
        };
        for _ in 0..ACTORS {
            let actor = world.arrive();
            world.actors.push(actor);
        }
        world.compare_all();
        world
    }

    pub fn step(&mut self) {
        self.pass_time();
        let actor = self.random.below(ACTORS);
        match self.random.below(100) {
            _ if self.actors[actor].away.is_some() => self.come_back(actor),
            0..=64 => {
                let request = random::request(&mut self.random, &self.model);
                self.write(actor, &request);
            }
            65..=79 => self.add_watch(actor),
            80..=83 => self.remove_watch(actor),
            84..=86 => self.leave(actor),
            87..=88 => self.close(actor),
            89..=91 => self.reap(),
            92..=94 => self.hold(),
            95..=96 => drop(self.tree.reclaim(20)),
            _ => self.compare_all(),
        }
        self.compare_some();
    }

    /// The last comparisons; returns the last zxid.
    pub fn finish(mut self) -> i64 {
        self.compare_all();
        for (view, model) in std::mem::take(&mut self.held) {
            compare(&view, &model);
        }
        self.view.advance(self.tree.tip_zxid());
        while self.tree.reclaim(1000) > 0 {}
        compare(&self.view, &self.model);
        assert_eq!(
            self.replica.digest(),
            self.tree.digest(),
            "the replica's digest"
        );
        compare(&self.replica.view(self.replica.tip_zxid()), &self.model);
        self.model.zxid
    }

    fn say(&self, what: std::fmt::Arguments<'_>) {
        if self.is_verbose {
            println!("{:>4} {what}", self.model.zxid);
        }
    }

    /// Pings of those awake come in; sessions of those away run out.
    fn pass_time(&mut self) {
        let step_ms = if self.random.once_in(30) {
            2000
        } else {
            self.random.below(40) as u64
        };
        self.clock_ms += step_ms;
        self.model.now_ms += step_ms as i64;
        let now_ms = self.clock_ms;
        let awake = self.actors.iter_mut().filter(|actor| actor.away.is_none());
        let heard: Vec<SessionId> = awake
            .map(|actor| {
                actor.deadline_ms = deadline_ms(now_ms);
                actor.client.session
            })
            .collect();
        self.sessions.heard(SHARD, now_ms, &heard);
        let mut due: Vec<(u64, SessionId)> = self
            .actors
            .iter()
            .filter(|actor| actor.client.state.is_ok() && actor.deadline_ms <= now_ms)
            .map(|actor| (actor.deadline_ms, actor.client.session))
            .collect();
        due.sort_unstable();
        let due: Vec<SessionId> = due.into_iter().map(|(_, session)| session).collect();
        assert_eq!(self.sessions.expire(u64::MAX), due, "expired sessions");
        for session in due {
            self.say(format_args!("{session} expires"));
            let actor = self.actor_of(session);
            self.actors[actor].client.state = Err(ErrorCode::UnknownSession);
            let client = self.actors[actor].client.clone();
            self.model.ask(&client, &Request::CloseSession);
            let txn = self.preparer.close_session(&self.tree, session);
            self.apply(session, &txn);
            self.sessions.remove(session);
        }
    }

    fn actor_of(&self, session: SessionId) -> usize {
        let mut actors = self.actors.iter();
        actors
            .position(|actor| actor.client.session == session)
            .expect("an actor has it")
    }

    /// Someone new, with a session.
    fn arrive(&mut self) -> Actor {
        self.conns += 1;
        let conn = self.conns;
        let session = self.sessions.open(origin(conn), TIMEOUT_MS, self.clock_ms);
        self.model.zxid += 1;
        self.model.changes.clear();
        self.apply(session, &create_session(TIMEOUT_MS));
        Actor {
            client: Client {
                session,
                state: Ok(()),
                identities: random::identities(&mut self.random),
            },
            conn,
            deadline_ms: deadline_ms(self.clock_ms),
            away: None,
        }
    }

    fn leave(&mut self, at: usize) {
        let conn = self.actors[at].conn;
        self.say(format_args!("connection {conn} breaks"));
        let kinds = [Kind::Data, Kind::Child, Kind::Persistent, Kind::Recursive];
        let watches = kinds
            .into_iter()
            .flat_map(|kind| {
                let paths = self.watching.of(conn, kind).into_iter();
                paths.map(move |path| (path, kind))
            })
            .map(|(path, kind)| {
                let existed = self.model.nodes.contains_key(&path);
                (path, kind, existed)
            })
            .collect();
        self.actors[at].away = Some(Away {
            zxid: self.model.zxid,
            watches,
        });
        self.drop_connection(conn);
    }

    fn drop_connection(&mut self, conn: u64) {
        self.watches.remove_connection(ConnId(conn));
        self.watching.drop_connection(conn);
        assert_eq!(self.watches.is_empty(), self.watching.all.is_empty());
    }

    fn come_back(&mut self, at: usize) {
        if !self.random.once_in(4) {
            return;
        }
        if self.actors[at].client.state.is_err() {
            self.actors[at] = self.arrive();
            return;
        }
        self.conns += 1;
        let (conn, now_ms) = (self.conns, self.clock_ms);
        let actor = &mut self.actors[at];
        let (session, former) = (actor.client.session, origin(actor.conn));
        let away = actor.away.take().expect("only those away come back");
        actor.conn = conn;
        actor.deadline_ms = deadline_ms(now_ms);
        let password = session_password(session);
        let attached = self
            .sessions
            .reattach(session, &password, TIMEOUT_MS, origin(conn), now_ms);
        assert_eq!(attached, Ok(Some(former)));
        self.say(format_args!("{session} comes back as connection {conn}"));
        let mut expected = self
            .watching
            .restore(&self.model, conn, &away.watches, away.zxid);
        self.view.advance(self.tree.tip_zxid());
        let mut missed = self.restored(conn, &away);
        // The model goes by the order in which they were set, the request by kind; and a node that
        // went may be missed by two watches of different kinds.
        for events in [&mut expected, &mut missed] {
            events.sort_by(|a, b| (&a.2, a.1 as i32).cmp(&(&b.2, b.1 as i32)));
        }
        assert_eq!(missed, expected, "what was missed");
    }

    fn restored(&mut self, conn: u64, away: &Away) -> Vec<Event> {
        let of = |kind, existed: Option<bool>| -> Vec<&str> {
            let own = away.watches.iter().filter(|watch| {
                watch.1 == kind && existed.is_none_or(|existed| watch.2 == existed)
            });
            own.map(|watch| watch.0.as_str()).collect()
        };
        let request = SetWatches2 {
            relative_zxid: away.zxid,
            data_watches: of(Kind::Data, Some(true)),
            exist_watches: of(Kind::Data, Some(false)),
            child_watches: of(Kind::Child, None),
            persistent_watches: of(Kind::Persistent, None),
            persistent_recursive_watches: of(Kind::Recursive, None),
        };
        let node = |path: &str| {
            let stat = self.view.node(path)?.stat();
            Some(LastChange {
                mzxid: stat.mzxid,
                pzxid: stat.pzxid,
            })
        };
        let mut events = Vec::new();
        self.watches
            .restore(&request, ConnId(conn), &node, &mut |event, path| {
                events.push((conn, event, path.to_owned()));
            });
        events
    }

    fn close(&mut self, at: usize) {
        let session = self.actors[at].client.session;
        self.write(at, &Request::CloseSession);
        self.drop_connection(self.actors[at].conn);
        self.sessions.remove(session);
        self.actors[at] = self.arrive();
    }

    /// A request, now and then over the wrong connection or for a session that is none.
    fn write(&mut self, at: usize, request: &Request) {
        let mut client = self.actors[at].client.clone();
        let mut from = origin(self.actors[at].conn);
        if !matches!(request, Request::CloseSession) {
            match self.random.below(60) {
                0 => {
                    from = origin(0);
                    client.state = Err(ErrorCode::SessionMoved);
                }
                1 => {
                    client.session = SessionId(77);
                    client.state = Err(ErrorCode::UnknownSession);
                }
                _ => {}
            }
        }
        self.say(format_args!("{} {request:?}", client.session));
        let session_state = self.sessions.check(client.session, Owner::Connection(from));
        assert_eq!(session_state, client.state, "state of the session");
        let (op, body) = wire::encode(request);
        let view = RequestView {
            op,
            body: &body,
            session: client.session,
            session_state,
            ephemerals: Ok(()),
            identities: &client.identities,
            is_forwarded: false,
        };
        let prepared = self.preparer.prepare(&self.tree, &view);
        let expected = self.model.ask(&client, request);
        let outcome = match prepared {
            Prepared::Txn(txn) => self.apply(client.session, &txn),
            Prepared::Ordered(outcome) | Prepared::Failed(outcome) => outcome,
        };
        self.say(format_args!("     {outcome:?}"));
        assert_eq!(outcome, expected, "{request:?}");
        assert_eq!(self.tree.tip_zxid(), Zxid(self.model.zxid), "{request:?}");
    }

    fn reap(&mut self) {
        let expected = self.model.reapable();
        let now_ms = self.model.now_ms;
        assert_eq!(
            self.tree.reap_candidates(now_ms, 0),
            expected,
            "what is to be reaped"
        );
        let Some(path) = expected.first() else {
            return;
        };
        self.say(format_args!("{path} is reaped"));
        let txn = self
            .preparer
            .reap(&self.tree, path, &ReapConfig::default(), now_ms)
            .expect("a fresh candidate goes");
        self.model.reap(path);
        self.apply(SessionId::NONE, &txn);
    }

    /// Applies what the model has just done: to the tree, and through its bytes to the replica.
    fn apply(&mut self, session: SessionId, txn: &Txn<'_>) -> Outcome {
        let header = TxnHeader {
            client_id: session.0,
            cxid: 5,
            zxid: self.model.zxid,
            time: self.model.now_ms,
            kind: txn.kind(),
        };
        let applied = self.tree.apply(&header, txn);
        let digest = TxnDigest {
            version: 2,
            tree_digest: self.tree.digest() as i64,
        };
        let mut bytes = Vec::new();
        encode_txn(&header, txn, Some(&digest), &mut bytes);
        let (header, txn, _) = decode_txn(&bytes).expect("just encoded");
        let again = self.replica.apply(&header, &txn);
        assert_eq!(again.outcome, applied.outcome, "on the replica");
        assert_eq!(
            self.replica.digest() as i64,
            digest.tree_digest,
            "on the replica"
        );
        let changes: Vec<reference::Change> = self.changed(&applied).map(change_of).collect();
        assert_eq!(changes, self.model.changes, "changes of the tree");
        self.fire(&applied);
        applied.outcome
    }

    fn changed<'a>(&'a self, applied: &'a Applied) -> impl Iterator<Item = Changed<'a>> {
        applied
            .changes
            .iter()
            .map(|change| self.view.changed(change))
    }

    fn fire(&mut self, applied: &Applied) {
        let (actors, model, auth) = (&self.actors, &self.model, &self.auth);
        let identities_of = |conn| {
            let owner = actors.iter().find(|actor| actor.conn == conn);
            &owner
                .expect("watches go with their connection")
                .client
                .identities
        };
        let mut expected = Vec::new();
        for change in &model.changes {
            expected.extend(self.watching.fire(change, &|conn, acl| {
                model.may(acl, perms::READ, identities_of(conn))
            }));
        }
        let mut events: Vec<Event> = Vec::new();
        for change in applied.changes.iter().map(|each| self.view.changed(each)) {
            self.watches
                .changed(&change, &mut |conn, event, path, acl| {
                    if allows(acl, perms::READ, identities_of(conn.0), auth) {
                        events.push((conn.0, event, path.to_owned()));
                    }
                });
        }
        // Each connection has its own order; between connections there is none.
        events.sort_by_key(|event| event.0);
        expected.sort_by_key(|event| event.0);
        assert_eq!(events, expected, "events");
    }

    fn add_watch(&mut self, at: usize) {
        let conn = self.actors[at].conn;
        let path = random::path(&mut self.random, &self.model);
        if !path.starts_with('/') {
            return;
        }
        let kinds = [
            Kind::Data,
            Kind::Data,
            Kind::Child,
            Kind::Child,
            Kind::Persistent,
        ];
        let kind = if self.random.once_in(6) {
            Kind::Recursive
        } else {
            *self.random.pick(&kinds)
        };
        self.say(format_args!("connection {conn} watches {kind:?} of {path}"));
        match kind {
            Kind::Data => self.watches.add_data(&path, ConnId(conn)),
            Kind::Child => self.watches.add_child(&path, ConnId(conn)),
            Kind::Persistent => self
                .watches
                .add(&path, ConnId(conn), AddWatchMode::Persistent),
            Kind::Recursive => {
                self.watches
                    .add(&path, ConnId(conn), AddWatchMode::PersistentRecursive);
            }
        }
        self.watching.all.insert((conn, path, kind));
    }

    fn remove_watch(&mut self, at: usize) {
        let conn = self.actors[at].conn;
        let own = self.watching.all.iter().filter(|watch| watch.0 == conn);
        let own: Vec<(String, Kind)> = own.map(|watch| (watch.1.clone(), watch.2)).collect();
        let (path, _) = match own.len() {
            0 => return,
            some => own[self.random.below(some)].clone(),
        };
        let (kind, meant): (WatcherType, &[Kind]) = match self.random.below(5) {
            0 => (WatcherType::Data, &[Kind::Data]),
            1 => (WatcherType::Children, &[Kind::Child]),
            2 => (WatcherType::Persistent, &[Kind::Persistent]),
            3 => (WatcherType::PersistentRecursive, &[Kind::Recursive]),
            _ => (
                WatcherType::Any,
                &[Kind::Data, Kind::Child, Kind::Persistent, Kind::Recursive],
            ),
        };
        self.say(format_args!(
            "connection {conn} no longer watches {kind:?} of {path}"
        ));
        let is_there = own
            .iter()
            .any(|watch| watch.0 == path && meant.contains(&watch.1));
        assert_eq!(self.watches.contains(&path, ConnId(conn), kind), is_there);
        assert_eq!(self.watches.remove(&path, ConnId(conn), kind), is_there);
        let all = &mut self.watching.all;
        all.retain(|watch| watch.0 != conn || watch.1 != path || !meant.contains(&watch.2));
    }

    /// Keeps a view of now for later, when it must still show now.
    fn hold(&mut self) {
        if self.held.len() == 3 {
            let oldest = self.random.below(3);
            let (view, model) = self.held.swap_remove(oldest);
            compare(&view, &model);
        }
        self.view.advance(self.tree.tip_zxid());
        self.held
            .push((self.tree.view(self.view.zxid()), self.model.clone()));
    }

    /// One path, as reads would look at it.
    fn compare_some(&mut self) {
        let path = random::path(&mut self.random, &self.model);
        let tip = self.tree.tip_zxid();
        let (view, model) = (&self.view, &self.model);
        let node = view.node_at(&path, tip);
        assert_eq!(node.is_some(), model.nodes.contains_key(&path), "{path}");
        if let Some(node) = node {
            compare_node(&path, node, model);
            assert_eq!(
                view.descendants_at(&path, tip),
                model.descendants(&path),
                "below {path}"
            );
        }
        let session = self.actors[self.random.below(ACTORS)].client.session;
        assert_eq!(view.ephemerals_at(session, tip), model.ephemerals(session));
    }

    fn compare_all(&mut self) {
        self.view.advance(self.tree.tip_zxid());
        compare(&self.view, &self.model);
        let mut digest = 0_u64;
        self.view
            .for_each(&mut |_, node| digest = digest.wrapping_add(node.digest()));
        if self.tree.digest() != 0 {
            assert_eq!(self.tree.digest(), digest, "the tree's digest");
        }
    }
}

fn origin(conn: u64) -> Origin {
    Origin {
        shard: SHARD,
        conn: ConnId(conn),
    }
}

fn deadline_ms(now_ms: u64) -> u64 {
    let due_ms = now_ms + TIMEOUT_MS as u64;
    due_ms - due_ms % TICK_MS + TICK_MS
}

fn change_of(change: Changed<'_>) -> reference::Change {
    reference::Change {
        path: change.path.to_string(),
        kind: change.kind,
        acl: change.acl.to_vec(),
        parent_acl: change.parent_acl.as_ref().map(|acl| acl.to_vec()),
    }
}

fn compare(view: &View, model: &Model) {
    assert_eq!(view.zxid(), Zxid(model.zxid));
    let mut shown = BTreeMap::new();
    view.for_each(&mut |path, node| {
        shown.insert(path.to_owned(), facts(node));
    });
    let paths = model.nodes.iter();
    let expected: BTreeMap<String, Facts> = paths
        .map(|(path, node)| {
            let facts = (model.stat(path), node.data.clone(), node.acl.clone());
            (path.clone(), facts)
        })
        .collect();
    assert_eq!(shown, expected);
}

/// What a read tells of a node.
type Facts = (Stat, Option<Vec<u8>>, Vec<Acl>);

fn facts(node: NodeRef<'_>) -> Facts {
    (
        node.stat(),
        node.data().map(<[u8]>::to_vec),
        node.acl().to_vec(),
    )
}

fn compare_node(path: &str, node: NodeRef<'_>, model: &Model) {
    let expected = &model.nodes[path];
    let facts = facts(node);
    assert_eq!(node.ephemeral_owner(), expected.owner, "owner of {path}");
    assert_eq!(facts.0, model.stat(path), "{path}");
    assert_eq!(
        (facts.1, facts.2),
        (expected.data.clone(), expected.acl.clone()),
        "{path}"
    );
    let mut children = Vec::new();
    node.for_each_child(&mut |name| children.push(name.to_owned()));
    children.sort_unstable();
    let mut expected: Vec<&str> = model.children(path).collect();
    expected.sort_unstable();
    assert_eq!(children, expected, "children of {path}");
}
