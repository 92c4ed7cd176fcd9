//! The session table: ownership, timeouts, expiry.
