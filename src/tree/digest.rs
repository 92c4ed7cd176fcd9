//! The digest of the tree, version 2 (Apache's `DigestCalculator` and `AdHash`): replicas compare
//! themselves by it.

use crc32fast::Hasher;

use crate::jute::data::StatPersisted;

/// The version of the digest, as it stands in `TxnDigest::version`.
pub const DIGEST_VERSION: i32 = 2;

/// Nodes below this are left out: quotas are counted by each server for itself.
const LEFT_OUT: &str = "/zookeeper/";

/// What a node adds to the digest: the CRC-32 of path, data and Stat.
pub(super) fn of_node(path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> u32 {
    if path.starts_with(LEFT_OUT) {
        return 0;
    }
    let mut fixed = [0; 60];
    let longs = [stat.czxid, stat.mzxid, stat.pzxid, stat.ctime, stat.mtime];
    let ints = [stat.version, stat.cversion, stat.aversion];
    for (to, long) in fixed[..40].chunks_exact_mut(8).zip(longs) {
        to.copy_from_slice(&long.to_be_bytes());
    }
    for (to, int) in fixed[40..52].chunks_exact_mut(4).zip(ints) {
        to.copy_from_slice(&int.to_be_bytes());
    }
    fixed[52..].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());

    let mut crc = Hasher::new();
    // The root goes by its other name.
    if path != "/" {
        crc.update(path.as_bytes());
    }
    crc.update(data.unwrap_or_default());
    crc.update(&fixed);
    crc.finalize()
}
