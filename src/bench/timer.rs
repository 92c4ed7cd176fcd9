//! A timer of nanoseconds that wakes an epoll loop: epoll's own patience counts in milliseconds.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

/// A one-shot timer of the kernel's (timerfd).
#[derive(Debug)]
pub struct Timer {
    fd: OwnedFd,
}

impl Timer {
    /// A timer that makes `token` readable once its time has come.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Timer> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Timer { fd })
    }

    /// Wakes the loop in `after_ns`, at least 1; what was set before is forgotten. Setting it
    /// again also takes back a wake that was not read, so nobody needs to read it.
    pub fn set(&self, after_ns: u64) -> io::Result<()> {
        const SECOND_NS: u64 = 1_000_000_000;
        let after_ns = after_ns.max(1);
        let zero = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let value = libc::itimerspec {
            it_interval: zero,
            it_value: libc::timespec {
                tv_sec: (after_ns / SECOND_NS) as libc::time_t,
                tv_nsec: (after_ns % SECOND_NS) as libc::c_long,
            },
        };
        // SAFETY: `value` is alive during the call, and no old value is asked for.
        let code =
            unsafe { libc::timerfd_settime(self.fd.as_raw_fd(), 0, &value, std::ptr::null_mut()) };
        if code != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}
