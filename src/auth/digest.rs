//! Scheme `digest`: a user and the digest of user and password
//! (Apache's `DigestAuthenticationProvider`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use sha2::{Sha224, Sha256, Sha384, Sha512};

use crate::types::DigestAlgorithm;

impl DigestAlgorithm {
    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            DigestAlgorithm::Sha1 => Sha1::digest(bytes).to_vec(),
            DigestAlgorithm::Sha224 => Sha224::digest(bytes).to_vec(),
            DigestAlgorithm::Sha256 => Sha256::digest(bytes).to_vec(),
            DigestAlgorithm::Sha384 => Sha384::digest(bytes).to_vec(),
            DigestAlgorithm::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    /// The identity of `user:password`: `user:` and the digest of both in base64.
    pub fn identity_of(self, id_password: &str) -> String {
        let user = id_password
            .split_once(':')
            .map_or(id_password, |(user, _)| user);
        let digest = STANDARD.encode(self.digest(id_password.as_bytes()));
        format!("{user}:{digest}")
    }
}

/// Whether `id` is two parts with a colon between them. Colons at the end count for nothing, as in
/// the reference.
pub(super) fn is_valid(id: &str) -> bool {
    let id = id.trim_end_matches(':');
    id.bytes().filter(|&byte| byte == b':').count() == 1
}

/// The user within an identity.
pub(super) fn user_name(id: &str) -> &str {
    id.split(':').next().unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_those_of_the_reference() {
        // The first is the example of Apache's documentation.
        for (algorithm, id_password, identity) in [
            ("SHA1", "super:test", "super:D/InIHSb7yEEbrWz8b9l71RjZJU="),
            ("sha-1", "user:pw:d", "user:+E9U8r361q+IVhV5odLAvzhjIvk="),
            (
                "SHA-256",
                "super:test",
                "super:wjySwxg860UATFtciuZ1lpzrCHrPeov6SPu/ZD56uig=",
            ),
            (
                "SHA-512",
                "nocolon",
                "nocolon:VzTzflxhUl0j+cwyQSgEjkpekUg+lQoF7J3WgHlztwqa7xRRTqaLcyEGHc85X4QrEIdsm+flw3yRY7KzowZDfQ==",
            ),
        ] {
            let algorithm = DigestAlgorithm::from_name(algorithm).expect("known");
            assert_eq!(algorithm.identity_of(id_password), identity);
        }
        assert_eq!(DigestAlgorithm::from_name("MD5"), None);
    }

    #[test]
    fn form_of_identities() {
        for (id, expected) in [
            ("a:b", true),
            (":b", true),
            ("a:b::", true),
            ("a:", false),
            (":", false),
            ("", false),
            ("a", false),
            ("a:b:c", false),
        ] {
            assert_eq!(is_valid(id), expected, "{id:?}");
        }
        assert_eq!(user_name("alice:digest"), "alice");
    }
}
