//! Access control lists: what they grant, and which of them a client may set.

use super::{AuthConfig, Identity, Provider};
use crate::jute::data::Acl;

/// A list that a client may not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("access control list is empty or has an entry that is not valid")]
pub struct InvalidAcl;

/// Whether one of the entries of `acl` grants one of the permissions `perm` to one of the
/// identities (Apache's `ZooKeeperServer.checkACL`).
///
/// An empty list grants everything. Cost: constant where the first entry grants it to the world.
pub fn allows(acl: &[Acl], perm: i32, identities: &[Identity], config: &AuthConfig) -> bool {
    let Some(first) = acl.first() else {
        return true;
    };
    if config.skip_acl || grants_world(first, perm) {
        return true;
    }
    identities.iter().any(|identity| identity.scheme == "super")
        || acl
            .iter()
            .any(|entry| grants(entry, perm, identities, config))
}

fn grants_world(entry: &Acl, perm: i32) -> bool {
    entry.perms & perm != 0 && is_world(entry)
}

fn is_world(entry: &Acl) -> bool {
    entry.scheme == "world" && entry.id == "anyone"
}

fn grants(entry: &Acl, perm: i32, identities: &[Identity], config: &AuthConfig) -> bool {
    if entry.perms & perm == 0 {
        return false;
    }
    if is_world(entry) {
        return true;
    }
    let Some(provider) = config.provider(&entry.scheme) else {
        return false;
    };
    identities.iter().any(|identity| {
        identity.scheme == entry.scheme && provider.matches(&identity.id, &entry.id, config)
    })
}

/// Makes a list that a client sent absolute (Apache's `PrepRequestProcessor.fixupACL`): repeated
/// entries are dropped, and `auth` becomes the identities that the connection has proven, its
/// address left out. The list is returned as it is where it only opens the node to the world.
pub fn fixup_acl(
    acl: Vec<Acl>,
    identities: &[Identity],
    config: &AuthConfig,
) -> Result<Vec<Acl>, InvalidAcl> {
    match acl.as_slice() {
        [] => return Err(InvalidAcl),
        [only] if is_world(only) => return Ok(acl),
        _ => {}
    }
    let mut fixed = Vec::with_capacity(acl.len());
    for (at, entry) in acl.iter().enumerate() {
        if acl[..at].contains(entry) {
            continue;
        }
        if is_world(entry) {
            fixed.push(entry.clone());
        } else if entry.scheme == "auth" {
            expand_auth(entry.perms, identities, config, &mut fixed)?;
        } else {
            match config.provider(&entry.scheme) {
                Some(provider) if provider.is_valid(&entry.id) => fixed.push(entry.clone()),
                _ => return Err(InvalidAcl),
            }
        }
    }
    Ok(fixed)
}

fn expand_auth(
    perms: i32,
    identities: &[Identity],
    config: &AuthConfig,
    fixed: &mut Vec<Acl>,
) -> Result<(), InvalidAcl> {
    let before = fixed.len();
    fixed.extend(
        identities
            .iter()
            .filter(|identity| {
                config
                    .provider(&identity.scheme)
                    .is_some_and(Provider::is_authenticated)
            })
            .map(|identity| Acl {
                perms,
                scheme: identity.scheme.clone(),
                id: identity.id.clone(),
            }),
    );
    if fixed.len() == before {
        return Err(InvalidAcl);
    }
    Ok(())
}

/// The list as `getACL` tells it to those without the permission ADMIN: the digests themselves are
/// hidden (Apache's `FinalRequestProcessor`).
pub fn mask_digests(acl: &[Acl]) -> Vec<Acl> {
    acl.iter()
        .map(|entry| {
            let mut entry = entry.clone();
            if entry.scheme == "digest"
                && let Some(colon) = entry.id.find(':')
            {
                entry.id.truncate(colon);
                entry.id.push_str(":x");
            }
            entry
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::perms;

    fn entry(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl {
            perms,
            scheme: scheme.into(),
            id: id.into(),
        }
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn decisions() {
        let nobody = [Identity::new("ip", "10.0.0.7")];
        let alice = [
            Identity::new("ip", "10.0.0.7"),
            Identity::new("digest", "alice:d"),
        ];
        let root = [Identity::new("super", "")];
        let config = AuthConfig::default();
        for (acl, perm, identities, expected) in [
            (vec![], perms::WRITE, &nobody[..], true),
            (
                vec![entry(31, "world", "anyone")],
                perms::ADMIN,
                &nobody,
                true,
            ),
            (
                vec![entry(1, "world", "anyone")],
                perms::WRITE,
                &nobody,
                false,
            ),
            (
                vec![entry(1, "world", "anyone")],
                perms::READ | perms::ADMIN,
                &nobody,
                true,
            ),
            (
                vec![entry(1, "world", "anyone"), entry(2, "digest", "alice:d")],
                perms::WRITE,
                &alice,
                true,
            ),
            (
                vec![entry(31, "digest", "alice:d")],
                perms::READ,
                &nobody,
                false,
            ),
            (
                vec![entry(31, "digest", "alice:other")],
                perms::READ,
                &alice,
                false,
            ),
            (
                vec![entry(31, "ip", "10.0.0.0/8")],
                perms::READ,
                &nobody,
                true,
            ),
            (
                vec![entry(31, "world", "somebody")],
                perms::READ,
                &nobody,
                false,
            ),
            (
                vec![entry(31, "x509", "CN=a")],
                perms::READ,
                &[Identity::new("x509", "CN=a")],
                false,
            ),
            (vec![entry(0, "digest", "bob:d")], perms::READ, &root, true),
        ] {
            assert_eq!(
                allows(&acl, perm, identities, &config),
                expected,
                "{acl:?} {perm} {identities:?}"
            );
        }
        let skipping = AuthConfig {
            skip_acl: true,
            ..AuthConfig::default()
        };
        assert!(allows(
            &[entry(0, "digest", "bob:d")],
            perms::READ,
            &nobody,
            &skipping
        ));
        let with_x509 = AuthConfig {
            x509_enabled: true,
            x509_super_user: Some("CN=root".into()),
            ..AuthConfig::default()
        };
        for (subject, expected) in [("CN=a", true), ("CN=b", false), ("CN=root", true)] {
            let identity = [Identity::new("x509", subject)];
            assert_eq!(
                allows(
                    &[entry(31, "x509", "CN=a")],
                    perms::READ,
                    &identity,
                    &with_x509
                ),
                expected
            );
        }
    }

    #[test]
    fn lists_are_made_absolute() {
        let identities = [
            Identity::new("ip", "10.0.0.7"),
            Identity::new("super", ""),
            Identity::new("digest", "alice:d"),
            Identity::new("digest", "bob:e"),
        ];
        let config = AuthConfig::default();
        let open = entry(31, "world", "anyone");
        for (acl, expected) in [
            (vec![], Err(InvalidAcl)),
            (vec![open.clone(), open.clone()], Ok(vec![open.clone()])),
            (vec![entry(31, "world", "everyone")], Err(InvalidAcl)),
            (vec![entry(31, "", "")], Err(InvalidAcl)),
            (vec![entry(31, "super", "")], Err(InvalidAcl)),
            (vec![entry(31, "x509", "CN=a")], Err(InvalidAcl)),
            (vec![entry(31, "digest", "noColon")], Err(InvalidAcl)),
            (
                vec![open.clone(), entry(31, "ip", "1.2.3")],
                Err(InvalidAcl),
            ),
            (
                vec![entry(3, "auth", "whatever")],
                Ok(vec![
                    entry(3, "digest", "alice:d"),
                    entry(3, "digest", "bob:e"),
                ]),
            ),
            (
                vec![entry(1, "digest", "a:b"), entry(2, "digest", "a:b")],
                Ok(vec![entry(1, "digest", "a:b"), entry(2, "digest", "a:b")]),
            ),
        ] {
            let fixed = fixup_acl(acl.clone(), &identities, &config);
            assert_eq!(fixed, expected, "{acl:?}");
        }
        assert_eq!(
            fixup_acl(vec![entry(31, "auth", "")], &identities[..2], &config),
            Err(InvalidAcl)
        );
    }

    #[test]
    fn digests_are_hidden() {
        let masked = mask_digests(&[entry(31, "digest", "alice:secret"), entry(1, "ip", "::1")]);
        assert_eq!(
            masked,
            [entry(31, "digest", "alice:x"), entry(1, "ip", "::1")]
        );
    }
}
