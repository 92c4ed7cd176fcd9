//! Create modes, and what the `ephemeralOwner` of a node says of it
//! (Apache's `CreateMode` and `EphemeralType`).

/// How a node is created: the `flags` of a create request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Apache's own")]
#[repr(i32)]
pub enum CreateMode {
    Persistent = 0,
    Ephemeral = 1,
    PersistentSequential = 2,
    EphemeralSequential = 3,
    Container = 4,
    PersistentWithTtl = 5,
    PersistentSequentialWithTtl = 6,
}

impl CreateMode {
    /// The mode with this flag, if there is one.
    pub fn from_flags(flags: i32) -> Option<CreateMode> {
        Some(match flags {
            0 => CreateMode::Persistent,
            1 => CreateMode::Ephemeral,
            2 => CreateMode::PersistentSequential,
            3 => CreateMode::EphemeralSequential,
            4 => CreateMode::Container,
            5 => CreateMode::PersistentWithTtl,
            6 => CreateMode::PersistentSequentialWithTtl,
            _ => return None,
        })
    }

    /// Whether the node goes with its session.
    pub fn is_ephemeral(self) -> bool {
        matches!(
            self,
            CreateMode::Ephemeral | CreateMode::EphemeralSequential
        )
    }

    /// Whether the parent's counter is appended to the name.
    pub fn is_sequential(self) -> bool {
        matches!(
            self,
            CreateMode::PersistentSequential
                | CreateMode::EphemeralSequential
                | CreateMode::PersistentSequentialWithTtl
        )
    }

    /// Whether the node is removed once its last child is gone.
    pub fn is_container(self) -> bool {
        self == CreateMode::Container
    }

    /// Whether the node has a time to live.
    pub fn is_ttl(self) -> bool {
        matches!(
            self,
            CreateMode::PersistentWithTtl | CreateMode::PersistentSequentialWithTtl
        )
    }
}

/// What the `ephemeralOwner` of a node says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EphemeralKind {
    /// An ordinary persistent node.
    Void,
    /// Owned by the session with this id.
    Normal,
    /// A container.
    Container,
    /// Removed when unmodified and childless for this many milliseconds.
    Ttl {
        /// Time to live in milliseconds, 1 to 2^40 − 1.
        ttl_ms: i64,
    },
}

const CONTAINER_OWNER: i64 = i64::MIN;
const EXTENDED_MASK: u64 = 0xff00_0000_0000_0000;
const EXTENDED_FEATURE_MASK: u64 = 0x00ff_ff00_0000_0000;
const TTL_VALUE_MASK: u64 = 0x0000_00ff_ffff_ffff;

/// The largest time to live, in milliseconds: 2^40 − 1.
pub const TTL_MS_MAX: i64 = TTL_VALUE_MASK as i64;

/// Reads an `ephemeralOwner`.
///
/// `extended_types` is the setting `zookeeper.extendedTypesEnabled`; without it every owner but 0
/// and the container's is a session.
pub fn ephemeral_kind(ephemeral_owner: i64, extended_types: bool) -> EphemeralKind {
    match ephemeral_owner {
        0 => EphemeralKind::Void,
        CONTAINER_OWNER => EphemeralKind::Container,
        owner => {
            let bits = owner as u64;
            let is_ttl = extended_types
                && bits & EXTENDED_MASK == EXTENDED_MASK
                && bits & EXTENDED_FEATURE_MASK == 0;
            if is_ttl {
                EphemeralKind::Ttl {
                    ttl_ms: (bits & TTL_VALUE_MASK) as i64,
                }
            } else {
                EphemeralKind::Normal
            }
        }
    }
}

/// The `ephemeralOwner` of a container.
pub fn container_owner() -> i64 {
    CONTAINER_OWNER
}

/// The `ephemeralOwner` of a node with this time to live, or `None` where it is out of range
/// (1 to [`TTL_MS_MAX`]).
pub fn ttl_owner(ttl_ms: i64) -> Option<i64> {
    (1..=TTL_MS_MAX)
        .contains(&ttl_ms)
        .then_some((EXTENDED_MASK | ttl_ms as u64) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_back_as_they_were_made() {
        let owner = ttl_owner(60_000).expect("in range");
        assert_eq!(
            ephemeral_kind(owner, true),
            EphemeralKind::Ttl { ttl_ms: 60_000 }
        );
        assert_eq!(ephemeral_kind(owner, false), EphemeralKind::Normal);
        assert_eq!(
            ephemeral_kind(container_owner(), true),
            EphemeralKind::Container
        );
        assert_eq!(ephemeral_kind(0, true), EphemeralKind::Void);
        assert_eq!(
            ephemeral_kind(0x1000_0000_0001, true),
            EphemeralKind::Normal
        );
        assert_eq!(ttl_owner(0), None);
        assert_eq!(ttl_owner(TTL_MS_MAX + 1), None);
    }

    #[test]
    fn flags_name_the_modes() {
        for flags in 0..=6 {
            assert_eq!(
                CreateMode::from_flags(flags).map(|mode| mode as i32),
                Some(flags)
            );
        }
        assert_eq!(CreateMode::from_flags(7), None);
        assert_eq!(CreateMode::from_flags(-1), None);
    }
}
