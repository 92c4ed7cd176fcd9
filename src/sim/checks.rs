//! What must hold, by name. Those of the ensemble are named as in the reference's TLA+
//! specification (`zookeeper-specifications/protocol-spec/Zab.tla`).

use std::collections::BTreeMap;
use std::fmt;

use crate::types::Zxid;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// TLA+ Leadership1 and Leadership2: an epoch has at most one established leader.
    Leadership,
    /// TLA+ PrefixConsistency: what any two members have committed is the same, up to the shorter
    /// one's end. Compared is the digest of the whole tree after each transaction.
    PrefixConsistency,
    /// TLA+ Integrity: what is delivered was broadcast by the established leader of its epoch.
    Integrity,
    /// TLA+ Agreement, TotalOrder, LocalPrimaryOrder and GlobalPrimaryOrder: who delivers a
    /// transaction has delivered all before it, in the one order of their zxids.
    TotalOrder,
    /// TLA+ PrimaryIntegrity: a leader has delivered everything that was delivered in earlier
    /// epochs before it broadcasts (also called LeaderCompleteness).
    PrimaryIntegrity,
    /// A zxid stands for one transaction for ever, committed or not.
    ZxidsUnique,
    /// An acknowledged write is in the history, once, with what its client was told.
    WritesDurable,
    /// Writes take effect between request and answer: behind all that anybody had been shown
    /// before. So do those that fail.
    WritesLinearizable,
    /// A read after sync sees all that anybody had been shown before the sync.
    SyncsLinearizable,
    /// An answer is the truth as of its zxid.
    ReadsTrue,
    /// Who may do something can, and nobody else.
    AccessControl,
    /// A member without a leader takes no write.
    ReadOnly,
    /// What a session sees never goes backwards, and includes its own writes; answers come in the
    /// order of the requests.
    SessionOrder,
    /// Watches fire exactly when they must, and before the change can be seen.
    Watches,
    /// Ephemerals live exactly as long as their session.
    Ephemerals,
    /// Containers and nodes with a time to live go when they may, and only then.
    Reaping,
    /// A session lives as long as its client is heard from.
    Sessions,
    /// A follower that is cut off or far behind does not go on serving.
    Timeliness,
    /// When the faults have ended all members have the same tree and sessions.
    Convergence,
    /// When the faults have ended all members serve and take writes again within a bounded time.
    Progress,
    /// A crash leaves data that a member can start with.
    Recovery,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What should.
    pub invariant: Invariant,
    /// What was seen.
    pub what: String,
}

/// What is wrong, and what it breaks.
pub type Wrong = (Invariant, String);

/// What was found, and what the ensemble as a whole has said so far.
#[derive(Default)]
pub struct Checks {
    violation: Option<Violation>,
    /// The established leader of each epoch.
    leaders: BTreeMap<u32, usize>,
    /// The digest of the tree after each transaction that any member has applied.
    applied: BTreeMap<Zxid, u64>,
}

impl Checks {
    /// Notes that an invariant does not hold; the first time counts.
    pub fn fail(&mut self, invariant: Invariant, what: String) {
        self.violation.get_or_insert(Violation { invariant, what });
    }

    /// Notes what does not hold.
    pub fn require(&mut self, holds: bool, invariant: Invariant, what: impl FnOnce() -> String) {
        if !holds {
            self.fail(invariant, what());
        }
    }

    /// What does not hold.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// A member is established as the leader of an epoch.
    pub fn leads(&mut self, member: usize, epoch: u32) {
        let former = *self.leaders.entry(epoch).or_insert(member);
        self.require(former == member, Invariant::Leadership, || {
            format!("members {former} and {member} both lead epoch {epoch}")
        });
    }

    /// Whether an epoch has had an established leader.
    pub fn has_led(&self, epoch: u32) -> bool {
        self.leaders.contains_key(&epoch)
    }

    /// A member has applied transactions up to this one.
    pub fn applied(&mut self, member: usize, zxid: Zxid, digest: u64) {
        let known = *self.applied.entry(zxid).or_insert(digest);
        self.require(known == digest, Invariant::ZxidsUnique, || {
            format!(
                "after {zxid} the tree of member {member} has the digest {digest:x}, and that of \
                 another {known:x}"
            )
        });
    }
}
