//! Every bound in one place, tied together by constant assertions.

/// Default of `jute.maxbuffer` on a server, in bytes: the largest request accepted.
pub const JUTE_MAX_BUFFER_DEFAULT: usize = 0xf_ffff;

/// What a record may exceed `jute.maxbuffer` by when it is read back from a log or packet, in
/// bytes (Apache's `zookeeper.jute.maxbuffer.extrasize`).
pub const JUTE_EXTRA_SIZE_DEFAULT: usize = 1024;

/// Requests taken in and not yet answered, over all clients (`globalOutstandingLimit`).
pub const GLOBAL_OUTSTANDING_DEFAULT: usize = 1000;

/// Writes that one shard may have on the way to the sequencer.
pub const SHARD_RING_LEN: usize = 4096;

/// Requests of one connection that are read and not yet answered; past it the shard stops reading
/// the socket.
pub const CONNECTION_PIPELINE_MAX: usize = 1024;

/// Bytes of such requests past which the shard stops reading the socket too, so that large
/// requests do not pile up by their number.
pub const CONNECTION_PENDING_BYTES_MAX: usize = 4 << 20;

/// Requests that one connection may have in progress when those of all clients are too many
/// ([`GLOBAL_OUTSTANDING_DEFAULT`]), in a turn that begins when it has none.
pub const CONNECTION_TURN: usize = 16;

/// Bytes of the answer to one multiRead, which a small request could else make as large as it
/// likes by naming a large node again and again.
pub const MULTI_READ_REPLY_MAX: usize = 32 << 20;

/// Identities that one connection may prove; an auth packet beyond it fails.
pub const IDENTITIES_MAX: usize = 256;

/// Bytes waiting to be sent to one connection before the shard stops serving its requests.
pub const CONNECTION_SEND_SOFT_MAX: usize = 4 << 20;

/// Bytes waiting to be sent to one connection before it is cut off: only notifications can pile
/// up past the soft bound.
pub const CONNECTION_SEND_HARD_MAX: usize = 64 << 20;

/// Bytes of one reply, unless `jute.maxbuffer` lets a node hold more. The request whose reply would
/// be larger gets an error instead: no client takes so large a packet, and the connection would be
/// cut off for it.
pub const REPLY_MAX: usize = CONNECTION_SEND_HARD_MAX - 2 * CONNECTION_SEND_SOFT_MAX;

/// Published batches that a shard may lag behind before the sequencer stops taking writes.
pub const PUBLISH_RING_LEN: usize = 1024;

const _: () = assert!(CONNECTION_SEND_SOFT_MAX < CONNECTION_SEND_HARD_MAX);
const _: () = assert!(CONNECTION_SEND_SOFT_MAX > JUTE_MAX_BUFFER_DEFAULT);
const _: () = assert!(MULTI_READ_REPLY_MAX < REPLY_MAX);
const _: () = assert!(REPLY_MAX + CONNECTION_SEND_SOFT_MAX < CONNECTION_SEND_HARD_MAX);
const _: () = assert!(SHARD_RING_LEN >= CONNECTION_PIPELINE_MAX);
