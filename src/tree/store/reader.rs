//! What readers hold: views, and nodes as a view shows them.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::super::change::{AclList, Change, Changed};
use super::super::digest;
use super::cell::{self, Cell, CellRef, ChildArray, DirFields, Version};
use super::{Alone, OwnerKind, Pointer, Shared, UNPINNED, group_key};
use crate::jute::data::{Stat, StatPersisted};
use crate::types::{SessionId, Zxid};

/// The tree as of one zxid, readable on any thread.
///
/// A view pins its zxid: nothing that it can see is freed until it advances or is dropped. It
/// outlives the [`Tree`](crate::tree::Tree) if need be.
pub struct View {
    shared: Arc<Shared>,
    pin: Arc<Alone>,
    zxid: i64,
    /// A zxid that was published once, so that most reads need not look at the writer's.
    published: AtomicI64,
}

impl View {
    pub(super) fn new(shared: Arc<Shared>, pin: Arc<Alone>, zxid: i64) -> View {
        View {
            shared,
            pin,
            zxid,
            published: AtomicI64::new(zxid),
        }
    }

    /// The zxid that this view shows.
    pub fn zxid(&self) -> Zxid {
        Zxid(self.zxid)
    }

    /// Moves the view forward. `zxid` must have been applied by the writer already.
    ///
    /// # Panics
    /// If it is behind the view or not applied.
    pub fn advance(&mut self, zxid: Zxid) {
        let to = zxid.0;
        assert!(to >= self.zxid, "a view only moves forward");
        let tip = self.shared.tip.0.load(Ordering::Acquire);
        assert!(to <= tip, "a view moves to what is applied");
        // Release: what was read before happens before what the writer frees when it sees the pin.
        self.pin.0.store(to, Ordering::Release);
        self.zxid = to;
        self.published.store(tip, Ordering::Relaxed);
    }

    /// A node as of this view's zxid.
    pub fn node(&self, path: &str) -> Option<NodeRef<'_>> {
        self.find(path, self.zxid)
    }

    /// A node as of `zxid`, which is this view's or a newer one that the writer has applied.
    ///
    /// # Panics
    /// If it is behind the view or not applied.
    pub fn node_at(&self, path: &str, zxid: Zxid) -> Option<NodeRef<'_>> {
        self.check(zxid);
        self.find(path, zxid.0)
    }

    /// Paths of a session's ephemerals, sorted, as of `zxid`.
    ///
    /// # Panics
    /// As [`View::node_at`].
    pub fn ephemerals_at(&self, session: SessionId, zxid: Zxid) -> Vec<String> {
        self.check(zxid);
        let mut paths = Vec::new();
        let group = group_key(OwnerKind::Session, session.0);
        // SAFETY: the pin keeps alive what can be found as of `zxid`.
        unsafe {
            if let Some(group) = self.shared.index.find(&group, Some) {
                for_each_member(group, zxid.0, &mut |node| {
                    paths.push(node.path().to_owned())
                });
            }
        }
        paths.sort_unstable();
        paths
    }

    /// Visits the sessions that have ephemerals as of this view's zxid, in no order.
    pub fn for_each_ephemeral_session(&self, visit: &mut dyn FnMut(SessionId, Vec<String>)) {
        let mut sessions = Vec::new();
        // SAFETY: the pin keeps alive what can be found as of the view's zxid.
        unsafe {
            for_each_cell(self.shared.groups, self.zxid, &mut |group| {
                let name = group.path().trim_start_matches('\0');
                if let Ok(owner) = u64::from_str_radix(name, 16) {
                    sessions.push(SessionId(owner as i64));
                }
            });
        }
        for session in sessions {
            let paths = self.ephemerals_at(session, Zxid(self.zxid));
            if !paths.is_empty() {
                visit(session, paths);
            }
        }
    }

    /// How many descendants a node has, as of `zxid` (the node itself is not counted, as in
    /// Apache's `DataTree.getAllChildrenNumber`). Costs a walk over all of them.
    ///
    /// # Panics
    /// As [`View::node_at`].
    pub fn descendants_at(&self, path: &str, zxid: Zxid) -> usize {
        let Some(node) = self.node_at(path, zxid) else {
            return 0;
        };
        let mut count = 0;
        // SAFETY: the pin keeps alive what can be found as of `zxid`.
        unsafe { walk(node.cell, zxid.0, &mut |_| count += 1) }
        count
    }

    /// Visits every node, parents before children.
    pub fn for_each(&self, visit: &mut dyn FnMut(&str, NodeRef<'_>)) {
        // SAFETY: the pin keeps alive what can be found as of the view's zxid.
        unsafe {
            let root = self.shared.root;
            if let Some(version) = root.version_at(self.zxid) {
                visit("/", NodeRef::new(root, version, self.zxid));
            }
            walk_nodes(root, self.zxid, &mut |node| visit(node.path(), node));
        }
    }

    /// What a transaction after this view's zxid did to a node.
    ///
    /// # Panics
    /// If it is another tree's change, or not after the view.
    pub fn changed(&self, change: &Change) -> Changed<'_> {
        let (node, parent) = (change.node, change.parent);
        Changed {
            path: self.pointed_out(node).path(),
            kind: change.kind,
            acl: self.acl_of(node),
            parent_acl: parent.map(|parent| self.acl_of(parent)),
        }
    }

    fn pointed_out(&self, pointer: Pointer) -> CellRef {
        assert!(
            pointer.store == self.shared.number,
            "a change is shown by a view of its own tree"
        );
        assert!(pointer.zxid > self.zxid, "a view is behind what it shows");
        pointer.cell
    }

    /// The ACL that a node has when its change is done, or had last.
    fn acl_of(&self, pointer: Pointer) -> &AclList {
        let cell = self.pointed_out(pointer);
        // SAFETY: the check has shown that the cell is not freed before the view moves, nor what can be
        // seen of it as of this zxid, nor, where it died, its last version.
        unsafe {
            let version = cell
                .version_at(pointer.zxid)
                .or_else(|| cell.last_version());
            &version.expect("a node has a version").as_ref().acl
        }
    }

    fn check(&self, zxid: Zxid) {
        let at = zxid.0;
        assert!(at >= self.zxid, "a view shows nothing older than itself");
        if at > self.published.load(Ordering::Relaxed) {
            let tip = self.shared.tip.0.load(Ordering::Acquire);
            assert!(at <= tip, "a view shows what is applied");
            self.published.store(tip, Ordering::Relaxed);
        }
    }

    fn find(&self, path: &str, zxid: i64) -> Option<NodeRef<'_>> {
        if !path.starts_with('/') {
            return None;
        }
        // SAFETY: the pin is at or below `zxid`, so that what can be found as of it is not freed
        // before the view moves or is dropped; the result borrows the view.
        unsafe {
            self.shared.index.find(path, |cell| {
                let version = cell.version_at(zxid)?;
                Some(NodeRef::new(cell, version, zxid))
            })
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // Release: as in `advance`.
        self.pin.0.store(UNPINNED, Ordering::Release);
    }
}

/// A node as some version of the tree has it.
#[derive(Clone, Copy)]
pub struct NodeRef<'a> {
    cell: CellRef,
    version: NonNull<Version>,
    zxid: i64,
    _life: PhantomData<&'a ()>,
}

impl<'a> NodeRef<'a> {
    /// # Safety
    /// The version is the cell's as of `zxid`, and nothing that can be seen as of `zxid` is freed
    /// during `'a`.
    pub(super) unsafe fn new(cell: CellRef, version: NonNull<Version>, zxid: i64) -> NodeRef<'a> {
        NodeRef {
            cell,
            version,
            zxid,
            _life: PhantomData,
        }
    }

    fn version(&self) -> &'a Version {
        // SAFETY: the version lives through `'a`, and it is immutable.
        unsafe { self.version.as_ref() }
    }

    fn dir_fields(&self) -> DirFields {
        // SAFETY: nothing that can be seen as of `zxid` is freed during `'a`.
        unsafe { self.cell.dir_fields_at(self.zxid) }
    }

    /// The path.
    pub fn path(&self) -> &'a str {
        self.cell.path()
    }

    /// The data; `None` where the node was created with a null.
    pub fn data(&self) -> Option<&'a [u8]> {
        // SAFETY: the version lives through `'a`.
        unsafe { cell::version_data(self.version) }
    }

    /// The ACL.
    pub fn acl(&self) -> &'a AclList {
        &self.version().acl
    }

    /// The Stat, as a client is told it (Apache's `DataNode.copyStat`).
    pub fn stat(&self) -> Stat {
        let persisted = self.persisted();
        let num_children = self.num_children();
        Stat {
            czxid: persisted.czxid,
            mzxid: persisted.mzxid,
            ctime: persisted.ctime,
            mtime: persisted.mtime,
            version: persisted.version,
            // What is stored counts creations. A client is told of creations and deletions, and
            // every child that was created and is not there any more was deleted.
            cversion: persisted
                .cversion
                .wrapping_mul(2)
                .wrapping_sub(num_children),
            aversion: persisted.aversion,
            ephemeral_owner: match self.cell.kind() {
                OwnerKind::Session => persisted.ephemeral_owner,
                OwnerKind::None | OwnerKind::Container | OwnerKind::Ttl => 0,
            },
            // SAFETY: the version lives through `'a`.
            data_length: unsafe { cell::version_data_len(self.version) },
            num_children,
            pzxid: persisted.pzxid,
        }
    }

    /// What a snapshot keeps of the Stat: the raw owner, and the raw counter of created children.
    pub fn persisted(&self) -> StatPersisted {
        let (header, version, dir) = (self.cell.header(), self.version(), self.dir_fields());
        StatPersisted {
            czxid: header.czxid,
            mzxid: version.mzxid,
            ctime: header.ctime,
            mtime: version.mtime,
            version: version.version,
            cversion: dir.cversion,
            aversion: version.aversion,
            ephemeral_owner: self.cell.owner(),
            pzxid: dir.pzxid,
        }
    }

    /// The owner as stored: a session, or the mark of a container or TTL node, or 0.
    pub fn ephemeral_owner(&self) -> i64 {
        self.cell.owner()
    }

    /// How many children there are.
    pub fn num_children(&self) -> i32 {
        self.dir_fields().num_children
    }

    /// The counter that names sequential children: how many children were ever created.
    pub fn child_counter(&self) -> i32 {
        self.dir_fields().cversion
    }

    /// What the node adds to the tree's digest; the digest is the wrapping sum over all nodes.
    pub fn digest(&self) -> u64 {
        u64::from(digest::of_node(self.path(), self.data(), &self.persisted()))
    }

    /// Visits the names of the children, in no order.
    pub fn for_each_child(&self, visit: &mut dyn FnMut(&'a str)) {
        let prefix = match self.path() {
            "/" => 1,
            path => path.len() + 1,
        };
        // SAFETY: nothing that can be seen as of `zxid` is freed during `'a`.
        unsafe {
            for_each_cell(self.cell, self.zxid, &mut |child| {
                visit(&child.path()[prefix..]);
            });
        }
    }

    pub(in crate::tree) fn dir(&self) -> DirFields {
        self.dir_fields()
    }

    pub(in crate::tree) fn kind(&self) -> OwnerKind {
        self.cell.kind()
    }

    pub(in crate::tree) fn version_fields(&self) -> cell::VersionFields {
        let version = self.version();
        cell::VersionFields {
            mzxid: version.mzxid,
            mtime: version.mtime,
            version: version.version,
            aversion: version.aversion,
            acl: Arc::clone(&version.acl),
        }
    }
}

/// So many members ahead of the one that is visited are brought into the cache: cells lie anywhere, and
/// a directory may have more of them than it holds.
const AHEAD: u32 = 8;

/// Asks for a cell's header and the beginning of its path.
fn prefetch(cell: *const Cell) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: this is a hint, which any address may be given to.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(cell.cast());
        _mm_prefetch::<_MM_HINT_T0>(cell.cast::<i8>().wrapping_add(64));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = cell;
}

/// Visits the members of a directory as of `zxid`.
///
/// # Safety
/// Nothing that can be seen as of `zxid` is freed before this returns, nor as long as what is
/// visited is used.
unsafe fn for_each_cell(directory: CellRef, zxid: i64, visit: &mut dyn FnMut(CellRef)) {
    let Some(dir) = directory.dir() else {
        return;
    };
    let Some(array) = NonNull::new(dir.array.load(Ordering::Acquire)) else {
        return;
    };
    // SAFETY: as the caller says. All that is visible as of `zxid` is in this array, whether or not
    // the writer replaces it meanwhile: it was added before `zxid` was published, and is taken out
    // only when no view needs it.
    unsafe {
        let (_, len) = ChildArray::cap_and_len(array);
        for at in 0..len {
            if at + AHEAD < len {
                prefetch(ChildArray::slot(array, at + AHEAD).load(Ordering::Relaxed));
            }
            let member = ChildArray::slot(array, at).load(Ordering::Acquire);
            if let Some(member) = NonNull::new(member) {
                let member = CellRef::new(member);
                if member.is_visible(zxid) {
                    visit(member);
                }
            }
        }
    }
}

/// Visits the nodes of a group as of `zxid`.
///
/// # Safety
/// As for [`for_each_cell`].
pub(super) unsafe fn for_each_member<'a>(
    group: CellRef,
    zxid: i64,
    visit: &mut dyn FnMut(NodeRef<'a>),
) {
    // SAFETY: as the caller says.
    unsafe {
        for_each_cell(group, zxid, &mut |cell| {
            if let Some(version) = cell.version_at(zxid) {
                visit(NodeRef::new(cell, version, zxid));
            }
        });
    }
}

/// Visits all descendants of a node as of `zxid`, parents before children.
///
/// # Safety
/// As for [`for_each_cell`].
unsafe fn walk(from: CellRef, zxid: i64, visit: &mut dyn FnMut(CellRef)) {
    let mut pending = vec![from];
    while let Some(directory) = pending.pop() {
        // SAFETY: as the caller says.
        unsafe {
            for_each_cell(directory, zxid, &mut |child| {
                visit(child);
                if child.dir().is_some() {
                    pending.push(child);
                }
            });
        }
    }
}

/// As [`walk`], with nodes.
///
/// # Safety
/// As for [`for_each_cell`].
pub(super) unsafe fn walk_nodes<'a>(from: CellRef, zxid: i64, visit: &mut dyn FnMut(NodeRef<'a>)) {
    // SAFETY: as the caller says.
    unsafe {
        walk(from, zxid, &mut |cell| {
            if let Some(version) = cell.version_at(zxid) {
                visit(NodeRef::new(cell, version, zxid));
            }
        });
    }
}
