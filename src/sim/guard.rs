//! Who may do what: the users that clients authenticate as, and the access control lists that they set.
//!
//! What a list grants is decided here anew, to be compared with what the ensemble decides.

use crate::jute::data::Acl;
use crate::tree::open_acl;
use crate::types::perms;

use super::random::Random;

/// A user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    Ann,
    Bob,
}

/// Who a connection has proven to be.
pub type Users = &'static [User];

/// What clients are: many of them the same.
pub const CROWDS: [Users; 5] = [
    &[],
    &[User::Ann],
    &[User::Ann],
    &[User::Bob],
    &[User::Ann, User::Bob],
];

impl User {
    /// What proves to be this user, in the scheme `digest`.
    pub fn secret(self) -> &'static str {
        match self {
            User::Ann => "ann:a",
            User::Bob => "bob:b",
        }
    }

    /// What lists call it: the name, and SHA-1 of name and password in base64.
    fn id(self) -> &'static str {
        match self {
            User::Ann => "ann:i9V/d2HTT0sehGWzvQcFNipywIQ=",
            User::Bob => "bob:LcrmCNs/wfVD+i5a5yaz89GyjIM=",
        }
    }

    fn entry(self, perms: i32) -> Acl {
        Acl {
            perms,
            scheme: "digest".into(),
            id: self.id().into(),
        }
    }
}

/// A list that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Everybody may do everything.
    Open,
    /// One may do everything, all others may read.
    Shared(User),
    /// One may do everything, all others nothing.
    Private(User),
    /// One may read and write, all may make children; nobody may delete them or change the list.
    Limited(User),
    /// Whoever asks may do everything, all others nothing.
    Own,
}

impl Guard {
    /// Any of them.
    pub fn any(random: &mut Random) -> Guard {
        let user = random.pick(&[User::Ann, User::Bob]);
        let guards = [
            Guard::Open,
            Guard::Shared(user),
            Guard::Private(user),
            Guard::Limited(user),
            Guard::Own,
        ];
        random.pick(&guards)
    }

    /// The list as it is sent.
    pub fn sent(self) -> Vec<Acl> {
        let world = |perms| Acl {
            perms,
            ..open_acl()
        };
        match self {
            Guard::Open => vec![open_acl()],
            Guard::Shared(user) => vec![user.entry(perms::ALL), world(perms::READ)],
            Guard::Private(user) => vec![user.entry(perms::ALL)],
            Guard::Limited(user) => {
                vec![user.entry(perms::READ | perms::WRITE), world(perms::CREATE)]
            }
            Guard::Own => vec![Acl {
                perms: perms::ALL,
                scheme: "auth".into(),
                id: String::new(),
            }],
        }
    }

    /// The list as a node gets it from these users; `None` where it would be nobody's.
    pub fn stored(self, users: Users) -> Option<Vec<Acl>> {
        match self {
            Guard::Own if users.is_empty() => None,
            Guard::Own => Some(users.iter().map(|user| user.entry(perms::ALL)).collect()),
            guard => Some(guard.sent()),
        }
    }
}

/// Whether a list grants one of these permissions to one of these users.
pub fn allows(acl: &[Acl], perms: i32, users: Users) -> bool {
    acl.iter().any(|entry| {
        let is_meant = entry.scheme == "world" || users.iter().any(|user| user.id() == entry.id);
        entry.perms & perms != 0 && is_meant
    })
}

/// A list as those are told it who may not change it.
pub fn masked(acl: &[Acl]) -> Vec<Acl> {
    let mask = |entry: &Acl| {
        let id = match entry.id.split_once(':') {
            Some((name, _)) => format!("{name}:x"),
            None => entry.id.clone(),
        };
        Acl {
            id,
            ..entry.clone()
        }
    };
    acl.iter().map(mask).collect()
}
