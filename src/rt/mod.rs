//! The runtime: executors, pinning, mailboxes, files and sockets.
