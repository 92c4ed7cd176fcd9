//! Waiting for SIGTERM and SIGINT on one thread.

use std::io;
use std::mem;

fn stop_signals() -> libc::sigset_t {
    // SAFETY: an all-zero sigset_t may be passed to sigemptyset, which initialises it; both calls
    // get a pointer to a live local.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGTERM);
        libc::sigaddset(&mut set, libc::SIGINT);
        set
    }
}

/// Blocks SIGTERM and SIGINT for this thread and those that it spawns, so that only
/// [`wait`] sees them. Call it before spawning any thread.
pub fn block() -> io::Result<()> {
    let set = stop_signals();
    // SAFETY: `set` is initialised; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Waits until SIGTERM or SIGINT arrives and returns its number.
pub fn wait() -> io::Result<i32> {
    let set = stop_signals();
    let mut signal = 0;
    // SAFETY: both pointers are to live locals.
    match unsafe { libc::sigwait(&set, &mut signal) } {
        0 => Ok(signal),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Wakes [`wait`] from another thread of this process.
pub fn raise_stop() {
    // SAFETY: sending a signal to the own process touches no memory of ours.
    unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
}
