//! The ring of the sequencer's loop: its bell, its log writes and its timer in one place.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};

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
}

const ENTRIES: u32 = 64;
const BELL: u64 = u64::MAX;

/// A ring that writes files and waits for a bell.
///
/// Buffers in flight belong to the ring: dropping it waits until the kernel has let go of them.
pub struct Ring<B: StableBytes> {
    ring: IoUring,
    bell: RingBell,
    bell_count: Box<[u8; 8]>,
    bell_armed: bool,
    writes: Vec<(u64, B)>,
}

impl<B: StableBytes> Ring<B> {
    /// A ring that waits for `bell`. Uses the kernel's cheaper modes where it has them (6.1).
    pub fn new(bell: RingBell) -> io::Result<Ring<B>> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(ENTRIES)
            .or_else(|_| IoUring::new(ENTRIES))?;
        Ok(Ring {
            ring,
            bell,
            bell_count: Box::new([0; 8]),
            bell_armed: false,
            writes: Vec::new(),
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
            id != BELL && self.writes.len() < ENTRIES as usize - 1,
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
        unsafe { self.push(&entry) }
    }

    /// Hands over what was started, and collects completions without waiting. Costs a system call
    /// only where there is something to hand over or to collect.
    pub fn poll(&mut self, sink: &mut Vec<Completion<B>>) -> io::Result<()> {
        let queue = self.ring.submission();
        let is_needed = !queue.is_empty() || queue.taskrun() || queue.cq_overflow();
        drop(queue);
        if is_needed {
            self.ring.submit()?;
        }
        self.collect(sink);
        Ok(())
    }

    /// Waits until a completion, the bell, or the timeout. `idle` is asked once more after the bell
    /// is told that we sleep, so that no message is missed.
    pub fn wait(
        &mut self,
        timeout: Duration,
        idle: impl FnOnce() -> bool,
        sink: &mut Vec<Completion<B>>,
    ) -> io::Result<()> {
        self.arm_bell()?;
        self.bell.bell().announce_sleep();
        if !idle() {
            self.bell.bell().awake();
            return self.poll(sink);
        }
        let timespec = Timespec::from(timeout);
        let args = SubmitArgs::new().timespec(&timespec);
        match self.ring.submitter().submit_with_args(1, &args) {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
        self.bell.bell().awake();
        self.collect(sink);
        Ok(())
    }

    fn arm_bell(&mut self) -> io::Result<()> {
        if self.bell_armed {
            return Ok(());
        }
        self.bell_armed = true;
        let entry = opcode::Read::new(Fd(self.bell.bell().fd()), self.bell_count.as_mut_ptr(), 8)
            .build()
            .user_data(BELL);
        // SAFETY: the boxed count stays in place, and `drop` waits for the read.
        unsafe { self.push(&entry) }
    }

    /// # Safety
    ///
    /// What the entry points to must stay valid until its completion is collected.
    unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: by the contract of this function.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    fn collect(&mut self, sink: &mut Vec<Completion<B>>) {
        for entry in self.ring.completion() {
            let id = entry.user_data();
            if id == BELL {
                self.bell_armed = false;
                continue;
            }
            let Some(at) = self.writes.iter().position(|(writing, _)| *writing == id) else {
                unreachable!("the kernel completes only what was started")
            };
            let (id, buffer) = self.writes.swap_remove(at);
            let result = match entry.result() {
                error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
                count => Ok(count as usize),
            };
            sink.push(Completion::Written { id, buffer, result });
        }
    }
}

impl<B: StableBytes> Drop for Ring<B> {
    fn drop(&mut self) {
        // The kernel may still read the buffers and write the bell's count.
        let mut sink = Vec::new();
        self.bell.ring_always();
        while self.bell_armed || !self.writes.is_empty() {
            if self.ring.submit_and_wait(1).is_err() {
                // Nothing can be known of what the kernel still uses: leak it rather than free it.
                std::mem::forget(std::mem::take(&mut self.writes));
                std::mem::forget(std::mem::take(&mut self.bell_count));
                return;
            }
            self.collect(&mut sink);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::mailbox;
    use std::os::fd::AsRawFd;

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
        let mut ring = Ring::new(bell).expect("a ring");
        ring.write(7, file.as_raw_fd(), 3, Bytes(Box::from(*b"abc")))
            .expect("started");
        let mut sink = Vec::new();
        while sink.is_empty() {
            ring.wait(Duration::from_secs(5), || receiver.is_empty(), &mut sink)
                .expect("waits");
        }
        let Completion::Written { id, buffer, result } = sink.remove(0);
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
        let mut ring = Ring::new(RingBell::new().expect("an eventfd")).expect("a ring");
        ring.write(1, file.as_raw_fd(), 0, Bytes(Box::from(*b"x")))
            .expect("started");
        let mut sink = Vec::new();
        while sink.is_empty() {
            ring.wait(Duration::from_secs(5), || true, &mut sink)
                .expect("waits");
        }
        let Completion::Written { result, .. } = sink.remove(0);
        assert!(result.is_err());
    }
}
