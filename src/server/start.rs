//! Starts the parts of a server in order, and stops them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::config::{Config, Placement, Runtime};
use crate::exchange::{ShardId, ToSequencer};
use crate::io::Disk;
use crate::metrics::{ShardMetrics, WriteMetrics};
use crate::peer::Peers;
use crate::replica::Replica;
use crate::rt::clock::{self, Monotonic};
use crate::rt::cpu::{self, ThreadClock};
use crate::rt::disk::StdDisk;
use crate::rt::mailbox::{self, RingBell, RingReceiver, Sender};
use crate::rt::{net, probe, signal};
use crate::sequencer::{Now, Sequencer, SnapshotPolicy};
use crate::session::SessionTable;
use crate::shard::{Shard, Shared};
use crate::storage::{Recovered, Storage};
use crate::types::limits;

use super::background::{self, Background, BackgroundConfig};
use super::gather::Gatherers;
use super::placement::Processors;
use super::report::{Folders, ServerInfo};
use super::sequencer_loop::{self, Control, SequencerParts};
use super::shard_loop::{self, ShardParts, ToShard};
use super::{ServerError, settings};

/// Questions that may wait for the sequencer.
const CONTROL_MAX: usize = 256;

/// File descriptors that the server needs beside those of its clients.
const OWN_FILES: u64 = 64;

/// File descriptors for clients without which a start makes no sense, where `maxCnxns` does not say.
const CLIENT_FILES: u64 = 64;

/// Runs a server to its end.
pub fn run(config: Config) -> Result<(), ServerError> {
    signal::block().map_err(ServerError::Thread)?;
    probe::io_uring()?;
    let clients = if config.max_cnxns > 0 {
        config.max_cnxns as u64
    } else {
        CLIENT_FILES
    };
    probe::file_descriptors(OWN_FILES + clients)?;
    let disk: Arc<dyn Disk> = Arc::new(StdDisk);
    let metrics = Arc::new(WriteMetrics::new());
    let opening = Monotonic::start();
    let opened = Storage::open(settings::storage(&config), Arc::clone(&disk))?;
    metrics.db_init_time.record(opening.now_ms());
    let listeners = listen(&config)?;
    let address = listeners[0].local_addr().map_err(ServerError::Thread)?;
    let ending = Ending::default();
    let running = Running::start(&config, disk, opened, listeners, metrics, &ending)?;
    tracing::info!(
        "zkore {} is listening on {address} with {} shard{}; data is in {}",
        env!("CARGO_PKG_VERSION"),
        config.shards,
        if config.shards == 1 { "" } else { "s" },
        config.data_dir.display(),
    );
    let signal = signal::wait().map_err(ServerError::Thread)?;
    if let Some(error) = ending.take() {
        return Err(error);
    }
    tracing::info!(signal, "stopping");
    running.stop();
    ending.take().map_or(Ok(()), Err)
}

fn listen(config: &Config) -> Result<Vec<net::UnboundListener>, ServerError> {
    let address = config.client_address;
    let backlog = i32::try_from(config.client_listen_backlog).unwrap_or(i32::MAX);
    net::listen(
        address,
        backlog,
        config.client_tcp_keep_alive,
        config.shards,
    )
    .map_err(|source| ServerError::Listen {
        address,
        hint: hint(&source),
        source,
    })
}

/// Why a thread ended the server; the first one counts.
#[derive(Clone, Default)]
struct Ending {
    error: Arc<Mutex<Option<ServerError>>>,
}

impl Ending {
    fn take(&self) -> Option<ServerError> {
        self.error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Notes how a thread ended and, where that was not in order, ends the server.
    fn thread_ended(&self, name: &str, result: thread::Result<Result<(), ServerError>>) {
        let error = match result {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => ServerError::ThreadEnded {
                name: name.to_owned(),
                reason: "it panicked".into(),
            },
        };
        tracing::error!(thread = name, %error, "fatal");
        self.error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
        signal::raise_stop();
    }
}

/// The threads of a server.
struct Running {
    sequencer: JoinHandle<()>,
    shards: Vec<JoinHandle<()>>,
    to_shards: Vec<Sender<ToShard>>,
    to_sequencer: Sender<Control>,
}

impl Running {
    fn start(
        config: &Config,
        disk: Arc<dyn Disk>,
        (storage, recovered): (Storage, Recovered),
        listeners: Vec<net::UnboundListener>,
        metrics: Arc<WriteMetrics>,
        ending: &Ending,
    ) -> Result<Running, ServerError> {
        let clock = Monotonic::start();
        let bell = RingBell::new().map_err(ServerError::Thread)?;
        let (to_sequencer, control) = mailbox::to_ring(CONTROL_MAX, &bell);
        let (done_sender, done) = mailbox::to_ring(background::DONE_MAX, &bell);
        let background = background_config(config, disk, &storage, clock);
        let background = Background::start(background, done_sender).map_err(ServerError::Thread)?;
        let folders = Folders {
            snapshot_dir: storage.snapshot_dir().to_owned(),
            log_dir: storage.log_dir().to_owned(),
        };
        let replica = make_replica(config, storage, recovered, clock, Arc::clone(&metrics));
        let (to_shards, inboxes) = make_inboxes(config)?;
        let shared = Arc::new(Shared::new(replica.seen_zxid()));
        let info = ServerInfo::new(
            config,
            &folders,
            clock,
            Arc::clone(&shared),
            Arc::clone(&metrics),
        );
        let gatherers = Gatherers::new(to_shards.clone(), to_sequencer.clone(), Arc::new(info));
        let maker = ShardMaker {
            config,
            shared,
            gatherers: gatherers.clone(),
            clock,
            bell: &bell,
            to_shards: &to_shards,
        };
        let StartedShards {
            threads: shards,
            rings,
        } = maker.start_all(&replica, listeners, inboxes, ending)?;
        let peers = start_peers(config, &to_sequencer)?;
        let cpus = cpu::allowed();
        let own_cpu = match config.placement {
            Placement::Together => Some(cpus[0]),
            Placement::Adaptive | Placement::Apart => Some(cpus[config.shards % cpus.len()]),
            Placement::Free => None,
        };
        let processors = processors(config, &cpus, &shards).map_err(ServerError::Thread)?;
        let parts = SequencerParts {
            replica,
            peers,
            inboxes: rings,
            control,
            done,
            bell,
            shards: to_shards.clone(),
            background,
            gatherers,
            metrics,
            clock,
            dial_timeout_ms: settings::dial_timeout_ms(config),
            spin: config.spin,
            processors,
            tick_interval_ms: settings::tick_interval_ms(config),
            write_warning_ms: config.fsync_warning_threshold_ms,
        };
        let sequencer = start_sequencer(parts, own_cpu, ending)?;
        Ok(Running {
            sequencer,
            shards,
            to_shards,
            to_sequencer,
        })
    }

    /// Stops the sequencer first, so that what it still publishes reaches the clients.
    fn stop(self) {
        if self.to_sequencer.send(Control::Stop).is_ok() {
            // A panic was noted by the thread itself.
            let _ = self.sequencer.join();
        }
        for shard in &self.to_shards {
            let deadline = 100;
            for _ in 0..deadline {
                if shard.send(ToShard::Stop).is_ok() {
                    break;
                }
                clock::pause(Duration::from_millis(1));
            }
        }
        for shard in self.shards {
            let _ = shard.join();
        }
    }
}

fn background_config(
    config: &Config,
    disk: Arc<dyn Disk>,
    storage: &Storage,
    clock: Monotonic,
) -> BackgroundConfig {
    let hours = config.purge_interval_hours;
    BackgroundConfig {
        disk,
        snapshot_dir: storage.snapshot_dir().to_owned(),
        purger: storage.purger(),
        retain_count: config.purge_retain_count as usize,
        clock,
        purge_interval: (hours > 0).then(|| Duration::from_secs(3600 * u64::from(hours))),
    }
}

/// The two ends of every shard's inbox.
type Inboxes = (Vec<Sender<ToShard>>, Vec<RingReceiver<ToShard>>);

fn make_inboxes(config: &Config) -> Result<Inboxes, ServerError> {
    let inboxes = (0..config.shards).map(|_| {
        let bell = match config.runtime {
            Runtime::Ring => RingBell::new()?,
            Runtime::Glommio => RingBell::for_executor()?,
        };
        Ok(mailbox::to_ring(limits::PUBLISH_RING_LEN, &bell))
    });
    let ends: std::io::Result<Vec<_>> = inboxes.collect();
    Ok(ends.map_err(ServerError::Thread)?.into_iter().unzip())
}

fn make_replica(
    config: &Config,
    storage: Storage,
    recovered: Recovered,
    clock: Monotonic,
    metrics: Arc<WriteMetrics>,
) -> Replica {
    let now = Now {
        monotonic_ms: clock.now_ms(),
        wall_ms: clock::wall_ms(),
    };
    let mut table = SessionTable::new(settings::session(config), now.wall_ms);
    table.restore(recovered.sessions, now.monotonic_ms);
    let seed = now.wall_ms as u64 ^ u64::from(std::process::id());
    let policy = SnapshotPolicy::new(config.snap_count, config.snap_size_limit_bytes, seed)
        .replayed(recovered.replayed, recovered.replayed_bytes);
    let sequencer = Sequencer::new(
        settings::sequencer(config),
        recovered.tree,
        table,
        policy,
        metrics,
        now,
    );
    let log = (recovered.wal, recovered.committed);
    Replica::new(settings::replica(config), sequencer, storage, log, now)
}

/// How long an event of a peer waits at most for room in the sequencer's queue, in milliseconds.
const PEER_PATIENCE_MS: u32 = 1000;

/// Starts the links to the other members; none where the server is alone.
fn start_peers(
    config: &Config,
    to_sequencer: &Sender<Control>,
) -> Result<Option<Peers>, ServerError> {
    let Some(peers) = settings::peers(config) else {
        return Ok(None);
    };
    let to_sequencer = to_sequencer.clone();
    let events = move |event| {
        let mut message = Control::Peer(event);
        for _ in 0..PEER_PATIENCE_MS {
            match to_sequencer.send(message) {
                Ok(()) => return,
                Err(refused) => message = refused,
            }
            clock::pause(Duration::from_millis(1));
        }
        tracing::error!("the sequencer is overloaded: something that a peer sent is lost");
    };
    Ok(Some(Peers::start(peers, events)?))
}

/// What all shards are made from.
struct ShardMaker<'a> {
    config: &'a Config,
    shared: Arc<Shared>,
    gatherers: Gatherers,
    clock: Monotonic,
    /// The sequencer's.
    bell: &'a RingBell,
    to_shards: &'a [Sender<ToShard>],
}

/// The threads of the shards, and the rings that they fill.
struct StartedShards {
    threads: Vec<JoinHandle<()>>,
    rings: Vec<RingReceiver<ToSequencer>>,
}

impl ShardMaker<'_> {
    /// Starts one shard for each socket.
    fn start_all(
        &self,
        replica: &Replica,
        listeners: Vec<net::UnboundListener>,
        inboxes: Vec<RingReceiver<ToShard>>,
        ending: &Ending,
    ) -> Result<StartedShards, ServerError> {
        let shard_config = Arc::new(settings::shard(self.config));
        let cpus = cpu::allowed();
        let mut threads = Vec::new();
        let mut rings = Vec::new();
        for (number, (listener, inbox)) in listeners.into_iter().zip(inboxes).enumerate() {
            let id = ShardId(number as u16);
            let (ring, ring_receiver) = mailbox::to_ring(limits::SHARD_RING_LEN, self.bell);
            rings.push(ring_receiver);
            let mut shard = Shard::new(
                Arc::clone(&shard_config),
                Arc::clone(&self.shared),
                Arc::new(ShardMetrics::new()),
                id,
                replica.view(),
            );
            if !replica.is_serving() {
                shard.retire(replica.view(), crate::shard::Now::default());
            }
            let parts = ShardParts {
                id,
                shard,
                inbox,
                to_sequencer: ring,
                gatherers: self.gatherers.clone(),
                clock: self.clock,
                heard_interval: Duration::from_millis(settings::heard_interval_ms(self.config)),
            };
            let place = ShardPlace {
                runtime: self.config.runtime,
                cpu: (self.config.placement != Placement::Free).then(|| cpus[number % cpus.len()]),
                listener,
                bell: self.to_shards[number].bell().clone(),
                spin: self.config.spin,
            };
            threads.push(start_shard(parts, place, ending)?);
        }
        Ok(StartedShards { threads, rings })
    }
}

/// Where a shard runs, and what it waits for.
struct ShardPlace {
    runtime: Runtime,
    cpu: Option<usize>,
    listener: net::UnboundListener,
    bell: RingBell,
    spin: Duration,
}

fn start_shard(
    parts: ShardParts,
    place: ShardPlace,
    ending: &Ending,
) -> Result<JoinHandle<()>, ServerError> {
    let name = format!("zkore-shard-{}", parts.id.0);
    let ending = ending.clone();
    thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| {
                run_shard(parts, place, &name).map_err(|error| ServerError::ThreadEnded {
                    name: name.clone(),
                    reason: error.to_string(),
                })
            }));
            ending.thread_ended(&name, result);
        })
        .map_err(ServerError::Thread)
}

fn run_shard(parts: ShardParts, place: ShardPlace, name: &str) -> std::io::Result<()> {
    pin(place.cpu, name);
    let (listener, bell, spin) = (place.listener, place.bell, place.spin);
    match place.runtime {
        Runtime::Ring => net::ring::run(listener, bell, spin, |sockets| {
            shard_loop::run(parts, sockets)
        }),
        Runtime::Glommio => net::executor::run(name, listener, bell, spin, |sockets| {
            shard_loop::run(parts, sockets)
        }),
    }
}

/// Not fatal where it fails: an unpinned thread is slower, not wrong.
fn pin(cpu: Option<usize>, name: &str) {
    if let Some(cpu) = cpu
        && let Err(error) = cpu::pin(cpu)
    {
        tracing::warn!(thread = name, cpu, %error, "cannot pin a thread to its processor");
    }
}

/// Where the sequencer may go, if it may and that can bring anything: who spins wakes nobody.
fn processors(
    config: &Config,
    cpus: &[usize],
    shards: &[JoinHandle<()>],
) -> std::io::Result<Option<Processors>> {
    let is_adaptive = config.placement == Placement::Adaptive && config.spin.is_zero();
    let count = config.shards;
    if !is_adaptive || count >= cpus.len() {
        return Ok(None);
    }
    let clocks: std::io::Result<_> = shards.iter().map(ThreadClock::of).collect();
    Ok(Some(Processors {
        own: cpus[count],
        shards: cpus[..count].to_vec(),
        clocks: clocks?,
    }))
}

fn start_sequencer(
    parts: SequencerParts,
    cpu: Option<usize>,
    ending: &Ending,
) -> Result<JoinHandle<()>, ServerError> {
    const NAME: &str = "zkore-sequencer";
    let ending = ending.clone();
    thread::Builder::new()
        .name(NAME.into())
        .spawn(move || {
            pin(cpu, NAME);
            let result = catch_unwind(AssertUnwindSafe(|| sequencer_loop::run(parts)));
            ending.thread_ended(NAME, result);
        })
        .map_err(ServerError::Thread)
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another server runs there: stop it, or set another clientPort"
        }
        std::io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need privileges: set another clientPort"
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "; this machine has no such address: set another clientPortAddress"
        }
        _ => "",
    }
}
