//! Vocabulary shared by every module: identifiers, paths, limits and error codes.
//!
//! Nothing here does I/O or depends on another module.

mod create_mode;
mod digest_algorithm;
mod ensemble;
mod error;
mod ids;
pub mod limits;
pub mod path;

pub use create_mode::{
    CreateMode, EphemeralKind, TTL_MS_MAX, container_owner, ephemeral_kind, ttl_owner,
};
pub use digest_algorithm::DigestAlgorithm;
pub use ensemble::{ClientAddress, Ensemble, Member, MemberAddress, Role};
pub use error::ErrorCode;
pub use ids::{LinkId, ServerId, SessionId, Zxid};

/// Permission bits of an ACL entry (Apache's `ZooDefs.Perms`).
pub mod perms {
    /// May read data and list children.
    pub const READ: i32 = 1;
    /// May set data.
    pub const WRITE: i32 = 1 << 1;
    /// May create children.
    pub const CREATE: i32 = 1 << 2;
    /// May delete children.
    pub const DELETE: i32 = 1 << 3;
    /// May set the ACL.
    pub const ADMIN: i32 = 1 << 4;
    /// All of the above.
    pub const ALL: i32 = READ | WRITE | CREATE | DELETE | ADMIN;
}
