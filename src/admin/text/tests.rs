use super::*;
use crate::admin::{QuorumReport, Settings, ShardReport};
use crate::metrics::ShardMetrics;
use crate::types::Zxid;

fn status() -> Status {
    Status {
        is_serving: true,
        mode: "standalone",
        now_ms: 10_000,
        wall_ms: 1_700_000_000_000,
        zxid: Zxid(0x1_0000_002a),
        outstanding: 3,
        connections: 2,
        znode_count: 5,
        ..Status::default()
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "the texts stand here whole")]
fn srvr_and_stat() {
    let metrics = ShardMetrics::new();
    for latency in [1, 2, 2] {
        metrics.latency.record(latency);
    }
    metrics.packets_received.add(7);
    metrics.packets_sent.add(8);
    let mut shard = ShardReport::default();
    metrics.add_to(&mut shard.metrics);
    shard.connections.push(ConnReport {
        peer: "[2001:db8::1]:80".parse().expect("an address"),
        session: SessionId(-1),
        interest: 5,
        queued: 1,
        packets_received: 2,
        packets_sent: 3,
        established_wall_ms: 0,
        timeout_ms: 4000,
        last_op: "NA",
        last_cxid: -1,
        last_zxid: -1,
        last_response_ms: 0,
        last_latency_ms: 0,
        min_latency_ms: 0,
        avg_latency_ms: 0,
        max_latency_ms: 0,
        last_heard_ms: 9_000,
    });
    let mut status = status();
    status.shards.push(shard);
    let version = full_version();
    assert!(version.starts_with("3.9.5-zkore-"), "{version}");
    let figures = "Latency min/avg/max: 1/1.6667/2\nReceived: 7\nSent: 8\nConnections: 2\n\
                   Outstanding: 3\nZxid: 0x10000002a\nMode: standalone\nNode count: 5\n";
    assert_eq!(
        answer(Word::Srvr, &status),
        format!("Zookeeper version: {version}\n{figures}")
    );
    assert_eq!(
        answer(Word::Stat, &status),
        format!(
            "Zookeeper version: {version}\nClients:\n \
             /[2001:db8:0:0:0:0:0:1]:80[5](queued=1,recved=2,sent=3)\n\n{figures}"
        )
    );
    assert_eq!(
        answer(Word::Cons, &status),
        " /[2001:db8:0:0:0:0:0:1]:80[5](queued=1,recved=2,sent=3,sid=0xffffffffffffffff,lop=NA,\
         est=0,to=4000,lzxid=0xffffffffffffffff,lresp=0,llat=0,minlat=0,avglat=0,maxlat=0)\n\n"
    );
    status.sessions = vec![
        (SessionId(1), 12_000),
        (SessionId(2), 12_000),
        (SessionId(3), 15_000),
    ];
    status.ephemerals = vec![(SessionId(2), vec!["/e".into(), "/f".into()])];
    assert_eq!(
        answer(Word::Dump, &status),
        "SessionTracker dump:\n\
         Session Sets (2)/(3):\n\
         2 expire at Tue Nov 14 22:13:22 UTC 2023:\n\
         \t0x1\n\
         \t0x2\n\
         1 expire at Tue Nov 14 22:13:25 UTC 2023:\n\
         \t0x3\n\
         ephemeral nodes dump:\n\
         Sessions with Ephemerals (1):\n\
         0x2:\n\
         \t/e\n\
         \t/f\n\
         Connections dump:\n\
         Connections Sets (1)/(1):\n\
         1 expire at Tue Nov 14 22:13:30 UTC 2023:\n\
         \tip: /[2001:db8:0:0:0:0:0:1]:80 sessionId: 0xffffffffffffffff\n"
    );
}

#[test]
fn settings_and_surroundings() {
    let mut status = status();
    status.settings = Settings {
        client_port: 2181,
        data_dir: "/data/version-2".into(),
        data_log_dir: "/log/version-2".into(),
        tick_time_ms: 3000,
        max_client_cnxns: 60,
        min_session_timeout_ms: 6000,
        max_session_timeout_ms: 60_000,
        client_listen_backlog: -1,
        server_id: 0,
        quorum: None,
    };
    status.data_dir_bytes = 11;
    status.log_dir_bytes = 22;
    status.environment = vec![("host.name".into(), "localhost".into())];
    status.digests = vec![(Zxid(0x1a), -5), (Zxid(0x1b), 6)];
    assert_eq!(
        answer(Word::Conf, &status),
        "clientPort=2181\nsecureClientPort=-1\ndataDir=/data/version-2\ndataDirSize=11\n\
         dataLogDir=/log/version-2\ndataLogSize=22\ntickTime=3000\nmaxClientCnxns=60\n\
         minSessionTimeout=6000\nmaxSessionTimeout=60000\nclientPortListenBacklog=-1\nserverId=0\n"
    );
    assert_eq!(
        answer(Word::Dirs, &status),
        "datadir_size: 11\nlogdir_size: 22\n"
    );
    assert_eq!(
        answer(Word::Envi, &status),
        format!(
            "Environment:\nzookeeper.version={}\nhost.name=localhost\n",
            full_version()
        )
    );
    assert_eq!(answer(Word::Hash, &status), "1a: -5\n1b: 6\n");
    assert_eq!(answer(Word::Isro, &status), "rw");
    assert_eq!(
        answer(Word::Wchs, &status),
        "0 connections watching 0 paths\nTotal watches:0\n"
    );
    assert_eq!(answer(Word::Wchc, &status), "\n");
}

#[test]
fn a_leader_shows_its_proposals_and_learners() {
    let mut status = status();
    status.mode = "leader";
    status.leader = Some(LeaderReport {
        learners: 4,
        synced_followers: 2,
        synced_non_voting_followers: 0,
        synced_observers: 1,
        pending_syncs: 3,
        leader_uptime_ms: 1234,
        last_proposal_bytes: 48,
        min_proposal_bytes: -1,
        max_proposal_bytes: 1000,
    });
    status.quorum = Some(QuorumReport {
        peer_state: "leading - broadcast".into(),
        quorum_size: 3,
        observer_master_id: None,
    });
    let end = "Zxid: 0x10000002a\nMode: leader\nNode count: 5\n\
               Proposal sizes last/min/max: 48/-1/1000\n";
    for word in [Word::Srvr, Word::Stat] {
        let text = answer(word, &status);
        assert!(text.ends_with(end), "{text}");
    }
    let text = answer(Word::Mntr, &status);
    let (_, text) = text.split_once('\n').expect("the version comes first");
    let begin = "zk_server_state\tleader\nzk_peer_state\tleading - broadcast\n\
                 zk_quorum_size\t3\nzk_learners\t4\nzk_synced_followers\t2\n\
                 zk_synced_non_voting_followers\t0\nzk_synced_observers\t1\n\
                 zk_pending_syncs\t3\nzk_leader_uptime\t1234\nzk_last_proposal_size\t48\n\
                 zk_max_proposal_size\t1000\nzk_min_proposal_size\t-1\n";
    assert!(text.starts_with(begin), "{text}");
}

#[test]
fn members_without_a_leaders_figures() {
    let mut status = status();
    status.mode = "observer";
    status.local_session_count = 6;
    status.quorum = Some(QuorumReport {
        peer_state: "observing - broadcast - diff".into(),
        quorum_size: 3,
        observer_master_id: Some(2),
    });
    let text = answer(Word::Mntr, &status);
    assert!(text.contains(
        "\nzk_server_state\tobserver\nzk_peer_state\tobserving - broadcast - diff\n\
         zk_observer_master_id\t2\nzk_quorum_size\t3\n"
    ));
    assert!(text.contains("\nzk_local_sessions\t6\n"));
    assert!(!text.contains("learners") && !answer(Word::Srvr, &status).contains("Proposal"));
    status.is_read_only = true;
    status.mode = "read-only";
    let text = answer(Word::Srvr, &status);
    let (version, text) = text.split_once('\n').expect("more than a line");
    assert!(version.starts_with("Zookeeper version: "));
    assert!(text.starts_with("READ-ONLY mode; serving only read-only clients\nLatency"));
    assert!(text.ends_with("Mode: read-only\nNode count: 5\n"));
    assert_eq!(answer(Word::Isro, &status), "ro");
}

#[test]
fn conf_of_a_member() {
    let mut status = status();
    status.settings.server_id = 2;
    status.settings.quorum = Some(QuorumSettings {
        init_limit_ticks: 10,
        sync_limit_ticks: 5,
        election_ports: vec![3889, 3888, 3889],
        quorum_ports: vec![2888],
        is_observer: true,
        membership: "server.2=a:2888:3888:observer\nversion=0".into(),
    });
    let text = answer(Word::Conf, &status);
    let own = "\nserverId=2\ninitLimit=10\nsyncLimit=5\nelectionAlg=3\nelectionPort=3888|3889\n\
               quorumPort=2888\npeerType=1\n";
    let membership = "membership: \nserver.2=a:2888:3888:observer\nversion=0";
    assert!(text.ends_with(&format!("{own}{membership}")), "{text}");
    status.is_read_only = true;
    assert!(answer(Word::Conf, &status).ends_with(own));
}

#[test]
fn a_server_that_does_not_serve_says_so() {
    let status = Status::default();
    for word in Word::ALL {
        let text = answer(word, &status);
        match word {
            Word::Isro => assert_eq!(text, "null"),
            Word::Ruok => assert_eq!(text, "imok"),
            Word::Hash => assert_eq!(text, NOT_SERVING),
            Word::Envi => assert!(text.starts_with("Environment:\n")),
            _ => assert_eq!(text, format!("{NOT_SERVING}\n"), "{}", word.name()),
        }
    }
}

#[test]
fn every_line_of_mntr_is_a_name_a_tab_and_a_number() {
    let mut status = status();
    let mut shard = ShardReport::default();
    ShardMetrics::new().add_to(&mut shard.metrics);
    status.shards = vec![shard.clone(), shard];
    let text = answer(Word::Mntr, &status);
    let mut names = BTreeSet::new();
    for line in text.lines().skip(2) {
        let (name, value) = line.split_once('\t').expect("a tab");
        assert!(
            name.starts_with("zk_") && value.parse::<f64>().is_ok(),
            "{line}"
        );
        assert!(names.insert(name), "{name} is there twice");
    }
    for name in [
        "avg_latency",
        "max_latency",
        "min_latency",
        "packets_received",
        "packets_sent",
        "num_alive_connections",
        "outstanding_requests",
        "znode_count",
        "watch_count",
        "ephemerals_count",
        "approximate_data_size",
        "open_file_descriptor_count",
        "max_file_descriptor_count",
        "uptime",
        "p99_readlatency",
        "last_client_response_size",
    ] {
        assert!(names.contains(format!("zk_{name}").as_str()), "{name}");
    }
}
