//! One election connection: frames in and out.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;

use super::greeting::{self, Greeting};

/// The longest message, as in Apache (`PACKETMAXSIZE`).
pub(super) const MESSAGE_MAX: usize = 512 * 1024;
/// Bytes read from one connection before the others have their turn.
const READ_BURST: usize = 128 * 1024;

pub(super) struct Link {
    pub(super) stream: TcpStream,
    pub(super) address: SocketAddr,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
}

/// What a read has brought beside bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All there was.
    Drained,
    /// There may be more.
    More,
    /// The peer has closed.
    Closed,
}

impl Link {
    pub(super) fn new(stream: TcpStream, address: SocketAddr) -> Link {
        Link {
            stream,
            address,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
        }
    }

    pub(super) fn read(&mut self) -> io::Result<Progress> {
        let mut chunk = [0; 16 * 1024];
        let mut total = 0;
        while total < READ_BURST {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(Progress::Closed),
                Ok(count) => {
                    self.input.extend_from_slice(&chunk[..count]);
                    total += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Progress::Drained);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Progress::More)
    }

    /// The first message of a new connection, once it is whole.
    pub(super) fn greeting(&mut self) -> Result<Option<Greeting>, greeting::GreetingError> {
        let Some((greeting, length)) = greeting::read(&self.input)? else {
            return Ok(None);
        };
        self.input.drain(..length);
        Ok(Some(greeting))
    }

    /// Takes the whole messages that have come; `Err` has the length that no message has.
    pub(super) fn messages(&mut self) -> (Vec<Vec<u8>>, Result<(), i32>) {
        let mut messages = Vec::new();
        let mut at = 0;
        let mut result = Ok(());
        while let Some((head, rest)) = self.input[at..].split_first_chunk::<4>() {
            let claimed = i32::from_be_bytes(*head);
            let length = match usize::try_from(claimed) {
                Ok(length @ 1..=MESSAGE_MAX) => length,
                _ => {
                    result = Err(claimed);
                    break;
                }
            };
            let Some(message) = rest.get(..length) else {
                break;
            };
            messages.push(message.to_vec());
            at += 4 + length;
        }
        self.input.drain(..at);
        (messages, result)
    }

    pub(super) fn is_sending(&self) -> bool {
        !self.output.is_empty()
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    pub(super) fn put_message(&mut self, message: &[u8]) {
        let length = u32::try_from(message.len()).expect("election messages are short");
        self.put(&length.to_be_bytes());
        self.put(message);
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }
}
