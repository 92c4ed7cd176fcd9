//! The jute codec and the records of the ZooKeeper protocol.
