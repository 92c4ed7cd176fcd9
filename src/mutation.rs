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
