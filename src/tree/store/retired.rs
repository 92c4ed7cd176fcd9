//! What is no longer needed, until nobody reads it any more.

use std::ptr::NonNull;

use super::Totals;
use super::cell::{self, CellRef, ChildArray, DirVersion, Link, Version};
use super::index::OldPart;

/// Something that happened: what to free when it can no longer be seen, how to undo it until then.
pub(super) enum Retired {
    /// A version was superseded.
    Version {
        cell: CellRef,
        old: NonNull<Version>,
    },
    /// A state of a directory was superseded.
    DirVersion {
        cell: CellRef,
        old: NonNull<DirVersion>,
    },
    /// A cell was created.
    Born { cell: CellRef, parent: CellRef },
    /// A cell got its tombstone.
    Died { cell: CellRef, parent: CellRef },
    /// A transaction begins; so it was before.
    Mark(Totals),
    /// Out of the index and of every array: only to be freed.
    Cell(CellRef),
    /// Undone: only to be freed.
    UndoneVersion(NonNull<Version>),
    /// Undone: only to be freed.
    UndoneDirVersion(NonNull<DirVersion>),
    /// Undone: only to be freed.
    UndoneTombstone(*mut Link),
    /// Replaced: only to be freed.
    Array(NonNull<ChildArray>),
    /// Replaced: only to be freed.
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
                Retired::Version { old, .. } | Retired::UndoneVersion(old) => {
                    cell::free_version(old);
                }
                Retired::DirVersion { old, .. } | Retired::UndoneDirVersion(old) => {
                    drop(Box::from_raw(old.as_ptr()));
                }
                Retired::UndoneTombstone(tombstone) => cell::free_tombstone(tombstone),
                Retired::Cell(cell) => cell::free_cell(cell),
                Retired::Array(array) => ChildArray::free(array),
                Retired::IndexPart(part) => part.free(),
                Retired::Born { .. } | Retired::Died { .. } | Retired::Mark(_) => {}
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
