//! Sockets on a glommio executor: a task for each that reads, and one for each that waits to send.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite, future};
use glommio::net::{TcpListener, TcpStream, UnixStream};
use socket2::SockRef;

use super::listen::{self, UnboundListener};
use super::{Event, SocketId, Sockets};
use crate::rt::executor::{self, Notify};
use crate::rt::mailbox::RingBell;
use crate::rt::pulse::Pulse;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// Buffers that are kept for the next reads.
const SPARE_BUFFERS: usize = 64;

/// Turns without a wait, of the loop or of one socket's task, before the others have theirs.
const BURST: u32 = 16;

const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// The sockets of a loop on an executor.
pub struct ExecutorSockets {
    shared: Rc<Shared>,
    bell: RingBell,
    pulse: Pulse,
    turns_without_wait: u32,
}

#[derive(Default)]
struct Shared {
    links: RefCell<Vec<Option<Rc<Link>>>>,
    free: RefCell<Vec<u32>>,
    happened: RefCell<Vec<Happened>>,
    /// Raised when something has happened, or the bell has rung.
    wake: Notify,
    /// Raised when clients are to be accepted again.
    accept: Notify,
    spare: RefCell<Vec<Vec<u8>>>,
}

/// An event that waits for the loop.
enum Happened {
    Accepted(Rc<Link>, SocketAddr),
    NotAccepted(io::Error),
    Received(Rc<Link>, Vec<u8>),
    Ended(Rc<Link>),
    Sent(Rc<Link>, usize),
    Failed(Rc<Link>),
}

/// One connection. One task reads while others write: no borrow is held while a task waits.
struct Link {
    id: Cell<SocketId>,
    stream: RefCell<TcpStream>,
    is_wanted: Cell<bool>,
    is_closing: Cell<bool>,
    /// Raised when it may be read again, or closes.
    resume: Notify,
}

/// Runs the loop that `start` makes on an executor of its own, on the calling thread, to its end.
/// `bell` is what wakes it; before it sleeps, it looks for something to do for as long as `spin`.
pub fn run<F, Fut>(
    name: &str,
    listener: UnboundListener,
    bell: RingBell,
    spin: Duration,
    start: F,
) -> io::Result<()>
where
    F: FnOnce(ExecutorSockets) -> Fut,
    Fut: Future<Output = io::Result<()>>,
{
    executor::run(name, spin, async move || {
        start(ExecutorSockets::new(listener, bell)?).await
    })
}

impl ExecutorSockets {
    /// To be called on the executor.
    fn new(listener: UnboundListener, bell: RingBell) -> io::Result<ExecutorSockets> {
        let shared = Rc::<Shared>::default();
        let descriptor = listener.into_socket().into_raw_fd();
        // SAFETY: the descriptor is a listening stream socket that the listener alone owns.
        let listener = unsafe { TcpListener::from_raw_fd(descriptor) };
        let waiter = bell.bell().waiter_fd().try_clone()?.into_raw_fd();
        // SAFETY: the descriptor is a connected stream socket that the stream alone owns.
        let waiter = unsafe { UnixStream::from_raw_fd(waiter) };
        executor::spawn_local(Rc::clone(&shared).accept_all(listener));
        executor::spawn_local(Rc::clone(&shared).hear_bell(waiter));
        Ok(ExecutorSockets {
            shared,
            bell,
            pulse: Pulse::start()?,
            turns_without_wait: 0,
        })
    }

    fn link(&self, socket: SocketId) -> Rc<Link> {
        let links = self.shared.links.borrow();
        let link = links[socket.0 as usize].as_ref();
        Rc::clone(link.expect("a socket is used until it is closed"))
    }

    /// Hands over what has happened; nothing of sockets that are closed.
    fn hand_over(&self, mut take: impl FnMut(Event<'_>)) {
        for happened in self.shared.happened.take() {
            match happened {
                Happened::Accepted(link, peer) => {
                    let socket = self.shared.adopt(&link);
                    executor::spawn_local(Rc::clone(&self.shared).read(link));
                    take(Event::Accepted { socket, peer });
                }
                Happened::NotAccepted(error) => take(Event::NotAccepted(error)),
                Happened::Received(link, bytes) => {
                    if !link.is_closing.get() {
                        let socket = link.id.get();
                        take(Event::Received {
                            socket,
                            bytes: &bytes,
                        });
                        link.resume.raise();
                    }
                    self.shared.reuse(bytes);
                }
                Happened::Ended(link) if !link.is_closing.get() => {
                    take(Event::Ended(link.id.get()));
                }
                Happened::Sent(link, bytes) if !link.is_closing.get() => {
                    let socket = link.id.get();
                    take(Event::Sent { socket, bytes });
                }
                Happened::Failed(link) if !link.is_closing.get() => {
                    take(Event::Failed(link.id.get()));
                }
                _ => {}
            }
        }
    }
}

impl Sockets for ExecutorSockets {
    async fn wait(
        &mut self,
        timeout: Duration,
        idle: impl Fn() -> bool,
        take: impl FnMut(Event<'_>),
    ) -> io::Result<()> {
        self.pulse.beat();
        self.bell.bell().announce_sleep();
        if idle() && self.shared.happened.borrow().is_empty() {
            self.turns_without_wait = 0;
            future::or(self.shared.wake.raised(), executor::sleep(timeout)).await;
        } else if self.turns_without_wait < BURST {
            self.turns_without_wait += 1;
            future::yield_now().await;
        } else {
            self.turns_without_wait = 0;
            executor::breathe().await;
        }
        self.bell.bell().awake();
        self.hand_over(take);
        Ok(())
    }

    fn accept(&mut self) {
        self.shared.accept.raise();
    }

    fn set_reading(&mut self, socket: SocketId, wanted: bool) {
        let link = self.link(socket);
        link.is_wanted.set(wanted);
        if wanted {
            link.resume.raise();
        }
    }

    fn send(&mut self, socket: SocketId, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let link = self.link(socket);
        let sent = {
            let stream = link.stream.borrow();
            SockRef::from(&descriptor(&stream)).send_with_flags(bytes, SEND_FLAGS)
        };
        let count = match sent {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if count < bytes.len() {
            let rest = mem::take(bytes);
            executor::spawn_local(Rc::clone(&self.shared).send_rest(link, rest, count));
        }
        bytes.clear();
        Ok(count)
    }

    fn close(&mut self, socket: SocketId) {
        let link = self.link(socket);
        link.is_closing.set(true);
        {
            let stream = link.stream.borrow();
            // So that the tasks see the end. An error means that the peer was faster.
            let _ = SockRef::from(&descriptor(&stream)).shutdown(std::net::Shutdown::Both);
        }
        link.resume.raise();
        self.shared.links.borrow_mut()[socket.0 as usize] = None;
        self.shared.free.borrow_mut().push(socket.0);
    }

    fn ring(&mut self, bell: &RingBell) -> io::Result<()> {
        bell.ring();
        Ok(())
    }
}

impl Shared {
    fn tell(&self, happened: Happened) {
        self.happened.borrow_mut().push(happened);
        self.wake.raise();
    }

    fn adopt(&self, link: &Rc<Link>) -> SocketId {
        let mut links = self.links.borrow_mut();
        let number = self.free.borrow_mut().pop().unwrap_or_else(|| {
            links.push(None);
            u32::try_from(links.len() - 1).expect("descriptors are fewer than 2^32")
        });
        link.id.set(SocketId(number));
        links[number as usize] = Some(Rc::clone(link));
        SocketId(number)
    }

    fn reuse(&self, buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_BUFFERS {
            spare.push(buffer);
        }
    }

    async fn accept_all(self: Rc<Self>, listener: TcpListener) {
        loop {
            match accept(&listener).await {
                Ok((link, peer)) => self.tell(Happened::Accepted(link, peer)),
                Err(error) => {
                    self.tell(Happened::NotAccepted(error));
                    self.accept.raised().await;
                }
            }
        }
    }

    async fn hear_bell(self: Rc<Self>, mut waiter: UnixStream) {
        let mut rung = [0u8; 64];
        loop {
            let read = poll_fn(|context| Pin::new(&mut waiter).poll_read(context, &mut rung));
            match read.await {
                Ok(count) if count > 0 => self.wake.raise(),
                // The bell lives as long as the loop; without it the loop still looks at its queues
                // at every timeout.
                _ => return,
            }
        }
    }

    /// Reads one connection to its end, a piece whenever the loop has taken the one before.
    async fn read(self: Rc<Self>, link: Rc<Link>) {
        let mut reads_without_wait = 0;
        while !link.is_closing.get() {
            if !link.is_wanted.get() {
                link.resume.raised().await;
                continue;
            }
            let mut has_waited = false;
            let read = poll_fn(|context| {
                let polled = self.poll_read(&link, context);
                has_waited |= polled.is_pending();
                polled
            });
            match read.await {
                Ok(bytes) if bytes.is_empty() => {
                    self.tell(Happened::Ended(Rc::clone(&link)));
                    return;
                }
                Ok(bytes) => self.tell(Happened::Received(Rc::clone(&link), bytes)),
                Err(_) => {
                    self.tell(Happened::Failed(Rc::clone(&link)));
                    return;
                }
            }
            reads_without_wait = if has_waited {
                0
            } else {
                reads_without_wait + 1
            };
            if reads_without_wait == BURST {
                reads_without_wait = 0;
                executor::breathe().await;
            }
            // Until the loop has taken the bytes.
            link.resume.raised().await;
        }
    }

    fn poll_read(&self, link: &Link, context: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        let mut buffer = self.spare.borrow_mut().pop().unwrap_or_default();
        buffer.resize(READ_BYTES, 0);
        let mut stream = link.stream.borrow_mut();
        match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(count)) => {
                buffer.truncate(count);
                Poll::Ready(Ok(buffer))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.reuse(buffer);
                Poll::Pending
            }
        }
    }

    /// Sends what is left, waiting for the socket.
    async fn send_rest(self: Rc<Self>, link: Rc<Link>, bytes: Vec<u8>, mut sent: usize) {
        while sent < bytes.len() && !link.is_closing.get() {
            let write = poll_fn(|context| {
                Pin::new(&mut *link.stream.borrow_mut()).poll_write(context, &bytes[sent..])
            });
            match write.await {
                Ok(count) if count > 0 => {
                    sent += count;
                    self.tell(Happened::Sent(Rc::clone(&link), count));
                }
                _ => {
                    self.tell(Happened::Failed(Rc::clone(&link)));
                    return;
                }
            }
        }
    }
}

async fn accept(listener: &TcpListener) -> io::Result<(Rc<Link>, SocketAddr)> {
    let stream = listener.accept().await.map_err(io::Error::from)?;
    let peer = listen::peer(&SockRef::from(&descriptor(&stream)))?;
    let link = Link {
        id: Cell::new(SocketId(u32::MAX)),
        stream: RefCell::new(stream),
        is_wanted: Cell::new(true),
        is_closing: Cell::new(false),
        resume: Notify::default(),
    };
    Ok((Rc::new(link), peer))
}

fn descriptor(stream: &TcpStream) -> BorrowedFd<'_> {
    // SAFETY: the stream is borrowed, and so open, for as long as the descriptor is.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}
