//! Who belongs to an ensemble, and what makes a quorum of it (Apache's `QuorumVerifier`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::ServerId;

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Role {
    /// Votes and may lead.
    #[default]
    Participant,
    /// Follows without a vote.
    Observer,
}

/// One pair of ports of a member; a member may have several (multi-address).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberAddress {
    /// Host name or address, as written; resolved when it is used.
    pub host: String,
    /// Where learners connect to it while it leads.
    pub quorum_port: u16,
    /// Where elections are held.
    pub election_port: u16,
}

/// Where a member's clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// `None` is every address.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
}

/// What a `server.N` line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// At least one.
    pub addresses: Vec<MemberAddress>,
    /// Whether it votes.
    pub role: Role,
    /// Where its clients connect, if the line says so.
    pub client: Option<ClientAddress>,
}

/// All members, with the version of this configuration.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ensemble {
    /// By their numbers.
    pub members: BTreeMap<ServerId, Member>,
    /// Groups of a hierarchical quorum, each with its voters and their weights; empty for a
    /// majority of voters.
    pub groups: BTreeMap<i64, BTreeMap<ServerId, i64>>,
    /// The zxid of the reconfiguration that made it; 0 for a static one.
    pub version: i64,
}

impl Ensemble {
    /// The members that vote.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> {
        self.members
            .iter()
            .filter(|(_, member)| member.role == Role::Participant)
            .map(|(&id, _)| id)
    }

    /// Whether a member votes.
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.members
            .get(&id)
            .is_some_and(|member| member.role == Role::Participant)
    }

    /// Whether these members are a quorum: a majority of the voters (Apache's `QuorumMaj`) or,
    /// with groups, more than half of the weight in more than half of the groups that have any
    /// (Apache's `QuorumHierarchical`). Who has no vote does not count.
    pub fn is_quorum(&self, ids: &BTreeSet<ServerId>) -> bool {
        if self.groups.is_empty() {
            let voters = self.voters().count();
            return self.voters().filter(|id| ids.contains(id)).count() > voters / 2;
        }
        let (mut groups, mut won) = (0, 0);
        for weights in self.groups.values() {
            let whole: i64 = weights.values().sum();
            if whole == 0 {
                continue;
            }
            groups += 1;
            let held: i64 = weights
                .iter()
                .filter(|(id, _)| ids.contains(id))
                .map(|(_, weight)| weight)
                .sum();
            won += usize::from(held > whole / 2);
        }
        won > groups / 2
    }
}

impl fmt::Display for Member {
    /// As Apache writes it, without the `server.N=`: several addresses in the order of their
    /// hosts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut addresses: Vec<&MemberAddress> = self.addresses.iter().collect();
        addresses.sort_by(|left, right| left.host.cmp(&right.host));
        for (number, address) in addresses.into_iter().enumerate() {
            let separator = if number > 0 { "|" } else { "" };
            let host = bracketed(&address.host);
            let (quorum, election) = (address.quorum_port, address.election_port);
            write!(f, "{separator}{host}:{quorum}:{election}")?;
        }
        f.write_str(match self.role {
            Role::Participant => ":participant",
            Role::Observer => ":observer",
        })?;
        if let Some(client) = &self.client {
            let host = client.host.as_deref().unwrap_or("0.0.0.0");
            write!(f, ";{}:{}", bracketed(host), client.port)?;
        }
        Ok(())
    }
}

impl fmt::Display for Ensemble {
    /// As Apache writes it into `/zookeeper/config` and the dynamic configuration file: a line for
    /// each member, then groups and weights, then the version, without a line end after it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, member) in &self.members {
            writeln!(f, "server.{id}={member}")?;
        }
        for (group, weights) in &self.groups {
            let ids: Vec<String> = weights.keys().map(ToString::to_string).collect();
            writeln!(f, "group.{group}={}", ids.join(":"))?;
        }
        for weights in self.groups.values() {
            for (id, weight) in weights {
                writeln!(f, "weight.{id}={weight}")?;
            }
        }
        write!(f, "version={:x}", self.version)
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ensemble(voters: i64, observers: i64) -> Ensemble {
        let mut members = BTreeMap::new();
        for id in 1..=voters + observers {
            let role = if id <= voters {
                Role::Participant
            } else {
                Role::Observer
            };
            members.insert(
                ServerId(id),
                Member {
                    addresses: vec![MemberAddress {
                        host: "127.0.0.1".into(),
                        quorum_port: 2888,
                        election_port: 3888,
                    }],
                    role,
                    client: Some(ClientAddress {
                        host: None,
                        port: 2181,
                    }),
                },
            );
        }
        Ensemble {
            members,
            ..Ensemble::default()
        }
    }

    fn ids(ids: &[i64]) -> BTreeSet<ServerId> {
        ids.iter().copied().map(ServerId).collect()
    }

    #[test]
    fn a_majority_of_the_voters_is_a_quorum() {
        let three = ensemble(3, 2);
        assert!(!three.is_quorum(&ids(&[1])) && !three.is_quorum(&ids(&[1, 4, 5])));
        assert!(three.is_quorum(&ids(&[1, 3])));
        let four = ensemble(4, 0);
        assert!(!four.is_quorum(&ids(&[1, 2])) && four.is_quorum(&ids(&[1, 2, 3])));
    }

    #[test]
    fn groups_need_half_of_the_weight_in_half_of_them() {
        let mut nine = ensemble(9, 0);
        for group in 0..3 {
            let weights = (1..=3).map(|id| (ServerId(3 * group + id), 1)).collect();
            nine.groups.insert(group, weights);
        }
        assert!(nine.is_quorum(&ids(&[1, 2, 4, 5])));
        assert!(!nine.is_quorum(&ids(&[1, 2, 3, 4, 7])));
        nine.groups
            .insert(2, [(ServerId(7), 0), (ServerId(8), 0)].into());
        assert!(!nine.is_quorum(&ids(&[1, 2, 3])));
    }

    #[test]
    fn the_text_is_that_of_the_reference() {
        assert_eq!(
            ensemble(1, 1).to_string(),
            "server.1=127.0.0.1:2888:3888:participant;0.0.0.0:2181\n\
             server.2=127.0.0.1:2888:3888:observer;0.0.0.0:2181\nversion=0"
        );
    }
}
