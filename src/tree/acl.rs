//! Interned access control lists: equal ones are stored once.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::change::AclList;
use crate::jute::data::Acl;

/// Lists that are looked through for unused ones at the least.
const SWEEP_LEN_MIN: usize = 1024;

/// The lists in use.
pub(super) struct AclTable {
    lists: HashTable<Arc<AclList>>,
    hasher: FixedState,
    /// What was asked for last: nodes are often created with the same list one after the other.
    last: Option<Arc<AclList>>,
    /// At this many lists the unused ones are dropped.
    sweep_len: usize,
}

impl AclTable {
    pub(super) fn new(hash_seed: u64) -> AclTable {
        AclTable {
            lists: HashTable::new(),
            hasher: FixedState::with_seed(hash_seed),
            last: None,
            sweep_len: SWEEP_LEN_MIN,
        }
    }

    /// The one list that equals `acl`.
    pub(super) fn intern(&mut self, acl: &[Acl]) -> Arc<AclList> {
        if let Some(last) = &self.last
            && ***last == *acl
        {
            return Arc::clone(last);
        }
        let hash = hash(&self.hasher, acl);
        let found = self.lists.find(hash, |list| ***list == *acl).cloned();
        let list = found.unwrap_or_else(|| self.add(hash, acl));
        self.last = Some(Arc::clone(&list));
        list
    }

    fn add(&mut self, hash_of_acl: u64, acl: &[Acl]) -> Arc<AclList> {
        if self.lists.len() >= self.sweep_len {
            // Whoever uses a list holds a count of it besides the table's own.
            self.lists.retain(|list| Arc::strong_count(list) > 1);
            self.sweep_len = (self.lists.len() * 2).max(SWEEP_LEN_MIN);
        }
        let list = Arc::new(AclList::from(acl));
        let hasher = &self.hasher;
        self.lists
            .insert_unique(hash_of_acl, Arc::clone(&list), |list| hash(hasher, list));
        list
    }
}

fn hash(hasher: &FixedState, acl: &[Acl]) -> u64 {
    let mut state = hasher.build_hasher();
    for entry in acl {
        (entry.perms, &entry.scheme, &entry.id).hash(&mut state);
    }
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(id: usize) -> Vec<Acl> {
        vec![Acl {
            perms: 31,
            scheme: "digest".into(),
            id: id.to_string(),
        }]
    }

    #[test]
    fn equal_lists_are_one_and_unused_ones_go() {
        let mut table = AclTable::new(1);
        let kept = table.intern(&acl(0));
        for id in 1..10 * SWEEP_LEN_MIN {
            table.intern(&acl(id));
        }
        assert!(table.lists.len() <= SWEEP_LEN_MIN);
        assert!(Arc::ptr_eq(&kept, &table.intern(&acl(0))));
        assert_eq!(**kept, *acl(0));
    }
}
