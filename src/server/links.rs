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
    /// Not read for now: nothing is in flight that would bring more.
    is_held: bool,
    /// Shut; it goes when the ring has let go of it.
    is_closed: bool,
}

/// All links of a server. Each is read all the time unless it is held; what is to be sent goes out one
/// buffer at a time.
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
                is_held: false,
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

    /// Bytes were taken in; reads on, or holds the link until [`Links::resume`]. Whether the link still
    /// stands.
    pub fn received<B: StableBytes>(
        &mut self,
        id: LinkId,
        is_well: bool,
        reads_on: bool,
        ring: &mut Ring<B>,
    ) -> io::Result<bool> {
        if !is_well {
            self.close(id, ring);
        }
        if !self.forget_if_idle(id, ring) {
            return Ok(false);
        }
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.is_held = !reads_on;
            if reads_on {
                ring.receive(id.0, socket.stream.as_raw_fd())?;
            }
        }
        Ok(true)
    }

    /// Reads links that were held, as far as `reads_on` says so.
    pub fn resume<B: StableBytes>(
        &mut self,
        reads_on: impl Fn(LinkId) -> bool,
        ring: &mut Ring<B>,
    ) -> io::Result<()> {
        for (id, socket) in &mut self.sockets {
            if socket.is_held && !socket.is_closed && reads_on(*id) {
                socket.is_held = false;
                ring.receive(id.0, socket.stream.as_raw_fd())?;
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::mailbox::RingBell;
    use crate::rt::ring::Completion;
    use std::io::Write;
    use std::net::TcpListener;
    use std::time::Duration;

    #[derive(Debug)]
    struct NoBytes;

    // SAFETY: there are none.
    unsafe impl StableBytes for NoBytes {
        fn bytes(&self) -> &[u8] {
            &[]
        }
    }

    /// What comes in within a while, if anything does.
    fn received(ring: &mut Ring<NoBytes>) -> Option<Vec<u8>> {
        let mut sink = Vec::new();
        ring.wait(Duration::from_millis(200), || true, &mut sink)
            .expect("waits");
        sink.pop().map(|completion| match completion {
            Completion::Received { result, .. } => result.expect("well"),
            other => panic!("nothing else was started: {other:?}"),
        })
    }

    #[test]
    fn a_held_link_is_read_again_when_it_is_resumed() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut peer = std::net::TcpStream::connect(address).expect("connects");
        let (stream, _) = listener.accept().expect("a connection");
        let bell = RingBell::new().expect("an eventfd");
        let mut ring = Ring::new(bell, Duration::ZERO).expect("a ring");
        let mut links = Links::default();
        let id = links.open(stream, &mut ring).expect("read");

        peer.write_all(b"one").expect("sent");
        assert_eq!(received(&mut ring).as_deref(), Some(&b"one"[..]));
        assert!(links.received(id, true, false, &mut ring).expect("held"));
        peer.write_all(b"two").expect("sent");
        assert_eq!(received(&mut ring), None, "it stays in the socket");
        links.resume(|_| false, &mut ring).expect("not yet");
        assert_eq!(received(&mut ring), None);
        links.resume(|link| link == id, &mut ring).expect("read");
        assert_eq!(received(&mut ring).as_deref(), Some(&b"two"[..]));

        assert!(links.received(id, true, false, &mut ring).expect("held"));
        links.close(id, &ring);
        links.resume(|_| true, &mut ring).expect("closed");
        assert!(!links.can_send(id) && !ring.is_busy(id.0), "it is gone");
    }
}
