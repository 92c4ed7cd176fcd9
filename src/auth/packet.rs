//! Auth packets: what a client says to prove an identity, and what it is told of its identities.

use std::net::IpAddr;

use super::{AuthConfig, Identity, Provider, peer_identity};
use crate::jute::data::ClientInfo;

/// An auth packet proved nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub struct AuthFailed;

/// Judges an auth packet and returns the identities that it proves, to be added to those of the
/// connection (each at most once).
///
/// The connection answers as Apache's `ZooKeeperServer.processPacket` does. The header of the reply
/// has the request's xid (which clients set to −4), zxid 0, and the error 0 or `AuthFailed`; no
/// record follows. After `AuthFailed` the connection is closed, once the reply is sent, and
/// nothing more is read from it. The packet is answered at once, not in turn with the requests
/// before it, and it counts for the requests after it.
///
/// `data` is null where the packet holds no buffer. Schemes that clients can use: `digest`, with
/// `user:password`, and `ip`, which repeats the peer's address whatever the data. A client proves
/// `x509` in the TLS handshake, never here.
pub fn add_auth(
    scheme: &str,
    data: Option<&[u8]>,
    config: &AuthConfig,
    peer: IpAddr,
) -> Result<Vec<Identity>, AuthFailed> {
    match config.provider(scheme) {
        Some(Provider::Digest) => Ok(digest_identities(data.ok_or(AuthFailed)?, config)),
        Some(Provider::Ip) => Ok(vec![peer_identity(peer)]),
        Some(Provider::X509) | None => Err(AuthFailed),
    }
}

/// Every password is accepted: what counts is whether a list names its digest.
fn digest_identities(data: &[u8], config: &AuthConfig) -> Vec<Identity> {
    let id = config
        .digest_algorithm
        .identity_of(&String::from_utf8_lossy(data));
    let mut identities = Vec::new();
    if config.super_digest.as_deref() == Some(id.as_str()) {
        identities.push(Identity::new("super", ""));
    }
    identities.push(Identity::new("digest", id));
    identities
}

/// The answer to `whoAmI` (Apache's `AuthUtil.getClientInfos`): the schemes, and the user within
/// each, empty for a scheme without a provider, such as `super`.
pub fn client_infos(identities: &[Identity], config: &AuthConfig) -> Vec<ClientInfo> {
    identities
        .iter()
        .map(|identity| ClientInfo {
            auth_scheme: identity.scheme.clone(),
            user: config
                .provider(&identity.scheme)
                .map_or("", |provider| provider.user_name(&identity.id))
                .to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn packets_and_what_they_prove() {
        let config = AuthConfig {
            super_digest: Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".into()),
            ..AuthConfig::default()
        };
        let digest = Identity::new("digest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        assert_eq!(
            add_auth("digest", Some(b"super:test"), &config, PEER),
            Ok(vec![Identity::new("super", ""), digest.clone()])
        );
        assert_eq!(
            add_auth("digest", Some(b"super:test"), &AuthConfig::default(), PEER),
            Ok(vec![digest])
        );
        assert_eq!(
            add_auth("ip", None, &config, PEER),
            Ok(vec![Identity::new("ip", "127.0.0.1")])
        );
        for (scheme, data) in [
            ("digest", None),
            ("x509", Some(&b"CN=a"[..])),
            ("world", Some(b"anyone")),
            ("auth", Some(b"")),
            ("super", Some(b"")),
            ("", Some(b"")),
        ] {
            assert_eq!(add_auth(scheme, data, &config, PEER), Err(AuthFailed));
        }
        let without = AuthConfig {
            digest_enabled: false,
            ..config
        };
        assert_eq!(
            add_auth("digest", Some(b"a:b"), &without, PEER),
            Err(AuthFailed)
        );
    }

    #[test]
    fn who_am_i() {
        let identities = [
            Identity::new("ip", "127.0.0.1"),
            Identity::new("super", ""),
            Identity::new("digest", "alice:digest"),
        ];
        let infos = client_infos(&identities, &AuthConfig::default());
        let listed: Vec<(&str, &str)> = infos
            .iter()
            .map(|info| (info.auth_scheme.as_str(), info.user.as_str()))
            .collect();
        assert_eq!(
            listed,
            [("ip", "127.0.0.1"), ("super", ""), ("digest", "alice")]
        );
    }
}
