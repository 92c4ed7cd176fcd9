//! What is no longer needed, until nobody reads it any more.

use std::ptr::NonNull;

use super::cell::{self, CellRef, ChildArray, DirVersion, Version};
use super::index::OldPart;

/// Something that is freed when it can no longer be seen.
pub(super) enum Retired {
    /// A version was superseded.
    Version(NonNull<Version>),
    /// A state of a directory was superseded.
    DirVersion(NonNull<DirVersion>),
    /// A cell got its tombstone.
    Died { cell: CellRef, parent: CellRef },
    /// A transaction begins: the tree's digest until then.
    Mark { digest: u64 },
    /// Out of the index and of every array.
    Cell(CellRef),
    /// Replaced.
    Array(NonNull<ChildArray>),
    /// Replaced.
    IndexPart(OldPart),
}

impl Retired {
    /// Frees what this owns.
    ///
    /// # Safety
    /// Nobody reads it now or later.
    pub(super) unsafe fn free(self) {
        // SAFETY: as the caller says; each by the function that belongs to its allocation.
        unsafe {
            match self {
                Retired::Version(old) => cell::free_version(old),
                Retired::DirVersion(old) => drop(Box::from_raw(old.as_ptr())),
                Retired::Cell(cell) => cell::free_cell(cell),
                Retired::Array(array) => ChildArray::free(array),
                Retired::IndexPart(part) => part.free(),
                Retired::Died { .. } | Retired::Mark { .. } => {}
            }
        }
    }
}

/// A part of the writer's queue.
pub(super) struct Entry {
    /// When it was superseded or taken out, as the module above explains.
    pub(super) stamp: i64,
    pub(super) what: Retired,
}
