//! Deliberate bugs. The simulation of an ensemble must find each of them, or it would not find one
//! like it that nobody made on purpose. Outside of unit tests there are none.

/// A bug that can be put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A follower acknowledges what is not on its disk yet.
    AckBeforeSync,
    /// A leader commits what it alone has.
    CommitOnMinority,
    /// A new leader takes the epoch of the one before.
    KeepEpoch,
    /// A member forgets the last record of its log when it starts.
    DropLastRecord,
    /// A learner acknowledges NEWLEADER before the leader's log is on its disk (ZOOKEEPER-3911,
    /// 4646).
    AckNewLeaderEarly,
    /// A learner takes the leader's epoch for its own before the leader's log is on its disk
    /// (ZOOKEEPER-4643, 4785).
    AdoptEpochEarly,
    /// What a learner is sent between NEWLEADER and UPTODATE is committed and not logged
    /// (ZOOKEEPER-4394).
    CommitUnlogged,
    /// A leader takes for granted that a learner's log is a part of its own (ZOOKEEPER-2846).
    TrustLearnersLog,
    /// A leader leaves out what it does not keep in memory any more (ZOOKEEPER-4925).
    DiffOverGap,
    /// A follower that is far behind is not cut off.
    FarBehindServes,
    /// A server that was elected and cannot be reached is voted for again at once.
    ElectUnreachable,
    /// A leader without room for its log goes on leading.
    LeadWithoutRoom,
    /// Watches are fired after the change can be seen.
    WatchAfterVisible,
    /// A leader answers a sync without asking a quorum whether it still leads.
    SyncUnasked,
    /// A leader answers what rests on no transaction without asking a quorum, but for syncs.
    ErrorUnasked,
    /// A learner forwards a request again, as if the answer had been lost.
    AskTwice,
    /// A learner forwards requests without saying whose they are.
    AskAnonymously,
    /// A member without a leader says that a write is done.
    WriteWithoutLeader,
    /// A member without a leader says of sessions of the ensemble that they are over.
    EndWithoutLeader,
    /// A session that one member alone knows may own ephemeral nodes.
    EphemeralOfLocal,
    /// A leader takes its client's session for one of the ensemble and tells nobody.
    LostUpgrade,
    /// A container that has come to a child since it was found to be over goes.
    ReapWithChild,
    /// Nodes with a time to live go before it is over.
    ReapEarly,
    /// Sessions expire although a shard or a learner has not said whom it heard from.
    ExpireUnheard,
}

#[cfg(test)]
thread_local! {
    static PRESENT: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Puts a bug into what this thread does from now on.
#[cfg(test)]
pub fn put_in(mutation: Option<Mutation>) {
    PRESENT.set(mutation);
}

/// Whether this bug was put in.
pub fn is(mutation: Mutation) -> bool {
    #[cfg(test)]
    return PRESENT.get() == Some(mutation);
    #[cfg(not(test))]
    {
        let _ = mutation;
        false
    }
}
