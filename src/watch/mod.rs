//! The watches registered with one shard.
