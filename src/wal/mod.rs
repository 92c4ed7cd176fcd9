//! The write-ahead log: segments, group commit, recovery.
