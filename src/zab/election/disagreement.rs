//! Members whose configurations differ in what elections and quorums go by: who is a member, who
//! votes, groups, weights, and the version. Each is told once of each peer, and again when it
//! changes.
//!
//! Addresses are not compared: a member may rightly know another one, or itself, under an address
//! that only it can use. Apache's servers compare nothing but the versions.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{Role, ServerId};

/// Differences that one message names; it tells how many there are beyond them.
const NAMED_MAX: usize = 8;

/// The shortest time between two messages about one peer.
const INTERVAL_MS: u64 = 10_000;

/// What a configuration says that all members must agree in.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outline {
    roles: BTreeMap<ServerId, Role>,
    /// The group of each voter that has one.
    groups: BTreeMap<ServerId, i64>,
    weights: BTreeMap<ServerId, i64>,
    version: i64,
}

impl Outline {
    /// Reads a configuration's text as [`crate::types::Ensemble`] and Apache's servers write it. Lines
    /// that cannot be read are passed over: what they should say is missing then.
    fn read(text: &str) -> Outline {
        let mut outline = Outline::default();
        for line in text.lines() {
            outline.take(line.trim());
        }
        outline
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let (key, value) = line.split_once('=')?;
        if key == "version" {
            self.version = i64::from_str_radix(value, 16).ok()?;
            return Some(());
        }
        let (kind, number) = key.split_once('.')?;
        let number: i64 = number.parse().ok()?;
        match kind {
            "server" => {
                let addresses = value.split(';').next().unwrap_or_default();
                let is_observer = addresses.to_ascii_lowercase().ends_with(":observer");
                let role = match is_observer {
                    true => Role::Observer,
                    false => Role::Participant,
                };
                self.roles.insert(ServerId(number), role);
            }
            "group" => {
                let members = value.split(':').filter_map(|id| id.parse().ok());
                self.groups.extend(members.map(|id| (ServerId(id), number)));
            }
            "weight" => {
                self.weights.insert(ServerId(number), value.parse().ok()?);
            }
            _ => {}
        }
        Some(())
    }

    /// The weight of a voter that is in a group: 1 where none is given, as with Apache.
    fn weight(&self, id: ServerId) -> i64 {
        self.weights.get(&id).copied().unwrap_or(1)
    }

    /// What `theirs` says otherwise; empty where both agree.
    fn differences(&self, theirs: &Outline) -> Vec<String> {
        let mut found = Vec::new();
        if self.version != theirs.version {
            found.push(format!(
                "it has version {:x}, we have {:x}",
                theirs.version, self.version
            ));
        }
        let ids: BTreeSet<ServerId> = [self, theirs]
            .into_iter()
            .flat_map(|outline| outline.roles.keys().copied())
            .collect();
        for id in ids {
            match (theirs.roles.get(&id), self.roles.get(&id)) {
                (None, _) => found.push(format!("it lacks server {id}")),
                (_, None) => found.push(format!("it has server {id}, which we lack")),
                (Some(there), Some(here)) if there != here => found.push(format!(
                    "server {id} is {} there and {} here",
                    role_name(*there),
                    role_name(*here)
                )),
                (Some(Role::Participant), _) => self.compare_voter(theirs, id, &mut found),
                (Some(Role::Observer), _) => {}
            }
        }
        found
    }

    fn compare_voter(&self, theirs: &Outline, id: ServerId, found: &mut Vec<String>) {
        let (there, here) = (theirs.groups.get(&id), self.groups.get(&id));
        if there != here {
            found.push(format!(
                "server {id} is in {} there and in {} here",
                group_name(there),
                group_name(here)
            ));
        } else if there.is_some() && theirs.weight(id) != self.weight(id) {
            found.push(format!(
                "server {id} weighs {} there and {} here",
                theirs.weight(id),
                self.weight(id)
            ));
        }
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Participant => "a participant",
        Role::Observer => "an observer",
    }
}

fn group_name(group: Option<&i64>) -> String {
    group.map_or_else(|| "no group".to_owned(), |group| format!("group {group}"))
}

/// What is to be logged of a peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It differs from ours in this.
    Differs(String),
    /// It differed, and does so no more.
    Agrees,
}

/// What was said of each peer. Only members of our configuration are to be asked about, which bounds it.
#[derive(Debug)]
pub(super) struct Disagreements {
    ours: Outline,
    /// When something was said last, and what; nothing where the peer agreed then.
    said: BTreeMap<ServerId, (u64, String)>,
}

impl Disagreements {
    /// With the text of our own configuration.
    pub(super) fn new(ours: &str) -> Disagreements {
        Disagreements {
            ours: Outline::read(ours),
            said: BTreeMap::new(),
        }
    }

    /// A member has told its configuration, in any bytes; what is new about that.
    pub(super) fn hear(&mut self, from: ServerId, theirs: &[u8], now_ms: u64) -> Option<Finding> {
        let theirs = Outline::read(&String::from_utf8_lossy(theirs));
        let differences = sentence(&self.ours.differences(&theirs));
        let known = self.said.get(&from);
        if known.map_or("", |(_, text)| text) == differences {
            return None;
        }
        let is_early = |&(at_ms, _): &(u64, String)| now_ms < at_ms.saturating_add(INTERVAL_MS);
        if known.is_some_and(is_early) {
            return None;
        }
        self.said.insert(from, (now_ms, differences.clone()));
        Some(match differences.is_empty() {
            true => Finding::Agrees,
            false => Finding::Differs(differences),
        })
    }
}

fn sentence(differences: &[String]) -> String {
    let named = &differences[..differences.len().min(NAMED_MAX)];
    let mut text = named.join("; ");
    let more = differences.len() - named.len();
    if more > 0 {
        text += &format!("; and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: &str = "server.1=a:1:2:participant;0.0.0.0:3\nserver.2=b:1:2:participant\n\
        server.3=c:1:2:participant\nserver.4=d:1:2:observer\n\
        group.1=1:2\ngroup.2=3\nweight.1=1\nweight.2=1\nweight.3=2\nversion=0";

    fn differences(theirs: &str) -> String {
        sentence(&Outline::read(OURS).differences(&Outline::read(theirs)))
    }

    #[test]
    fn each_difference_is_named() {
        let cases = [
            (("", ""), ""),
            (("server.3=c", "server.3=otherwise"), ""),
            (("weight.2=1\n", ""), ""),
            (("group.1=1:2", "group.1=2:1"), ""),
            (("server.2=b:1:2:participant", "server.2=b:1:2"), ""),
            (("version=0", ""), ""),
            (("version=0", "version=1f"), "it has version 1f, we have 0"),
            (("server.3=c:1:2:participant", ""), "it lacks server 3"),
            (
                ("server.4", "server.5"),
                "it lacks server 4; it has server 5, which we lack",
            ),
            (
                ("b:1:2:participant", "b:1:2:OBSERVER;9"),
                "server 2 is an observer there and a participant here",
            ),
            (
                ("d:1:2:observer", "d:1:2"),
                "server 4 is a participant there and an observer here",
            ),
            (
                ("group.1=1:2\ngroup.2=3", "group.1=1\ngroup.2=2:3"),
                "server 2 is in group 2 there and in group 1 here",
            ),
            (
                ("group.2=3", ""),
                "server 3 is in no group there and in group 2 here",
            ),
            (("weight.3=2", ""), "server 3 weighs 1 there and 2 here"),
            (
                ("weight.2=1", "weight.2=0"),
                "server 2 weighs 0 there and 1 here",
            ),
        ];
        for ((from, to), expected) in cases {
            assert!(OURS.contains(from), "{from:?}");
            assert_eq!(
                differences(&OURS.replace(from, to)),
                expected,
                "{from:?}, {to:?}"
            );
        }
        let many: String = (10..30).map(|id| format!("\nserver.{id}=x:1:2")).collect();
        let text = differences(&(OURS.to_owned() + &many));
        assert!(
            text.contains("server 17,") && text.ends_with("; and 12 more"),
            "{text}"
        );
    }

    #[test]
    fn it_is_said_once_of_each_peer_and_again_when_it_changes() {
        let differs = |text: &str| Some(Finding::Differs(text.to_owned()));
        let mut said = Disagreements::new(OURS);
        let (two, three) = (ServerId(2), ServerId(3));
        let other = OURS.replace("weight.3=2", "weight.3=3");
        let another = OURS.replace("weight.3=2", "weight.3=4");
        assert_eq!(said.hear(two, OURS.as_bytes(), 0), None);
        let expected = differs("server 3 weighs 3 there and 2 here");
        assert_eq!(said.hear(two, other.as_bytes(), 0), expected);
        assert_eq!(said.hear(two, other.as_bytes(), 10 * INTERVAL_MS), None);
        assert_eq!(said.hear(three, other.as_bytes(), 0), expected);
        let now_ms = INTERVAL_MS;
        let expected = differs("server 3 weighs 4 there and 2 here");
        assert_eq!(said.hear(two, another.as_bytes(), now_ms - 1), None);
        assert_eq!(said.hear(two, another.as_bytes(), now_ms), expected);
        let now_ms = 2 * INTERVAL_MS;
        let agrees = Some(Finding::Agrees);
        assert_eq!(said.hear(two, OURS.as_bytes(), now_ms), agrees);
        assert_eq!(said.hear(two, OURS.as_bytes(), 9 * now_ms), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Disagreements::new(OURS).hear(ServerId(2), &bytes, 0);
        }

        #[test]
        fn no_lines_panic(text in "((server|group|weight|version)\\.?[-0-9]{0,3}=[0-9a:;]{0,9}\n){0,9}") {
            let _ = Disagreements::new(OURS).hear(ServerId(2), text.as_bytes(), 0);
        }
    }
}
