//! A whole ensemble with its clients, its network and its faults, in virtual time.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::prep::ReapConfig;
use crate::sequencer::LocalSessions;
use crate::types::{Ensemble, LinkId, Zxid};

use super::checks::{Checks, Invariant};
use super::client::{Client, Tastes};
use super::clock::Clock;
use super::course::{Course, say};
use super::event::{Event, Turn};
use super::faults::{Faults, any_rate_ppm};
use super::guard::CROWDS;
use super::member::{Ending, Member};
use super::model::Model;
use super::network::{Arrival, End, Network, Piece};
use super::options::{Options, SHAPES, Shape};
use super::process::{self, Leniency};
use super::trace::Trace;

/// True time with faults, until requests end, and until all is compared, in microseconds.
const FAULTS_US: u64 = 8_000_000;
const REQUESTS_END_US: u64 = FAULTS_US + 4_000_000;
const END_US: u64 = REQUESTS_END_US + 1_000_000;
const END_US_MAX: u64 = END_US + 1_000_000;

/// How long to wait before all is compared again, in microseconds.
const LOOK_US: u64 = 50_000;

/// How long after the faults all members must serve, in microseconds.
const SERVE_US_MAX: u64 = 3_500_000;

/// Writes without which a run says nothing.
const WRITES_MIN: u64 = 10;

/// Clients beside one a member.
const CLIENTS_MORE: usize = 2;

/// Everything there is.
pub struct World {
    /// How many members there are.
    pub shape: Shape,
    /// The same, as each member knows it.
    pub ensemble: Arc<Ensemble>,
    /// Transactions after which members take snapshots.
    pub snap_count: u32,
    /// When containers and nodes with a time to live go.
    pub reap: ReapConfig,
    /// Between two purges of old snapshots and logs, in microseconds; `None` is never.
    pub purge_interval_us: Option<u64>,
    /// What it allows its clients.
    pub leniency: Leniency,
    /// Time and chance.
    pub course: Course,
    /// The connections.
    pub network: Network,
    /// The members, by index.
    pub members: Vec<Member>,
    /// The clients, by index.
    pub clients: Vec<Client>,
    /// What goes wrong.
    pub faults: Faults,
    /// The member whose disk is damaged in this run.
    pub damaged: Option<usize>,
    /// What was found.
    pub checks: Checks,
    /// What must be true.
    pub model: Model,
    /// What established leaders have committed.
    pub committed: BTreeSet<Zxid>,
    /// The newest zxid that any client was shown.
    pub shown: Zxid,
    /// Writes that clients were told of.
    pub writes: u64,
    /// When the last write of a client of each member was acknowledged that was logged for sure, in
    /// microseconds.
    pub wrote_us: Vec<u64>,
    /// Since when every write has been refused, in microseconds.
    pub refused_since_us: Option<u64>,
    /// Whether the faults have ended.
    pub is_calm: bool,
    /// Whether clients ask for anything.
    pub has_requests: bool,
}

impl World {
    /// The world that follows from a seed.
    pub fn new(seed: u64, options: Options) -> World {
        let mut course = Course::new(seed, Trace::new(options.is_traced));
        let random = &mut course.random;
        // Larger ensembles take longer to run, and find little that three members do not show.
        let shape = SHAPES[[0, 1, 1, 1, 1, 2, 3, 3, 3, 4][random.index(10)]];
        let shape = options.shape.unwrap_or(shape);
        let count = shape.voters + shape.observers;
        let faults = Faults::new(random, options);
        let members = (0..count).map(|_| {
            let rate_ppm = if options.has_faults {
                any_rate_ppm(random)
            } else {
                0
            };
            let clock = Clock::new(random.below(1 << 40), rate_ppm);
            Member::new(clock, 1 + random.index(2))
        });
        let members: Vec<Member> = members.collect();
        let leniency = Leniency {
            is_read_only_mode: random.one_in(3),
            local_sessions: random.pick(&[
                LocalSessions::Disabled,
                LocalSessions::Disabled,
                LocalSessions::Disabled,
                LocalSessions::Enabled,
                LocalSessions::Upgrading,
                LocalSessions::Upgrading,
            ]),
        };
        let clients = (0..count + CLIENTS_MORE).map(|_| {
            let pace = random.pick(faults.paces());
            let timeout_ms = 1_500 + random.below(2_500) as i32;
            let tastes = Tastes {
                only_reads: random.one_in(3),
                users: random.pick(&CROWDS),
                makes_do: leniency.is_read_only_mode && random.one_in(2),
            };
            Client::new(timeout_ms, pace, tastes)
        });
        let clients = clients.collect();
        let snap_count = random.pick(&[30, 60, 200, 100_000]);
        let reap = ReapConfig {
            check_interval_ms: random.pick(&[50, 200, 400]),
            max_per_minute: random.pick(&[600, 3_000, 60_000]),
            max_never_used_ms: random.pick(&[0, 0, 600]),
        };
        let purge_interval_us = random.pick(&[None, Some(200_000), Some(1_000_000)]);
        World {
            shape,
            ensemble: process::ensemble(shape),
            snap_count,
            reap,
            purge_interval_us,
            leniency,
            course,
            network: Network::default(),
            members,
            clients,
            faults,
            damaged: None,
            checks: Checks::default(),
            model: Model::default(),
            committed: BTreeSet::new(),
            shown: Zxid::ZERO,
            writes: 0,
            wrote_us: vec![0; count],
            refused_since_us: None,
            is_calm: false,
            has_requests: true,
        }
    }

    /// Runs it to its end, or to the first thing that does not hold.
    pub fn run(&mut self) {
        let (shape, faults) = (self.shape, &self.faults);
        say!(self.course, "an ensemble of {shape}; {faults}");
        say!(self.course, "{:?}", self.leniency);
        for at in 0..self.members.len() {
            let wait_us = self.course.random.below(20_000);
            self.course.after(wait_us, Event::Start(at));
        }
        for at in 0..self.clients.len() {
            let wait_us = 20_000 + self.course.random.below(200_000);
            self.course.after(wait_us, Event::Client(at));
        }
        self.course.after(100_000, Event::Fault);
        let mut next_look_us = END_US;
        while self.checks.violation().is_none()
            && let Some((at_us, event)) = self.course.queue.pop()
        {
            self.pass_to(at_us);
            if at_us >= next_look_us {
                next_look_us += LOOK_US;
                // A session that has just expired may be on its way.
                if at_us >= END_US_MAX || self.difference().is_none() {
                    break;
                }
            }
            self.happen(event);
        }
        if self.checks.violation().is_none() {
            self.check_end();
        }
    }

    /// Time goes on, through the phases of the run.
    fn pass_to(&mut self, at_us: u64) {
        let before_us = std::mem::replace(&mut self.course.now_us, at_us);
        let passes = |mark_us: u64| before_us < mark_us && at_us >= mark_us;
        if passes(FAULTS_US) {
            self.end_faults();
        }
        if passes(FAULTS_US + SERVE_US_MAX) {
            self.check_progress();
        }
        if passes(REQUESTS_END_US) {
            self.has_requests = false;
        }
    }

    fn happen(&mut self, event: Event) {
        if let Some(event) = self.hold_back(event) {
            match event {
                Event::Start(member) => self.start(member),
                Event::Process { member, turn, .. } => self.take_turn(member, turn),
                Event::Arrival { pipe, end } => self.arrive(pipe, end),
                Event::Meet(first, second) => self.meet(first, second),
                Event::Resume(member) => self.resume(member),
                Event::Client(client) => self.client_turn(client),
                Event::Press(client, op) => self.ask(client, op),
                Event::PowerLoss {
                    member,
                    life,
                    away_us,
                } => {
                    if self.members[member].life == life && !self.is_calm {
                        self.end_process(member, Ending::PowerLoss, away_us);
                    }
                }
                Event::Wipe(member) => self.wipe(member),
                Event::Room(member) => self.make_room(member),
                Event::Fault => self.fault(),
            }
        }
    }

    /// Keeps what is for a process that is stopped; nothing is left of what is for one that has
    /// ended.
    fn hold_back(&mut self, event: Event) -> Option<Event> {
        let now_us = self.course.now_us;
        let (member, shard) = match &event {
            Event::Process { member, life, turn } => {
                if *life != self.members[*member].life || self.members[*member].process.is_none() {
                    return None;
                }
                (*member, turn.shard())
            }
            Event::Arrival { pipe, end } => {
                let to = self.network.pipe_mut(*pipe)?.ends[*end];
                let shard = match to {
                    End::Shard { shard, .. } => Some(shard),
                    _ => None,
                };
                match to.process() {
                    Some((member, _)) => (member, shard),
                    None => return Some(event),
                }
            }
            _ => return Some(event),
        };
        if self.members[member].paused_until_us > now_us {
            self.members[member].backlog.push_back(event);
            return None;
        }
        let process = self.members[member].process.as_ref();
        let stalled_until_us = shard
            .zip(process)
            .map_or(0, |(shard, process)| process.shards[shard].stalled_until_us);
        if stalled_until_us > now_us {
            self.course.queue.add(stalled_until_us, event);
            return None;
        }
        Some(event)
    }

    /// A process that was stopped goes on. It may look at its clock before it looks at what has
    /// come meanwhile, or a little after.
    fn resume(&mut self, at: usize) {
        let member = &mut self.members[at];
        if member.paused_until_us > self.course.now_us {
            return;
        }
        member.resumed_us = self.course.now_us;
        let backlog = std::mem::take(&mut member.backlog);
        if member.process.is_none() {
            return;
        }
        say!(self.course, "member {at} goes on");
        if self.course.random.one_in(2) {
            self.with(at, |replica, now| replica.tick(now));
            self.attend(at);
        }
        for event in backlog {
            let is_tick = matches!(
                event,
                Event::Process {
                    turn: Turn::Tick | Turn::Wake,
                    ..
                }
            );
            let wait_us = if is_tick {
                self.course.random.below(3_000)
            } else {
                0
            };
            self.course.after(wait_us, event);
        }
    }

    fn arrive(&mut self, pipe: u64, end: usize) {
        let (piece, to, from) = match self.network.arrive(self.course.now_us, pipe, end) {
            Arrival::Nothing => return,
            Arrival::Later(until_us) => {
                return self
                    .course
                    .queue
                    .add(until_us, Event::Arrival { pipe, end });
            }
            Arrival::Piece(piece, to, from) => (piece, to, from),
        };
        if let Some((member, life)) = to.process()
            && (self.members[member].life != life || self.members[member].process.is_none())
        {
            return self.reset(pipe, end, member);
        }
        match to {
            End::Client { client, number } => self.client_receives(client, number, piece),
            End::Peer { member, .. } => {
                self.peer_receives(member, (from.node(), pipe), piece);
            }
            End::Link { member, link, .. } => self.link_receives(member, (link, pipe), piece),
            End::Shard { member, shard, .. } => {
                self.shard_receives((member, shard), (pipe, end), piece);
            }
        }
    }

    /// Something has come for a process that has ended: a machine that is up says so.
    fn reset(&mut self, pipe: u64, end: usize, member: usize) {
        if self.members[member].process.is_some() {
            self.network
                .send(&mut self.course, pipe, 1 - end, Piece::Closed);
        }
    }

    fn peer_receives(&mut self, at: usize, (from, pipe): (usize, u64), piece: Piece) {
        match piece {
            Piece::Message(bytes) => {
                self.course.trace.mix(&bytes);
                let from = process::server_id(from);
                self.with(at, |replica, now| {
                    replica.election_message(from, &bytes, now)
                });
            }
            Piece::Closed => {
                let process = self.members[at].process.as_ref();
                let known = process.and_then(|process| process.peers.get(&from));
                if known.is_none_or(|(known, _)| *known != pipe) {
                    return;
                }
                self.lose_peer(at, from);
                let wait_us = self.course.random.between(5_000, 50_000);
                self.course.after(wait_us, Event::Meet(at, from));
            }
            Piece::Bytes(_) | Piece::Opened => {}
        }
        self.attend(at);
    }

    fn link_receives(&mut self, at: usize, (link, pipe): (LinkId, u64), piece: Piece) {
        let Some(process) = &mut self.members[at].process else {
            return;
        };
        match piece {
            Piece::Opened => {
                process.links.insert(link, pipe);
                self.with(at, |replica, now| replica.accepted(link, now));
            }
            Piece::Bytes(bytes) if process.links.contains_key(&link) => {
                self.course.trace.mix(&bytes);
                self.with(at, |replica, now| replica.received(link, &bytes, now));
            }
            Piece::Closed => {
                process.links.remove(&link);
                self.with(at, |replica, now| replica.link_closed(link, now));
            }
            Piece::Bytes(_) | Piece::Message(_) => {}
        }
        self.attend(at);
    }

    fn shard_receives(
        &mut self,
        (at, shard): (usize, usize),
        (pipe, end): (u64, usize),
        piece: Piece,
    ) {
        let now_us = self.course.now_us;
        let now = self.members[at].shard_now(now_us);
        let Some(process) = &mut self.members[at].process else {
            return;
        };
        let thread = &mut process.shards[shard];
        let known = thread.conns.iter().find(|(_, its)| **its == pipe);
        let conn = known.map(|(&conn, _)| conn);
        match (piece, conn) {
            (Piece::Opened, _) => {
                let client = (pipe % 250) as u8;
                let address = ([10, 0, 0, client], 1).into();
                match thread.shard.open(address, now) {
                    Ok(conn) => {
                        thread.conns.insert(conn, pipe);
                    }
                    Err(_) => self
                        .network
                        .send(&mut self.course, pipe, 1 - end, Piece::Closed),
                }
            }
            (Piece::Bytes(bytes), Some(conn)) => {
                if thread.shard.status(conn).wants_read {
                    thread.shard.receive(conn, &bytes, now);
                } else {
                    self.network.put_back(now_us, pipe, end, bytes);
                    self.course.after(2_000, Event::Arrival { pipe, end });
                }
            }
            (Piece::Closed, Some(conn)) => {
                thread.shard.end_of_input(conn, now);
                thread.shard.closed(conn);
                thread.conns.remove(&conn);
            }
            _ => {}
        }
        self.attend(at);
    }

    /// All that can go wrong has gone wrong; what is stopped goes on, what is parted meets.
    fn end_faults(&mut self) {
        say!(self.course, "the faults end");
        self.is_calm = true;
        self.network.heal(&mut self.course);
        for at in 0..self.members.len() {
            let member = &mut self.members[at];
            member.disk.die_at(u64::MAX);
            member.disk.fail_at(u64::MAX);
            member.disk.leave_room(None);
            member.full_until_us = 0;
            member.slow_until_us = 0;
            if member.paused_until_us > self.course.now_us {
                member.paused_until_us = self.course.now_us;
                self.course.after(0, Event::Resume(at));
            }
            if let Some(process) = &mut self.members[at].process {
                for thread in &mut process.shards {
                    thread.stalled_until_us = 0;
                }
            }
        }
        for client in &mut self.clients {
            client.silent_until_us = client.silent_until_us.min(self.course.now_us);
        }
    }

    /// TLA+ has no liveness for what is not fair; once faults have ended, this world is.
    fn check_progress(&mut self) {
        for at in 0..self.members.len() {
            let process = self.members[at].process.as_ref();
            let serves = process.is_some_and(|process| process.view.is_some());
            self.checks.require(serves, Invariant::Progress, || {
                format!(
                    "member {at} does not serve {} ms after the faults",
                    SERVE_US_MAX / 1000
                )
            });
        }
    }

    /// What must hold when all has been calm for a while.
    fn check_end(&mut self) {
        for at in 0..self.members.len() {
            let has_written = self.wrote_us[at] > FAULTS_US;
            self.checks.require(has_written, Invariant::Progress, || {
                format!("no write of a client of member {at} has succeeded since the faults")
            });
        }
        let (least, writes) = (WRITES_MIN, self.writes);
        self.checks
            .require(writes >= least, Invariant::Progress, || {
                format!("{writes} writes are too few to mean anything")
            });
        self.check_leftovers();
        if let Some(difference) = self.difference() {
            self.checks.fail(Invariant::Convergence, difference);
        }
    }

    /// What members have otherwise than others, or than the history.
    fn difference(&self) -> Option<String> {
        let newest = self.model.newest();
        let mut sessions = None;
        for (at, member) in self.members.iter().enumerate() {
            let process = member.process.as_ref();
            let serving = process.and_then(|process| Some((process, process.view.as_ref()?)));
            let Some((process, view)) = serving else {
                return Some(format!("member {at} does not serve"));
            };
            if view.zxid() != newest {
                let zxid = view.zxid();
                return Some(format!("member {at} is at {zxid}, the history at {newest}"));
            }
            if let Some(difference) = self.model.difference(view) {
                return Some(format!("member {at}: {difference}"));
            }
            let its = process.replica.sequencer().sessions().snapshot();
            let known = sessions.get_or_insert_with(|| its.clone());
            if *known != its {
                return Some(format!(
                    "member {at} has the sessions {its:?}, another {known:?}"
                ));
            }
        }
        let open: Vec<i64> = sessions.iter().flatten().map(|(id, _)| id.0).collect();
        let stray = self.model.owners().find(|owner| !open.contains(owner))?;
        Some(format!("the session {stray:x} is over and has ephemerals"))
    }
}
