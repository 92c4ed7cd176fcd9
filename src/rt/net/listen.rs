//! Listening sockets, one for each shard on the same port.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::rt::clock;

/// A socket that listens, of no loop yet: it may be sent to its thread.
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
            // Accepted sockets inherit both. Small replies must not wait for the peer's
            // acknowledgement of the one before.
            socket.set_keepalive(keep_alive)?;
            socket.set_tcp_nodelay(true)?;
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

    pub(super) fn into_socket(self) -> Socket {
        self.socket
    }
}

/// The peer of a connection. IPv4 clients of the IPv6 wildcard look like ::ffff:a.b.c.d, which no
/// ACL names: they get their own address.
pub(super) fn peer(socket: &SockRef<'_>) -> io::Result<SocketAddr> {
    let peer = socket.peer_addr()?;
    let peer = peer
        .as_socket()
        .ok_or_else(|| io::Error::other("a peer without an address"))?;
    Ok(SocketAddr::new(peer.ip().to_canonical(), peer.port()))
}
