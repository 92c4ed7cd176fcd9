//! Identities and access decisions.
