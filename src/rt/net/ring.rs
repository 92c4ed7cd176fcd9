//! Sockets on a bare ring: one system call hands over what is to be sent and waits for the next
//! bytes of any client, and no executor stands between a completion and the next step.
//!
//! Where the kernel can (6.0), accepts and receives go on by themselves once started, and take their
//! memory from buffers that all sockets share. Where it cannot (5.11), each is started anew, and a
//! receive is a wait for the socket and then a call of `recv`.

use std::future::Future;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use io_uring::opcode;
use io_uring::types::Fd;
use socket2::Socket;

use super::buffers::{self, Buffers};
use super::listen::UnboundListener;
use super::table::{ACCEPT, RECEIVE, SEND, SendMode, Slot, Table};
use super::{Event, SocketId, Sockets};
use crate::rt::loop_ring::LoopRing;
use crate::rt::mailbox::RingBell;

/// Entries that are handed over at once at most.
const ENTRIES: u32 = 256;

/// Completions that the ring holds; more than can come of one turn. Where there are more, the kernel
/// ends the receives that go on by themselves.
const COMPLETIONS: u32 = 4096;

/// Receives that are started in one turn. Those that found no buffer the last time would otherwise
/// all ask again for the few that there are, and most of them get none again.
const RECEIVES_MAX: usize = buffers::COUNT as usize / 2;

/// Sends that leave with the wait; those beyond it leave at once, each by a call of its own.
const SENDS_WITH_WAIT_MAX: usize = 256;

/// Bytes handed to the kernel at once, within what an entry can say.
const SEND_BYTES_MAX: usize = 1 << 30;

const NO_WAIT: i32 = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;

/// The sockets of a loop on a ring.
pub struct RingSockets {
    ring: LoopRing,
    listener: Socket,
    table: Table,
}

/// Runs the loop that `start` makes on a ring of its own, on the calling thread, to its end. `bell`
/// is what wakes it; before it sleeps, it looks for something to do for as long as `spin`.
pub fn run<F, Fut>(
    listener: UnboundListener,
    bell: RingBell,
    spin: Duration,
    start: F,
) -> io::Result<()>
where
    F: FnOnce(RingSockets) -> Fut,
    Fut: Future<Output = io::Result<()>>,
{
    let ring = LoopRing::new(bell, spin, ENTRIES, COMPLETIONS)?;
    run_on(ring, listener, start)
}

/// [`run`] as it is on a kernel that has nothing newer than Linux 5.11.
#[cfg(test)]
pub(super) fn run_as_old<F, Fut>(
    listener: UnboundListener,
    bell: RingBell,
    start: F,
) -> io::Result<()>
where
    F: FnOnce(RingSockets) -> Fut,
    Fut: Future<Output = io::Result<()>>,
{
    let ring = LoopRing::new(bell, Duration::ZERO, ENTRIES, COMPLETIONS)?;
    run_on(ring.into_old(), listener, start)
}

fn run_on<F, Fut>(ring: LoopRing, listener: UnboundListener, start: F) -> io::Result<()>
where
    F: FnOnce(RingSockets) -> Fut,
    Fut: Future<Output = io::Result<()>>,
{
    let future = pin!(start(RingSockets::new(ring, listener)));
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("all that a loop awaits is its sockets, which block"),
    }
}

impl RingSockets {
    fn new(ring: LoopRing, listener: UnboundListener) -> RingSockets {
        let buffers = if ring.features().has_multishot {
            Buffers::register(&ring.submitter()).ok()
        } else {
            None
        };
        if buffers.is_none() {
            tracing::info!(
                "this kernel cannot receive into shared buffers (Linux 6.0 can): each read costs \
                 a system call more"
            );
        }
        RingSockets {
            ring,
            listener: listener.into_socket(),
            table: Table::new(buffers),
        }
    }

    /// Starts what is to go on by itself, or is to be started again.
    fn start_pending(&mut self) -> io::Result<()> {
        if self.table.is_accept_wanted && !self.table.is_accepting {
            self.start_accept()?;
        }
        while let Some(number) = self.table.to_send.pop() {
            let slot = self.table.slot(number);
            if slot.send.is_none() && slot.sent < slot.output.len() {
                self.start_send(number, SendMode::Patient)?;
            }
        }
        while let Some(number) = self.table.to_cancel.pop() {
            let slot = self.table.slot(number);
            if slot.is_receiving && !slot.is_wanted {
                self.ring.cancel(RECEIVE | u64::from(number))?;
            }
        }
        for _ in 0..self.table.to_receive.len().min(RECEIVES_MAX) {
            let Some(number) = self.table.to_receive.pop_front() else {
                break;
            };
            let slot = self.table.slot(number);
            slot.is_listed = false;
            if slot.is_wanted && !slot.is_receiving {
                self.start_receive(number)?;
            }
        }
        Ok(())
    }

    fn start_accept(&mut self) -> io::Result<()> {
        let fd = Fd(self.listener.as_raw_fd());
        let entry = if self.ring.features().has_multishot {
            opcode::AcceptMulti::new(fd)
                .flags(libc::SOCK_CLOEXEC)
                .build()
        } else {
            opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut())
                .flags(libc::SOCK_CLOEXEC)
                .build()
        };
        self.table.is_accepting = true;
        // SAFETY: the entry points to nothing.
        unsafe { self.ring.push(&entry.user_data(ACCEPT)) }
    }

    fn start_receive(&mut self, number: u32) -> io::Result<()> {
        let has_buffers = self.table.buffers.is_some();
        let Slot {
            socket: Some(socket),
            is_receiving,
            ..
        } = self.table.slot(number)
        else {
            return Ok(());
        };
        let fd = Fd(socket.as_raw_fd());
        let entry = if has_buffers {
            opcode::RecvMulti::new(fd, buffers::GROUP).build()
        } else {
            opcode::PollAdd::new(fd, libc::POLLIN as u32).build()
        };
        *is_receiving = true;
        let entry = entry.user_data(RECEIVE | u64::from(number));
        // SAFETY: the entry points to nothing; the buffers that it fills stay registered until
        // `drop` has seen it complete.
        unsafe { self.ring.push(&entry) }
    }

    /// Starts a send of what the kernel does not have yet.
    fn start_send(&mut self, number: u32, mode: SendMode) -> io::Result<()> {
        let slot = self.table.slot(number);
        let Some(socket) = &slot.socket else {
            return Ok(());
        };
        let rest = &slot.output[slot.sent..];
        let length = rest.len().min(SEND_BYTES_MAX) as u32;
        let entry = opcode::Send::new(Fd(socket.as_raw_fd()), rest.as_ptr(), length)
            .flags(match mode {
                SendMode::Prompt => NO_WAIT,
                SendMode::Patient => libc::MSG_NOSIGNAL,
            })
            .build()
            .user_data(SEND | u64::from(number));
        slot.send = Some(mode);
        if mode == SendMode::Prompt {
            self.table.prompt_sends += 1;
        }
        // SAFETY: nobody changes, moves or frees the bytes of `output` while `send` is there: until
        // the completion, which `drop` waits for too.
        unsafe { self.ring.push(&entry) }
    }
}

impl Sockets for RingSockets {
    async fn wait(
        &mut self,
        timeout: Duration,
        idle: impl Fn() -> bool,
        take: impl FnMut(Event<'_>),
    ) -> io::Result<()> {
        self.start_pending()?;
        let is_all_started = self.table.to_receive.is_empty();
        let idle = || is_all_started && idle();
        self.ring.wait(self.table.prompt_sends, timeout, idle)?;
        self.table.collect(&mut self.ring, take);
        Ok(())
    }

    fn accept(&mut self) {
        self.table.is_accept_wanted = true;
    }

    fn set_reading(&mut self, socket: SocketId, wanted: bool) {
        // A receive that nobody wants is given up when it brings something in, not before: most
        // clients wait for an answer then, and are wanted again.
        self.table.slot(socket.0).is_wanted = wanted;
        self.table.list_if_wanted(socket.0);
    }

    fn send(&mut self, socket: SocketId, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let is_prompt = self.table.prompt_sends < SENDS_WITH_WAIT_MAX;
        let slot = self.table.slot(socket.0);
        assert!(slot.send.is_none(), "one send at a time");
        slot.output.clear();
        slot.sent = 0;
        mem::swap(&mut slot.output, bytes);
        if is_prompt {
            self.start_send(socket.0, SendMode::Prompt)?;
            return Ok(0);
        }
        let count = slot.send_now()?;
        if count < slot.output.len() {
            self.start_send(socket.0, SendMode::Patient)?;
        }
        Ok(count)
    }

    fn close(&mut self, socket: SocketId) {
        self.table.close(socket.0);
    }

    fn ring(&mut self, bell: &RingBell) -> io::Result<()> {
        self.ring.ring(bell)
    }
}

impl Drop for RingSockets {
    fn drop(&mut self) {
        // The kernel may still use the buffers.
        self.table.is_accept_wanted = false;
        let mut is_failed = self.table.is_accepting && self.ring.cancel(ACCEPT).is_err();
        loop {
            self.table.close_all();
            if !self.table.is_busy() {
                break;
            }
            is_failed = is_failed || self.ring.wait_for_completion().is_err();
            if is_failed {
                // Nothing can be known of what the kernel still uses: leak it rather than free it.
                mem::forget(mem::take(&mut self.table));
                return;
            }
            self.table.collect(&mut self.ring, |_| {});
        }
        if let Some(buffers) = self.table.buffers.take()
            && buffers.unregister(&self.ring.submitter()).is_err()
        {
            mem::forget(buffers);
        }
    }
}
