//! The settings of a member of an ensemble, and how they follow from what was given
//! (Apache's `QuorumPeerConfig`, `QuorumMaj` and `QuorumHierarchical`).

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{Origin, Severity, Warning};
use super::values::Expected;
use crate::types::{ClientAddress, Ensemble, Member, Role, ServerId};

/// The largest server id with `extendedTypesEnabled` (Apache's `MAX_EXTENDED_SERVER_ID`).
const SERVER_ID_EXTENDED_MAX: i64 = 254;
/// The largest server id that fits the first byte of a session id.
const SERVER_ID_BYTE_MAX: i64 = 255;

/// What a member of an ensemble is told besides what every server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnsembleConfig {
    /// Which member this server is; one of [`EnsembleConfig::ensemble`]. (the file `myid`)
    pub my_id: ServerId,
    /// All members, at least one of them a participant.
    pub ensemble: Ensemble,
    /// Ticks that a learner may take to connect to a leader and to synchronise with it; 1 or
    /// more. (`initLimit`)
    pub init_limit_ticks: u32,
    /// Ticks that a learner may stay unheard of; 1 or more. (`syncLimit`)
    pub sync_limit_ticks: u32,
    /// Ticks that a learner may take to connect to a leader; `None`, the default, is
    /// `initLimit`. (`connectToLearnerMasterLimit`)
    pub connect_limit_ticks: Option<u32>,
    /// Whether peers are served on every address instead of those of the server line; default
    /// no. (`quorumListenOnAllIPs`)
    pub is_listening_on_all: bool,
    /// Whether members may have several addresses, which changes the first message on an
    /// election connection; default no. (`multiAddress.enabled`)
    pub is_multi_address: bool,
    /// Milliseconds to open an election connection; 1 or more, default 5,000. (`cnxTimeout`)
    pub cnx_timeout_ms: u64,
    /// Attempts to listen on the election port; 0 is no end, default 3.
    /// (`electionPortBindRetry`)
    pub election_bind_attempts_max: u32,
    /// Whether TCP keepalive is set on election connections; default no. (`tcpKeepAlive`)
    pub is_peer_keep_alive: bool,
    /// The first and shortest time in milliseconds after which a server that looks for a leader
    /// asks again; default 200. (`fastleader.minNotificationInterval`)
    pub notification_interval_ms_min: u64,
    /// The longest such time, not below the shortest; default 60,000.
    /// (`fastleader.maxNotificationInterval`)
    pub notification_interval_ms_max: u64,
    /// Whether a leader serves clients; default yes. (`leaderServes`)
    pub leader_serves: bool,
    /// Whether new sessions live on this member alone. (`localSessionsEnabled`)
    pub has_local_sessions: bool,
    /// Whether they become sessions of the ensemble when they make an ephemeral node.
    /// (`localSessionsUpgradingEnabled`)
    pub is_upgrading_sessions: bool,
}

impl Default for EnsembleConfig {
    /// Apache's defaults; the limits without one are 0 and the ensemble is empty until they are
    /// set.
    fn default() -> EnsembleConfig {
        EnsembleConfig {
            my_id: ServerId(0),
            ensemble: Ensemble::default(),
            init_limit_ticks: 0,
            sync_limit_ticks: 0,
            connect_limit_ticks: None,
            is_listening_on_all: false,
            is_multi_address: false,
            cnx_timeout_ms: 5000,
            election_bind_attempts_max: 3,
            is_peer_keep_alive: false,
            notification_interval_ms_min: 200,
            notification_interval_ms_max: 60_000,
            leader_serves: true,
            has_local_sessions: false,
            is_upgrading_sessions: false,
        }
    }
}

impl EnsembleConfig {
    /// What the ensemble says of this server.
    pub fn me(&self) -> &Member {
        &self.ensemble.members[&self.my_id]
    }
}

/// Settings of an ensemble that are partly read.
#[derive(Default)]
pub(super) struct EnsembleDraft {
    /// What is settled.
    pub config: EnsembleConfig,
    pub members: BTreeMap<ServerId, Member>,
    pub groups: BTreeMap<i64, Vec<ServerId>>,
    pub weights: BTreeMap<ServerId, i64>,
    /// Where the last of the lines was given, for what is said of all of them.
    pub origin: Option<Origin>,
    pub version: i64,
    /// `standaloneEnabled=false`.
    pub is_never_standalone: bool,
    pub peer_type: Role,
}

/// What the lines come to.
#[derive(Debug)]
pub(super) struct Settled {
    /// `None` where the server stands alone.
    pub ensemble: Option<EnsembleConfig>,
    /// Where the lines say that clients of this server connect.
    pub client: Option<ClientAddress>,
    /// Whether a `myid` says that this server is the one of that line.
    pub is_client_mine: bool,
}

impl EnsembleDraft {
    /// Takes the value of `server.<id>`.
    pub(super) fn add_member(&mut self, id: &str, member: Member) -> Result<(), Expected> {
        self.members.insert(parse_id(id)?, member);
        Ok(())
    }

    /// Takes the value of `group.<number>`: ids with colons between.
    pub(super) fn add_group(&mut self, group: &str, value: &str) -> Result<(), Expected> {
        let group: i64 = group
            .parse()
            .map_err(|_| Expected("a number as the group's in the key".to_string()))?;
        let ids: Option<Vec<ServerId>> = value
            .split(':')
            .map(|id| id.trim().parse().ok().map(ServerId))
            .collect();
        let ids = ids.ok_or_else(|| Expected("ids of servers with : between".to_string()))?;
        self.groups.insert(group, ids);
        Ok(())
    }

    /// Takes the value of `weight.<id>`.
    pub(super) fn add_weight(&mut self, id: &str, weight: i64) -> Result<(), Expected> {
        self.weights.insert(parse_id(id)?, weight);
        Ok(())
    }

    /// Puts everything together (Apache's `setupQuorumPeerConfig`). Reads `myid` in the data
    /// directory where zoo.cfg or server lines were given.
    pub(super) fn settle(
        self,
        data_dir: &Path,
        reads_my_id: bool,
        extended_types: bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<Settled, String> {
        self.check_addresses()?;
        let is_ensemble = self.is_ensemble(warnings)?;
        let my_id = match reads_my_id || !self.members.is_empty() {
            true => read_my_id(data_dir)?,
            false => None,
        };
        let mine = my_id.and_then(|id| self.members.get(&id));
        let is_client_mine = mine.is_some();
        let client = match (mine, is_ensemble) {
            (Some(member), _) => member.client.clone(),
            (None, true) => None,
            (None, false) => self.members.values().find_map(|m| m.client.clone()),
        };
        let listed_role = mine.map_or(Role::Participant, |member| member.role);
        if listed_role != self.peer_type {
            let text = format!(
                "peer type from the server lines ({}) does not match peerType ({}); the server \
                 lines count",
                role_name(listed_role),
                role_name(self.peer_type)
            );
            self.warn(warnings, text);
        }
        let ensemble = match is_ensemble {
            true => Some(self.into_ensemble(my_id, data_dir, extended_types, warnings)?),
            false => None,
        };
        Ok(Settled {
            ensemble,
            client,
            is_client_mine,
        })
    }

    fn check_addresses(&self) -> Result<(), String> {
        if self.config.is_multi_address {
            return Ok(());
        }
        match self.members.iter().find(|(_, m)| m.addresses.len() > 1) {
            Some((id, _)) => Err(format!(
                "server.{id} has several addresses and multiAddress.enabled is off; set \
                 multiAddress.enabled=true on every member"
            )),
            None => Ok(()),
        }
    }

    /// Whether the lines make an ensemble rather than a server that stands alone (Apache's
    /// `parseDynamicConfig` and `isDistributed`). One participant alone, as HBase writes it, is
    /// served without an ensemble unless `standaloneEnabled` says no.
    fn is_ensemble(&self, warnings: &mut Vec<Warning>) -> Result<bool, String> {
        let participants = self
            .members
            .values()
            .filter(|m| m.role == Role::Participant);
        let participants = participants.count();
        let has_observers = participants < self.members.len();
        match participants {
            0 if self.is_never_standalone => Err(
                "with standaloneEnabled=false there must be a participant: add its server \
                     line"
                    .to_string(),
            ),
            0 if has_observers => {
                Err("observers without participants are an invalid configuration".to_string())
            }
            0 if !self.groups.is_empty() || !self.weights.is_empty() => {
                Err("there are groups or weights but no server lines".to_string())
            }
            0 => Ok(false),
            1 if !self.is_never_standalone && has_observers => {
                Err("observers with only one participant are an invalid configuration".to_string())
            }
            1 if !self.is_never_standalone => {
                let text = "only one server specified: serving standalone";
                self.warn(warnings, text.to_string());
                Ok(false)
            }
            1 | 2 => {
                let text = "no server failure will be tolerated; that needs at least 3 servers";
                self.warn(warnings, text.to_string());
                Ok(true)
            }
            _ => {
                if participants % 2 == 0 {
                    let text = "an even number of participants tolerates no more failures than \
                                one fewer would; consider an odd number";
                    self.warn(warnings, text.to_string());
                }
                Ok(true)
            }
        }
    }

    fn into_ensemble(
        mut self,
        my_id: Option<ServerId>,
        data_dir: &Path,
        extended_types: bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<EnsembleConfig, String> {
        let groups = self.settle_groups(warnings)?;
        if self.config.init_limit_ticks == 0 {
            return Err("initLimit is not set".to_string());
        }
        if self.config.sync_limit_ticks == 0 {
            return Err("syncLimit is not set".to_string());
        }
        let ids: Vec<String> = self.members.keys().map(ToString::to_string).collect();
        let (file, ids) = (data_dir.join("myid"), ids.join(", "));
        let Some(my_id) = my_id else {
            return Err(format!(
                "myid file is missing: write this server's number, one of {ids}, into {}",
                file.display()
            ));
        };
        if !self.members.contains_key(&my_id) {
            return Err(format!(
                "my id {my_id} is not in the server list: {} must hold one of {ids}",
                file.display()
            ));
        }
        if extended_types && my_id.0 > SERVER_ID_EXTENDED_MAX {
            return Err(format!(
                "with extendedTypesEnabled a server's id is {SERVER_ID_EXTENDED_MAX} at most, and \
                 {} holds {my_id}",
                file.display()
            ));
        }
        if let Some(id) = self.members.keys().find(|id| id.0 > SERVER_ID_BYTE_MAX) {
            let text = format!(
                "server.{id}: an id above {SERVER_ID_BYTE_MAX} does not fit session ids, which \
                 may then occur twice"
            );
            self.warn(warnings, text);
        }
        let config = &mut self.config;
        config.notification_interval_ms_max = config
            .notification_interval_ms_max
            .max(config.notification_interval_ms_min);
        self.config.my_id = my_id;
        self.config.ensemble = Ensemble {
            members: self.members,
            groups,
            version: self.version,
        };
        Ok(self.config)
    }

    /// Groups with the weights of their servers: 1 where none is given.
    fn settle_groups(
        &self,
        warnings: &mut Vec<Warning>,
    ) -> Result<BTreeMap<i64, BTreeMap<ServerId, i64>>, String> {
        if self.groups.is_empty() && self.weights.is_empty() {
            return Ok(BTreeMap::new());
        }
        let is_participant = |id: &ServerId| {
            let member = self.members.get(id);
            member.is_some_and(|member| member.role == Role::Participant)
        };
        let mut groups: BTreeMap<i64, BTreeMap<ServerId, i64>> = BTreeMap::new();
        let mut grouped = BTreeMap::new();
        for (&group, ids) in &self.groups {
            for &id in ids {
                if grouped.insert(id, group).is_some() {
                    return Err(format!("server {id} is in multiple groups"));
                }
                let default = is_participant(&id).then_some(1);
                let weight = self.weights.get(&id).copied().or(default).ok_or_else(|| {
                    format!("group.{group} names server {id}, which is no participant")
                })?;
                groups.entry(group).or_default().insert(id, weight);
            }
        }
        let participants = self.members.keys().filter(|id| is_participant(id));
        for id in participants {
            if !grouped.contains_key(id) {
                return Err(format!("server {id} is not in a group"));
            }
        }
        for id in self.weights.keys().filter(|id| !grouped.contains_key(id)) {
            let text = format!("weight.{id} is of no server in a group and has no effect");
            self.warn(warnings, text);
        }
        Ok(groups)
    }

    fn warn(&self, warnings: &mut Vec<Warning>, message: String) {
        warnings.push(Warning {
            origin: self.origin.clone().unwrap_or(Origin::CommandLine),
            severity: Severity::Warning,
            message,
        });
    }
}

fn parse_id(id: &str) -> Result<ServerId, Expected> {
    id.parse()
        .ok()
        .filter(|&id: &i64| id >= 0)
        .map(ServerId)
        .ok_or_else(|| Expected("a number as the server's id in the key".to_string()))
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Participant => "participant",
        Role::Observer => "observer",
    }
}

/// The number in the file `myid`, whose first line counts; `None` without such a file.
fn read_my_id(data_dir: &Path) -> Result<Option<ServerId>, String> {
    let path = data_dir.join("myid");
    if !path.is_file() {
        return Ok(None);
    }
    let text =
        std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or_default().trim();
    match line.parse() {
        Ok(id) if id >= 0 => Ok(Some(ServerId(id))),
        _ => Err(format!(
            "serverid {line:?} is not a number: {} must hold this server's own and nothing else",
            path.display()
        )),
    }
}
