//! Connecting to a member, whose names are looked up anew at each attempt.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::rt::clock::Monotonic;

/// Looks a host up; blocks.
pub type Resolve = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// The system's way to look a host up.
pub fn system_resolve() -> Resolve {
    Arc::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
}

/// Connects to whichever of the addresses answers first, all tried at once; the other connections
/// are closed. Blocks for at most about `timeout_ms` beyond what looking up takes.
pub(super) fn connect_any(
    addresses: &[(String, u16)],
    resolve: &Resolve,
    timeout_ms: u64,
) -> io::Result<TcpStream> {
    match addresses {
        [] => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "no address is known",
        )),
        [(host, port)] => connect(host, *port, resolve, timeout_ms),
        several => {
            let (sender, receiver) = mpsc::channel();
            for (host, port) in several.iter().cloned() {
                let (sender, resolve) = (sender.clone(), Arc::clone(resolve));
                thread::Builder::new()
                    .name("peer-address".to_owned())
                    .spawn(move || {
                        // Nobody listens any more when another address was faster.
                        let _ = sender.send(connect(&host, port, &resolve, timeout_ms));
                    })?;
            }
            drop(sender);
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for result in receiver {
                match result {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    }
}

fn connect(host: &str, port: u16, resolve: &Resolve, timeout_ms: u64) -> io::Result<TcpStream> {
    let failed = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("cannot connect to {host}:{port}: {error}"),
        )
    };
    let clock = Monotonic::start();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in resolve(host, port).map_err(failed)? {
        let left_ms = timeout_ms.saturating_sub(clock.now_ms()).max(1);
        match TcpStream::connect_timeout(&address, Duration::from_millis(left_ms)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}
