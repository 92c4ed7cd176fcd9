//! Tables of requests and what they come to, on a real tree.

mod order;
mod success;

use super::*;
use crate::jute::op;
use crate::jute::proto::MultiHeader;
use crate::jute::txn::TxnHeader;
use crate::tree::TreeConfig;

const SESSION: SessionId = SessionId(0x0100_0000_0000_0001);
const NOW_MS: i64 = 1_700_000_000_000;

/// A tree and a client of it.
struct World {
    tree: Tree,
    preparer: Preparer,
    zxid: i64,
    now_ms: i64,
    session_state: Result<(), ErrorCode>,
    ephemerals: Result<(), ErrorCode>,
    identities: Vec<Identity>,
}

impl World {
    fn new(config: PrepConfig) -> World {
        let tree = Tree::new(TreeConfig {
            extended_types: config.extended_types,
            digest_enabled: true,
        });
        World {
            tree,
            preparer: Preparer::new(config),
            zxid: 0,
            now_ms: NOW_MS,
            session_state: Ok(()),
            ephemerals: Ok(()),
            identities: vec![Identity::new("ip", "127.0.0.1")],
        }
    }

    /// Prepares a request, applies what it comes to, and returns the answer.
    fn ask(&mut self, op: i32, body: &[u8]) -> Outcome {
        let prepared = self.preparer.prepare(
            &self.tree,
            &RequestView {
                op,
                body,
                session: SESSION,
                session_state: self.session_state,
                ephemerals: self.ephemerals,
                identities: &self.identities,
                is_forwarded: false,
            },
        );
        match prepared {
            Prepared::Txn(txn) => apply(&mut self.tree, &mut self.zxid, self.now_ms, &txn),
            Prepared::Ordered(outcome) | Prepared::Failed(outcome) => outcome,
        }
    }

    fn create(&mut self, path: &str, flags: i32) -> Outcome {
        self.ask(op::CREATE2, &create(path, flags, open()))
    }

    fn make(&mut self, path: &str) {
        self.make_with(path, 0, open());
    }

    fn make_with(&mut self, path: &str, flags: i32, acl: Vec<Acl>) {
        let outcome = self.ask(op::CREATE2, &create(path, flags, acl));
        assert!(
            matches!(outcome, Outcome::Created { .. }),
            "{path}: {outcome:?}"
        );
    }
}

fn apply(tree: &mut Tree, zxid: &mut i64, now_ms: i64, txn: &Txn<'_>) -> Outcome {
    *zxid += 1;
    let header = TxnHeader {
        client_id: SESSION.0,
        cxid: 1,
        zxid: *zxid,
        time: now_ms,
        kind: txn.kind(),
    };
    tree.apply(&header, txn).outcome
}

fn open() -> Vec<Acl> {
    vec![entry(perms::ALL, "world", "anyone")]
}

fn entry(perms: i32, scheme: &str, id: &str) -> Acl {
    Acl {
        perms,
        scheme: scheme.into(),
        id: id.into(),
    }
}

fn create(path: &str, flags: i32, acl: Vec<Acl>) -> Vec<u8> {
    CreateRequest {
        path,
        data: Some(b"data"),
        acl,
        flags,
    }
    .to_vec()
}

fn create_ttl(path: &str, flags: i32, ttl_ms: i64) -> Vec<u8> {
    CreateTtlRequest {
        path,
        data: None,
        acl: open(),
        flags,
        ttl_ms,
    }
    .to_vec()
}

fn delete(path: &str, version: i32) -> Vec<u8> {
    DeleteRequest { path, version }.to_vec()
}

fn set_data(path: &str, data: &[u8], version: i32) -> Vec<u8> {
    SetDataRequest {
        path,
        data: Some(data),
        version,
    }
    .to_vec()
}

fn set_acl(path: &str, acl: Vec<Acl>, version: i32) -> Vec<u8> {
    SetAclRequest { path, acl, version }.to_vec()
}

fn check(path: &str, version: i32) -> Vec<u8> {
    CheckVersionRequest { path, version }.to_vec()
}

fn multi(operations: &[(i32, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, request) in operations {
        let header = MultiHeader {
            kind: *kind,
            done: false,
            err: -1,
        };
        header.encode(&mut body);
        body.extend_from_slice(request);
    }
    crate::jute::proto::MULTI_END.encode(&mut body);
    body
}

fn created_path(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Created { path, .. } => path,
        other => panic!("not created: {other:?}"),
    }
}
