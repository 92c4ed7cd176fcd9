//! Bounded queues between threads, whose receivers are loops that also wait for other things.
//!
//! Sending never blocks: a full queue gives the message back, and the sender decides what waits.

use std::io;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use super::doorbell::Doorbell;

struct Shared<T> {
    queue: ArrayQueue<T>,
    bell: RingBell,
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
        self.post(message)?;
        self.shared.bell.ring();
        Ok(())
    }

    /// Puts a message into the queue without waking the receiver: the caller rings
    /// [`Sender::bell`] afterwards, once for any number of messages.
    pub fn post(&self, message: T) -> Result<(), T> {
        self.shared.queue.push(message)
    }

    /// What wakes the receiver.
    pub fn bell(&self) -> &RingBell {
        &self.shared.bell
    }

    /// How many more messages fit.
    pub fn room(&self) -> usize {
        self.shared.queue.capacity() - self.shared.queue.len()
    }
}

/// The bell of a loop, shared by all queues that the loop drains.
#[derive(Clone)]
pub struct RingBell {
    bell: Arc<Doorbell>,
}

impl RingBell {
    /// The bell of a loop on a ring of its own.
    pub fn new() -> io::Result<RingBell> {
        Ok(RingBell {
            bell: Arc::new(Doorbell::eventfd()?),
        })
    }

    /// The bell of a loop on an executor.
    pub fn for_executor() -> io::Result<RingBell> {
        Ok(RingBell {
            bell: Arc::new(Doorbell::socket_pair()?),
        })
    }

    /// Wakes the loop.
    pub fn ring(&self) {
        self.bell.ring();
    }

    pub(super) fn bell(&self) -> &Doorbell {
        &self.bell
    }

    pub(super) fn is_same(&self, other: &RingBell) -> bool {
        Arc::ptr_eq(&self.bell, &other.bell)
    }
}

/// The receiving end.
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
        bell: bell.clone(),
    });
    (
        Sender {
            shared: Arc::clone(&shared),
        },
        RingReceiver { shared },
    )
}
