//! Tests of the tree as a whole: against Apache's figures, against a plain map, and with readers on
//! other threads.

mod golden;
mod model;
mod threads;

use super::{Applied, Tree, TreeConfig, open_acl};
use crate::jute::data::Acl;
use crate::jute::txn::{
    CloseSessionTxn, CreateTxn, DeleteTxn, ErrorTxn, SetAclTxn, SetDataTxn, Txn, TxnHeader,
};

/// Applies transactions one after the other: zxid and time count up from 1 and 1001.
struct Driver {
    tree: Tree,
    zxid: i64,
}

impl Driver {
    fn new(config: TreeConfig) -> Driver {
        Driver {
            tree: Tree::new(config),
            zxid: 0,
        }
    }

    fn apply(&mut self, session: i64, txn: &Txn<'_>) -> Applied {
        self.zxid += 1;
        self.tree.apply(&header(session, self.zxid, txn), txn)
    }
}

fn header(session: i64, zxid: i64, txn: &Txn<'_>) -> TxnHeader {
    TxnHeader {
        client_id: session,
        cxid: 1,
        zxid,
        time: 1000 + zxid,
        kind: txn.kind(),
    }
}

fn config() -> TreeConfig {
    TreeConfig {
        extended_types: true,
        digest_enabled: true,
    }
}

fn create<'a>(path: &'a str, data: &'a [u8]) -> Txn<'a> {
    create_with(path, data, false, -1)
}

fn create_with<'a>(path: &'a str, data: &'a [u8], ephemeral: bool, counter: i32) -> Txn<'a> {
    Txn::Create {
        txn: CreateTxn {
            path: path.into(),
            data: Some(data),
            acl: vec![open_acl()],
            ephemeral,
            parent_cversion: counter,
        },
        is_create2: false,
    }
}

fn delete(path: &str) -> Txn<'_> {
    Txn::Delete {
        txn: DeleteTxn { path },
        is_container: false,
    }
}

fn set_data<'a>(path: &'a str, data: &'a [u8], version: i32) -> Txn<'a> {
    Txn::SetData(SetDataTxn {
        path,
        data: Some(data),
        version,
    })
}

fn set_acl(path: &str, acl: Vec<Acl>, version: i32) -> Txn<'_> {
    Txn::SetAcl(SetAclTxn { path, acl, version })
}

fn close(paths: Option<Vec<&str>>) -> Txn<'_> {
    Txn::CloseSession(paths.map(|paths| CloseSessionTxn {
        paths_to_delete: paths.into_iter().map(Into::into).collect(),
    }))
}

fn error(err: i32) -> Txn<'static> {
    Txn::Error(ErrorTxn { err })
}

fn auth_acl(id: &str) -> Vec<Acl> {
    vec![Acl {
        perms: 31,
        scheme: "digest".into(),
        id: id.into(),
    }]
}
