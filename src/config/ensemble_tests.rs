//! Configurations of ensembles: what is accepted, and what is refused and how.

use std::fs;
use std::path::Path;

use super::{Config, ConfigFile, EnsembleConfig, Severity, Sources};
use crate::types::ServerId;

/// Three participants on this machine, as in Apache's walkthrough.
const THREE: &str = "server.1=127.0.0.1:2888:3888\nserver.2=127.0.0.1:2889:3889\n\
                     server.3=127.0.0.1:2890:3890\n";
const LIMITS: &str = "initLimit=10\nsyncLimit=5\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn with_id(my_id: &str) -> Folder {
        let folder = Folder::empty();
        fs::write(folder.path().join("myid"), my_id).expect("a new folder is writable");
        folder
    }

    fn empty() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A zoo.cfg of this data directory with these lines.
    fn sources(&self, lines: &str) -> Sources {
        let text = format!("dataDir={}\n{lines}", self.path().display());
        Sources {
            file: Some(ConfigFile {
                path: "zoo.cfg".into(),
                bytes: text.into_bytes(),
            }),
            ..Sources::default()
        }
    }

    fn ensemble(&self, lines: &str) -> EnsembleConfig {
        let (config, _) = Config::load(&self.sources(lines)).expect("these settings are good");
        config.ensemble.expect("these settings are of an ensemble")
    }

    /// What is wrong, without the folder's own path.
    fn refused(&self, lines: &str) -> String {
        Config::load(&self.sources(lines))
            .expect_err("these settings are bad")
            .to_string()
            .replace(&self.path().display().to_string(), "DIR")
    }

    fn warned(&self, lines: &str) -> Vec<String> {
        let (_, warnings) = Config::load(&self.sources(lines)).expect("these settings are good");
        warnings
            .iter()
            .filter(|warning| warning.severity == Severity::Warning)
            .map(ToString::to_string)
            .collect()
    }
}

#[test]
fn three_participants_are_an_ensemble() {
    let folder = Folder::with_id("2\n");
    let lines = format!("clientPort=2181\n{LIMITS}{THREE}");
    assert_eq!(folder.warned(&lines), [""; 0]);
    let ensemble = folder.ensemble(&lines);
    assert_eq!(ensemble.my_id, ServerId(2));
    assert_eq!(ensemble.me().addresses[0].quorum_port, 2889);
    let expected = EnsembleConfig {
        my_id: ServerId(2),
        ensemble: ensemble.ensemble.clone(),
        init_limit_ticks: 10,
        sync_limit_ticks: 5,
        ..EnsembleConfig::default()
    };
    assert_eq!(ensemble, expected);
    assert_eq!(
        ensemble.ensemble.to_string(),
        "server.1=127.0.0.1:2888:3888:participant\nserver.2=127.0.0.1:2889:3889:participant\n\
         server.3=127.0.0.1:2890:3890:participant\nversion=0"
    );
}

#[test]
fn every_key_has_its_effect() {
    let folder = Folder::with_id("3");
    let ensemble = folder.ensemble(
        "server.1=a.invalid:1:2|b.invalid:1:2;2181\nserver.2=c.invalid:1:2\n\
         server.3=d.invalid:1:2:observer;127.0.0.1:2181\nversion=10000000a\ninitLimit=1\n\
         syncLimit=2\nconnectToLearnerMasterLimit=3\nleaderConnectDelayDuringRetryMs=4\n\
         quorumListenOnAllIPs=true\nmultiAddress.enabled=true\ncnxTimeout=5\n\
         electionPortBindRetry=0\ntcpKeepAlive=true\nfastleader.minNotificationInterval=6\n\
         fastleader.maxNotificationInterval=7\nleaderServes=no\nlocalSessionsEnabled=true\n\
         localSessionsUpgradingEnabled=true\npeerType=observer\nelectionAlg=3\n\
         observerMasterPort=0\nreconfigEnabled=false\nstandaloneEnabled=false\n",
    );
    let expected = EnsembleConfig {
        my_id: ServerId(3),
        ensemble: ensemble.ensemble.clone(),
        init_limit_ticks: 1,
        sync_limit_ticks: 2,
        connect_limit_ticks: Some(3),
        is_listening_on_all: true,
        is_multi_address: true,
        cnx_timeout_ms: 5,
        election_bind_attempts_max: 0,
        is_peer_keep_alive: true,
        notification_interval_ms_min: 6,
        notification_interval_ms_max: 7,
        leader_serves: false,
        has_local_sessions: true,
        is_upgrading_sessions: true,
    };
    assert_eq!(ensemble, expected);
    assert_eq!(ensemble.ensemble.version, 0x1_0000_000a);
    assert_eq!(ensemble.ensemble.voters().count(), 2);
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn what_is_no_ensemble_or_lacks_something() {
    let one = "server.1=a:1:2\n";
    let observers = "server.1=a:1:2\nserver.2=a:1:2:observer\n";
    let (with_id, without) = (Folder::with_id("1"), Folder::empty());
    for (folder, lines, message) in [
        (
            &with_id,
            format!("syncLimit=5\n{THREE}"),
            "initLimit is not set",
        ),
        (
            &with_id,
            format!("initLimit=5\n{THREE}"),
            "syncLimit is not set",
        ),
        (
            &without,
            format!("{LIMITS}{THREE}"),
            "myid file is missing: write this server's number, one of 1, 2, 3, into DIR/myid",
        ),
        (
            &without,
            format!("{LIMITS}{one}standaloneEnabled=false\n"),
            "myid file is missing: write this server's number, one of 1, into DIR/myid",
        ),
        (
            &Folder::with_id("4"),
            format!("{LIMITS}{THREE}"),
            "my id 4 is not in the server list: DIR/myid must hold one of 1, 2, 3",
        ),
        (
            &Folder::with_id("one"),
            format!("{LIMITS}{THREE}"),
            "serverid \"one\" is not a number: DIR/myid must hold this server's own and nothing \
             else",
        ),
        (
            &Folder::with_id(""),
            one.to_string(),
            "serverid \"\" is not a number: DIR/myid must hold this server's own and nothing else",
        ),
        (
            &Folder::with_id("255"),
            format!("{LIMITS}{THREE}server.255=a:1:2\nextendedTypesEnabled=true\n"),
            "with extendedTypesEnabled a server's id is 254 at most, and DIR/myid holds 255",
        ),
        (
            &with_id,
            "standaloneEnabled=false\n".to_string(),
            "with standaloneEnabled=false there must be a participant: add its server line",
        ),
        (
            &with_id,
            "server.1=a:1:2:observer\n".to_string(),
            "observers without participants are an invalid configuration",
        ),
        (
            &with_id,
            observers.to_string(),
            "observers with only one participant are an invalid configuration",
        ),
        (
            &with_id,
            "group.1=1\n".to_string(),
            "there are groups or weights but no server lines",
        ),
        (
            &with_id,
            format!("{LIMITS}{THREE}server.4=a:1:2|b:1:2\n"),
            "server.4 has several addresses and multiAddress.enabled is off; set \
             multiAddress.enabled=true on every member",
        ),
    ] {
        let lines = format!("clientPort=2181\n{lines}");
        assert_eq!(folder.refused(&lines), format!("zoo.cfg: {message}"));
    }
}

#[test]
fn one_participant_may_be_an_ensemble() {
    let folder = Folder::with_id("1");
    let one = format!("{LIMITS}clientPort=2181\nserver.1=a:1:2\n");
    let (config, _) = Config::load(&folder.sources(&one)).expect("good");
    assert_eq!(config.ensemble, None);
    assert_eq!(
        folder.warned(&one),
        ["zoo.cfg:5: only one server specified: serving standalone"]
    );
    let alone = folder.ensemble(&format!("{one}standaloneEnabled=false\n"));
    assert_eq!(alone.ensemble.voters().count(), 1);
    let observed = format!("{one}server.2=a:1:2:observer\nstandaloneEnabled=false\n");
    assert_eq!(folder.ensemble(&observed).ensemble.members.len(), 2);
}

#[test]
fn warnings_about_the_members() {
    let folder = Folder::with_id("1");
    let base = format!("{LIMITS}clientPort=2181\n{THREE}");
    let two = format!("{LIMITS}clientPort=2181\nserver.1=a:1:2\nserver.2=a:1:2\n");
    for (lines, warnings) in [
        (
            two,
            vec!["zoo.cfg:6: no server failure will be tolerated; that needs at least 3 servers"],
        ),
        (
            format!("{base}server.4=a:1:2\n"),
            vec![
                "zoo.cfg:8: an even number of participants tolerates no more failures than one \
                 fewer would; consider an odd number",
            ],
        ),
        (
            format!("{base}peerType=observer\n"),
            vec![
                "zoo.cfg:7: peer type from the server lines (participant) does not match peerType \
                 (observer); the server lines count",
            ],
        ),
        (
            format!("{base}server.300=a:1:2:observer\n"),
            vec![
                "zoo.cfg:8: server.300: an id above 255 does not fit session ids, which may then \
                 occur twice",
            ],
        ),
    ] {
        assert_eq!(folder.warned(&lines), warnings);
    }
}

#[test]
fn groups_and_weights() {
    let folder = Folder::with_id("1");
    let base = format!("{LIMITS}clientPort=2181\n{THREE}");
    let grouped = folder.ensemble(&format!("{base}group.1=1:2\ngroup.2=3\nweight.2=0\n"));
    assert!(
        grouped
            .ensemble
            .to_string()
            .ends_with("\ngroup.1=1:2\ngroup.2=3\nweight.1=1\nweight.2=0\nweight.3=1\nversion=0")
    );
    assert_eq!(
        folder.warned(&format!(
            "{base}server.4=a:1:2:observer\ngroup.1=1:2:3\nweight.4=1\n"
        )),
        ["zoo.cfg:10: weight.4 is of no server in a group and has no effect"]
    );
    for (lines, message) in [
        ("group.1=1:2\n", "zoo.cfg: server 3 is not in a group"),
        ("weight.1=1\n", "zoo.cfg: server 1 is not in a group"),
        (
            "group.1=1:2\ngroup.2=2:3\n",
            "zoo.cfg: server 2 is in multiple groups",
        ),
        (
            "group.1=1:2:3:4\n",
            "zoo.cfg: group.1 names server 4, which is no participant",
        ),
        (
            "group.1=1,2\n",
            "zoo.cfg:8: group.1=1,2: expected ids of servers with : between",
        ),
        (
            "group.a=1\n",
            "zoo.cfg:8: group.a=1: expected a number as the group's in the key",
        ),
        (
            "weight.1=-1\n",
            "zoo.cfg:8: weight.1=-1: expected a whole number from 0 to 2147483647",
        ),
        (
            "weight.-1=1\n",
            "zoo.cfg:8: weight.-1=1: expected a number as the server's id in the key",
        ),
    ] {
        assert_eq!(folder.refused(&format!("{base}{lines}")), message);
    }
}

#[test]
fn the_server_line_may_say_where_clients_connect() {
    let folder = Folder::with_id("1");
    let others = "server.2=a.invalid:1:2;9\nserver.3=a.invalid:1:2\n";
    for (lines, expected) in [
        ("server.1=a:1:2;127.0.0.1:2182\n", Ok("127.0.0.1:2182")),
        (
            "clientPort=2182\nserver.1=a:1:2;127.0.0.1:2182\n",
            Ok("127.0.0.1:2182"),
        ),
        (
            "clientPort=2182\nclientPortAddress=127.0.0.1\nserver.1=a:1:2;127.0.0.1:2182\n",
            Ok("127.0.0.1:2182"),
        ),
        (
            "clientPort=2182\nclientPortAddress=127.0.0.1\nserver.1=a:1:2\n",
            Ok("127.0.0.1:2182"),
        ),
        (
            "clientPort=2182\nclientPortAddress=127.0.0.1\nserver.1=a:1:2;127.0.0.2:2182\n",
            Err(
                "zoo.cfg: client address 127.0.0.1:2182 of clientPort is different from \
                 127.0.0.2:2182 in the server line of this server; leave one of them out",
            ),
        ),
        ("server.1=a:1:2\n", Err("zoo.cfg: clientPort is not set")),
    ] {
        let sources = folder.sources(&format!("{LIMITS}{lines}{others}"));
        let address = Config::load(&sources)
            .map(|(config, _)| config.client_address.to_string())
            .map_err(|error| error.to_string());
        let expected = expected.map(str::to_string).map_err(str::to_string);
        assert_eq!(address, expected, "{lines}");
    }
    let conflict = folder.refused(&format!(
        "{LIMITS}clientPort=2181\nserver.1=a:1:2;2182\n{others}"
    ));
    assert!(
        conflict.contains(":2181 of clientPort is different from"),
        "{conflict}"
    );
}

#[test]
fn the_members_may_be_in_a_file_of_their_own() {
    let folder = Folder::with_id("1");
    let path = folder.path().join("zoo.cfg.dynamic.10000000b");
    let dynamic = |text: &str| fs::write(&path, text).expect("the folder is writable");
    let base = format!(
        "{LIMITS}clientPort=2181\ndynamicConfigFile={}\n",
        path.display()
    );
    let file = "zoo.cfg.dynamic.10000000b";
    assert!(
        folder
            .refused(&base)
            .starts_with(&format!("cannot read DIR/{file}: "))
    );
    dynamic(THREE);
    let ensemble = folder.ensemble(&base);
    assert_eq!(ensemble.ensemble.members.len(), 3);
    assert_eq!(ensemble.ensemble.version, 0x1_0000_000b);
    assert_eq!(
        folder.refused(&format!("{base}server.1=a:1:2\n")),
        "zoo.cfg:6: server.1=a:1:2 is refused: with dynamicConfigFile it must be in that file"
    );
    for (text, message) in [
        (
            "version=1\n",
            "1: version=1 is refused: a dynamic file has its version in its name, as in \
             zoo.cfg.dynamic.100",
        ),
        (
            "server.1=a:1:2\ntickTime=1\n",
            "2: tickTime=1 is refused: a dynamic file holds server, group and weight lines only",
        ),
        (
            "server.1=a:1:2:3:4\n",
            "1: server.1=a:1:2:3:4: expected <host>:<port>:<election \
             port>[:participant|observer], several of them with | between, and then [;[<client \
             address>:]<client port>]",
        ),
    ] {
        dynamic(text);
        assert_eq!(folder.refused(&base), format!("DIR/{file}:{message}"));
    }
}

#[test]
fn a_reconfiguration_left_half_done_is_mentioned() {
    let folder = Folder::with_id("1");
    let path = folder.path().join("zoo.cfg");
    let text = format!(
        "dataDir={}\nclientPort=2181\n{LIMITS}{THREE}",
        folder.path().display()
    );
    fs::write(&path, text).expect("the folder is writable");
    fs::write(folder.path().join("zoo.cfg.dynamic.next"), THREE).expect("the folder is writable");
    let mut sources = Sources::default();
    sources.read_file(&path).expect("it was just written");
    let (_, warnings) = Config::load(&sources).expect("these settings are good");
    assert!(
        warnings[0]
            .message
            .starts_with("left by an unfinished reconfiguration"),
        "{warnings:?}"
    );
}
