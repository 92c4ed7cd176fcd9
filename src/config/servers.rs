//! The value of a `server.N` line (Apache's `QuorumServer.initializeWithAddressString`).

use super::values::Expected;
use crate::types::{ClientAddress, Member, MemberAddress, Role};

/// The form of a value, for messages.
const FORM: &str = "<host>:<port>:<election port>[:participant|observer], several of them with | between, and then [;[<client address>:]<client port>]";

/// Reads the value of a `server.N` line. A host may be any text: it is looked up when it is used.
/// An empty part at the end is none at all, as Java splits.
pub(super) fn parse(value: &str) -> Result<Member, Expected> {
    let form = || Expected(FORM.to_string());
    let (servers, client) = match split(value, ';').as_slice() {
        [servers] => (*servers, None),
        [servers, client] => (*servers, Some(*client)),
        _ => return Err(form()),
    };
    let mut addresses = Vec::new();
    let mut roles = Vec::new();
    for text in split(servers, '|') {
        let (address, role) = parse_server(text).ok_or_else(form)?;
        if address.quorum_port == address.election_port {
            return Err(Expected(
                "different ports for the quorum and for elections".to_string(),
            ));
        }
        addresses.push(address);
        roles.extend(role);
    }
    let role = roles.first().copied().unwrap_or_default();
    if roles.iter().any(|&other| other != role) {
        return Err(Expected(
            "the same role with each of the addresses".to_string(),
        ));
    }
    let client = match client {
        Some(client) => Some(parse_client(client).ok_or_else(form)?),
        None => None,
    };
    Ok(Member {
        addresses,
        role,
        client,
    })
}

fn parse_server(text: &str) -> Option<(MemberAddress, Option<Role>)> {
    let fields = fields(text)?;
    let (host, quorum_port, election_port, role) = match fields.as_slice() {
        [host, quorum, election] => (host, quorum, election, None),
        [host, quorum, election, role] => (host, quorum, election, Some(parse_role(role)?)),
        _ => return None,
    };
    let address = MemberAddress {
        host: (!host.is_empty()).then(|| (*host).to_string())?,
        quorum_port: parse_port(quorum_port)?,
        election_port: parse_port(election_port)?,
    };
    Some((address, role))
}

/// Reads a role's name in any case.
pub(super) fn parse_role(name: &str) -> Option<Role> {
    if name.eq_ignore_ascii_case("participant") {
        Some(Role::Participant)
    } else if name.eq_ignore_ascii_case("observer") {
        Some(Role::Observer)
    } else {
        None
    }
}

/// A port alone, or with an address before it; 0.0.0.0 is what Apache writes for every address.
fn parse_client(text: &str) -> Option<ClientAddress> {
    let fields = fields(text)?;
    let (host, port) = match fields.as_slice() {
        [port] => (None, port),
        ["0.0.0.0", port] => (None, port),
        [host, port] if !host.is_empty() => (Some((*host).to_string()), port),
        _ => return None,
    };
    let port = parse_port(port)?;
    Some(ClientAddress { host, port })
}

fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|&port| port > 0)
}

/// What stands between colons; the first may be IPv6 in brackets.
fn fields(text: &str) -> Option<Vec<&str>> {
    let Some(bracketed) = text.strip_prefix('[') else {
        return Some(split(text, ':'));
    };
    let (host, rest) = bracketed.split_once(']')?;
    let mut fields = vec![host];
    fields.extend(split(rest.strip_prefix(':')?, ':'));
    Some(fields)
}

/// Parts a text as Java's `split` does: without the empty parts at its end.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts: Vec<&str> = text.split(separator).map(str::trim).collect();
    while parts.len() > 1 && parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_form_in_the_words_of_the_reference() {
        for (value, shown) in [
            ("zoo1:2888:3888", "zoo1:2888:3888:participant"),
            ("zoo1:2888:3888:participant", "zoo1:2888:3888:participant"),
            ("zoo1:2888:3888:OBSERVER", "zoo1:2888:3888:observer"),
            (
                "zoo1:2888:3888;2181",
                "zoo1:2888:3888:participant;0.0.0.0:2181",
            ),
            (
                "zoo1:2888:3888:observer;0.0.0.0:2181",
                "zoo1:2888:3888:observer;0.0.0.0:2181",
            ),
            (
                "[::1]:2888:3888:participant;[::1]:2181",
                "[::1]:2888:3888:participant;[::1]:2181",
            ),
            (
                "a:1:2|b:3:4;127.0.0.1:2181",
                "a:1:2|b:3:4:participant;127.0.0.1:2181",
            ),
            (
                "b:3:4:observer | [2001:db8::2]:5:6:observer",
                "[2001:db8::2]:5:6|b:3:4:observer",
            ),
            (
                "zoo1/10.0.0.1:2888:3888",
                "zoo1/10.0.0.1:2888:3888:participant",
            ),
            ("zoo1:2888:3888;", "zoo1:2888:3888:participant"),
            ("zoo1:2888:3888:", "zoo1:2888:3888:participant"),
            (" zoo1 : 2888 : 3888 ", "zoo1:2888:3888:participant"),
        ] {
            let shown = Ok(shown.to_string());
            assert_eq!(parse(value).map(|m| m.to_string()), shown, "{value:?}");
        }
    }

    #[test]
    fn other_lines_are_refused() {
        for value in [
            "zoo1",
            "zoo1:2888",
            "zoo1:2888:x",
            "zoo1:2888:65536",
            "zoo1:0:3888",
            "zoo1:2888:3888:leader",
            "zoo1:2888:3888:observer:1",
            "zoo1:2888:3888;x",
            "zoo1:2888:3888;a:b:1",
            "zoo1:2888:3888;2181;2182",
            "zoo1:2888:3888;[::1",
            "zoo1:2888:3888;[::1]",
            ":2888:3888",
            "[::1]2888:3888",
            "[::1:2888:3888",
            "|",
            "a:1:2|",
            "",
        ] {
            let refused = parse(value).err().map(|expected| expected.0);
            // Java drops the empty part behind the bar.
            let expected = (value != "a:1:2|").then(|| FORM.to_string());
            assert_eq!(refused, expected, "{value:?}");
        }
        for (value, expected) in [
            ("a:1:1", "different ports for the quorum and for elections"),
            (
                "a:1:2|b:1:2:observer|c:1:2:participant",
                "the same role with each of the addresses",
            ),
        ] {
            assert_eq!(parse(value), Err(Expected(expected.to_string())));
        }
    }
}
