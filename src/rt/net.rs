//! Sockets of an executor.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::clock;

/// A socket that listens, not yet bound to an executor: it may be sent to its thread.
pub struct UnboundListener {
    socket: Socket,
}

/// Makes one listening socket for each of `count` shards on the same address; the kernel spreads
/// connections over them. Port 0 takes a free one, the same for all.
///
/// Sockets that share a port would also share it with a second server of the same user without
/// any error, so the port is first taken the ordinary way. With `keep_alive`, the system probes
/// silent connections.
pub fn listen(
    address: SocketAddr,
    backlog: i32,
    keep_alive: bool,
    count: usize,
) -> io::Result<Vec<UnboundListener>> {
    let probe = socket(address)?;
    bind_patiently(&probe, address)?;
    let taken = probe
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("the socket has no internet address"))?;
    probe.listen(1)?;
    drop(probe);
    (0..count)
        .map(|_| {
            let socket = socket(taken)?;
            socket.set_reuse_port(true)?;
            // Accepted sockets inherit it.
            socket.set_keepalive(keep_alive)?;
            socket.bind(&taken.into())?;
            socket.listen(backlog)?;
            Ok(UnboundListener { socket })
        })
        .collect()
}

/// The sockets of a server that was killed go a moment after its process: the kernel first has to
/// take its rings apart. Its successor must not fail for that.
fn bind_patiently(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    for _ in 0..BIND_RETRIES_MAX {
        match socket.bind(&address.into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => clock::pause(BIND_RETRY),
            result => return result,
        }
    }
    socket.bind(&address.into())
}

/// How long to wait before a port that is in use is tried again, and how often.
const BIND_RETRY: Duration = Duration::from_millis(20);
const BIND_RETRIES_MAX: u32 = 50;

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // As Java does: the wildcard of IPv6 takes IPv4 clients too.
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

impl UnboundListener {
    /// The address with its real port.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("the socket has no internet address"))
    }

    /// Binds the socket to the executor that this is called on.
    pub fn bind(self) -> Listener {
        let descriptor = self.socket.into_raw_fd();
        // SAFETY: the descriptor is a listening stream socket that the listener alone owns.
        let listener = unsafe { TcpListener::from_raw_fd(descriptor) };
        Listener { listener }
    }
}

/// A listening socket of an executor.
pub struct Listener {
    listener: TcpListener,
}

impl Listener {
    /// Waits for a connection.
    pub async fn accept(&self) -> io::Result<Connection> {
        let stream = self.listener.accept().await.map_err(io::Error::from)?;
        // Small replies must not wait for the peer's acknowledgement of the one before.
        stream.set_nodelay(true).map_err(io::Error::from)?;
        let socket = SockRef::from(&Descriptor(stream.as_raw_fd())).peer_addr()?;
        let peer = socket
            .as_socket()
            .ok_or_else(|| io::Error::other("a peer without an address"))?;
        // IPv4 clients of the IPv6 wildcard look like ::ffff:a.b.c.d, which no ACL names.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Ok(Connection {
            stream: RefCell::new(stream),
            peer,
            shut: Cell::new(false),
        })
    }
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes; 0 when the peer has closed.
    pub bytes: usize,
    /// Whether the task had to wait for them, so that others had a turn.
    pub waited: bool,
}

/// A connection. One task reads while others write: no borrow is held while a task waits.
pub struct Connection {
    stream: RefCell<TcpStream>,
    peer: SocketAddr,
    shut: Cell<bool>,
}

impl Connection {
    /// The address of the peer.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Waits for bytes and hands them to `take` out of `buffer`, which all connections of a shard
    /// share; 0 bytes mean that the peer has closed.
    pub async fn read(
        &self,
        buffer: &RefCell<Vec<u8>>,
        take: impl FnOnce(&[u8]),
    ) -> io::Result<Received> {
        let mut take = Some(take);
        let mut waited = false;
        poll_fn(move |context| {
            let mut buffer = buffer.borrow_mut();
            let mut stream = self.stream.borrow_mut();
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Pending => {
                    waited = true;
                    Poll::Pending
                }
                Poll::Ready(Ok(bytes)) => {
                    drop(stream);
                    if let Some(take) = take.take() {
                        take(&buffer[..bytes]);
                    }
                    Poll::Ready(Ok(Received { bytes, waited }))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// Sends what the socket takes at once; 0 where it takes nothing now.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let stream = self.stream.borrow();
        match SockRef::from(&Descriptor(stream.as_raw_fd())).send_with_flags(bytes, SEND_FLAGS) {
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Sends a part of `bytes`, waiting until the socket takes any.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|context| Pin::new(&mut *self.stream.borrow_mut()).poll_write(context, bytes)).await
    }

    /// Ends both directions, so that the task that reads sees the end.
    pub fn shut(&self) {
        if !self.shut.replace(true) {
            let stream = self.stream.borrow();
            // An error means that the peer was faster.
            let _ =
                SockRef::from(&Descriptor(stream.as_raw_fd())).shutdown(std::net::Shutdown::Both);
        }
    }
}

const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// A descriptor that is borrowed for the length of one call on its socket.
struct Descriptor(std::os::fd::RawFd);

impl std::os::fd::AsFd for Descriptor {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        // SAFETY: made from a stream that is borrowed for as long as the descriptor is used.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(self.0) }
    }
}
