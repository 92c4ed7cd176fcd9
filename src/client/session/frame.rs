//! Frames: a length and that many bytes.

use crate::jute::Record;

use super::SessionError;

/// Bytes of the largest frame that is accepted from a server. Apache's client stops at 1 MiB;
/// lists of children may well be longer.
pub const FRAME_BYTES_MAX: usize = 128 << 20;

/// Appends a frame with what `encode` writes.
pub fn push_frame(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    0i32.encode(out);
    encode(out);
    let length = (out.len() - at - 4) as i32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Takes a whole frame off the front, if there is one.
pub fn split_frame<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, SessionError> {
    let Some((length, behind)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*length);
    if length < 0 || length as usize > FRAME_BYTES_MAX {
        return Err(SessionError::FrameLength(length));
    }
    let Some((frame, behind)) = behind.split_at_checked(length as usize) else {
        return Ok(None);
    };
    *rest = behind;
    Ok(Some(frame))
}
