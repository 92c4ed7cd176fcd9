//! Identities and access decisions.
//!
//! A connection proves identities: its address when it is accepted ([`peer_identity`]), others by
//! auth packets ([`add_auth`]). Each node carries a list of entries, and [`allows`] decides whether
//! one of them grants a permission to one of the identities. Lists that clients send are first
//! made absolute by [`fixup_acl`].
//!
//! Schemes: `world`, `auth` (only in lists that clients send), `digest`, `ip`, `x509`, and `super`,
//! which no list can name and which may do everything. SASL is not covered.

mod acl;
mod digest;
mod ip;
mod packet;
mod x509;

pub use acl::{InvalidAcl, allows, fixup_acl, mask_digests};
pub use packet::{AuthFailed, add_auth, client_infos};

use std::net::IpAddr;

use crate::types::DigestAlgorithm;

/// An identity that a connection has proven (Apache's `Id`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Authentication scheme: `ip`, `digest`, `x509`, `super`.
    pub scheme: String,
    /// Identity within the scheme.
    pub id: String,
}

impl Identity {
    /// The identity `id` of `scheme`.
    pub fn new(scheme: impl Into<String>, id: impl Into<String>) -> Identity {
        Identity {
            scheme: scheme.into(),
            id: id.into(),
        }
    }
}

/// What access decisions must know of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// Whether every request is allowed (`zookeeper.skipACL`, default false). Lists that clients
    /// send are still checked for form.
    pub skip_acl: bool,
    /// Whether the scheme `digest` exists (`zookeeper.DigestAuthenticationProvider.enabled`,
    /// default true).
    pub digest_enabled: bool,
    /// How passwords are digested (`zookeeper.DigestAuthenticationProvider.digestAlg`, default
    /// SHA-1).
    pub digest_algorithm: DigestAlgorithm,
    /// `super:` and the digest that makes a connection the super user
    /// (`zookeeper.DigestAuthenticationProvider.superDigest`), by default nobody.
    pub super_digest: Option<String>,
    /// Whether the scheme `x509` exists (Apache: that its provider is registered by
    /// `zookeeper.authProvider.*`, default false).
    pub x509_enabled: bool,
    /// The subject that matches every `x509` entry
    /// (`zookeeper.X509AuthenticationProvider.superUser`), by default nobody.
    pub x509_super_user: Option<String>,
}

impl Default for AuthConfig {
    fn default() -> AuthConfig {
        AuthConfig {
            skip_acl: false,
            digest_enabled: true,
            digest_algorithm: DigestAlgorithm::Sha1,
            super_digest: None,
            x509_enabled: false,
            x509_super_user: None,
        }
    }
}

/// A scheme that the server can check identities of (Apache's `ProviderRegistry`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Provider {
    Digest,
    Ip,
    X509,
}

impl AuthConfig {
    fn provider(&self, scheme: &str) -> Option<Provider> {
        match scheme {
            "digest" if self.digest_enabled => Some(Provider::Digest),
            "ip" => Some(Provider::Ip),
            "x509" if self.x509_enabled => Some(Provider::X509),
            _ => None,
        }
    }
}

impl Provider {
    /// Whether the identity tells who the client is, so that `auth` may stand for it.
    fn is_authenticated(self) -> bool {
        self != Provider::Ip
    }

    /// Whether `id` has the form that the scheme asks for.
    fn is_valid(self, id: &str) -> bool {
        match self {
            Provider::Digest => digest::is_valid(id),
            Provider::Ip => ip::is_valid(id),
            Provider::X509 => x509::is_valid(id),
        }
    }

    /// Whether the entry `expression` names the identity `id`.
    fn matches(self, id: &str, expression: &str, config: &AuthConfig) -> bool {
        match self {
            Provider::Digest => id == expression,
            Provider::Ip => ip::matches(id, expression),
            Provider::X509 => id == expression || config.x509_super_user.as_deref() == Some(id),
        }
    }

    /// What `whoAmI` calls the identity `id`.
    fn user_name(self, id: &str) -> &str {
        match self {
            Provider::Digest => digest::user_name(id),
            Provider::Ip | Provider::X509 => id,
        }
    }
}

/// The identity that each connection has from the start: its peer's address.
pub fn peer_identity(peer: IpAddr) -> Identity {
    Identity::new("ip", ip::host_address(peer))
}
