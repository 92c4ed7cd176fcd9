//! Lines that name the members of an ensemble (Apache's `QuorumServer`), as far as a standalone
//! server reads them: one participant alone is served as a standalone server, as Apache does.

/// What a `server.N` line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerLine {
    /// Whether the member only observes.
    pub is_observer: bool,
    /// Where its clients connect, if the line says so.
    pub client: Option<ClientAddress>,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientAddress {
    /// `None` is every address.
    pub address: Option<String>,
    /// The port.
    pub port: u16,
}

/// The form of a line, for messages.
pub(super) const FORM: &str = "server.<id>=<host>:<port>:<election port>[:participant|observer][;[<client address>:]<client port>]";

/// Reads the value of a `server.N` line; `None` where it is not of the [`FORM`].
pub(super) fn parse(value: &str) -> Option<ServerLine> {
    let (member, client) = match value.split_once(';') {
        Some((member, client)) => (member, Some(client.trim())),
        None => (value, None),
    };
    let mut is_observer = false;
    for address in member.split('|') {
        let role = member_role(address.trim())?;
        is_observer |= role.is_some_and(|role| role.eq_ignore_ascii_case("observer"));
    }
    let client = match client {
        Some(client) => Some(parse_client(client)?),
        None => None,
    };
    Some(ServerLine {
        is_observer,
        client,
    })
}

/// The role in `host:port:port[:role]`, after the address was found well formed.
fn member_role(address: &str) -> Option<Option<&str>> {
    let (host, rest) = split_host(address)?;
    let fields: Vec<&str> = rest.split(':').collect();
    let (ports, role) = match fields.as_slice() {
        [first, second] => ([first, second], None),
        [first, second, role] => ([first, second], Some(*role)),
        _ => return None,
    };
    let is_role = |role: &str| {
        role.eq_ignore_ascii_case("participant") || role.eq_ignore_ascii_case("observer")
    };
    let well_formed = !host.is_empty()
        && ports.iter().all(|port| port.parse::<u16>().is_ok())
        && role.is_none_or(is_role);
    well_formed.then_some(role)
}

fn parse_client(client: &str) -> Option<ClientAddress> {
    if let Ok(port) = client.parse() {
        return Some(ClientAddress {
            address: None,
            port,
        });
    }
    let (host, port) = split_host(client)?;
    Some(ClientAddress {
        address: Some(host.to_string()),
        port: port.parse().ok()?,
    })
}

/// Parts the host, which may be IPv6 in brackets, from what follows its colon.
fn split_host(address: &str) -> Option<(&str, &str)> {
    match address.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once("]:"),
        None => address.split_once(':'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_form() {
        let line = |is_observer, client: Option<(Option<&str>, u16)>| {
            Some(ServerLine {
                is_observer,
                client: client.map(|(address, port)| ClientAddress {
                    address: address.map(str::to_string),
                    port,
                }),
            })
        };
        for (value, expected) in [
            ("zoo1:2888:3888", line(false, None)),
            ("zoo1:2888:3888:participant", line(false, None)),
            ("zoo1:2888:3888:OBSERVER", line(true, None)),
            ("zoo1:2888:3888;2181", line(false, Some((None, 2181)))),
            (
                "[::1]:2888:3888:participant;[::1]:2181",
                line(false, Some((Some("::1"), 2181))),
            ),
            (
                "a:1:2|b:3:4;127.0.0.1:2181",
                line(false, Some((Some("127.0.0.1"), 2181))),
            ),
            ("zoo1", None),
            ("zoo1:2888", None),
            ("zoo1:2888:x", None),
            ("zoo1:2888:3888:leader", None),
            ("zoo1:2888:3888;", None),
            ("zoo1:2888:3888;x", None),
            (":2888:3888", None),
            ("", None),
        ] {
            assert_eq!(parse(value), expected, "{value:?}");
        }
    }
}
