//! Waking a thread that waits in its ring, at the price of a system call only when it sleeps.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// The end that rings; shared by all who may.
///
/// Protocol: the waiter announces that it sleeps, looks at its queue once more, and only then
/// waits. A ringer first puts its message into the queue, then rings. The two full fences make
/// sure that either the waiter sees the message or the ringer sees that it sleeps.
#[derive(Debug)]
pub(crate) struct Doorbell {
    fd: OwnedFd,
    /// The end that the waiter reads, where it is not the same.
    waiter: Option<OwnedFd>,
    /// The ring that the waiter waits in, once it does: other rings can send it a message.
    ring: OnceLock<OwnedFd>,
    sleeping: AtomicBool,
}

impl Doorbell {
    /// A bell whose waiter reads an eventfd.
    pub(crate) fn eventfd() -> io::Result<Doorbell> {
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and ours alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Doorbell::new(fd, None))
    }

    /// A bell whose waiter reads a socket.
    pub(crate) fn socket_pair() -> io::Result<Doorbell> {
        let (ringer, waiter) = std::os::unix::net::UnixStream::pair()?;
        ringer.set_nonblocking(true)?;
        waiter.set_nonblocking(true)?;
        Ok(Doorbell::new(ringer.into(), Some(waiter.into())))
    }

    fn new(fd: OwnedFd, waiter: Option<OwnedFd>) -> Doorbell {
        Doorbell {
            fd,
            waiter,
            ring: OnceLock::new(),
            sleeping: AtomicBool::new(false),
        }
    }

    /// Wakes the waiter if it sleeps.
    pub(crate) fn ring(&self) {
        if self.must_ring() {
            self.ring_always();
        }
    }

    /// Whether the waiter sleeps and nobody else has undertaken to wake it; the caller now has.
    pub(crate) fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::Relaxed)
    }

    /// Wakes the waiter, whether it says that it sleeps or not.
    pub(crate) fn ring_always(&self) {
        let one = 1u64.to_ne_bytes();
        // An error can only mean that the bell rings already (its buffer is full) or that the
        // waiter is gone; in both cases there is nobody left to wake.
        // SAFETY: the pointer and the length describe a live local.
        unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// The waiter announces that it is about to wait. It must look at its queue once more before
    /// it does.
    pub(crate) fn announce_sleep(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The waiter is awake again.
    pub(crate) fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// The descriptor that the waiter reads.
    pub(crate) fn waiter_fd(&self) -> &OwnedFd {
        self.waiter.as_ref().unwrap_or(&self.fd)
    }

    /// The waiter lets other rings send messages to its own, which stays open as long as the bell.
    pub(crate) fn set_ring(&self, ring: OwnedFd) {
        // A second ring on the same bell is reached by its descriptor, as every ring is.
        let _ = self.ring.set(ring);
    }

    /// The ring to send messages to.
    pub(crate) fn ring_fd(&self) -> Option<RawFd> {
        self.ring.get().map(AsRawFd::as_raw_fd)
    }
}
