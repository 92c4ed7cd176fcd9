//! The bytes of a notification, in every version that Apache ZooKeeper sends or reads
//! (`FastLeaderElection.buildMsg` and `WorkerReceiver`).
//!
//! All integers are big-endian: state (4 bytes), leader, zxid, election epoch (8 each); then, since
//! 3.4, peer epoch (8); since 3.4.6, version (4); in version 2, since 3.5, the length of the
//! configuration (4) and its text. A message of exactly 40 bytes is read as one without a version,
//! although version 1 has as many, as Apache does.

use super::{PeerState, Vote};
use crate::types::{ServerId, Zxid};

/// The version that is written: with configuration.
pub const VERSION: i32 = 2;

const BYTES_WITHOUT_EPOCH: usize = 28;
const BYTES_WITHOUT_VERSION: usize = 40;

/// What one server tells another about its vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification<'a> {
    /// The sender's state; `None` for a number that Apache does not know.
    pub state: Option<PeerState>,
    /// The sender's vote.
    pub vote: Vote,
    /// Version of the format: 0 for one that does not say.
    pub version: i32,
    /// The sender's configuration as text, from version 2 on.
    pub config: Option<&'a [u8]>,
}

/// A message that is no notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Ends before its last field.
    #[error("a notification of {0} bytes ends too early")]
    Short(usize),
    /// The length of the configuration is negative or longer than the message.
    #[error("a notification of {bytes} bytes claims {config_length} bytes of configuration")]
    ConfigLength {
        /// Bytes of the message.
        bytes: usize,
        /// What it claims.
        config_length: i32,
    },
}

/// Reads a notification. Bytes after it are ignored, as Apache does.
pub fn read(message: &[u8]) -> Result<Notification<'_>, WireError> {
    let bytes = message.len();
    let mut rest = Reader { rest: message };
    let short = WireError::Short(bytes);
    let state = rest.int().ok_or(short)?;
    let leader = rest.long().ok_or(short)?;
    let zxid = rest.long().ok_or(short)?;
    let election_epoch = rest.long().ok_or(short)?;
    let mut notification = Notification {
        state: PeerState::from_code(state),
        vote: Vote {
            leader: ServerId(leader),
            zxid: Zxid(zxid),
            // Before there was a field for it, the zxid's epoch stood for it.
            peer_epoch: zxid >> 32,
            election_epoch,
        },
        version: 0,
        config: None,
    };
    if bytes == BYTES_WITHOUT_EPOCH {
        return Ok(notification);
    }
    notification.vote.peer_epoch = rest.long().ok_or(short)?;
    if bytes == BYTES_WITHOUT_VERSION {
        return Ok(notification);
    }
    notification.version = rest.int().ok_or(short)?;
    if notification.version > 1 {
        let config_length = rest.int().ok_or(short)?;
        let config = usize::try_from(config_length)
            .ok()
            .and_then(|length| rest.bytes(length));
        notification.config = Some(config.ok_or(WireError::ConfigLength {
            bytes,
            config_length,
        })?);
    }
    Ok(notification)
}

/// Writes a notification of [`VERSION`] with the text of the configuration.
///
/// Panics if the text has 2 GiB, which no configuration has.
pub fn write(state: PeerState, vote: Vote, config: &[u8]) -> Vec<u8> {
    let length = i32::try_from(config.len()).expect("a configuration is a short text");
    let mut message = Vec::with_capacity(44 + config.len());
    message.extend_from_slice(&state.code().to_be_bytes());
    message.extend_from_slice(&vote.leader.0.to_be_bytes());
    message.extend_from_slice(&vote.zxid.0.to_be_bytes());
    message.extend_from_slice(&vote.election_epoch.to_be_bytes());
    message.extend_from_slice(&vote.peer_epoch.to_be_bytes());
    message.extend_from_slice(&VERSION.to_be_bytes());
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(config);
    message
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn int(&mut self) -> Option<i32> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(i32::from_be_bytes(*taken))
    }

    fn long(&mut self) -> Option<i64> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(i64::from_be_bytes(*taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// state 2, leader 3, zxid 0x500000007, election epoch 4.
    const LEGACY: [u8; 28] = [
        0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 4,
    ];

    fn vote(peer_epoch: i64) -> Vote {
        Vote {
            leader: ServerId(3),
            zxid: Zxid(0x5_0000_0007),
            peer_epoch,
            election_epoch: 4,
        }
    }

    fn with(more: &[u8]) -> Vec<u8> {
        [&LEGACY[..], more].concat()
    }

    #[test]
    fn every_version_is_read() {
        let epoch = [0, 0, 0, 0, 0, 0, 0, 6];
        let version =
            |version: u8, more: &[u8]| with(&[&epoch[..], &[0, 0, 0, version], more].concat());
        type Case<'a> = (Vec<u8>, i64, i32, Option<&'a [u8]>);
        let cases: [Case<'_>; 6] = [
            (LEGACY.to_vec(), 5, 0, None),
            (version(1, b""), 6, 0, None),
            (version(1, b"abc"), 6, 1, None),
            (version(2, b"\0\0\0\0"), 6, 2, Some(b"")),
            (version(2, b"\0\0\0\x02abc"), 6, 2, Some(b"ab")),
            (version(9, b"\0\0\0\x03abc"), 6, 9, Some(b"abc")),
        ];
        for (message, peer_epoch, version, config) in &cases {
            let expected = Notification {
                state: Some(PeerState::Leading),
                vote: vote(*peer_epoch),
                version: *version,
                config: *config,
            };
            assert_eq!(read(message), Ok(expected), "{message:?}");
        }
    }

    #[test]
    fn what_is_written_has_the_bytes_of_the_reference() {
        let written = write(PeerState::Leading, vote(6), b"version=0");
        let golden = with(b"\0\0\0\0\0\0\0\x06\0\0\0\x02\0\0\0\x09version=0");
        assert_eq!(written, golden);
        let read = read(&written).expect("just written");
        assert_eq!((read.vote, read.config), (vote(6), Some(&b"version=0"[..])));
    }

    #[test]
    fn what_is_cut_or_lies_about_its_length_is_refused() {
        let whole = write(PeerState::Looking, vote(6), b"version=0");
        for length in 0..whole.len() {
            let is_a_version = length == 28 || length == 40;
            assert_eq!(read(&whole[..length]).is_ok(), is_a_version, "{length}");
        }
        for claim in [-1, i32::MAX, 10] {
            let mut message = whole.clone();
            message[40..44].copy_from_slice(&i32::to_be_bytes(claim));
            assert!(matches!(
                read(&message),
                Err(WireError::ConfigLength { .. })
            ));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(message in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&message);
        }
    }
}
