//! The ring of the sequencer's loop: its bell, its log writes, its peers' sockets and its timer in
//! one place.

use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::opcode;
use io_uring::types::Fd;

use super::loop_ring::{LoopRing, OWN};
use super::mailbox::RingBell;

/// Bytes that stay where they are while the kernel reads them.
///
/// # Safety
///
/// `bytes` must return the same memory, valid and unchanged, until the value is dropped, also when
/// the value itself is moved.
pub unsafe trait StableBytes {
    /// The bytes.
    fn bytes(&self) -> &[u8];
}

/// What the ring has to say.
#[derive(Debug)]
pub enum Completion<B> {
    /// A write has ended, well or not.
    Written {
        /// The number that the caller gave it.
        id: u64,
        /// The buffer, given back.
        buffer: B,
        /// Bytes written.
        result: io::Result<usize>,
    },
    /// Bytes have come in on a link, or no more will.
    Received {
        /// The number that the caller gave the link.
        link: u64,
        /// The bytes; none when the peer has closed. [`Ring::reuse`] takes the buffer back.
        result: io::Result<Vec<u8>>,
    },
    /// A buffer was handed to a link's socket to its end, or it failed on the way.
    Sent {
        /// The number that the caller gave the link.
        link: u64,
        /// The buffer, given back.
        buffer: Vec<u8>,
        /// Why it failed.
        result: io::Result<()>,
    },
}

const ENTRIES: u32 = 64;
const COMPLETIONS: u32 = 2 * ENTRIES;
/// Two bits of an entry's number say what it is; the rest is the caller's.
const KIND: u64 = OWN;
const WRITE: u64 = 0;
const RECEIVE: u64 = 1 << 62;
const SEND: u64 = 2 << 62;

/// Bytes that one receive takes at most.
pub const RECEIVE_BYTES: usize = 64 * 1024;
/// Receive buffers that are kept for reuse.
const SPARE_BUFFERS: usize = 16;
/// Bytes handed to a socket at once, within what an entry can say.
const SEND_BYTES: usize = 1 << 30;

struct Sending {
    link: u64,
    fd: RawFd,
    buffer: Vec<u8>,
    sent: usize,
    /// A part was sent, and nothing is in flight.
    is_paused: bool,
}

/// A ring that writes files, receives and sends on sockets, and waits for a bell.
///
/// Buffers in flight belong to the ring: dropping it ends what waits for a peer and waits until the
/// kernel has let go of all of them.
///
/// A link is a connected socket in blocking mode, under a number of the caller's. It has at most
/// one receive and one send in flight, which keeps its bytes in order. The caller keeps the
/// descriptor open until both have completed; `shutdown` of the socket makes them.
pub struct Ring<B: StableBytes> {
    ring: LoopRing,
    writes: Vec<(u64, B)>,
    receives: Vec<(u64, Vec<u8>)>,
    sends: Vec<Sending>,
    spare: Vec<Vec<u8>>,
}

impl<B: StableBytes> Ring<B> {
    /// A ring that waits for `bell`, for the calling thread alone, which looks for something to do
    /// for as long as `spin` before it sleeps.
    pub fn new(bell: RingBell, spin: Duration) -> io::Result<Ring<B>> {
        Ok(Ring {
            ring: LoopRing::new(bell, spin, ENTRIES, COMPLETIONS)?,
            writes: Vec::new(),
            receives: Vec::new(),
            sends: Vec::new(),
            spare: Vec::new(),
        })
    }

    /// Writes in flight.
    pub fn writes_in_flight(&self) -> usize {
        self.writes.len()
    }

    /// Starts writing `buffer` at `offset` of `file`, which the caller keeps open until the
    /// completion. At most [`ENTRIES`] − 1 writes may be in flight.
    pub fn write(&mut self, id: u64, file: RawFd, offset: u64, buffer: B) -> io::Result<()> {
        assert!(
            id & KIND == WRITE && self.writes.len() < ENTRIES as usize - 1,
            "bounded by the log"
        );
        let bytes = buffer.bytes();
        let length = u32::try_from(bytes.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a write over 4 GiB"))?;
        let entry = opcode::Write::new(Fd(file), bytes.as_ptr(), length)
            .offset(offset)
            .build()
            .user_data(id);
        self.writes.push((id, buffer));
        // SAFETY: the bytes stay in place by the contract of StableBytes; the buffer is in
        // `writes` until its completion, and `drop` waits for what is in flight.
        unsafe { self.ring.push(&entry) }
    }

    /// Starts receiving on a link. Panics if the link receives already.
    pub fn receive(&mut self, link: u64, fd: RawFd) -> io::Result<()> {
        let is_new = self.receives.iter().all(|(other, _)| *other != link);
        assert!(link & KIND == 0 && is_new, "one receive a link");
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.resize(RECEIVE_BYTES, 0);
        let entry = opcode::Recv::new(Fd(fd), buffer.as_mut_ptr(), RECEIVE_BYTES as u32)
            .build()
            .user_data(RECEIVE | link);
        // Moving the vector does not move its bytes.
        self.receives.push((link, buffer));
        // SAFETY: the bytes stay in place, and nobody touches them, while the vector is in
        // `receives`: until its completion. `drop` waits for that, too.
        unsafe { self.ring.push(&entry) }
    }

    /// Starts sending all of `buffer` on a link. Panics if the link sends already.
    pub fn send(&mut self, link: u64, fd: RawFd, buffer: Vec<u8>) -> io::Result<()> {
        let is_new = self.sends.iter().all(|other| other.link != link);
        assert!(link & KIND == 0 && is_new, "one send a link");
        self.sends.push(Sending {
            link,
            fd,
            buffer,
            sent: 0,
            is_paused: false,
        });
        self.push_send(self.sends.len() - 1)
    }

    /// Takes back the buffer of a receive, so that the next one needs no new memory.
    pub fn reuse(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS && buffer.capacity() >= RECEIVE_BYTES {
            self.spare.push(buffer);
        }
    }

    /// Whether a link has a receive or a send in flight, so that its descriptor must stay open.
    pub fn is_busy(&self, link: u64) -> bool {
        self.receives.iter().any(|(other, _)| *other == link)
            || self.sends.iter().any(|other| other.link == link)
    }

    /// Starts sending what is left of the send at this index.
    fn push_send(&mut self, at: usize) -> io::Result<()> {
        let sending = &self.sends[at];
        let rest = &sending.buffer[sending.sent..];
        let length = rest.len().min(SEND_BYTES) as u32;
        let entry = opcode::Send::new(Fd(sending.fd), rest.as_ptr(), length)
            .flags(libc::MSG_NOSIGNAL)
            .build()
            .user_data(SEND | sending.link);
        // SAFETY: the bytes stay in place, and nobody changes them, while the vector is in
        // `sends`: until its completion. `drop` waits for that, too.
        unsafe { self.ring.push(&entry) }
    }

    /// Wakes another loop, at the latest when this one waits.
    pub fn ring(&mut self, bell: &RingBell) -> io::Result<()> {
        self.ring.ring(bell)
    }

    /// Hands over what was started, bells that were rung among it, before the next wait does.
    pub fn hand_over(&mut self) -> io::Result<()> {
        self.ring.poll()
    }

    /// Waits until a completion, the bell, or the timeout. `idle` is asked once more after the bell
    /// is told that we sleep, so that no message is missed.
    pub fn wait(
        &mut self,
        timeout: Duration,
        idle: impl Fn() -> bool,
        sink: &mut Vec<Completion<B>>,
    ) -> io::Result<()> {
        self.ring.wait(0, timeout, idle)?;
        self.collect(sink);
        Ok(())
    }

    fn collect(&mut self, sink: &mut Vec<Completion<B>>) {
        let mut is_unfinished = false;
        let (writes, receives, sends) = (&mut self.writes, &mut self.receives, &mut self.sends);
        self.ring.collect(|number, code, _| {
            let result = match code {
                error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
                count => Ok(count as usize),
            };
            let id = number & !KIND;
            match number & KIND {
                WRITE => sink.push(written(writes, id, result)),
                RECEIVE => sink.push(received(receives, id, result)),
                _ => match sent(sends, id, result) {
                    Some(completion) => sink.push(completion),
                    None => is_unfinished = true,
                },
            }
        });
        if is_unfinished {
            self.go_on_sending(sink);
        }
    }

    /// Sends the rest of what a socket took only a part of.
    fn go_on_sending(&mut self, sink: &mut Vec<Completion<B>>) {
        let mut at = 0;
        while at < self.sends.len() {
            if !mem::take(&mut self.sends[at].is_paused) {
                at += 1;
                continue;
            }
            match self.push_send(at) {
                Ok(()) => at += 1,
                Err(error) => {
                    let sending = self.sends.swap_remove(at);
                    sink.push(Completion::Sent {
                        link: sending.link,
                        buffer: sending.buffer,
                        result: Err(error),
                    });
                }
            }
        }
    }

    /// Asks the kernel to give up what could wait for a peer for ever.
    fn cancel_links(&mut self) -> io::Result<()> {
        let receives = self.receives.iter().map(|(link, _)| RECEIVE | link);
        let sends = self.sends.iter().map(|sending| SEND | sending.link);
        let numbers: Vec<u64> = receives.chain(sends).collect();
        for number in numbers {
            self.ring.cancel(number)?;
        }
        Ok(())
    }
}

fn written<B>(writes: &mut Vec<(u64, B)>, id: u64, result: io::Result<usize>) -> Completion<B> {
    let Some(at) = writes.iter().position(|(writing, _)| *writing == id) else {
        unreachable!("the kernel completes only what was started")
    };
    let (id, buffer) = writes.swap_remove(at);
    Completion::Written { id, buffer, result }
}

fn received<B>(
    receives: &mut Vec<(u64, Vec<u8>)>,
    link: u64,
    result: io::Result<usize>,
) -> Completion<B> {
    let Some(at) = receives.iter().position(|(other, _)| *other == link) else {
        unreachable!("the kernel completes only what was started")
    };
    let (link, mut buffer) = receives.swap_remove(at);
    let result = result.map(|count| {
        buffer.truncate(count);
        buffer
    });
    Completion::Received { link, result }
}

/// `None` when the socket took a part, and the rest is still to be sent.
fn sent<B>(
    sends: &mut Vec<Sending>,
    link: u64,
    result: io::Result<usize>,
) -> Option<Completion<B>> {
    let Some(at) = sends.iter().position(|other| other.link == link) else {
        unreachable!("the kernel completes only what was started")
    };
    let sending = &mut sends[at];
    let result = match result {
        Ok(count) => {
            sending.sent += count;
            if sending.sent == sending.buffer.len() {
                Ok(())
            } else if count > 0 {
                sending.is_paused = true;
                return None;
            } else {
                Err(io::ErrorKind::WriteZero.into())
            }
        }
        Err(error) => Err(error),
    };
    let Sending { link, buffer, .. } = sends.swap_remove(at);
    Some(Completion::Sent {
        link,
        buffer,
        result,
    })
}

impl<B: StableBytes> Drop for Ring<B> {
    fn drop(&mut self) {
        // The kernel may still use the buffers.
        let mut sink = Vec::new();
        let mut is_failed = self.cancel_links().is_err();
        while !(self.writes.is_empty() && self.receives.is_empty() && self.sends.is_empty()) {
            is_failed = is_failed || self.ring.wait_for_completion().is_err();
            if is_failed {
                // Nothing can be known of what the kernel still uses: leak it rather than free it.
                mem::forget(mem::take(&mut self.writes));
                mem::forget(mem::take(&mut self.receives));
                mem::forget(mem::take(&mut self.sends));
                return;
            }
            self.collect(&mut sink);
            // What was sent in part goes on above, to a peer that may never read.
            is_failed = !self.sends.is_empty() && self.cancel_links().is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::mailbox;
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    struct Bytes(Box<[u8]>);

    // SAFETY: boxed bytes stay in place when the box moves.
    unsafe impl StableBytes for Bytes {
        fn bytes(&self) -> &[u8] {
            &self.0
        }
    }

    #[test]
    fn writes_complete_and_messages_wake_the_loop() {
        let file = tempfile::tempfile().expect("a temporary file");
        let bell = RingBell::new().expect("an eventfd");
        let (sender, receiver) = mailbox::to_ring::<u32>(4, &bell);
        let mut ring = Ring::new(bell, Duration::ZERO).expect("a ring");
        ring.write(7, file.as_raw_fd(), 3, Bytes(Box::from(*b"abc")))
            .expect("started");
        let mut sink = Vec::new();
        while sink.is_empty() {
            ring.wait(Duration::from_secs(5), || receiver.is_empty(), &mut sink)
                .expect("waits");
        }
        let Completion::Written { id, buffer, result } = sink.remove(0) else {
            panic!("nothing else was started")
        };
        assert_eq!((id, buffer.bytes(), result.ok()), (7, &b"abc"[..], Some(3)));

        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            sender.send(5).expect("room");
        });
        while receiver.is_empty() {
            ring.wait(Duration::from_secs(5), || receiver.is_empty(), &mut sink)
                .expect("waits");
        }
        assert_eq!(receiver.try_receive(), Some(5));
        other.join().expect("the sender ran");
    }

    #[test]
    fn a_failed_write_gives_its_buffer_back() {
        let file = std::fs::File::open("/proc/self/stat").expect("proc is there");
        let mut ring =
            Ring::new(RingBell::new().expect("an eventfd"), Duration::ZERO).expect("a ring");
        ring.write(1, file.as_raw_fd(), 0, Bytes(Box::from(*b"x")))
            .expect("started");
        let mut sink = Vec::new();
        while sink.is_empty() {
            ring.wait(Duration::from_secs(5), || true, &mut sink)
                .expect("waits");
        }
        let Completion::Written { result, .. } = sink.remove(0) else {
            panic!("nothing else was started")
        };
        assert!(result.is_err());
    }

    fn ring() -> Ring<Bytes> {
        Ring::new(RingBell::new().expect("an eventfd"), Duration::ZERO).expect("a ring")
    }

    fn next(ring: &mut Ring<Bytes>) -> Completion<Bytes> {
        let mut sink = Vec::new();
        while sink.is_empty() {
            ring.wait(Duration::from_secs(5), || true, &mut sink)
                .expect("waits");
        }
        assert_eq!(sink.len(), 1);
        sink.remove(0)
    }

    #[test]
    fn links_receive_and_send_and_end() {
        let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
        let mut ring = ring();
        ring.receive(5, ours.as_raw_fd()).expect("started");
        assert!(ring.is_busy(5) && !ring.is_busy(6));
        theirs.write_all(b"abc").expect("room");
        let Completion::Received { link, result } = next(&mut ring) else {
            panic!("a receive was started")
        };
        let bytes = result.expect("bytes came");
        assert_eq!((link, &bytes[..]), (5, &b"abc"[..]));
        ring.reuse(bytes);

        // More than the socket holds, while the other end reads it.
        let long: Vec<u8> = (0..3_000_000u32).map(|at| at as u8).collect();
        ring.send(5, ours.as_raw_fd(), long.clone())
            .expect("started");
        let reader = std::thread::spawn(move || {
            let mut read = vec![0; 3_000_000];
            theirs.read_exact(&mut read).expect("all of it comes");
            (theirs, read)
        });
        let Completion::Sent { link, result, .. } = next(&mut ring) else {
            panic!("a send was started")
        };
        assert!(link == 5 && result.is_ok());
        let (theirs, read) = reader.join().expect("the reader ran");
        assert_eq!(read, long);

        ring.receive(5, ours.as_raw_fd()).expect("started");
        drop(theirs);
        let Completion::Received { result, .. } = next(&mut ring) else {
            panic!("a receive was started")
        };
        assert!(result.expect("an orderly end").is_empty());
        ring.send(5, ours.as_raw_fd(), vec![1]).expect("started");
        let Completion::Sent { result, buffer, .. } = next(&mut ring) else {
            panic!("a send was started")
        };
        assert!(result.is_err() && buffer == [1]);
    }

    #[test]
    fn a_shutdown_completes_what_waits() {
        let (ours, _theirs) = UnixStream::pair().expect("a socket pair");
        let mut ring = ring();
        ring.receive(1, ours.as_raw_fd()).expect("started");
        ring.send(1, ours.as_raw_fd(), vec![0; 8 << 20])
            .expect("started");
        let mut sink = Vec::new();
        ring.hand_over().expect("handed over");
        ours.shutdown(Shutdown::Both).expect("connected");
        while ring.is_busy(1) {
            ring.wait(Duration::from_secs(5), || true, &mut sink)
                .expect("waits");
        }
        assert_eq!(sink.len(), 2);
    }

    #[test]
    fn dropping_the_ring_does_not_wait_for_peers() {
        let (ours, _theirs) = UnixStream::pair().expect("a socket pair");
        let mut ring = ring();
        ring.receive(1, ours.as_raw_fd()).expect("started");
        ring.send(1, ours.as_raw_fd(), vec![0; 8 << 20])
            .expect("started");
        ring.hand_over().expect("handed over");
        drop(ring);
    }
}
