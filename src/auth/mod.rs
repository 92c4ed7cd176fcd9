//! Identities and access decisions.

/// An identity that a connection has proven (Apache's `Id`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Authentication scheme: `ip`, `digest`, `x509`, `super`.
    pub scheme: String,
    /// Identity within the scheme.
    pub id: String,
}
