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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    const TIMEOUT_MS: u64 = 5000;

    /// Hosts by name: one that listens, one that refuses, one that nobody knows, and one whose name takes
    /// longer to look up than a test may last.
    fn resolve(listener: &TcpListener) -> Resolve {
        let up = listener.local_addr().expect("bound");
        Arc::new(move |host, _| match host {
            "up" => Ok(vec![up]),
            // Port 1 of the loopback: nobody listens there without being root.
            "refuses" => Ok(vec![(Ipv4Addr::LOCALHOST, 1).into()]),
            "slow" => {
                crate::rt::clock::pause(Duration::from_secs(60));
                Ok(Vec::new())
            }
            _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such name")),
        })
    }

    fn addresses(hosts: &[&str]) -> Vec<(String, u16)> {
        hosts.iter().map(|host| (host.to_string(), 7)).collect()
    }

    #[test]
    fn whichever_address_answers_is_taken() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let resolve = resolve(&listener);
        for hosts in [
            &["up"][..],
            &["up", "refuses"],
            &["refuses", "up"],
            &["unknown", "refuses", "up"],
            &["slow", "up"],
            &["up", "slow"],
            &["up", "up"],
        ] {
            let stream = connect_any(&addresses(hosts), &resolve, TIMEOUT_MS);
            let stream = stream.unwrap_or_else(|error| panic!("{hosts:?}: {error}"));
            assert_eq!(stream.peer_addr().ok(), listener.local_addr().ok());
        }
    }

    #[test]
    fn without_an_answer_an_address_and_its_fault_are_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let resolve = resolve(&listener);
        let failure = |hosts: &[&str]| {
            let result = connect_any(&addresses(hosts), &resolve, TIMEOUT_MS);
            result.expect_err("nobody listens").to_string()
        };
        assert_eq!(failure(&[]), "no address is known");
        assert_eq!(
            failure(&["unknown"]),
            "cannot connect to unknown:7: no such name"
        );
        let of_several = failure(&["unknown", "refuses"]);
        assert!(
            of_several.starts_with("cannot connect to unknown:7: ")
                || of_several.starts_with("cannot connect to refuses:7: "),
            "{of_several}"
        );
    }
}
