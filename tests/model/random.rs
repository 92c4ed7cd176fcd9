//! Requests at random, from a seed.

use zkore::auth::Identity;
use zkore::jute::data::Acl;
use zkore::jute::op;
use zkore::tree::Outcome;
use zkore::types::SessionId;

use super::quota;
use super::reference::{Client, Model, Request, world};

/// SplitMix64.
#[derive(Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// A request that has some chance to make sense to the model.
pub fn request(random: &mut Random, model: &Model) -> Request {
    match random.below(100) {
        0..=39 => create(random, model),
        40..=54 => delete(random, model),
        55..=69 => set_data(random, model),
        70..=76 => set_acl(random, model),
        77..=78 => Request::Sync,
        79..=86 => quota_request(random, model),
        _ => multi(random, model),
    }
}

/// A multi, of operations that a multi can hold, each made for what those before it leave behind.
fn multi(random: &mut Random, model: &Model) -> Request {
    let mut trial = model.clone();
    let anybody = Client {
        session: SessionId(1),
        state: Ok(()),
        identities: vec![Identity::new("super", "")],
    };
    let mut requests = Vec::new();
    for _ in 0..random.below(6) {
        let request = match random.below(10) {
            0..=3 => as_in_multi(create(random, &trial)),
            4..=6 => delete(random, &trial),
            7..=8 => set_data(random, &trial),
            _ => check(random, &trial),
        };
        let outcome = trial.ask(&anybody, &request);
        // Most are to be something that can pass.
        if !matches!(outcome, Outcome::Failed(_)) || random.once_in(10) {
            requests.push(request);
        }
    }
    Request::Multi(requests)
}

/// In a multi the flags decide the operation, and bad ones are no request at all.
fn as_in_multi(create: Request) -> Request {
    let Request::Create {
        op,
        path,
        data,
        acl,
        flags,
        ttl_ms,
    } = create
    else {
        unreachable!("it creates");
    };
    let flags = if flags > 6 { 0 } else { flags };
    let (op, ttl_ms) = match flags {
        5 | 6 => (op::CREATE_TTL, ttl_ms),
        4 => (op::CREATE_CONTAINER, -1),
        _ if op == op::CREATE_TTL => (op::CREATE, -1),
        _ => (op, -1),
    };
    Request::Create {
        op,
        path,
        data,
        acl,
        flags,
        ttl_ms,
    }
}

fn create(random: &mut Random, model: &Model) -> Request {
    let flags = match random.below(40) {
        0 => 7,
        1..=3 => 4,
        4..=6 => 5,
        7 => 6,
        8..=15 => 1,
        16..=19 => 2,
        20..=22 => 3,
        _ => 0,
    };
    let op = match flags {
        _ if random.once_in(20) => *random.pick(&[
            op::CREATE,
            op::CREATE2,
            op::CREATE_CONTAINER,
            op::CREATE_TTL,
        ]),
        4 => op::CREATE_CONTAINER,
        5 | 6 => op::CREATE_TTL,
        _ => *random.pick(&[op::CREATE, op::CREATE2]),
    };
    let ttl_ms = match op {
        op::CREATE_TTL => *random.pick(&[1, 1000, 60_000, 1 << 40, 0, -1]),
        _ => -1,
    };
    Request::Create {
        op,
        path: new_path(random, model),
        data: data(random),
        acl: acl(random),
        flags,
        ttl_ms,
    }
}

fn delete(random: &mut Random, model: &Model) -> Request {
    let mut path = path(random, model);
    // Mostly of something without children.
    while !random.once_in(4) {
        let Some(name) = model.children(&path).next().map(str::to_owned) else {
            break;
        };
        path = format!("{}/{name}", path.trim_end_matches('/'));
    }
    let version = version(random, model.nodes.get(&path).map(|node| node.version));
    Request::Delete { path, version }
}

fn set_data(random: &mut Random, model: &Model) -> Request {
    let path = path(random, model);
    let version = version(random, model.nodes.get(&path).map(|node| node.version));
    Request::SetData {
        path,
        data: data(random),
        version,
    }
}

fn check(random: &mut Random, model: &Model) -> Request {
    let path = path(random, model);
    let version = version(random, model.nodes.get(&path).map(|node| node.version));
    Request::Check { path, version }
}

fn set_acl(random: &mut Random, model: &Model) -> Request {
    let path = path(random, model);
    let version = version(random, model.nodes.get(&path).map(|node| node.aversion));
    Request::SetAcl {
        path,
        acl: acl(random),
        version,
    }
}

/// Sets a quota, replaces its limits, or takes parts of it away.
fn quota_request(random: &mut Random, model: &Model) -> Request {
    let subject = random.pick(&["/a", "/a/b", "/b", "/c"]);
    let limits = random.pick(&[
        "count=2,bytes=5",
        "count=-1,bytes=-1=;byteHardLimit=12;countHardLimit=-1",
        "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=2",
        "count=-1,bytes=-1=;byteHardLimit=30;countHardLimit=4",
    ]);
    let (limits_path, usage_path) = (quota::limits_path(subject), quota::usage_path(subject));
    let has_limits = model.nodes.contains_key(&limits_path);
    match random.below(6) {
        0 if has_limits => remove(limits_path),
        1 if has_limits => remove(usage_path),
        2..=4 if has_limits => Request::SetData {
            path: limits_path,
            data: Some(limits.as_bytes().to_vec()),
            version: -1,
        },
        _ => {
            let mut all = Vec::new();
            let folder = format!("/zookeeper/quota{subject}");
            for ancestor in [folder.rsplit_once('/').expect("it has one").0, &folder] {
                if !model.nodes.contains_key(ancestor) {
                    all.push(make(ancestor.to_owned(), ""));
                }
            }
            all.push(make(limits_path, limits));
            all.push(make(usage_path, "count=0,bytes=0"));
            Request::Multi(all)
        }
    }
}

fn make(path: String, data: &str) -> Request {
    Request::Create {
        op: op::CREATE,
        path,
        data: Some(data.as_bytes().to_vec()),
        acl: vec![world(31)],
        flags: 0,
        ttl_ms: -1,
    }
}

fn remove(path: String) -> Request {
    Request::Delete { path, version: -1 }
}

const BAD_PATHS: &[&str] = &[
    "",
    "/",
    "a",
    "a/b",
    "/a/",
    "//a",
    "/a//b",
    "/.",
    "/a/..",
    "/a\u{1}",
    "/a\0",
    "/zookeeper",
    "/zookeeper/config",
    "/zookeeper/quota",
    "/zookeeper/none",
];

/// A path of a small world, so that requests meet: of a node that is there, or anywhere; now and
/// then a bad one.
pub fn path(random: &mut Random, model: &Model) -> String {
    match random.below(30) {
        0 => (*random.pick(BAD_PATHS)).to_owned(),
        1..=7 => anywhere(random),
        _ => existing(random, model),
    }
}

/// The path of a node to be: below one that is there, or anywhere.
fn new_path(random: &mut Random, model: &Model) -> String {
    if random.once_in(5) {
        return path(random, model);
    }
    let parent = existing(random, model);
    // Not too deep, so that there is something beside and not only below.
    let parent = if parent.matches('/').count() > 3 {
        "/"
    } else {
        &parent
    };
    let slash = if parent == "/" { "" } else { "/" };
    format!("{parent}{slash}{}", ["a", "b", "c", "d"][random.below(4)])
}

fn anywhere(random: &mut Random) -> String {
    let mut path = String::new();
    for _ in 0..=random.below(3) {
        path.push('/');
        path.push_str(["a", "b", "c"][random.below(3)]);
    }
    path
}

/// Quota nodes are left to [`quota_request`], as the figures in them must stay figures.
fn existing(random: &mut Random, model: &Model) -> String {
    let all: Vec<&String> = model
        .nodes
        .keys()
        .filter(|path| !path.starts_with("/zookeeper") || random.once_in(20))
        .filter(|path| !path.starts_with("/zookeeper/"))
        .collect();
    match all.len() {
        0 => "/".to_owned(),
        some => all[random.below(some)].clone(),
    }
}

fn data(random: &mut Random) -> Option<Vec<u8>> {
    match random.below(8) {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(vec![7; 100]),
        _ => Some(vec![random.below(256) as u8; random.below(8)]),
    }
}

fn version(random: &mut Random, current: Option<i32>) -> i32 {
    match (random.below(6), current) {
        (0, _) => *random.pick(&[0, 1, 2, -2, 77]),
        (1 | 2, Some(current)) => current,
        _ => -1,
    }
}

fn acl(random: &mut Random) -> Vec<Acl> {
    let entry = |perms, scheme: &str, id: &str| Acl {
        perms,
        scheme: scheme.into(),
        id: id.into(),
    };
    match random.below(50) {
        0 => vec![],
        1 => vec![entry(31, "nonsense", "")],
        2 => vec![entry(31, "digest", "nocolon")],
        3 => vec![entry(31, "ip", "256.0.0.1")],
        4 => vec![world(1)],
        5 => vec![world(1 | 4 | 8)],
        6 => vec![entry(31, "auth", ""), world(1)],
        7 => vec![entry(31, "digest", "alice:1"), world(3)],
        8 => vec![entry(31, "ip", "127.0.0.0/8"), world(1)],
        9 => vec![entry(31, "ip", "10.0.0.1"), entry(31, "digest", "bob:2")],
        10 => vec![world(31), world(31)],
        _ => vec![world(31)],
    }
}

pub fn identities(random: &mut Random) -> Vec<Identity> {
    let mut all = vec![Identity::new("ip", "127.0.0.1")];
    for (identity, times) in [
        (Identity::new("digest", "alice:1"), 3),
        (Identity::new("digest", "bob:2"), 3),
        (Identity::new("super", ""), 8),
    ] {
        if random.once_in(times) {
            all.push(identity);
        }
    }
    all
}
