//! Sockets of the load: from addresses enough for all, and cut without a farewell.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections from one address to one server: the kernel has about 28,000 ports for them.
const PER_ADDRESS: u32 = 20_000;

/// Begins to connect to `server`. Where the server is on the loopback interface, connections of
/// higher numbers come from further loopback addresses.
pub fn connect(server: SocketAddr, number: u32) -> io::Result<TcpStream> {
    let batch = number / PER_ADDRESS;
    if batch == 0 || !server.ip().is_loopback() || !server.is_ipv4() {
        return TcpStream::connect(server);
    }
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    let [high, low] = (batch as u16).to_be_bytes();
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 1, high, low)), 0);
    socket.bind(&from.into())?;
    match socket.connect(&server.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// Closes a socket with a reset, as a client that crashes does. A proper close would leave the
/// port in use for a minute, and a storm of reconnects would run out of ports.
pub fn cut(stream: TcpStream) -> io::Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn high_numbers_come_from_other_addresses() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        for (number, from) in [
            (0, "127.0.0.1"),
            (20_000, "127.1.0.1"),
            (60_000, "127.1.0.3"),
        ] {
            let stream = connect(address, number).expect("the listener is there");
            let (_, peer) = listener.accept().expect("a connection");
            assert_eq!(peer.ip().to_string(), from);
            drop(stream);
        }
    }
}
