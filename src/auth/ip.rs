//! Scheme `ip`: addresses and ranges of them (Apache's `IPAuthenticationProvider`).

use std::net::IpAddr;

const V6_SEGMENTS: usize = 8;

/// An address as the reference names it: IPv6 in eight groups without compression, and an IPv4
/// address that arrived on an IPv6 socket as IPv4.
pub(super) fn host_address(peer: IpAddr) -> String {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address
            .segments()
            .map(|segment| format!("{segment:x}"))
            .join(":"),
    }
}

/// Whether `expression` is an address, with or without `/` and the number of leading bits.
pub(super) fn is_valid(expression: &str) -> bool {
    range(expression).is_some()
}

/// Whether the address `id` lies in the range `expression`.
pub(super) fn matches(id: &str, expression: &str) -> bool {
    let (Some((network, bits)), Some(address)) = (range(expression), address(id)) else {
        return false;
    };
    network.len() == address.len() && masked(network, bits) == masked(address, bits)
}

/// The bytes of an address, 4 or 16 of them.
type Bytes = Vec<u8>;

fn range(expression: &str) -> Option<(Bytes, usize)> {
    let (text, bits) = match expression.split_once('/') {
        None => (expression, None),
        Some((text, bits)) => (text, Some(bits)),
    };
    let network = address(text)?;
    let width = network.len() * 8;
    let bits = match bits {
        None => width,
        Some(bits) => usize::try_from(bits.parse::<i32>().ok()?).ok()?,
    };
    (bits <= width).then_some((network, bits))
}

fn masked(mut address: Bytes, bits: usize) -> Bytes {
    for (at, byte) in address.iter_mut().enumerate() {
        let kept = bits.saturating_sub(at * 8).min(8);
        *byte &= !(0xff_u16 >> kept) as u8;
    }
    address
}

fn address(text: &str) -> Option<Bytes> {
    if text.contains(':') {
        v6_address(text)
    } else {
        v4_address(text)
    }
}

fn v4_address(text: &str) -> Option<Bytes> {
    let parts: Option<Bytes> = text
        .split('.')
        .map(|part| u8::try_from(part.parse::<i32>().ok()?).ok())
        .collect();
    parts.filter(|bytes| bytes.len() == 4)
}

fn v6_address(text: &str) -> Option<Bytes> {
    let mut halves = text.split("::");
    let (head, tail) = (halves.next()?, halves.next());
    if halves.next().is_some() {
        return None;
    }
    let head = v6_segments(head, tail.is_some())?;
    let tail = match tail {
        None => None,
        Some(tail) => Some(v6_segments(tail, true)?),
    };
    let mut bytes = head;
    match tail {
        None if bytes.len() == V6_SEGMENTS * 2 => {}
        None => return None,
        Some(tail) => {
            if bytes.len() + tail.len() >= V6_SEGMENTS * 2 {
                return None;
            }
            bytes.resize(V6_SEGMENTS * 2 - tail.len(), 0);
            bytes.extend(tail);
        }
    }
    Some(bytes)
}

fn v6_segments(text: &str, may_be_empty: bool) -> Option<Bytes> {
    if text.is_empty() && may_be_empty {
        return Some(Bytes::new());
    }
    let mut bytes = Bytes::with_capacity(V6_SEGMENTS * 2);
    for segment in text.split(':') {
        if segment.is_empty() || segment.len() > 4 {
            return None;
        }
        let value = u16::from_str_radix(segment, 16).ok()?;
        bytes.extend(value.to_be_bytes());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (id, expression, expected) in [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.2.3", "10.0.0.0/8", true),
            ("10.1.2.3", "11.0.0.0/8", false),
            ("10.1.2.3", "0.0.0.0/0", true),
            ("10.1.2.3", "10.1.2.2/31", true),
            ("10.1.2.3", "10.1.2.0/31", false),
            ("10.1.2.3", "10.1.2.3/33", false),
            ("10.1.2.3", "10.1.2.3/-1", false),
            ("10.1.2.3", "::/0", false),
            ("0:0:0:0:0:0:0:1", "::1", true),
            ("fe80:0:0:0:0:0:0:9", "fe80::/10", true),
            ("fec0:0:0:0:0:0:0:9", "fe80::/10", false),
        ] {
            assert_eq!(matches(id, expression), expected, "{id} {expression}");
        }
    }

    #[test]
    fn form_of_expressions() {
        for (expression, expected) in [
            ("1.2.3.4", true),
            ("1.2.3.4/24", true),
            ("1.2.3.4/", false),
            ("1.2.3.4/24/1", false),
            ("1.2.3", false),
            ("1.2.3.256", false),
            ("localhost", false),
            ("1:2:3:4:5:6:7:8", true),
            ("1:2:3:4:5:6:7", false),
            ("::", true),
            ("1::", true),
            ("1:2:3:4:5:6:7::8", false),
            ("1::2::3", false),
            ("12345::", false),
            ("::ffff:1.2.3.4", false),
            ("fe80::1/129", false),
        ] {
            assert_eq!(is_valid(expression), expected, "{expression}");
        }
    }

    #[test]
    fn peers_are_named_as_by_the_reference() {
        for (peer, name) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::1", "0:0:0:0:0:0:0:1"),
        ] {
            let peer: IpAddr = peer.parse().expect("an address");
            assert_eq!(host_address(peer), name);
        }
    }
}
