//! Wakes executors that sleep although there is something to do.
//!
//! An executor of glommio sleeps in `io_uring_enter` without a timeout and counts on completions,
//! its own timers among them, to wake it. The one known way in which it sleeps for good is closed
//! (see `PREEMPT_TIMER` in [`super::executor`]). This bounds what an unknown one could do: each
//! executor shows that it lives by beating a [`Pulse`] at every turn, and a thread beside it sends a
//! signal, which ends any such sleep, when it does not.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use super::clock;

/// How often the pulses are felt.
const CHECK: Duration = Duration::from_millis(50);

/// Checks without a beat after which an executor is woken: more time than lies between two beats
/// of one that is well.
const CHECKS_MAX: u32 = 3;

/// A signal that is ignored by default, and that nothing else in a server uses.
const SIGNAL: i32 = libc::SIGURG;

/// The pulse of one executor, felt until it is dropped.
pub(super) struct Pulse {
    felt: Arc<Felt>,
}

#[derive(Default)]
struct Felt {
    beats: AtomicU32,
    /// The thread by its system's number; 0 before the first beat and after the end.
    thread: AtomicI32,
}

impl Pulse {
    /// Starts the thread that feels the pulse of the calling one.
    pub(super) fn start() -> io::Result<Pulse> {
        install_handler()?;
        let felt = Arc::<Felt>::default();
        let shared = Arc::clone(&felt);
        thread::Builder::new()
            .name("zkore-pulse".into())
            .spawn(move || shared.feel())?;
        Ok(Pulse { felt })
    }

    /// Shows that the calling thread lives; at least every 100 ms.
    pub(super) fn beat(&self) {
        // SAFETY: it takes and touches nothing.
        let thread = unsafe { libc::gettid() };
        self.felt.thread.store(thread, Ordering::Relaxed);
        self.felt.beats.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        // The thread is about to end and is to be left alone.
        self.felt.thread.store(0, Ordering::Relaxed);
    }
}

impl Felt {
    /// Until nobody else holds the pulse.
    fn feel(self: Arc<Felt>) {
        let (mut beats, mut checks) = (0, 0);
        while Arc::strong_count(&self) > 1 {
            clock::pause(CHECK);
            let now = self.beats.load(Ordering::Relaxed);
            checks = if now == beats { checks + 1 } else { 0 };
            beats = now;
            if checks >= CHECKS_MAX {
                self.wake();
            }
        }
    }

    fn wake(&self) {
        let thread = self.thread.load(Ordering::Relaxed);
        if thread != 0 {
            // SAFETY: a signal to a thread of this process; its handler does nothing. An error
            // means that the thread has just ended.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGNAL) };
        }
    }
}

/// Without a handler the signal would not interrupt anything.
fn install_handler() -> io::Result<()> {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: all zeros is a value of this plain C structure, with an empty mask and no flags; the
    // handler touches nothing, and the pointers are to live values or null.
    let result = unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        libc::sigaction(SIGNAL, &action, std::ptr::null_mut())
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_thread_that_sleeps_on_is_woken() {
        let pulse = Pulse::start().expect("threads can be started");
        let (reader, _writer) = std::os::unix::net::UnixStream::pair().expect("a pair");
        pulse.beat();
        let mut byte = 0u8;
        // SAFETY: the pointer and the length describe a live local.
        let count = unsafe { libc::read(reader.as_raw_fd(), (&raw mut byte).cast(), 1) };
        let error = io::Error::last_os_error();
        drop(pulse);
        assert_eq!((count, error.kind()), (-1, io::ErrorKind::Interrupted));
    }
}
