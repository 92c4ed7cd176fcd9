//! The requests that register watches again after a reconnect (Apache's `SetWatches`).

use crate::jute::proto::{SetWatches, SetWatches2};
use crate::jute::{Record, op};

use super::watches::{WatchKind, WatchManager};

/// Bytes of paths after which a request is full, as in the reference: well below the 1 MiB that a
/// server takes, since the last path may exceed it.
pub const SET_WATCHES_BYTES_MAX: usize = 128 * 1024;

/// The requests, as operation code and body. Those without persistent watches have the older form
/// that servers before 3.6 know. `relative_zxid` is the last zxid seen: the server sends at once
/// the events of what has changed since.
pub fn requests(
    watches: &WatchManager,
    relative_zxid: i64,
    server_path: impl Fn(&str) -> String,
) -> Vec<(i32, Vec<u8>)> {
    const ORDER: [WatchKind; 5] = [
        WatchKind::Data,
        WatchKind::Exist,
        WatchKind::Child,
        WatchKind::Persistent,
        WatchKind::PersistentRecursive,
    ];
    let mut requests = Vec::new();
    let mut batch = Batch::default();
    for kind in ORDER {
        for path in watches.paths(kind) {
            let path = server_path(path);
            batch.bytes += path.len();
            batch.lists[kind as usize].push(path);
            if batch.bytes >= SET_WATCHES_BYTES_MAX {
                requests.push(std::mem::take(&mut batch).encode(relative_zxid));
            }
        }
    }
    if batch.bytes > 0 {
        requests.push(batch.encode(relative_zxid));
    }
    requests
}

#[derive(Default)]
struct Batch {
    lists: [Vec<String>; 5],
    bytes: usize,
}

impl Batch {
    fn encode(self, relative_zxid: i64) -> (i32, Vec<u8>) {
        let list = |kind: WatchKind| -> Vec<&str> {
            let paths = &self.lists[kind as usize];
            paths.iter().map(String::as_str).collect()
        };
        let persistent_watches = list(WatchKind::Persistent);
        let persistent_recursive_watches = list(WatchKind::PersistentRecursive);
        if persistent_watches.is_empty() && persistent_recursive_watches.is_empty() {
            let record = SetWatches {
                relative_zxid,
                data_watches: list(WatchKind::Data),
                exist_watches: list(WatchKind::Exist),
                child_watches: list(WatchKind::Child),
            };
            return (op::SET_WATCHES, record.to_vec());
        }
        let record = SetWatches2 {
            relative_zxid,
            data_watches: list(WatchKind::Data),
            exist_watches: list(WatchKind::Exist),
            child_watches: list(WatchKind::Child),
            persistent_watches,
            persistent_recursive_watches,
        };
        (op::SET_WATCHES2, record.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Watcher;
    use super::*;

    #[test]
    fn only_persistent_watches_need_the_newer_form() {
        let watcher = Watcher::new(|_| {});
        let mut watches = WatchManager::default();
        assert!(requests(&watches, 7, str::to_owned).is_empty());

        watches.add(WatchKind::Data, "/a", watcher.clone());
        watches.add(WatchKind::Child, "/b", watcher.clone());
        let sent = requests(&watches, 7, |path| format!("/root{path}"));
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].0, op::SET_WATCHES);
        let record = SetWatches::from_slice(&sent[0].1).expect("record");
        assert_eq!(record.relative_zxid, 7);
        assert_eq!(record.data_watches, ["/root/a"]);
        assert_eq!(record.child_watches, ["/root/b"]);

        watches.add(WatchKind::PersistentRecursive, "/c", watcher);
        let sent = requests(&watches, 7, str::to_owned);
        assert_eq!(sent[0].0, op::SET_WATCHES2);
        let record = SetWatches2::from_slice(&sent[0].1).expect("record");
        assert_eq!(record.persistent_recursive_watches, ["/c"]);
        assert_eq!(record.data_watches, ["/a"]);
    }

    #[test]
    fn many_watches_are_sent_in_pieces() {
        let watcher = Watcher::new(|_| {});
        let mut watches = WatchManager::default();
        let total = 3000;
        for n in 0..total {
            let path = format!("/{n:0>99}");
            watches.add(WatchKind::Exist, &path, watcher.clone());
        }
        let sent = requests(&watches, 0, str::to_owned);
        assert_eq!(
            sent.len(),
            (total * 100usize).div_ceil(SET_WATCHES_BYTES_MAX)
        );
        let paths: usize = sent
            .iter()
            .map(|(_, body)| {
                assert!(body.len() < 2 * SET_WATCHES_BYTES_MAX);
                let record = SetWatches::from_slice(body).expect("record");
                record.exist_watches.len()
            })
            .sum();
        assert_eq!(paths, total);
    }
}
