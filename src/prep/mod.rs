//! Turns a request into a transaction, or into the error that Apache ZooKeeper would give.
