//! Which server a client tries next (Apache's `StaticHostProvider`).

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::connect_string::ServerAddress;

/// Milliseconds to wait before a server is tried again after all others.
const ROUND_PAUSE_MS: u64 = 1000;

/// How long a server may take to say whether it can write.
const RW_ANSWER: Duration = Duration::from_secs(1);

/// The servers in random order, and where the client stands among them.
pub struct Servers {
    list: Vec<ServerAddress>,
    next: usize,
    /// Index of the server that was connected last, or 0 once one was tried: past it, all have
    /// been tried.
    last: Option<usize>,
}

impl Servers {
    /// The servers of a connect string, at least one.
    pub fn new(mut list: Vec<ServerAddress>) -> Servers {
        for at in (1..list.len()).rev() {
            list.swap(at, (random() % (at as u64 + 1)) as usize);
        }
        Servers {
            list,
            next: 0,
            last: None,
        }
    }

    /// The server to try, and the milliseconds to wait before.
    pub fn take(&mut self) -> (ServerAddress, u64) {
        let at = self.next;
        self.next = (at + 1) % self.list.len();
        let pause_ms = if self.last == Some(at) {
            ROUND_PAUSE_MS
        } else {
            0
        };
        self.last.get_or_insert(0);
        (self.list[at].clone(), pause_ms)
    }

    /// The server that was taken last has accepted the session.
    pub fn connected(&mut self) {
        let at = (self.next + self.list.len() - 1) % self.list.len();
        self.last = Some(at);
    }

    /// The server that comes next, if it can write; else it is passed over.
    pub fn next_can_write(&mut self) -> bool {
        let can_write = can_write(&self.list[self.next]);
        if !can_write {
            self.next = (self.next + 1) % self.list.len();
        }
        can_write
    }
}

/// Asks a server whether it can write, by the four-letter word `isro`. One that does not say so
/// cannot.
fn can_write(server: &ServerAddress) -> bool {
    let ask = |address: &SocketAddr| -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(address, RW_ANSWER)?;
        stream.set_read_timeout(Some(RW_ANSWER))?;
        stream.write_all(b"isro")?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let Ok(addresses) = (server.host.as_str(), server.port).to_socket_addrs() else {
        return false;
    };
    addresses
        .into_iter()
        .any(|address| ask(&address).is_ok_and(|answer| answer == "rw"))
}

/// A random number, from the seed that the standard library's hash tables get.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_tried_in_turn_with_a_pause_after_each_round() {
        let address = |port| ServerAddress {
            host: "localhost".into(),
            port,
        };
        let mut servers = Servers::new((1..=3).map(address).collect());
        let round = |servers: &mut Servers| -> Vec<(u16, u64)> {
            let tries = (0..3).map(|_| servers.take());
            tries
                .map(|(server, pause_ms)| (server.port, pause_ms))
                .collect()
        };
        let first = round(&mut servers);
        let mut ports: Vec<u16> = first.iter().map(|(port, _)| *port).collect();
        ports.sort_unstable();
        assert_eq!(ports, [1, 2, 3]);
        assert!(first.iter().all(|(_, pause_ms)| *pause_ms == 0));

        let second = round(&mut servers);
        let pauses: Vec<u64> = second.iter().map(|(_, pause_ms)| *pause_ms).collect();
        assert_eq!(pauses, [ROUND_PAUSE_MS, 0, 0]);

        // After a connection is lost the others are tried before its server is waited for.
        servers.take();
        servers.connected();
        let third = round(&mut servers);
        assert_eq!(third[2].0, first[0].0);
        let pauses: Vec<u64> = third.iter().map(|(_, pause_ms)| *pause_ms).collect();
        assert_eq!(pauses, [0, 0, ROUND_PAUSE_MS]);
    }
}
