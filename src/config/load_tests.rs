//! Whole configurations: what is accepted, what is said of it, and what is refused and how.

use std::path::PathBuf;
use std::time::Duration;

use super::{Config, ConfigFile, LogFormat, Placement, Runtime, Severity, Sources};
use crate::types::DigestAlgorithm;

fn file(text: &str) -> Sources {
    Sources {
        file: Some(ConfigFile {
            path: PathBuf::from("zoo.cfg"),
            bytes: text.as_bytes().to_vec(),
        }),
        ..Sources::default()
    }
}

fn accepted(sources: &Sources) -> Config {
    Config::load(sources).expect("these settings are good").0
}

fn refused(sources: &Sources) -> String {
    Config::load(sources)
        .expect_err("these settings are bad")
        .to_string()
}

fn said(sources: &Sources, severity: Severity) -> Vec<String> {
    let (_, warnings) = Config::load(sources).expect("these settings are good");
    warnings
        .iter()
        .filter(|warning| warning.severity == severity)
        .map(ToString::to_string)
        .collect()
}

/// A zoo.cfg with what it needs and these lines.
fn with(lines: &str) -> Sources {
    file(&format!("dataDir=/d\nclientPort=2181\n{lines}\n"))
}

#[test]
fn nothing_given_is_the_defaults() {
    let mut config = accepted(&Sources::default());
    assert!(config.client_address.ip().is_unspecified());
    config.client_address = Config::default().client_address;
    assert_eq!(config, Config::default());
}

#[test]
fn the_sample_file_of_apache_zookeeper() {
    let sources = file(
        "# The number of milliseconds of each tick\ntickTime=2000\ninitLimit=10\nsyncLimit=5\n\
         dataDir=/tmp/zookeeper\nclientPort=2181\n#maxClientCnxns=60\n",
    );
    let config = accepted(&sources);
    assert_eq!(config.tick_time_ms, 2000);
    assert_eq!(config.min_session_timeout_ms, 4000);
    assert_eq!(config.max_session_timeout_ms, 40_000);
    assert_eq!(config.data_dir, PathBuf::from("/tmp/zookeeper"));
    assert_eq!(config.data_log_dir, PathBuf::from("/tmp/zookeeper"));
    assert_eq!(config.client_address.port(), 2181);
    assert_eq!(config.max_client_cnxns, 60);
    assert!(said(&sources, Severity::Warning).is_empty());
    assert!(said(&sources, Severity::Notice).is_empty());
}

#[test]
fn every_working_key_has_its_effect() {
    let config = accepted(&file(
        "clientPort=0\nclientPortAddress=127.0.0.1\nclientPortListenBacklog=7\n\
         maxClientCnxns=1\nzookeeper.maxCnxns=2\nclientTcpKeepAlive=true\n\
         nio.sessionlessCnxnTimeout=3\ntickTime=10\nminSessionTimeout=4\nmaxSessionTimeout=5\n\
         globalOutstandingLimit=6\njute.maxbuffer=0x10\nzookeeper.jute.maxbuffer.extrasize=2048\n\
         4lw.commands.whitelist=ruok, stat\nreadonlymode.enabled=true\ndataDir=/d\n\
         dataLogDir=/l\ndatadir.autocreate=false\ndb.autocreate=False\nsnapCount=8\n\
         snapSizeLimitInKb=9\ntxnLogSizeLimitInKb=10\npreAllocSize=128\n\
         autopurge.snapRetainCount=11\nautopurge.purgeInterval=12\nforceSync=no\n\
         fsync.warningthresholdms=13\ndigest.enabled=false\ncloseSessionTxn.enabled=false\n\
         enforceQuota=true\nextendedTypesEnabled=TRUE\nznode.container.checkIntervalMs=14\n\
         znode.container.maxPerMinute=15\nznode.container.maxNeverUsedIntervalMs=16\n\
         skipACL=yes\nDigestAuthenticationProvider.enabled=false\n\
         DigestAuthenticationProvider.digestAlg=SHA-256\n\
         DigestAuthenticationProvider.superDigest=super:x\n\
         X509AuthenticationProvider.superUser=CN=me\nzkore.shards=3\nzkore.runtime=glommio\n\
         zkore.spinUs=4\nzkore.placement=apart\nzkore.logFormat=json\nzkore.logLevel=debug\n",
    ));
    let expected = Config {
        config_file: Some(PathBuf::from("zoo.cfg")),
        client_address: "127.0.0.1:0".parse().expect("an address"),
        client_listen_backlog: 7,
        max_client_cnxns: 1,
        max_cnxns: 2,
        client_tcp_keep_alive: true,
        sessionless_timeout_ms: 3,
        data_dir: PathBuf::from("/d"),
        data_log_dir: PathBuf::from("/l"),
        data_dir_autocreate: false,
        db_autocreate: false,
        tick_time_ms: 10,
        min_session_timeout_ms: 4,
        max_session_timeout_ms: 5,
        jute_max_buffer_bytes: 16,
        global_outstanding_limit: 6,
        snap_count: Some(8),
        snap_size_limit_bytes: Some(9 << 10),
        txn_log_size_limit_bytes: Some(10 << 10),
        pre_alloc_bytes: 128 << 10,
        purge_retain_count: 11,
        purge_interval_hours: 12,
        force_sync: false,
        fsync_warning_threshold_ms: 13,
        four_letter_whitelist: vec!["ruok".to_string(), "stat".to_string()],
        skip_acl: true,
        digest_auth_enabled: false,
        digest_algorithm: DigestAlgorithm::Sha256,
        super_digest: Some("super:x".to_string()),
        x509_auth_enabled: false,
        x509_super_user: Some("CN=me".to_string()),
        enforce_quota: true,
        extended_types: true,
        container_check_interval_ms: 14,
        container_max_per_minute: 15,
        container_max_never_used_interval_ms: 16,
        ensemble: None,
        tree_digest_enabled: false,
        close_session_txn_enabled: false,
        read_only_mode: true,
        shards: 3,
        runtime: Runtime::Glommio,
        spin: Duration::from_micros(4),
        placement: Placement::Apart,
        log_format: LogFormat::Json,
        log_filter: "debug".to_string(),
    };
    assert_eq!(config, expected);
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn bad_values_name_file_line_key_value_and_what_is_allowed() {
    for (line, message) in [
        (
            "clientPort=x",
            "clientPort=x: expected a whole number from 0 to 65535",
        ),
        (
            "clientPort=65536",
            "clientPort=65536: expected a whole number from 0 to 65535",
        ),
        (
            "clientPort=",
            "clientPort=: expected a whole number from 0 to 65535",
        ),
        (
            "clientPortAddress=",
            "clientPortAddress=: expected an address or a host name",
        ),
        (
            "clientPortListenBacklog=0",
            "clientPortListenBacklog=0: expected a whole number from 1, or -1",
        ),
        (
            "maxClientCnxns=many",
            "maxClientCnxns=many: expected a whole number from -2147483648 to 2147483647",
        ),
        (
            "tickTime=0",
            "tickTime=0: expected a whole number from 1 to 107374182",
        ),
        (
            "tickTime=2s",
            "tickTime=2s: expected a whole number from 1 to 107374182",
        ),
        (
            "minSessionTimeout=0",
            "minSessionTimeout=0: expected a whole number from 1, or -1",
        ),
        (
            "maxSessionTimeout=-2",
            "maxSessionTimeout=-2: expected a whole number from -1 to 2147483647",
        ),
        (
            "globalOutstandingLimit=0",
            "globalOutstandingLimit=0: expected a whole number from 1 to 2147483647",
        ),
        (
            "jute.maxbuffer=1M",
            "jute.maxbuffer=1M: expected a whole number from 1 to 2147483647",
        ),
        (
            "dataLogDir=",
            "dataLogDir=: expected the path of a directory",
        ),
        ("forceSync=false", "forceSync=false: expected yes or no"),
        ("skipACL=true", "skipACL=true: expected yes or no"),
        (
            "enforceQuota=yes",
            "enforceQuota=yes: expected true or false",
        ),
        (
            "snapSizeLimitInKb=9223372036854775807",
            "snapSizeLimitInKb=9223372036854775807: expected a whole number from \
             -9223372036854775808 to 9007199254740991",
        ),
        (
            "znode.container.checkIntervalMs=0",
            "znode.container.checkIntervalMs=0: expected a whole number from 1 to 2147483647",
        ),
        (
            "fsync.warningthresholdms=-1",
            "fsync.warningthresholdms=-1: expected a whole number from 0",
        ),
        (
            "DigestAuthenticationProvider.digestAlg=MD6",
            "DigestAuthenticationProvider.digestAlg=MD6: expected SHA1, SHA-224, SHA-256, SHA-384 \
             or SHA-512",
        ),
        (
            "zkore.shards=0",
            "zkore.shards=0: expected a whole number from 1 to 1024",
        ),
        (
            "zkore.logFormat=xml",
            "zkore.logFormat=xml: expected text or json",
        ),
        (
            "server.x=a:1:2",
            "server.x=a:1:2: expected a number as the server's id in the key",
        ),
        (
            "server.1=a",
            "server.1=a: expected <host>:<port>:<election port>[:participant|observer], several \
             of them with | between, and then [;[<client address>:]<client port>]",
        ),
    ] {
        assert_eq!(refused(&with(line)), format!("zoo.cfg:3: {message}"));
    }
    assert_eq!(
        refused(&with("a=\\u12")),
        "zoo.cfg:3: malformed \\uxxxx encoding"
    );
}

#[test]
fn what_cannot_be_had_is_refused_with_its_reason() {
    for (line, reason) in [
        ("secureClientPort=2281", "TLS is not there yet"),
        ("sslQuorum=true", "TLS is not there yet"),
        ("sessionRequireClientSASLAuth=true", "SASL is not there yet"),
        ("reconfigEnabled=true", "reconfiguration is not there yet"),
        (
            "observerMasterPort=2191",
            "followers do not serve observers yet; leave it out, and observers go to the leader",
        ),
        (
            "electionAlg=0",
            "only 3 is supported, as by Apache ZooKeeper",
        ),
        ("audit.enable=true", "the audit log is not there yet"),
    ] {
        let message = refused(&with(line));
        assert_eq!(message, format!("zoo.cfg:3: {line} is refused: {reason}"));
    }
    let harmless = with(
        "sslQuorum=false\nstandaloneEnabled=true\nelectionAlg=3\npeerType=Participant\n\
         authProvider.1=org.apache.zookeeper.server.auth.X509AuthenticationProvider",
    );
    assert!(said(&harmless, Severity::Warning).is_empty());
    assert!(accepted(&harmless).x509_auth_enabled);
}

#[test]
fn one_server_alone_is_standalone() {
    let one = file("dataDir=/d\nserver.1=localhost:2888:3888;127.0.0.1:2182\n");
    assert_eq!(
        accepted(&one).client_address,
        "127.0.0.1:2182"
            .parse::<std::net::SocketAddr>()
            .expect("an address")
    );
    assert_eq!(
        said(&one, Severity::Warning),
        ["zoo.cfg:2: only one server specified: serving standalone"]
    );
}

#[test]
fn settings_that_are_missing_or_do_not_fit_together() {
    for (text, message) in [
        ("clientPort=2181", "zoo.cfg: dataDir is not set"),
        ("dataDir=/d", "zoo.cfg: clientPort is not set"),
        (
            "dataDir=/d\nclientPortAddress=localhost",
            "zoo.cfg: clientPortAddress is set but clientPort is not set",
        ),
        (
            "dataDir=/d\nclientPort=1\nminSessionTimeout=9\nmaxSessionTimeout=8",
            "zoo.cfg: minSessionTimeout must not be larger than maxSessionTimeout (9 > 8 ms)",
        ),
    ] {
        assert_eq!(refused(&file(text)), message);
    }
    let unresolved = refused(&with("clientPortAddress=no.such.host.invalid"));
    assert!(
        unresolved
            .starts_with("zoo.cfg: clientPortAddress=no.such.host.invalid cannot be resolved: "),
        "{unresolved}"
    );
}

#[test]
fn warnings_name_file_line_and_key() {
    assert_eq!(
        said(
            &with(
                "clientport=1\nwhatever=1\nsnapCount=1\nautopurge.snapRetainCount=2\n\
                 preAllocSize=1\ntickTime=1\ntickTime=2"
            ),
            Severity::Warning
        ),
        [
            "zoo.cfg:3: unknown key clientport, ignored; did you mean clientPort?",
            "zoo.cfg:4: unknown key whatever, ignored",
            "zoo.cfg:8: tickTime is given again on line 9, which counts",
            "zoo.cfg:5: snapCount is 2 at least; taken as 2",
            "zoo.cfg:6: autopurge.snapRetainCount is 3 at least; taken as 3",
            "zoo.cfg:7: preAllocSize is 64 at least; taken as 64",
        ]
    );
}

#[test]
fn the_command_line_outweighs_the_file_and_the_file_the_variables() {
    let mut sources = with("snapCount=20\nskipACL=yes");
    sources.server_jvm_flags = Some("-Xmx1g -Dzookeeper.snapCount=10".to_string());
    sources.jvm_flags = Some(
        "-Djava.net.preferIPv4Stack=true -Djute.maxbuffer=4096 -Dzookeeper.tickTime=5 \
         -Dzookeeper.nonsense=1 -DsnapCount=x -Dfsync.warningthresholdms=3"
            .to_string(),
    );
    sources.overrides = vec!["zookeeper.skipACL=no".to_string(), "tickTime=7".to_string()];
    let config = accepted(&sources);
    assert_eq!(config.snap_count, Some(20));
    assert_eq!(config.fsync_warning_threshold_ms, 3);
    assert_eq!(config.jute_max_buffer_bytes, 4096);
    assert!(!config.skip_acl);
    assert_eq!(config.tick_time_ms, 7);
    assert_eq!(
        said(&sources, Severity::Warning),
        [
            "JVMFLAGS: zookeeper.tickTime is no system property of Apache ZooKeeper; ignored",
            "JVMFLAGS: unknown key zookeeper.nonsense, ignored",
        ]
    );
    let bad = Sources {
        jvm_flags: Some("-Dzookeeper.snapCount=x".to_string()),
        ..Sources::default()
    };
    assert_eq!(
        refused(&bad),
        "JVMFLAGS: zookeeper.snapCount=x: expected a whole number from -2147483648 to 2147483647"
    );
}

#[test]
fn the_standalone_form_has_no_limit_of_connections_by_default() {
    let sources = Sources {
        standalone_args: vec!["2199".to_string(), "/d".to_string()],
        ..Sources::default()
    };
    let config = accepted(&sources);
    assert_eq!(config.client_address.port(), 2199);
    assert_eq!(config.data_dir, PathBuf::from("/d"));
    assert_eq!(config.max_client_cnxns, 0);
}
