//! The connect string: servers and an optional chroot (Apache's `ConnectStringParser`).

use crate::types::path::{self, PathError};

use super::error::path_message;

/// The port of a server that names none.
pub const DEFAULT_PORT: u16 = 2181;

/// Why a string is not a connect string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectStringError {
    /// No server is named.
    #[error("A HostProvider may not be empty!")]
    NoServers,
    /// The chroot is not a path.
    #[error("{}", path_message(path, *reason))]
    Chroot {
        /// The chroot as given.
        path: String,
        /// The rule that it breaks.
        reason: PathError,
    },
    /// What follows the colon is not a port (0 to 65535).
    #[error("For input string: \"{0}\"")]
    Port(String),
    /// An IPv6 address is not closed.
    #[error("{0} starts with '[' but has no matching ']'")]
    UnclosedBracket(String),
    /// The brackets of an IPv6 address hold nothing.
    #[error("{0} is empty.")]
    EmptyBrackets(String),
    /// Something other than a colon follows the brackets.
    #[error("{0} does not have : after ]")]
    NoColonAfterBracket(String),
    /// The colon after the brackets is the last character.
    #[error("{0} doesn't have a port after colon.")]
    NoPortAfterColon(String),
}

/// One server of a connect string; the host is a name or an address without brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// Name or address, not resolved.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// A parsed connect string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectString {
    /// The servers in the order given; at least one.
    pub servers: Vec<ServerAddress>,
    /// The path that stands before every path of this client; `None` for the root.
    pub chroot: Option<String>,
}

impl ConnectString {
    /// Reads `host:port,host:port/chroot`.
    pub fn parse(text: &str) -> Result<ConnectString, ConnectStringError> {
        let (hosts, chroot) = match text.find('/') {
            Some(at) => (&text[..at], Some(&text[at..])),
            None => (text, None),
        };
        let chroot = match chroot {
            None | Some("/") => None,
            Some(chroot) => {
                path::validate(chroot, false).map_err(|reason| ConnectStringError::Chroot {
                    path: chroot.to_owned(),
                    reason,
                })?;
                Some(chroot.to_owned())
            }
        };
        let servers = hosts
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty())
            .map(parse_server)
            .collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(ConnectStringError::NoServers);
        }
        Ok(ConnectString { servers, chroot })
    }
}

fn parse_server(text: &str) -> Result<ServerAddress, ConnectStringError> {
    let (host, port) = if text.starts_with('[') {
        split_bracketed(text)?
    } else {
        match text.rsplit_once(':') {
            // A colon at the end is ignored, as the reference does.
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => port
            .parse()
            .map_err(|_| ConnectStringError::Port(port.to_owned()))?,
    };
    Ok(ServerAddress {
        host: host.to_owned(),
        port,
    })
}

fn split_bracketed(text: &str) -> Result<(&str, Option<&str>), ConnectStringError> {
    let Some(close) = text.rfind(']') else {
        return Err(ConnectStringError::UnclosedBracket(text.to_owned()));
    };
    let host = &text[1..close];
    if host.is_empty() {
        return Err(ConnectStringError::EmptyBrackets(host.to_owned()));
    }
    match text[close + 1..].strip_prefix(':') {
        Some("") => Err(ConnectStringError::NoPortAfterColon(text.to_owned())),
        Some(port) => Ok((host, Some(port))),
        None if text.len() == close + 1 => Ok((host, None)),
        None => Err(ConnectStringError::NoColonAfterBracket(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<(String, u16)>, Option<String>) {
        let parsed = ConnectString::parse(text).expect("well formed");
        let servers = parsed.servers.into_iter().map(|s| (s.host, s.port));
        (servers.collect(), parsed.chroot)
    }

    #[test]
    fn servers_and_chroots() {
        for (text, servers, chroot) in [
            ("a", vec![("a", 2181)], None),
            ("a:1", vec![("a", 1)], None),
            ("a:", vec![("a", 2181)], None),
            ("a:1,b , c:3", vec![("a", 1), ("b", 2181), ("c", 3)], None),
            ("a/", vec![("a", 2181)], None),
            ("a:1,b/x/y", vec![("a", 1), ("b", 2181)], Some("/x/y")),
            ("[::1]:2182", vec![("::1", 2182)], None),
            (
                "[::1],[fe80::1]:9/c",
                vec![("::1", 2181), ("fe80::1", 9)],
                Some("/c"),
            ),
        ] {
            let servers: Vec<_> = servers
                .into_iter()
                .map(|(h, p)| (h.to_owned(), p))
                .collect();
            assert_eq!(parsed(text), (servers, chroot.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn bad_strings_say_why() {
        for (text, message) in [
            ("", "A HostProvider may not be empty!"),
            ("a:x", "For input string: \"x\""),
            ("a:65536", "For input string: \"65536\""),
            ("a/b/", "Path must not end with / character"),
            ("[::1", "[::1 starts with '[' but has no matching ']'"),
            ("[::1]x", "[::1]x does not have : after ]"),
            ("[::1]:", "[::1]: doesn't have a port after colon."),
            (
                "a//b",
                "Invalid path string \"//b\" caused by empty node name specified @1",
            ),
        ] {
            let error = ConnectString::parse(text).expect_err(text);
            assert_eq!(error.to_string(), message, "{text}");
        }
    }
}
