//! Applying transactions (Apache's `DataTree.processTxn`).

use super::store::{CellFields, DirFields, Handle, OwnerKind, PATH_LEN_MAX, VersionFields};
use super::{Applied, Change, ChangeKind, Changes, Outcome, Tree, data_len, owner_kind};
use crate::jute::data::Acl;
use crate::jute::txn::{SetAclTxn, SetDataTxn, Txn, TxnHeader};
use crate::types::path::{self, QUOTA_LIMITS_NAME, QUOTA_ROOT, QUOTA_STATS_NAME, SYSTEM_ROOT};
use crate::types::{ErrorCode, SessionId, Zxid, container_owner, ttl_owner};

/// What create transactions have in common.
struct Create<'a> {
    path: &'a str,
    data: Option<&'a [u8]>,
    acl: &'a [Acl],
    owner: i64,
    parent_cversion: i32,
    /// Whether the parent's counters follow even if the node is there already: Apache does so for
    /// `create` alone, to mend what replaying over a fuzzy snapshot meets.
    adjusts_parent: bool,
}

impl Tree {
    /// Applies a transaction at the tip. Transactions come in zxid order; one that cannot be
    /// applied (its node is not there) gives `Outcome::Failed`, as replaying over a fuzzy snapshot
    /// of Apache's does.
    ///
    /// # Panics
    /// If the zxid is not above the tip.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Applied {
        self.store.begin(header.zxid, self.totals.digest);
        let mut changes = Changes::new();
        let outcome = self.process(header, txn, &mut changes);
        self.store.publish();
        self.stats.publish(&self.totals);
        Applied {
            zxid: Zxid(header.zxid),
            outcome,
            changes,
        }
    }

    fn process(&mut self, header: &TxnHeader, txn: &Txn<'_>, changes: &mut Changes) -> Outcome {
        match txn {
            Txn::Create { txn, is_create2 } => {
                let create = Create {
                    path: &txn.path,
                    data: txn.data,
                    acl: &txn.acl,
                    owner: if txn.ephemeral { header.client_id } else { 0 },
                    parent_cversion: txn.parent_cversion,
                    adjusts_parent: !is_create2,
                };
                self.create(header, &create, changes)
            }
            Txn::CreateTtl(txn) => {
                let Some(owner) = ttl_owner(txn.ttl_ms) else {
                    return Outcome::Failed(ErrorCode::BadArguments);
                };
                let create = Create {
                    path: &txn.path,
                    data: txn.data,
                    acl: &txn.acl,
                    owner,
                    parent_cversion: txn.parent_cversion,
                    adjusts_parent: false,
                };
                self.create(header, &create, changes)
            }
            Txn::CreateContainer(txn) => {
                let create = Create {
                    path: &txn.path,
                    data: txn.data,
                    acl: &txn.acl,
                    owner: container_owner(),
                    parent_cversion: txn.parent_cversion,
                    adjusts_parent: false,
                };
                self.create(header, &create, changes)
            }
            Txn::Delete { txn, .. } => match self.delete(header.zxid, txn.path, changes) {
                Ok(()) => Outcome::Done,
                Err(code) => Outcome::Failed(code),
            },
            Txn::SetData(txn) => self.set_data(header, txn, changes),
            Txn::SetAcl(txn) => self.set_acl(txn),
            Txn::Check(_) | Txn::CreateSession(_) => Outcome::Done,
            Txn::CloseSession(txn) => {
                let listed = txn.iter().flat_map(|txn| &txn.paths_to_delete);
                self.close_session(header, listed.map(AsRef::as_ref), changes);
                Outcome::Done
            }
            Txn::Error(txn) => Outcome::Failed(error_code(txn.err)),
            Txn::Multi(txns) => self.multi(header, txns, changes),
        }
    }

    fn multi(&mut self, header: &TxnHeader, txns: &[Txn<'_>], changes: &mut Changes) -> Outcome {
        if txns.iter().any(|txn| matches!(txn, Txn::Error(_))) {
            return Outcome::MultiFailed(codes_of_failed(txns));
        }
        let outcomes = txns
            .iter()
            .map(|txn| (txn.kind(), self.process(header, txn, changes)))
            .collect();
        Outcome::Multi(outcomes)
    }

    fn create(
        &mut self,
        header: &TxnHeader,
        create: &Create<'_>,
        changes: &mut Changes,
    ) -> Outcome {
        let Create { path, data, .. } = *create;
        if !path.starts_with('/') || path.len() > PATH_LEN_MAX {
            return Outcome::Failed(ErrorCode::BadArguments);
        }
        let Some(parent) = self.store.find(path::parent(path)) else {
            return Outcome::Failed(ErrorCode::NoNode);
        };
        let acl = self.acls.intern(create.acl);
        if let Some(existing) = self.store.find(path) {
            let fields = VersionFields {
                acl,
                ..self.store.node(existing).version_fields()
            };
            self.store.update(existing, fields, None);
            if create.adjusts_parent {
                self.count_creation(parent, create.parent_cversion, header.zxid, 0);
            }
            return Outcome::Failed(ErrorCode::NodeExists);
        }

        self.count_creation(parent, create.parent_cversion, header.zxid, 1);
        let cell = CellFields {
            czxid: header.zxid,
            ctime: header.time,
            owner: create.owner,
            kind: owner_kind(&self.config, create.owner),
            is_loaded: false,
        };
        let version = VersionFields {
            mzxid: header.zxid,
            mtime: header.time,
            version: 0,
            aversion: 0,
            acl,
        };
        let node = self.store.create(parent, path, &cell, version, data);
        self.refresh_digest(node);
        self.count_node(path, data, cell.kind, 1);
        changes.push(Change {
            kind: ChangeKind::Created,
            node: self.store.point_out(node),
            parent: Some(self.store.point_out(parent)),
        });
        let outcome = Outcome::Created {
            path: path.into(),
            stat: self.store.node(node).stat(),
        };
        self.follow_created_quota(path);
        if let Some(prefix) = self.quotas.prefix_of(path) {
            self.add_usage(&prefix, 1, data_len(data));
        }
        outcome
    }

    /// Counts a creation below `parent`: its counter goes to what the transaction says, or one up
    /// where it says −1, but never back.
    fn count_creation(&mut self, parent: Handle, counter: i32, zxid: i64, children: i32) {
        let mut dir = self.store.node(parent).dir();
        let counter = if counter == -1 {
            dir.cversion.wrapping_add(1)
        } else {
            counter
        };
        if counter > dir.cversion {
            dir.cversion = counter;
            dir.pzxid = zxid;
        }
        dir.num_children += children;
        self.store.set_dir(parent, dir);
        self.refresh_digest(parent);
    }

    /// A node with limits turns counting on; one for the usage is filled.
    fn follow_created_quota(&mut self, path: &str) {
        let Some(quota_path) = path::parent(path).strip_prefix(QUOTA_ROOT) else {
            return;
        };
        match path::name(path) {
            QUOTA_LIMITS_NAME => self.quotas.add(quota_path),
            QUOTA_STATS_NAME => self.recount_quota(quota_path),
            _ => {}
        }
    }

    fn delete(&mut self, zxid: i64, path: &str, changes: &mut Changes) -> Result<(), ErrorCode> {
        if path == "/" {
            return Err(ErrorCode::BadArguments);
        }
        let parent = self
            .store
            .find(path::parent(path))
            .ok_or(ErrorCode::NoNode)?;
        let found = self.store.find(path);
        if let Some(node) = found {
            self.delete_below(zxid, node, changes);
        }
        // The parent learns of the deletion even if the node is gone already: replaying over a
        // fuzzy snapshot must end with the same pzxid.
        let dir = self.store.node(parent).dir();
        self.store.set_dir(
            parent,
            DirFields {
                pzxid: dir.pzxid.max(zxid),
                num_children: dir.num_children - i32::from(found.is_some()),
                ..dir
            },
        );
        self.refresh_digest(parent);

        let handle = found.ok_or(ErrorCode::NoNode)?;
        let node = self.store.node(handle);
        let (kind, len) = (node.kind(), data_len(node.data()));
        let change = Change {
            kind: ChangeKind::Deleted,
            node: self.store.point_out(handle),
            parent: Some(self.store.point_out(parent)),
        };
        self.totals.digest = self
            .totals
            .digest
            .wrapping_sub(u64::from(self.store.digest(handle)));
        self.uncount_node(path, len, kind);
        self.store.remove(parent, handle);
        self.follow_deleted_quota(path, len);
        changes.push(change);
        Ok(())
    }

    /// What a transaction deletes has no children, unless it is replayed over a fuzzy snapshot that
    /// holds later ones. They go too: the transactions that made them are still to come.
    fn delete_below(&mut self, zxid: i64, node: Handle, changes: &mut Changes) {
        let node = self.store.node(node);
        if node.num_children() == 0 {
            return;
        }
        let mut children = Vec::new();
        node.for_each_child(&mut |name| children.push(path::join(node.path(), name)));
        for child in children {
            self.delete(zxid, &child, changes)
                .expect("a child that is listed is there");
        }
    }

    fn uncount_node(&mut self, path: &str, len: i64, kind: OwnerKind) {
        self.count_node(path, None, kind, -1);
        self.totals.data_size -= len;
    }

    fn follow_deleted_quota(&mut self, path: &str, len: i64) {
        if path::name(path) == QUOTA_LIMITS_NAME
            && path.starts_with(SYSTEM_ROOT)
            && let Some(quota_path) = path::parent(path).strip_prefix(QUOTA_ROOT)
        {
            self.quotas.remove(quota_path);
        }
        if let Some(prefix) = self.quotas.prefix_of(path) {
            self.add_usage(&prefix, -1, -len);
        }
    }

    fn set_data(
        &mut self,
        header: &TxnHeader,
        txn: &SetDataTxn<'_>,
        changes: &mut Changes,
    ) -> Outcome {
        let Some(handle) = self.store.find(txn.path) else {
            return Outcome::Failed(ErrorCode::NoNode);
        };
        let node = self.store.node(handle);
        let grown = data_len(txn.data) - data_len(node.data());
        changes.push(Change {
            kind: ChangeKind::DataChanged,
            node: self.store.point_out(handle),
            parent: None,
        });
        let fields = VersionFields {
            mzxid: header.zxid,
            mtime: header.time,
            version: txn.version,
            ..node.version_fields()
        };
        self.store.update(handle, fields, Some(txn.data));
        self.refresh_digest(handle);
        let stat = self.store.node(handle).stat();
        if let Some(prefix) = self.quotas.prefix_of(txn.path) {
            self.add_usage(&prefix, 0, grown);
        }
        self.totals.data_size += grown;
        Outcome::Stat(stat)
    }

    fn set_acl(&mut self, txn: &SetAclTxn<'_>) -> Outcome {
        let Some(handle) = self.store.find(txn.path) else {
            return Outcome::Failed(ErrorCode::NoNode);
        };
        let fields = VersionFields {
            aversion: txn.version,
            acl: self.acls.intern(&txn.acl),
            ..self.store.node(handle).version_fields()
        };
        self.store.update(handle, fields, None);
        self.refresh_digest(handle);
        Outcome::Stat(self.store.node(handle).stat())
    }

    /// Deletes what the transaction lists, then whatever else the session has (Apache's
    /// `killSession`).
    fn close_session<'a>(
        &mut self,
        header: &TxnHeader,
        listed: impl Iterator<Item = &'a str>,
        changes: &mut Changes,
    ) {
        for path in listed {
            // A path that is gone already is no reason to leave the others.
            let _ = self.delete(header.zxid, path, changes);
        }
        for path in self.ephemerals(SessionId(header.client_id)) {
            let _ = self.delete(header.zxid, &path, changes);
        }
    }
}

/// The codes of a multi that failed: what came before the failing operation was fine, what came
/// after was not tried.
fn codes_of_failed(txns: &[Txn<'_>]) -> Vec<ErrorCode> {
    let mut has_failed = false;
    txns.iter()
        .map(|txn| match txn {
            Txn::Error(txn) => {
                has_failed = true;
                error_code(txn.err)
            }
            _ if has_failed => ErrorCode::RuntimeInconsistency,
            _ => ErrorCode::Ok,
        })
        .collect()
}

fn error_code(code: i32) -> ErrorCode {
    ErrorCode::from_code(code).unwrap_or(ErrorCode::SystemError)
}
