//! Tests of snapshots as a whole.
