//! The sockets between leaders and learners, on the sequencer's ring.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;

use crate::rt::ring::{Ring, StableBytes};
use crate::types::LinkId;

/// A connected socket.
struct Socket {
    stream: TcpStream,
    is_sending: bool,
    /// Shut; it goes when the ring has let go of it.
    is_closed: bool,
}

/// All links of a server. Each is read all the time; what is to be sent goes out one buffer at a
/// time.
#[derive(Default)]
pub struct Links {
    sockets: BTreeMap<LinkId, Socket>,
    next_id: u64,
}

impl Links {
    /// Takes a socket in and starts to read it.
    pub fn open<B: StableBytes>(
        &mut self,
        stream: TcpStream,
        ring: &mut Ring<B>,
    ) -> io::Result<LinkId> {
        let id = LinkId(self.next_id);
        self.next_id += 1;
        ring.receive(id.0, stream.as_raw_fd())?;
        self.sockets.insert(
            id,
            Socket {
                stream,
                is_sending: false,
                is_closed: false,
            },
        );
        Ok(id)
    }

    /// Whether a link can take a buffer to send.
    pub fn can_send(&self, id: LinkId) -> bool {
        self.sockets
            .get(&id)
            .is_some_and(|socket| !socket.is_sending && !socket.is_closed)
    }

    /// Sends a buffer over a link that can take one.
    pub fn send<B: StableBytes>(
        &mut self,
        id: LinkId,
        buffer: Vec<u8>,
        ring: &mut Ring<B>,
    ) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return Ok(());
        };
        socket.is_sending = true;
        ring.send(id.0, socket.stream.as_raw_fd(), buffer)
    }

    /// A buffer has gone out, or has failed to. Whether the link still stands.
    pub fn sent<B: StableBytes>(&mut self, id: LinkId, is_well: bool, ring: &Ring<B>) -> bool {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.is_sending = false;
        }
        if !is_well {
            self.close(id, ring);
        }
        self.forget_if_idle(id, ring)
    }

    /// Bytes were taken in; reads on. Whether the link still stands.
    pub fn received<B: StableBytes>(
        &mut self,
        id: LinkId,
        is_well: bool,
        ring: &mut Ring<B>,
    ) -> io::Result<bool> {
        if !is_well {
            self.close(id, ring);
        }
        if !self.forget_if_idle(id, ring) {
            return Ok(false);
        }
        if let Some(socket) = self.sockets.get(&id) {
            ring.receive(id.0, socket.stream.as_raw_fd())?;
        }
        Ok(true)
    }

    /// Shuts a link; what the ring still has of it comes back in error.
    pub fn close<B: StableBytes>(&mut self, id: LinkId, ring: &Ring<B>) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.is_closed = true;
            // An error means that the peer was faster.
            let _ = socket.stream.shutdown(Shutdown::Both);
        }
        self.forget_if_idle(id, ring);
    }

    /// Drops the socket of a closed link once nothing is in flight on it. Whether the link stands.
    fn forget_if_idle<B: StableBytes>(&mut self, id: LinkId, ring: &Ring<B>) -> bool {
        let Some(socket) = self.sockets.get(&id) else {
            return false;
        };
        if socket.is_closed && !ring.is_busy(id.0) {
            self.sockets.remove(&id);
            return false;
        }
        !socket.is_closed
    }
}
