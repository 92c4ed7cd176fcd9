//! The first message on an election connection, by which its maker says who it is
//! (Apache's `QuorumCnxManager.InitialMessage`).
//!
//! Big-endian: version (8 bytes), id (8), length (4), election addresses as text. The version is
//! −65536 with one address, −65535 with several, joined by `|`. Before 3.5 the message was the id
//! alone, which is never negative.

use crate::types::{Ensemble, ServerId};

const VERSION_ONE_ADDRESS: i64 = -65536;
const VERSION_ADDRESSES: i64 = -65535;
/// The longest text, as in Apache.
const TEXT_MAX: usize = 2048;
/// The id of observers that have none.
const NAMELESS_OBSERVER: i64 = i64::MAX;

/// Who made a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Its number; `None` for an observer that has none.
    pub from: Option<ServerId>,
    /// Where it holds elections, as it says.
    pub addresses: Vec<(String, u16)>,
}

/// A first message that no server sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GreetingError {
    /// Neither an id nor a known version.
    #[error("version {0} of the first message is unknown")]
    Version(i64),
    /// An empty or too long text.
    #[error("the first message claims {0} bytes of addresses")]
    Length(i32),
    /// Not `host:port`.
    #[error("the first message has the address {0:?}")]
    Address(String),
}

/// The greeting at the start of `bytes` with its length, or `None` while it is incomplete.
pub fn read(bytes: &[u8]) -> Result<Option<(Greeting, usize)>, GreetingError> {
    let Some(version) = long(bytes, 0) else {
        return Ok(None);
    };
    if version >= 0 {
        let greeting = Greeting {
            from: named(version),
            addresses: Vec::new(),
        };
        return Ok(Some((greeting, 8)));
    }
    if version != VERSION_ONE_ADDRESS && version != VERSION_ADDRESSES {
        return Err(GreetingError::Version(version));
    }
    let (Some(id), Some(length)) = (long(bytes, 8), bytes.get(16..20)) else {
        return Ok(None);
    };
    let claimed = i32::from_be_bytes(length.try_into().expect("four bytes"));
    let length = match usize::try_from(claimed) {
        Ok(length @ 1..=TEXT_MAX) => length,
        _ => return Err(GreetingError::Length(claimed)),
    };
    let Some(text) = bytes.get(20..20 + length) else {
        return Ok(None);
    };
    let addresses = String::from_utf8_lossy(text)
        .split('|')
        .map(address)
        .collect::<Result<Vec<_>, _>>()?;
    let greeting = Greeting {
        from: named(id),
        addresses,
    };
    Ok(Some((greeting, 20 + length)))
}

/// The greeting of a member: with all its addresses where `is_multi_address`.
pub fn write(my_id: ServerId, ensemble: &Ensemble, is_multi_address: bool) -> Vec<u8> {
    let addresses = ensemble.members.get(&my_id).map(|member| &member.addresses);
    let count = if is_multi_address { usize::MAX } else { 1 };
    let texts: Vec<String> = addresses
        .into_iter()
        .flatten()
        .take(count)
        .map(|address| {
            let port = address.election_port;
            if address.host.contains(':') {
                format!("[{}]:{port}", address.host)
            } else {
                format!("{}:{port}", address.host)
            }
        })
        .collect();
    let text = texts.join("|");
    let version = if is_multi_address {
        VERSION_ADDRESSES
    } else {
        VERSION_ONE_ADDRESS
    };
    let length = i32::try_from(text.len()).expect("a few addresses");
    let mut bytes = Vec::with_capacity(20 + text.len());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&my_id.0.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn named(id: i64) -> Option<ServerId> {
    (id != NAMELESS_OBSERVER).then_some(ServerId(id))
}

fn long(bytes: &[u8], at: usize) -> Option<i64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(i64::from_be_bytes(bytes.try_into().expect("eight bytes")))
}

fn address(text: &str) -> Result<(String, u16), GreetingError> {
    let wrong = || GreetingError::Address(text.to_owned());
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').ok_or_else(wrong)?,
        None if host.contains(':') => return Err(wrong()),
        None => host,
    };
    let port = port.parse().map_err(|_| wrong())?;
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Member, MemberAddress, Role};
    use proptest::prelude::*;

    fn ensemble() -> Ensemble {
        let address = |host: &str, election_port| MemberAddress {
            host: host.into(),
            quorum_port: 1,
            election_port,
        };
        let member = Member {
            addresses: vec![address("a", 3888), address("::1", 3889)],
            role: Role::Participant,
            client: None,
        };
        Ensemble {
            members: [(ServerId(2), member)].into(),
            ..Ensemble::default()
        }
    }

    #[test]
    fn both_versions_have_the_bytes_of_the_reference() {
        let one = write(ServerId(2), &ensemble(), false);
        let golden = b"\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x02\0\0\0\x06a:3888";
        assert_eq!(one, golden);
        let several = write(ServerId(2), &ensemble(), true);
        let golden = b"\xff\xff\xff\xff\xff\xff\0\x01\0\0\0\0\0\0\0\x02\0\0\0\x11a:3888|[::1]:3889";
        assert_eq!(several, golden);
        for length in 0..several.len() {
            assert_eq!(read(&several[..length]), Ok(None), "{length}");
        }
        let (greeting, length) = read(&several).expect("valid").expect("whole");
        assert_eq!((greeting.from, length), (Some(ServerId(2)), several.len()));
        assert_eq!(
            greeting.addresses,
            [("a".to_owned(), 3888), ("::1".to_owned(), 3889)]
        );
    }

    #[test]
    fn old_servers_and_nameless_observers_are_known() {
        let (old, length) = read(&7i64.to_be_bytes()).expect("valid").expect("whole");
        assert_eq!((old.from, length), (Some(ServerId(7)), 8));
        let (nameless, _) = read(&i64::MAX.to_be_bytes())
            .expect("valid")
            .expect("whole");
        assert_eq!(nameless.from, None);
    }

    #[test]
    fn what_no_server_sends_is_refused() {
        assert_eq!(
            read(&(-7i64).to_be_bytes()),
            Err(GreetingError::Version(-7))
        );
        let mut long = write(ServerId(2), &ensemble(), false);
        for length in [0i32, -1, 2049] {
            long[16..20].copy_from_slice(&length.to_be_bytes());
            assert_eq!(read(&long), Err(GreetingError::Length(length)));
        }
        for text in ["a", "a:", "a:b", "a:1:2", "a:99999", "[a:1", "a:1||b:2"] {
            assert!(text.split('|').any(|text| address(text).is_err()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(rest in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&rest);
            let _ = read(&[&VERSION_ADDRESSES.to_be_bytes()[..], &rest].concat());
        }
    }
}
