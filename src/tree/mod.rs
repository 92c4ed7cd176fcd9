//! The multi-version znode tree: one writer, many views.
