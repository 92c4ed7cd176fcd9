//! The threads for what blocks: one makes log segments, one writes snapshots and purges, and one for
//! each learner that needs the tree encodes it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::io::Disk;
use crate::jute::Record;
use crate::rt::clock::{self, Monotonic};
use crate::rt::cpu;
use crate::rt::mailbox::{self, RingBell, RingReceiver, Sender};
use crate::sequencer::SnapshotRequest;
use crate::snapshot::{self, wire};
use crate::storage::Purger;
use crate::tree::View;
use crate::types::SessionId;
use crate::wal::{SegmentResult, SegmentTask};
use crate::zab::learner::SIGNATURE;

/// What the background threads have finished.
pub enum Done {
    /// Segment work.
    Segment(SegmentResult),
    /// A snapshot, well or not: what went wrong is logged.
    Snapshot {
        /// How long it took, in milliseconds.
        elapsed_ms: u64,
        /// Whether it is there.
        is_written: bool,
    },
}

/// What the threads must know.
#[derive(Clone)]
pub struct BackgroundConfig {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// Folder of the snapshots.
    pub snapshot_dir: PathBuf,
    /// What removes old ones.
    pub purger: Purger,
    /// Snapshots that it leaves.
    pub retain_count: usize,
    /// The server's clock.
    pub clock: Monotonic,
    /// Time between purges; `None` is never.
    pub purge_interval: Option<Duration>,
}

/// A piece of a tree for a learner.
pub struct TreePiece {
    /// Bytes of the tree.
    pub bytes: Vec<u8>,
    /// Whether the tree is whole with it.
    pub is_last: bool,
}

/// A tree that is being encoded for a learner, at the pace at which its pieces are taken. Dropping it
/// ends that.
pub struct EncodedTree {
    pieces: RingReceiver<TreePiece>,
    is_dropped: Arc<AtomicBool>,
}

impl EncodedTree {
    /// The next piece, if it is ready.
    pub fn try_receive(&self) -> Option<TreePiece> {
        self.pieces.try_receive()
    }

    /// Whether no piece is ready.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

impl Drop for EncodedTree {
    fn drop(&mut self) {
        self.is_dropped.store(true, Ordering::Relaxed);
    }
}

/// Pieces of a tree that may wait for the sequencer.
const TREE_PIECES_MAX: usize = 8;

/// How long to wait before a piece is offered again.
const PIECE_RETRY: Duration = Duration::from_millis(1);

/// Segment tasks that may wait. The log asks for one segment at a time and names it later.
const SEGMENT_TASKS_MAX: usize = 16;

/// Results that may wait for the sequencer: more than there can be.
pub const DONE_MAX: usize = SEGMENT_TASKS_MAX + 8;

/// The sequencer's end of the background threads; they end when it is dropped.
pub struct Background {
    segments: SyncSender<SegmentTask>,
    snapshots: SyncSender<SnapshotRequest>,
    /// What tells the sequencer that a piece is ready.
    bell: RingBell,
    /// Processors of the process.
    cpus: Vec<usize>,
}

impl Background {
    /// Starts the threads; results go to `done`.
    pub fn start(config: BackgroundConfig, done: Sender<Done>) -> std::io::Result<Background> {
        let (segments, segment_tasks) = sync_channel(SEGMENT_TASKS_MAX);
        let (snapshots, snapshot_requests) = sync_channel(1);
        let disk = Arc::clone(&config.disk);
        let segments_done = done.clone();
        let bell = done.bell().clone();
        thread::Builder::new()
            .name("zkore-segments".into())
            .spawn(move || make_segments(&*disk, &segment_tasks, &segments_done))?;
        thread::Builder::new()
            .name("zkore-snapshot".into())
            .spawn(move || {
                cpu::run_behind();
                write_snapshots(&config, &snapshot_requests, &done);
            })?;
        Ok(Background {
            segments,
            snapshots,
            bell,
            cpus: cpu::allowed(),
        })
    }

    /// Has a tree encoded for a learner, as Apache's servers send it, with its end mark.
    pub fn encode_tree(&self, view: View, sessions: Vec<(SessionId, i32)>) -> EncodedTree {
        let (sender, pieces) = mailbox::to_ring(TREE_PIECES_MAX, &self.bell);
        let is_dropped = Arc::new(AtomicBool::new(false));
        let tree = EncodedTree {
            pieces,
            is_dropped: Arc::clone(&is_dropped),
        };
        let cpus = self.cpus.clone();
        let started = thread::Builder::new()
            .name("zkore-tree".into())
            .spawn(move || {
                // The sequencer that started it is pinned, and would have to share its processor.
                if let Err(error) = cpu::run_on(&cpus) {
                    tracing::warn!(%error, "the thread that encodes a tree stays on one processor");
                }
                cpu::run_behind();
                // It fails only where nobody waits for it any more.
                let _ = encode_tree(&view, &sessions, &sender, &is_dropped);
            });
        if let Err(error) = started {
            // The learner waits in vain and is closed for its silence; it comes back.
            tracing::error!(%error, "no thread could be started to send a learner the tree");
        }
        tree
    }

    /// Has a segment made or named.
    pub fn make_segment(&self, task: SegmentTask) {
        if self.segments.try_send(task).is_err() {
            tracing::error!("the segment thread is gone or overloaded: no log segment can be made");
        }
    }

    /// Has a snapshot written.
    pub fn take_snapshot(&self, request: SnapshotRequest) {
        if self.snapshots.try_send(request).is_err() {
            tracing::error!("the snapshot thread is gone or overloaded: no snapshot is written");
        }
    }
}

fn encode_tree(
    view: &View,
    sessions: &[(SessionId, i32)],
    pieces: &Sender<TreePiece>,
    is_dropped: &AtomicBool,
) -> io::Result<()> {
    let send = |bytes: &[u8], is_last: bool| {
        let mut piece = TreePiece {
            bytes: bytes.to_vec(),
            is_last,
        };
        while let Err(refused) = pieces.send(piece) {
            if is_dropped.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            piece = refused;
            clock::pause(PIECE_RETRY);
        }
        Ok(())
    };
    wire::encode(view, sessions, &mut |bytes: &[u8]| send(bytes, false))?;
    let mut signature = Vec::new();
    SIGNATURE.encode(&mut signature);
    send(&signature, true)
}

fn make_segments(disk: &dyn Disk, tasks: &Receiver<SegmentTask>, done: &Sender<Done>) {
    while let Ok(task) = tasks.recv() {
        report(done, Done::Segment(task.run(disk)));
    }
}

fn write_snapshots(
    config: &BackgroundConfig,
    requests: &Receiver<SnapshotRequest>,
    done: &Sender<Done>,
) {
    // As Apache does, the first purge comes at start.
    let mut next_purge_ms = config.purge_interval.map(|_| config.clock.now_ms());
    loop {
        if next_purge_ms.is_some_and(|due| config.clock.now_ms() >= due) {
            purge(config);
            next_purge_ms = config
                .purge_interval
                .map(|interval| config.clock.now_ms() + millis(interval));
        }
        let patience = next_purge_ms.map_or(Duration::MAX, |due| {
            Duration::from_millis(due.saturating_sub(config.clock.now_ms()))
        });
        match requests.recv_timeout(patience) {
            Ok(request) => {
                let start_ms = config.clock.now_ms();
                let is_written = write_snapshot(config, &request);
                // The view must go before the next one can be asked for.
                drop(request);
                let elapsed_ms = config.clock.now_ms() - start_ms;
                report(
                    done,
                    Done::Snapshot {
                        elapsed_ms,
                        is_written,
                    },
                );
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn write_snapshot(config: &BackgroundConfig, request: &SnapshotRequest) -> bool {
    let zxid = request.view.zxid();
    let dir = &config.snapshot_dir;
    match snapshot::write(&*config.disk, dir, &request.view, &request.sessions) {
        Ok(info) => {
            tracing::info!(%zxid, nodes = info.nodes, bytes = info.bytes, "snapshot written");
            true
        }
        Err(error) => {
            tracing::error!(
                %zxid, %error,
                "cannot write a snapshot; the log keeps what it would have held"
            );
            false
        }
    }
}

fn purge(config: &BackgroundConfig) {
    match config.purger.purge(config.retain_count) {
        Ok(None) => {}
        Ok(Some(purged)) => tracing::info!(segments = purged.segments, "purged"),
        Err(error) => tracing::error!(%error, "cannot purge old snapshots and logs"),
    }
}

fn report(done: &Sender<Done>, result: Done) {
    let sent = done.send(result);
    debug_assert!(
        sent.is_ok(),
        "the queue holds all results that there can be"
    );
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::io::memory::MemoryDisk;
    use crate::tree::{Tree, TreeConfig, TreeLoader, open_acl};
    use crate::types::Zxid;

    const FOLDER: &str = "/data";

    fn tree_at(zxid: Zxid) -> Tree {
        let mut loader = TreeLoader::new(TreeConfig {
            extended_types: false,
            digest_enabled: true,
        });
        let root = loader.add("/", &Default::default(), None, &[open_acl()]);
        root.expect("the root comes first");
        loader.finish(zxid, None).expect("sound")
    }

    fn snapshots(disk: &MemoryDisk) -> Vec<String> {
        let mut names = disk.list(Path::new(FOLDER)).expect("it was made");
        names.retain(|name| name.starts_with("snapshot."));
        names
    }

    fn wait_for_snapshots(disk: &MemoryDisk, expected: &[&str]) {
        let deadline = 500;
        for _ in 0..deadline {
            if snapshots(disk) == expected {
                return;
            }
            clock::pause(Duration::from_millis(10));
        }
        panic!("{:?} instead of {expected:?}", snapshots(disk));
    }

    #[test]
    fn old_snapshots_go_at_start_and_after_every_interval() {
        let disk = MemoryDisk::default();
        let write = |zxids: std::ops::RangeInclusive<i64>| {
            for zxid in zxids.map(Zxid) {
                let view = tree_at(zxid).view(zxid);
                let written = snapshot::write(&disk, Path::new(FOLDER), &view, &[]);
                written.expect("there is room");
            }
        };
        disk.create_dir(Path::new(FOLDER)).expect("there is room");
        write(1..=5);
        let bell = RingBell::new().expect("descriptors are left");
        let (done, _results) = mailbox::to_ring(DONE_MAX, &bell);
        let config = BackgroundConfig {
            purger: Purger::new(Arc::new(disk.clone()), FOLDER.into(), FOLDER.into()),
            disk: Arc::new(disk.clone()),
            snapshot_dir: FOLDER.into(),
            retain_count: 3,
            clock: Monotonic::start(),
            purge_interval: Some(Duration::from_millis(50)),
        };
        let background = Background::start(config, done).expect("threads are left");
        wait_for_snapshots(&disk, &["snapshot.3", "snapshot.4", "snapshot.5"]);
        write(6..=7);
        wait_for_snapshots(&disk, &["snapshot.5", "snapshot.6", "snapshot.7"]);
        drop(background);
    }
}
