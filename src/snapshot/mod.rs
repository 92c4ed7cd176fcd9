//! Writes a view of the tree to disk and loads it back.
