//! Every key that this server knows, what it does with it, and how it is found by its names.
//!
//! The table of the README is made from [`groups`]; a test keeps the two the same.

mod ensemble;
mod java;
mod operation;
mod security;
mod standalone;

use super::draft::Draft;
use super::values::Expected;

/// Keys of one kind, in the order in which they are listed.
pub struct Group {
    /// What they are about.
    pub title: &'static str,
    /// The keys.
    pub keys: &'static [KeySpec],
}

/// A key of zoo.cfg or a system property.
pub struct KeySpec {
    /// The key as it stands in zoo.cfg; a `*` at its end stands for anything.
    pub name: &'static str,
    /// The Java system property of the same meaning, where there is one: it may stand in
    /// `JVMFLAGS` and `SERVER_JVMFLAGS`.
    pub system_property: Option<&'static str>,
    /// What this server does with it.
    pub status: Status,
    /// What it means, with unit and default.
    pub doc: &'static str,
}

impl KeySpec {
    /// Whether Java's `-D` sets it under this name.
    pub(super) fn is_system_property(&self, name: &str) -> bool {
        // The only property that Apache reads under two names.
        if name == "fsync.warningthresholdms" {
            return self.name == name;
        }
        self.system_property.is_some_and(|property| {
            property
                .strip_suffix('*')
                .map_or(property == name, |prefix| name.starts_with(prefix))
        })
    }
}

/// What this server does with a key.
#[derive(Clone, Copy)]
pub enum Status {
    /// It has its documented effect.
    Works(Apply),
    /// It is accepted, mentioned in the log and has no effect.
    Ignored {
        /// Why.
        reason: &'static str,
    },
    /// The server does not start with it, since leaving it out silently would be worse.
    Refused {
        /// Values with which it is accepted, because they ask for nothing.
        unless: &'static [&'static str],
        /// Why.
        reason: &'static str,
    },
}

/// Puts a value into the draft.
#[derive(Clone, Copy)]
pub struct Apply(ApplyKind);

#[derive(Clone, Copy)]
enum ApplyKind {
    Value(fn(&mut Draft, &str) -> Result<(), Expected>),
    /// Of a key that ends with anything: this is the first argument, the value the second.
    Family(fn(&mut Draft, &str, &str) -> Result<(), Expected>),
}

impl Apply {
    /// Puts the value of this key, which must be one of the key's names, into the draft.
    pub(super) fn put(self, draft: &mut Draft, key: &str, value: &str) -> Result<(), Expected> {
        match self.0 {
            ApplyKind::Value(put) => put(draft, value),
            ApplyKind::Family(put) => {
                let (_, rest) = bare(key).split_once('.').unwrap_or_default();
                put(draft, rest, value)
            }
        }
    }
}

/// All keys.
pub fn groups() -> &'static [Group] {
    static GROUPS: &[Group] = &[
        standalone::CLIENTS,
        standalone::DATA,
        standalone::NODES,
        standalone::ZKORE,
        security::ACCESS,
        security::TLS,
        operation::OPERATION,
        operation::THROTTLING,
        java::JAVA,
        ensemble::ENSEMBLE,
    ];
    GROUPS
}

fn all() -> impl Iterator<Item = &'static KeySpec> {
    groups().iter().flat_map(|group| group.keys)
}

/// The key of this name: its own, its system property's, or either with the prefix `zookeeper.`
/// added or left out.
pub(super) fn find(name: &str) -> Option<&'static KeySpec> {
    let bare = bare(name);
    let is_exact = |spec: &&KeySpec| {
        bare == self::bare(spec.name) || spec.system_property.is_some_and(|p| bare == self::bare(p))
    };
    let is_family = |spec: &&KeySpec| {
        self::bare(spec.name)
            .strip_suffix('*')
            .is_some_and(|prefix| bare.len() > prefix.len() && bare.starts_with(prefix))
    };
    all().find(is_exact).or_else(|| all().find(is_family))
}

/// The known key that looks most like this unknown one, if any is close.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let bare = bare(name).to_ascii_lowercase();
    let allowed = (bare.len() / 4).clamp(1, 3);
    all()
        .map(|spec| spec.name)
        .filter(|known| !known.ends_with('*'))
        .map(|known| {
            let lower = self::bare(known).to_ascii_lowercase();
            (edit_distance(&bare, &lower), known)
        })
        .filter(|&(distance, _)| distance <= allowed)
        .min()
        .map(|(_, known)| known)
}

/// Whether the key is one of those that name the members, which belong into a dynamic
/// configuration file where there is one.
pub(super) fn is_membership(spec: &KeySpec) -> bool {
    matches!(spec.name, "server.*" | "group.*" | "weight.*")
}

pub(super) fn bare(name: &str) -> &str {
    name.strip_prefix("zookeeper.").unwrap_or(name)
}

/// Levenshtein's distance in bytes.
fn edit_distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, from_byte) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to_byte) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(from_byte != to_byte);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

const fn works(
    name: &'static str,
    system_property: Option<&'static str>,
    apply: fn(&mut Draft, &str) -> Result<(), Expected>,
    doc: &'static str,
) -> KeySpec {
    KeySpec {
        name,
        system_property,
        status: Status::Works(Apply(ApplyKind::Value(apply))),
        doc,
    }
}

/// A key `name.*` whose values are taken together with what stands for the `*`.
const fn family(
    name: &'static str,
    apply: fn(&mut Draft, &str, &str) -> Result<(), Expected>,
    doc: &'static str,
) -> KeySpec {
    KeySpec {
        name,
        system_property: None,
        status: Status::Works(Apply(ApplyKind::Family(apply))),
        doc,
    }
}

const fn ignored(
    name: &'static str,
    system_property: Option<&'static str>,
    reason: &'static str,
    doc: &'static str,
) -> KeySpec {
    KeySpec {
        name,
        system_property,
        status: Status::Ignored { reason },
        doc,
    }
}

const fn refused(
    name: &'static str,
    system_property: Option<&'static str>,
    unless: &'static [&'static str],
    reason: &'static str,
    doc: &'static str,
) -> KeySpec {
    KeySpec {
        name,
        system_property,
        status: Status::Refused { unless, reason },
        doc,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_all_their_names() {
        for (given, name) in [
            ("tickTime", "tickTime"),
            ("zookeeper.tickTime", "tickTime"),
            ("jute.maxbuffer", "jute.maxbuffer"),
            ("zookeeper.jute.maxbuffer", "jute.maxbuffer"),
            ("jute.maxbuffer.extrasize", "jute.maxbuffer.extrasize"),
            ("readonlymode.enabled", "readonlymode.enabled"),
            ("connection_throttle_tokens", "connectionMaxTokens"),
            (
                "zookeeper.connection_throttle_tokens",
                "connectionMaxTokens",
            ),
            ("connectionMaxTokens", "connectionMaxTokens"),
            ("server.12", "server.*"),
            ("zookeeper.server.realm", "server.realm"),
            ("metricsProvider.className", "metricsProvider.className"),
            ("metricsProvider.anything", "metricsProvider.*"),
            ("ssl.quorum.keyStore.location", "ssl.quorum.*"),
            ("ssl.keyStore.location", "ssl.*"),
            ("zkore.shards", "zkore.shards"),
        ] {
            assert_eq!(find(given).map(|spec| spec.name), Some(name), "{given}");
        }
        for unknown in ["clientport", "server.", "zookeeper", "", "zookeeper.", "*"] {
            assert!(find(unknown).is_none(), "{unknown:?}");
        }
    }

    #[test]
    fn near_misses_are_named() {
        for (given, expected) in [
            ("clientport", Some("clientPort")),
            ("dataDirs", Some("dataDir")),
            ("zookeeper.snapcount", Some("snapCount")),
            ("autopurge.purgeIntervall", Some("autopurge.purgeInterval")),
            ("something.else", None),
            ("x", None),
        ] {
            assert_eq!(nearest(given), expected, "{given}");
        }
    }

    #[test]
    fn no_name_stands_for_two_keys() {
        let mut names: Vec<&str> = all()
            .flat_map(|spec| {
                let property = spec.system_property.map(bare);
                let own = bare(spec.name);
                [Some(own), property.filter(|&property| property != own)]
            })
            .flatten()
            .collect();
        names.sort_unstable();
        let doubled: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(doubled.is_empty(), "{doubled:?}");
    }
}
