//! Quorum packets out of a stream of bytes, and into one.

use std::fmt;

use crate::auth::Identity;
use crate::jute::quorum::{AuthId, QuorumPacket, kind};
use crate::jute::{Decoder, JuteError, Record};

use super::rejection::REJECT;

/// Bytes of data that one packet may carry: any transaction, and any list of sessions.
const DATA_MAX: usize = 256 << 20;

/// Identities that one packet may carry, and bytes that one may have.
const AUTHINFO_MAX: usize = 4096;
const AUTH_TEXT_MAX: usize = 1 << 20;

/// Why a peer's bytes cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// A length that no packet has: the peer is no ZooKeeper server, or of an unknown version.
    #[error("a packet announces {0} bytes or elements; the peer is no ZooKeeper server")]
    Length(i32),
    /// The bytes are no packet.
    #[error("a packet cannot be read: {0}")]
    Record(#[from] JuteError),
    /// A packet came that has no place in this phase.
    #[error("{0} has no place here")]
    Unexpected(PacketName),
    /// A packet's data is not what its kind asks for.
    #[error("{0} does not have the data that it needs")]
    Data(PacketName),
}

/// The name of a packet's kind, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketName(pub i32);

impl fmt::Display for PacketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            kind::DIFF => "DIFF",
            kind::TRUNC => "TRUNC",
            kind::SNAP => "SNAP",
            kind::OBSERVER_INFO => "OBSERVERINFO",
            kind::NEW_LEADER => "NEWLEADER",
            kind::FOLLOWER_INFO => "FOLLOWERINFO",
            kind::UP_TO_DATE => "UPTODATE",
            kind::LEADER_INFO => "LEADERINFO",
            kind::ACK_EPOCH => "ACKEPOCH",
            kind::REQUEST => "REQUEST",
            kind::PROPOSAL => "PROPOSAL",
            kind::ACK => "ACK",
            kind::COMMIT => "COMMIT",
            kind::PING => "PING",
            kind::REVALIDATE => "REVALIDATE",
            kind::SYNC => "SYNC",
            kind::INFORM => "INFORM",
            kind::COMMIT_AND_ACTIVATE => "COMMITANDACTIVATE",
            REJECT => "REJECT",
            kind::INFORM_AND_ACTIVATE => "INFORMANDACTIVATE",
            other => return write!(f, "packet of kind {other}"),
        })
    }
}

/// Appends a packet without identities.
pub fn encode_packet(kind: i32, zxid: i64, data: Option<&[u8]>, out: &mut Vec<u8>) {
    kind.encode(out);
    zxid.encode(out);
    data.encode(out);
    // A null list of identities, as Apache's servers send it.
    (-1_i32).encode(out);
}

/// Appends a packet with identities.
pub fn encode_packet_of(
    kind: i32,
    zxid: i64,
    data: Option<&[u8]>,
    identities: &[Identity],
    out: &mut Vec<u8>,
) {
    kind.encode(out);
    zxid.encode(out);
    data.encode(out);
    (identities.len() as i32).encode(out);
    for Identity { scheme, id } in identities {
        AuthId { scheme, id }.encode(out);
    }
}

/// Moves what is to be sent to the end of `into`. An empty one is exchanged for it, so that nothing is
/// copied and its memory is used again.
pub fn move_output(out: &mut Vec<u8>, into: &mut Vec<u8>) {
    if into.is_empty() {
        std::mem::swap(out, into);
    } else {
        into.append(out);
    }
}

/// Cuts packets out of bytes that come in pieces. Packets have no length in front: where one ends
/// is known from its own fields.
#[derive(Debug, Default)]
pub struct PacketReader {
    bytes: Vec<u8>,
    /// Bytes at the front that are done with.
    taken: usize,
}

impl PacketReader {
    /// Adds bytes that came.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.taken > 0 && (self.taken == self.bytes.len() || self.taken >= COMPACT_BYTES) {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that came and are no packet yet.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Takes bytes off the front that are no packet (a tree that follows a SNAP).
    ///
    /// # Panics
    /// If there are not so many.
    pub fn skip(&mut self, count: usize) {
        assert!(count <= self.rest().len(), "only what is there is skipped");
        self.taken += count;
    }

    /// The next packet, if it is whole, with its length for [`PacketReader::skip`].
    ///
    /// # Errors
    /// Where the bytes can become no packet.
    pub fn peek(&self) -> Result<Option<(QuorumPacket<'_>, usize)>, PacketError> {
        let bytes = self.rest();
        let Some(length) = packet_length(bytes)? else {
            return Ok(None);
        };
        let packet = QuorumPacket::decode(&mut Decoder::new(&bytes[..length]))?;
        Ok(Some((packet, length)))
    }
}

/// Bytes that are done with before the rest moves to the front.
const COMPACT_BYTES: usize = 64 << 10;

/// Bytes of the packet at the front; `None` where it is not whole.
fn packet_length(bytes: &[u8]) -> Result<Option<usize>, PacketError> {
    let mut at = 12;
    let Some(data) = read_length(bytes, &mut at, DATA_MAX)? else {
        return Ok(None);
    };
    at += data;
    let Some(count) = read_length(bytes, &mut at, AUTHINFO_MAX)? else {
        return Ok(None);
    };
    for _ in 0..2 * count {
        let Some(text) = read_length(bytes, &mut at, AUTH_TEXT_MAX)? else {
            return Ok(None);
        };
        at += text;
    }
    Ok((at <= bytes.len()).then_some(at))
}

/// Reads a length at `at` and steps over it; a null counts as nothing.
fn read_length(bytes: &[u8], at: &mut usize, max: usize) -> Result<Option<usize>, PacketError> {
    let Some(field) = bytes.get(*at..).and_then(|rest| rest.first_chunk::<4>()) else {
        return Ok(None);
    };
    *at += 4;
    match i32::from_be_bytes(*field) {
        -1 => Ok(Some(0)),
        length => match usize::try_from(length) {
            Ok(length) if length <= max => Ok(Some(length)),
            _ => Err(PacketError::Length(i32::from_be_bytes(*field))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_of_bytes_cut_anywhere() {
        let mut bytes = Vec::new();
        encode_packet(kind::PROPOSAL, 7, Some(b"transaction"), &mut bytes);
        encode_packet(kind::UP_TO_DATE, -1, None, &mut bytes);
        let auth = [Identity::new("digest", "user:hash")];
        encode_packet_of(kind::REQUEST, -1, Some(b"r"), &auth, &mut bytes);
        for piece in [1, 2, 3, 7, bytes.len()] {
            let mut reader = PacketReader::default();
            let mut kinds = Vec::new();
            for part in bytes.chunks(piece) {
                reader.extend(part);
                while let Some((packet, length)) = reader.peek().expect("they are packets") {
                    kinds.push((packet.kind, packet.zxid, packet.authinfo.len()));
                    reader.skip(length);
                }
            }
            assert_eq!(
                kinds,
                [
                    (kind::PROPOSAL, 7, 0),
                    (kind::UP_TO_DATE, -1, 0),
                    (kind::REQUEST, -1, 1)
                ]
            );
            assert!(reader.rest().is_empty());
        }
    }

    #[test]
    fn lengths_of_no_packet_are_refused() {
        let mut reader = PacketReader::default();
        reader.extend(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(matches!(reader.peek(), Err(PacketError::Length(_))));
        let mut reader = PacketReader::default();
        reader.extend(&[0; 12]);
        reader.extend(&[0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(reader.peek(), Err(PacketError::Length(-2)));
    }
}
