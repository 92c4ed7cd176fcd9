//! The composition root: per-core loops and recovery at start.
