//! Frames out of a stream of bytes: a big-endian `i32` length and that many bytes.

use super::error::ProtocolError;

/// The longest frame that is believed, in bytes. A directory of millions of children still fits.
pub const FRAME_LENGTH_MAX: usize = 256 << 20;

const LENGTH_BYTES: usize = 4;

/// Keeps what is left of a frame between reads; whole frames are handed on without a copy.
#[derive(Debug, Default)]
pub struct Frames {
    partial: Vec<u8>,
}

impl Frames {
    /// Hands each frame that `bytes` completes to `each`, without its length.
    ///
    /// After an error the stream is out of step and must be closed.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        while !self.partial.is_empty() {
            let missing = missing(&self.partial)?;
            let taken = missing.min(bytes.len());
            self.partial.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if taken < missing {
                return Ok(());
            }
            // Either the length is now known, or the frame is whole.
            if self.partial.len() > LENGTH_BYTES || self::missing(&self.partial)? == 0 {
                let frame = std::mem::take(&mut self.partial);
                each(&frame[LENGTH_BYTES..])?;
                self.partial = frame;
                self.partial.clear();
            }
        }
        loop {
            let missing = missing(bytes)?;
            if missing > 0 {
                self.partial.extend_from_slice(bytes);
                return Ok(());
            }
            let (frame, rest) = bytes.split_at(frame_end(bytes)?);
            each(&frame[LENGTH_BYTES..])?;
            bytes = rest;
        }
    }

    /// Forgets what is left of a frame.
    pub fn clear(&mut self) {
        self.partial.clear();
    }
}

/// How many more bytes `bytes` needs to hold its length, or, once that is there, the frame.
fn missing(bytes: &[u8]) -> Result<usize, ProtocolError> {
    if bytes.len() < LENGTH_BYTES {
        return Ok(LENGTH_BYTES - bytes.len());
    }
    Ok(frame_end(bytes)?.saturating_sub(bytes.len()))
}

/// Where the frame at the front of `bytes` ends; `bytes` holds at least its length.
fn frame_end(bytes: &[u8]) -> Result<usize, ProtocolError> {
    let length = bytes
        .first_chunk::<LENGTH_BYTES>()
        .copied()
        .map(i32::from_be_bytes)
        .expect("callers checked that the length is there");
    match usize::try_from(length) {
        Ok(length) if length <= FRAME_LENGTH_MAX => Ok(LENGTH_BYTES + length),
        _ => Err(ProtocolError::FrameLength(length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(bodies: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for body in bodies {
            bytes.extend_from_slice(&(body.len() as i32).to_be_bytes());
            bytes.extend_from_slice(body);
        }
        bytes
    }

    #[test]
    fn frames_come_out_however_the_stream_is_cut() {
        let bodies: [&[u8]; 5] = [b"", b"a", b"four", &[7; 300], b"end"];
        let bytes = stream(&bodies);
        for piece in 1..=bytes.len() {
            let mut frames = Frames::default();
            let mut seen: Vec<Vec<u8>> = Vec::new();
            for part in bytes.chunks(piece) {
                frames
                    .feed(part, |frame| {
                        seen.push(frame.to_vec());
                        Ok(())
                    })
                    .expect("a valid stream");
            }
            assert_eq!(seen, bodies, "pieces of {piece}");
            assert!(frames.partial.is_empty());
        }
    }

    #[test]
    fn bad_lengths_are_refused() {
        for length in [-1, i32::MIN, i32::MAX] {
            let bytes = length.to_be_bytes();
            let refused = Err(ProtocolError::FrameLength(length));
            assert_eq!(Frames::default().feed(&bytes, |_| Ok(())), refused);
            let mut frames = Frames::default();
            assert_eq!(frames.feed(&bytes[..2], |_| Ok(())), Ok(()));
            assert_eq!(frames.feed(&bytes[2..], |_| Ok(())), refused);
        }
    }
}
