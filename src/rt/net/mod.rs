//! The sockets of a shard's loop.
//!
//! The loop sees them through [`Sockets`]: it waits for events, and asks for what they call for.
//! There are two drivers, which it cannot tell apart: [`ring`] on a bare ring, and [`executor`] on
//! glommio.

mod buffers;
pub mod executor;
mod listen;
pub mod ring;
mod table;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::mailbox::RingBell;

pub use listen::{UnboundListener, listen};

/// A connected socket of one loop. The number is below that of the sockets that were ever open at
/// once, and is used again after [`Sockets::close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketId(pub u32);

/// What has happened to the sockets of a loop.
#[derive(Debug)]
pub enum Event<'a> {
    /// A client has connected. Its socket is read until [`Sockets::set_reading`] says otherwise.
    Accepted {
        /// Its socket.
        socket: SocketId,
        /// Its address.
        peer: SocketAddr,
    },
    /// No client can be taken in; nothing more is accepted until [`Sockets::accept`].
    NotAccepted(io::Error),
    /// Bytes have come.
    Received {
        /// The socket.
        socket: SocketId,
        /// At least one.
        bytes: &'a [u8],
    },
    /// The peer has sent everything that it will ever send.
    Ended(SocketId),
    /// The kernel has taken so many more bytes of what [`Sockets::send`] left.
    Sent {
        /// The socket.
        socket: SocketId,
        /// At least one.
        bytes: usize,
    },
    /// The connection is broken; it is still to be closed.
    Failed(SocketId),
}

/// Listens, accepts, receives and sends for one loop.
pub trait Sockets {
    /// Waits until something happens, the loop's bell rings, or the time is over, and hands over
    /// what has happened. Returns at once where `idle`, asked once more after the bell was told
    /// that the loop sleeps, says that there is something to do.
    fn wait(
        &mut self,
        timeout: Duration,
        idle: impl Fn() -> bool,
        take: impl FnMut(Event<'_>),
    ) -> impl Future<Output = io::Result<()>>;

    /// Accepts clients again after [`Event::NotAccepted`].
    fn accept(&mut self);

    /// Whether a socket is to be read. What was under way may still arrive.
    fn set_reading(&mut self, socket: SocketId, wanted: bool);

    /// Takes all of `bytes`, and leaves an empty buffer. Returns how many the kernel has already;
    /// the others are announced by [`Event::Sent`], and until then nothing more may be sent.
    fn send(&mut self, socket: SocketId, bytes: &mut Vec<u8>) -> io::Result<usize>;

    /// Ends both directions. What was not sent is lost. There are no more events of this socket.
    fn close(&mut self, socket: SocketId);

    /// Wakes another loop, at the latest when this one waits.
    fn ring(&mut self, bell: &RingBell) -> io::Result<()>;
}
