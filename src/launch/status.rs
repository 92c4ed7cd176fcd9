//! `zkore status`: asks the server for its mode by the four-letter word `srvr`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::installation::Installation;
use super::{Environment, LaunchError, Request, say};
use crate::config::{CLIENT_PORT_DEFAULT, properties};

/// How long the server may take to accept and to answer (Apache's `FourLetterWordMain`).
const TIMEOUT: Duration = Duration::from_secs(5);
/// Far more than any answer to `srvr`.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Where a server listens, as far as its configuration says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub address: String,
    pub port: u16,
    pub tls: bool,
}

/// Prints the mode of the server; fails if it does not answer.
pub fn status(environment: &Environment, request: &Request) -> Result<ExitCode, LaunchError> {
    let installation = Installation::announced(environment, request)?;
    let Some(target) = find_target(&installation) else {
        say("Unable to find either secure or unsecure client port in any configs. Terminating.");
        return Ok(ExitCode::FAILURE);
    };
    say(&format!(
        "Client port found: {}. Client address: {}. Client SSL: {}.",
        target.port, target.address, target.tls
    ));
    let answer = match target.tls {
        true => None,
        false => ask(&target, TIMEOUT).ok(),
    };
    let mode = answer.as_deref().and_then(mode_line);
    Ok(match mode {
        Some(mode) => {
            say(&mode);
            ExitCode::SUCCESS
        }
        None => {
            say("Error contacting service. It is probably not running.");
            ExitCode::FAILURE
        }
    })
}

/// Looks for the port where zkServer.sh looks, and prints what it prints on the way.
fn find_target(installation: &Installation) -> Option<Target> {
    let address = |key| {
        let given = installation.value(key).filter(|value| !value.is_empty());
        given.unwrap_or("localhost").to_string()
    };
    let port = |key| installation.value(key)?.parse().ok();
    let plain = |port| Target {
        address: address("clientPortAddress"),
        port,
        tls: false,
    };
    if installation.sources.file.is_none() {
        return Some(plain(CLIENT_PORT_DEFAULT));
    }
    if let Some(port) = port("clientPort") {
        return Some(plain(port));
    }
    if let Some(target) = from_server_line(installation, &address("clientPortAddress")) {
        return Some(target);
    }
    say("Client port not found. Looking for secureClientPort in the static config.");
    Some(Target {
        address: address("secureClientPortAddress"),
        port: port("secureClientPort")?,
        tls: true,
    })
}

/// The client port after the semicolon in this server's `server.N` line.
fn from_server_line(installation: &Installation, address: &str) -> Option<Target> {
    let Some(id) = read_id(&installation.data_dir) else {
        say(
            "myid could not be determined, will not able to locate clientPort in the server \
             configs.",
        );
        return None;
    };
    let key = format!("server.{id}");
    let Some(client) = client_part(installation.value(&key)).or_else(|| {
        say("Client port not found in static config file. Looking in dynamic config file.");
        client_part(from_dynamic_file(installation, &key).as_deref())
    }) else {
        say("Client port not found in the server configs");
        return None;
    };
    let client = client.trim();
    let (host, port) = client.rsplit_once(':').unwrap_or(("", client));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some(Target {
        address: if host.is_empty() { address } else { host }.to_string(),
        port: port.trim().parse().ok()?,
        tls: false,
    })
}

/// What follows the semicolon of a server line.
fn client_part(line: Option<&str>) -> Option<String> {
    line?.split_once(';').map(|(_, client)| client.to_string())
}

fn from_dynamic_file(installation: &Installation, key: &str) -> Option<String> {
    let bytes = std::fs::read(installation.value("dynamicConfigFile")?).ok()?;
    let properties = properties::parse(&bytes).ok()?;
    let line = properties.into_iter().rev().find(|line| line.key == key)?;
    Some(line.value)
}

fn read_id(data_dir: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(data_dir.join("myid")).ok()?;
    text.trim().parse().ok()
}

/// Sends `srvr` to the first of the name's addresses that accepts. Connecting and each step of the
/// answer may take as long as that.
pub(super) fn ask(target: &Target, timeout: Duration) -> io::Result<String> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (target.address.as_str(), target.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout)
            .and_then(|stream| converse(stream, timeout))
        {
            Ok(answer) => return Ok(answer),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn converse(mut stream: TcpStream, timeout: Duration) -> io::Result<String> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(b"srvr")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

/// The line that names the mode, with single spaces as the shell's `echo` leaves them.
pub(super) fn mode_line(answer: &str) -> Option<String> {
    let line = answer.lines().find(|line| line.contains("Mode"))?;
    Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_mode_is_found_in_the_answer() {
        let answer = "Zookeeper version: 3.9\nReceived: 1\nMode:  standalone\nNode count: 5\n";
        assert_eq!(mode_line(answer).as_deref(), Some("Mode: standalone"));
        assert_eq!(mode_line("This ZooKeeper instance is not serving"), None);
    }

    #[test]
    fn the_port_is_found_where_zkserver_looks() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("myid"), "3\n").expect("writable");
        let data_dir = format!("dataDir={}\n", directory.path().display());
        let members = "server.3=a:1:2;127.0.0.1:2184\n";
        std::fs::write(directory.path().join("members"), members).expect("writable");
        let target = |text: &str| {
            let text = text.replace("DIR", &directory.path().display().to_string());
            let path = directory.path().join("zoo.cfg");
            std::fs::write(&path, format!("{data_dir}{text}")).expect("writable");
            let request = Request {
                config: Some(path.display().to_string()),
                ..Request::default()
            };
            let found = Installation::find(&Environment::default(), &request).expect("readable");
            find_target(&found).map(|t| format!("{} {} {}", t.address, t.port, t.tls))
        };
        for (text, expected) in [
            ("clientPort=2182", Some("localhost 2182 false")),
            (
                "clientPort=2182\nclientPortAddress=10.0.0.1",
                Some("10.0.0.1 2182 false"),
            ),
            ("server.3=a:1:2;2183", Some("localhost 2183 false")),
            ("server.3=a:1:2;[::1]:2183", Some("::1 2183 false")),
            ("server.4=a:1:2;2183", None),
            (
                "dynamicConfigFile=DIR/members",
                Some("127.0.0.1 2184 false"),
            ),
            ("dynamicConfigFile=DIR/none", None),
            ("secureClientPort=2281", Some("localhost 2281 true")),
            ("", None),
        ] {
            assert_eq!(target(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_server_is_asked_over_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut word = String::new();
            stream.read_to_string(&mut word).expect("the word");
            stream.write_all(b"Mode: standalone\n").expect("writable");
            word
        });
        let target = Target {
            address: "127.0.0.1".to_string(),
            port,
            tls: false,
        };
        assert_eq!(
            ask(&target, TIMEOUT).expect("an answer"),
            "Mode: standalone\n"
        );
        assert_eq!(server.join().expect("no panic"), "srvr");
    }
}
