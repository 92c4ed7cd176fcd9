//! Bounded queues between threads.
//!
//! [`to_ring`] makes one whose receiver is the sequencer's loop, [`to_executor`] one whose receiver
//! is a task of a shard. Sending never blocks: a full queue gives the message back, and the sender
//! decides what waits.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crossbeam_queue::ArrayQueue;
use futures_lite::AsyncRead;
use glommio::net::UnixStream;

use super::doorbell::Doorbell;

struct Shared<T> {
    queue: ArrayQueue<T>,
    bell: Arc<Doorbell>,
}

/// The sending end; clones send into the same queue.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Sender<T> {
    /// Puts a message into the queue and wakes the receiver; a full queue gives it back.
    pub fn send(&self, message: T) -> Result<(), T> {
        self.shared.queue.push(message)?;
        self.shared.bell.ring();
        Ok(())
    }

    /// How many more messages fit.
    pub fn room(&self) -> usize {
        self.shared.queue.capacity() - self.shared.queue.len()
    }
}

/// The bell of a loop on a ring, shared by all queues that the loop drains.
#[derive(Clone)]
pub struct RingBell {
    bell: Arc<Doorbell>,
}

impl RingBell {
    /// A new bell.
    pub fn new() -> io::Result<RingBell> {
        Ok(RingBell {
            bell: Arc::new(Doorbell::eventfd()?),
        })
    }

    /// Wakes the loop.
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// Wakes the loop also when it does not say that it sleeps.
    pub(super) fn ring_always(&self) {
        self.bell.announce_sleep();
        self.bell.ring();
    }

    pub(super) fn bell(&self) -> &Doorbell {
        &self.bell
    }
}

/// The receiving end of a loop on a ring.
pub struct RingReceiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> RingReceiver<T> {
    /// The next message, if there is one.
    pub fn try_receive(&self) -> Option<T> {
        self.shared.queue.pop()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }
}

/// A queue of `capacity` messages into the loop that waits for `bell`.
pub fn to_ring<T>(capacity: usize, bell: &RingBell) -> (Sender<T>, RingReceiver<T>) {
    let shared = Arc::new(Shared {
        queue: ArrayQueue::new(capacity),
        bell: Arc::clone(&bell.bell),
    });
    (
        Sender {
            shared: Arc::clone(&shared),
        },
        RingReceiver { shared },
    )
}

/// The receiving end for an executor, not yet bound to one: it may be sent to its thread.
pub struct UnboundReceiver<T> {
    shared: Arc<Shared<T>>,
    waiter: OwnedFd,
}

/// The receiving end of a task on an executor.
pub struct ExecutorReceiver<T> {
    shared: Arc<Shared<T>>,
    waiter: RefCell<UnixStream>,
}

/// A queue of `capacity` messages into a task of an executor.
pub fn to_executor<T>(capacity: usize) -> io::Result<(Sender<T>, UnboundReceiver<T>)> {
    let (bell, waiter) = Doorbell::socket_pair()?;
    let shared = Arc::new(Shared {
        queue: ArrayQueue::new(capacity),
        bell: Arc::new(bell),
    });
    Ok((
        Sender {
            shared: Arc::clone(&shared),
        },
        UnboundReceiver { shared, waiter },
    ))
}

impl<T> UnboundReceiver<T> {
    /// Binds the receiver to the executor that this is called on.
    pub fn bind(self) -> ExecutorReceiver<T> {
        // SAFETY: the descriptor is a connected stream socket that the stream alone owns from here.
        let waiter = unsafe { UnixStream::from_raw_fd(self.waiter.into_raw_fd()) };
        ExecutorReceiver {
            shared: self.shared,
            waiter: RefCell::new(waiter),
        }
    }
}

impl<T> ExecutorReceiver<T> {
    /// The next message, if there is one.
    pub fn try_receive(&self) -> Option<T> {
        self.shared.queue.pop()
    }

    /// Waits for a message; an error means that the bell is broken and the queue of no more use.
    pub async fn receive(&self) -> io::Result<T> {
        loop {
            if let Some(message) = self.shared.queue.pop() {
                return Ok(message);
            }
            self.shared.bell.announce_sleep();
            if let Some(message) = self.shared.queue.pop() {
                self.shared.bell.awake();
                return Ok(message);
            }
            poll_fn(|context| self.poll_bell(context)).await?;
            self.shared.bell.awake();
        }
    }

    fn poll_bell(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut rung = [0u8; 64];
        let mut waiter = self.waiter.borrow_mut();
        match Pin::new(&mut *waiter).poll_read(context, &mut rung) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}
