//! Counters and histograms under the names that Apache ZooKeeper uses.
