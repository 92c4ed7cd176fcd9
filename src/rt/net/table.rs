//! What is going on on the sockets of a ring, and what completions make of it.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd};

use io_uring::cqueue;
use socket2::{SockRef, Socket};

use super::buffers::Buffers;
use super::{Event, SocketId, listen};
use crate::rt::loop_ring::{LoopRing, OWN};

/// Two bits of an entry's number say what it is; the rest is the socket's.
pub(super) const RECEIVE: u64 = 0;
pub(super) const SEND: u64 = 1 << 62;
pub(super) const ACCEPT: u64 = 2 << 62;

/// Bytes that are read at once where the kernel has no buffers to fill.
const READ_BYTES: usize = 64 << 10;

/// Bytes that an empty buffer for sending keeps allocated.
const IDLE_BUFFER_MAX: usize = 64 << 10;

/// Whether a send waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendMode {
    /// It does not: it completes when it is handed over.
    Prompt,
    /// Until the peer takes something.
    Patient,
}

/// One socket. A slot without one is free.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) socket: Option<Socket>,
    /// Whether its owner wants to read.
    pub(super) is_wanted: bool,
    /// Whether the kernel receives, or waits until it can.
    pub(super) is_receiving: bool,
    /// Whether it is in the list of those that are to receive.
    pub(super) is_listed: bool,
    is_closing: bool,
    /// What the kernel is sending of `output`.
    pub(super) send: Option<SendMode>,
    /// Bytes to send, of which `sent` are with the peer's kernel or ours.
    pub(super) output: Vec<u8>,
    pub(super) sent: usize,
}

impl Slot {
    /// Sends what the kernel takes at once, by a call of its own.
    pub(super) fn send_now(&mut self) -> io::Result<usize> {
        let Some(socket) = &self.socket else {
            return Ok(0);
        };
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        match socket.send_with_flags(&self.output, flags) {
            Ok(count) => {
                self.sent = count;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Receives what is there, by a call of its own; the result is as in a completion.
    fn receive_now(&self, buffer: &mut [u8]) -> i32 {
        let Some(socket) = &self.socket else {
            return 0;
        };
        // SAFETY: the pointer and the length describe a live buffer, and the socket is open.
        let count = unsafe {
            libc::recv(
                socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error().raw_os_error();
            return -error.unwrap_or(libc::EIO);
        }
        count as i32
    }
}

/// All sockets of a ring.
#[derive(Default)]
pub(super) struct Table {
    pub(super) is_accept_wanted: bool,
    pub(super) is_accepting: bool,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Sockets that are to receive and do not, in the order in which they may.
    pub(super) to_receive: VecDeque<u32>,
    /// Sockets that receive and are not to.
    pub(super) to_cancel: Vec<u32>,
    /// Sockets whose peer has not taken all.
    pub(super) to_send: Vec<u32>,
    /// Sends that complete when they are handed over, and whose completion was not seen.
    pub(super) prompt_sends: usize,
    /// Where the kernel has none to fill, `read_buffer` is.
    pub(super) buffers: Option<Buffers>,
    read_buffer: Vec<u8>,
}

impl Table {
    pub(super) fn new(buffers: Option<Buffers>) -> Table {
        let read_bytes = if buffers.is_some() { 0 } else { READ_BYTES };
        Table {
            is_accept_wanted: true,
            buffers,
            read_buffer: vec![0; read_bytes],
            ..Table::default()
        }
    }

    pub(super) fn slot(&mut self, number: u32) -> &mut Slot {
        &mut self.slots[number as usize]
    }

    /// Has a socket receive before the next wait, if it is to.
    pub(super) fn list_if_wanted(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        if slot.is_wanted && !slot.is_receiving && !mem::replace(&mut slot.is_listed, true) {
            self.to_receive.push_back(number);
        }
    }

    /// Ends a connection. Its slot is free once the kernel has nothing of it any more.
    pub(super) fn close(&mut self, number: u32) {
        let slot = self.slot(number);
        slot.is_closing = true;
        slot.is_wanted = false;
        if let Some(socket) = &slot.socket {
            // Completes what the kernel has. An error means that the peer was faster.
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.free_if_over(number);
    }

    pub(super) fn close_all(&mut self) {
        for number in 0..self.slots.len() {
            let slot = &self.slots[number];
            if slot.socket.is_some() && !slot.is_closing {
                self.close(number as u32);
            }
        }
    }

    /// Whether the kernel has anything.
    pub(super) fn is_busy(&self) -> bool {
        self.is_accepting || self.slots.iter().any(|slot| slot.socket.is_some())
    }

    fn free_if_over(&mut self, number: u32) {
        let slot = self.slot(number);
        if slot.is_closing && !slot.is_receiving && slot.send.is_none() {
            *slot = Slot {
                // The list does not forget.
                is_listed: slot.is_listed,
                ..Slot::default()
            };
            self.free.push(number);
        }
    }

    /// Hands over what has completed.
    pub(super) fn collect(&mut self, ring: &mut LoopRing, mut take: impl FnMut(Event<'_>)) {
        ring.collect(|number, result, flags| {
            let index = (number & !OWN) as u32;
            match number & OWN {
                RECEIVE => self.received(index, result, flags, &mut take),
                SEND => self.sent(index, result, &mut take),
                _ => self.accepted(result, flags, &mut take),
            }
        });
        if let Some(buffers) = &mut self.buffers {
            buffers.publish();
        }
    }

    fn received(&mut self, number: u32, result: i32, flags: u32, take: &mut impl FnMut(Event<'_>)) {
        let slot = &mut self.slots[number as usize];
        slot.is_receiving = cqueue::more(flags);
        let socket = SocketId(number);
        let is_live = !slot.is_closing;
        let filled = cqueue::buffer_select(flags);
        let (result, bytes): (i32, &[u8]) = match (&self.buffers, filled) {
            (Some(buffers), Some(id)) if result > 0 => (result, buffers.bytes(id, result as usize)),
            (None, _) if result >= 0 && is_live && slot.is_wanted => {
                let result = slot.receive_now(&mut self.read_buffer);
                (result, &self.read_buffer[..result.max(0) as usize])
            }
            // A poll of a socket that is not wanted any more.
            (None, _) if result >= 0 => (-libc::ECANCELED, &[]),
            _ => (result, &[]),
        };
        match result {
            _ if !is_live => {}
            0 => {
                slot.is_wanted = false;
                take(Event::Ended(socket));
            }
            1.. => take(Event::Received { socket, bytes }),
            // To be started again, if still wanted.
            error if is_passing(-error) => {}
            _ => {
                slot.is_wanted = false;
                take(Event::Failed(socket));
            }
        }
        let slot = &self.slots[number as usize];
        if slot.is_receiving && !slot.is_wanted {
            self.to_cancel.push(number);
        }
        if let (Some(buffers), Some(id)) = (&mut self.buffers, filled) {
            buffers.give_back(id);
        }
        self.list_if_wanted(number);
        self.free_if_over(number);
    }

    fn sent(&mut self, number: u32, result: i32, take: &mut impl FnMut(Event<'_>)) {
        let slot = &mut self.slots[number as usize];
        if slot.send.take() == Some(SendMode::Prompt) {
            self.prompt_sends -= 1;
        }
        let socket = SocketId(number);
        match result {
            _ if slot.is_closing => {}
            1.. => {
                let bytes = result as usize;
                slot.sent += bytes;
                if slot.sent < slot.output.len() {
                    self.to_send.push(number);
                } else if slot.output.capacity() > IDLE_BUFFER_MAX {
                    slot.output = Vec::new();
                    slot.sent = 0;
                }
                take(Event::Sent { socket, bytes });
            }
            error if error < 0 && is_passing(-error) => self.to_send.push(number),
            _ => take(Event::Failed(socket)),
        }
        self.free_if_over(number);
    }

    fn accepted(&mut self, result: i32, flags: u32, take: &mut impl FnMut(Event<'_>)) {
        self.is_accepting = cqueue::more(flags);
        if result < 0 {
            if !is_passing(-result) && result != -libc::ECONNABORTED {
                self.is_accept_wanted = false;
                take(Event::NotAccepted(io::Error::from_raw_os_error(-result)));
            }
            return;
        }
        // SAFETY: the descriptor is new and ours alone.
        let socket = unsafe { Socket::from_raw_fd(result) };
        // A peer without an address has gone again.
        let Ok(peer) = listen::peer(&SockRef::from(&socket)) else {
            return;
        };
        let slot = Slot {
            socket: Some(socket),
            is_wanted: true,
            ..Slot::default()
        };
        let number = match self.free.pop() {
            Some(number) => {
                let free = self.slot(number);
                *free = Slot {
                    is_listed: free.is_listed,
                    ..slot
                };
                number
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).expect("descriptors are fewer than 2^32")
            }
        };
        let socket = SocketId(number);
        take(Event::Accepted { socket, peer });
        self.list_if_wanted(number);
    }
}

/// Whether an error only means that something is to be started again.
fn is_passing(error: i32) -> bool {
    matches!(
        error,
        libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ECANCELED
    )
}
