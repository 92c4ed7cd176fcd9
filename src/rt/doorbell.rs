//! Waking a thread that waits in its ring, at the price of a system call only when it sleeps.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// The end that rings; shared by all who may.
///
/// Protocol: the waiter announces that it sleeps, looks at its queue once more, and only then
/// waits. A ringer first puts its message into the queue, then rings. The two full fences make
/// sure that either the waiter sees the message or the ringer sees that it sleeps.
#[derive(Debug)]
pub(crate) struct Doorbell {
    fd: OwnedFd,
    sleeping: AtomicBool,
}

impl Doorbell {
    /// A bell whose waiter reads an eventfd; returns the bell, which also holds the descriptor.
    pub(crate) fn eventfd() -> io::Result<Doorbell> {
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and ours alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Doorbell {
            fd,
            sleeping: AtomicBool::new(false),
        })
    }

    /// A bell whose waiter reads the other end of a socket pair, which is returned beside it.
    pub(crate) fn socket_pair() -> io::Result<(Doorbell, OwnedFd)> {
        let (ringer, waiter) = std::os::unix::net::UnixStream::pair()?;
        ringer.set_nonblocking(true)?;
        waiter.set_nonblocking(true)?;
        Ok((
            Doorbell {
                fd: ringer.into(),
                sleeping: AtomicBool::new(false),
            },
            waiter.into(),
        ))
    }

    /// Wakes the waiter if it sleeps.
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::Relaxed) {
            let one = 1u64.to_ne_bytes();
            // An error can only mean that the bell rings already (its buffer is full) or that the
            // waiter is gone; in both cases there is nobody left to wake.
            // SAFETY: the pointer and the length describe a live local.
            unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        }
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

    /// The descriptor that the waiter of an eventfd bell reads.
    pub(crate) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
