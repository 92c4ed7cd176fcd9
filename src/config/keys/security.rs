//! Keys of authentication and TLS that wait for what they are about. What would leave a server
//! less protected than its configuration says is refused, not ignored.

use super::{Group, KeySpec, ignored, refused};

const NO_SASL: &str = "SASL is not there yet";
const NO_TLS: &str = "TLS is not there yet";
const WITHOUT_TLS_PORT: &str = "no effect without TLS";

pub(super) const ACCESS: Group = Group {
    title: "Authentication not there yet",
    keys: ACCESS_KEYS,
};

static ACCESS_KEYS: &[KeySpec] = &[
    refused(
        "sessionRequireClientSASLAuth",
        Some("zookeeper.sessionRequireClientSASLAuth"),
        &["false"],
        NO_SASL,
        "Only clients that authenticated by SASL are served.",
    ),
    refused(
        "enforce.auth.enabled",
        Some("zookeeper.enforce.auth.enabled"),
        &["false"],
        "enforcing authentication is not there yet",
        "Only clients that authenticated are served.",
    ),
    ignored(
        "enforce.auth.schemes",
        Some("zookeeper.enforce.auth.schemes"),
        "no effect without enforce.auth.enabled",
        "By which schemes.",
    ),
    refused(
        "authProvider",
        Some("zookeeper.authProvider"),
        &[""],
        "a provider is named by a key like authProvider.1",
        "The guide's name for `authProvider.*`.",
    ),
    ignored(
        "superUser",
        Some("zookeeper.superUser"),
        NO_SASL,
        "SASL user who may do everything.",
    ),
    ignored(
        "letAnySaslUserDoX",
        Some("zookeeper.letAnySaslUserDoX"),
        NO_SASL,
        "SASL user whom everybody may act as.",
    ),
    ignored(
        "allowSaslFailedClients",
        Some("zookeeper.allowSaslFailedClients"),
        NO_SASL,
        "Whether clients stay whose SASL exchange failed.",
    ),
    ignored(
        "SASLAuthenticationProvider.superPassword",
        Some("zookeeper.SASLAuthenticationProvider.superPassword"),
        NO_SASL,
        "Password of the SASL user `super`.",
    ),
    ignored(
        "sasl.serverconfig",
        Some("zookeeper.sasl.serverconfig"),
        NO_SASL,
        "Section of the JAAS file.",
    ),
    ignored(
        "sasl.*",
        Some("zookeeper.sasl.*"),
        "only clients read it",
        "SASL of clients.",
    ),
    ignored(
        "kerberos.*",
        Some("zookeeper.kerberos.*"),
        NO_SASL,
        "Names of Kerberos principals.",
    ),
    ignored(
        "security.auth_to_local",
        Some("zookeeper.security.auth_to_local"),
        NO_SASL,
        "Rules for names of Kerberos principals.",
    ),
    ignored(
        "requireKerberosConfig",
        Some("zookeeper.requireKerberosConfig"),
        NO_SASL,
        "Whether a Kerberos configuration must be there.",
    ),
    ignored("kinit", Some("zookeeper.kinit"), NO_SASL, "Path of kinit."),
    ignored(
        "server.realm",
        Some("zookeeper.server.realm"),
        "only clients read it",
        "Kerberos realm of the server.",
    ),
    ignored(
        "server.principal",
        Some("zookeeper.server.principal"),
        "only clients read it",
        "Kerberos principal of the server.",
    ),
    ignored(
        "ensembleAuthName",
        Some("zookeeper.ensembleAuthName"),
        "the scheme `ensemble` is not there yet",
        "Names by which clients may ask for this ensemble.",
    ),
    ignored(
        "IPAuthenticationProvider.usexforwardedfor",
        Some("zookeeper.IPAuthenticationProvider.usexforwardedfor"),
        "the admin server is not there yet",
        "Whether X-Forwarded-For counts.",
    ),
    refused(
        "audit.enable",
        Some("zookeeper.audit.enable"),
        &["false"],
        "the audit log is not there yet",
        "Whether operations are written to an audit log.",
    ),
    ignored(
        "audit.impl.class",
        Some("zookeeper.audit.impl.class"),
        "Java classes cannot be loaded",
        "Class of the audit log.",
    ),
];

pub(super) const TLS: Group = Group {
    title: "TLS not there yet",
    keys: TLS_KEYS,
};

static TLS_KEYS: &[KeySpec] = &[
    refused(
        "secureClientPort",
        None,
        &[],
        NO_TLS,
        "Port for clients that use TLS.",
    ),
    refused(
        "secureClientPortAddress",
        None,
        &[],
        NO_TLS,
        "Address of that port.",
    ),
    refused(
        "sslQuorum",
        Some("zookeeper.sslQuorum"),
        &["false"],
        NO_TLS,
        "TLS between servers.",
    ),
    refused(
        "portUnification",
        Some("zookeeper.portUnification"),
        &["false"],
        NO_TLS,
        "TLS and plain connections on one port between servers.",
    ),
    refused(
        "client.portUnification",
        Some("zookeeper.client.portUnification"),
        &["false"],
        NO_TLS,
        "TLS and plain connections on one port for clients.",
    ),
    refused(
        "admin.forceHttps",
        Some("zookeeper.admin.forceHttps"),
        &["false"],
        NO_TLS,
        "Only HTTPS for the admin server.",
    ),
    ignored(
        "ssl.quorum.*",
        Some("zookeeper.ssl.quorum.*"),
        WITHOUT_TLS_PORT,
        "Key stores and options of TLS between servers.",
    ),
    ignored(
        "ssl.*",
        Some("zookeeper.ssl.*"),
        WITHOUT_TLS_PORT,
        "Key stores and options of TLS with clients.",
    ),
    ignored(
        "sslQuorumReloadCertFiles",
        None,
        WITHOUT_TLS_PORT,
        "Whether changed certificates are read again.",
    ),
    ignored(
        "client.certReload",
        Some("zookeeper.client.certReload"),
        WITHOUT_TLS_PORT,
        "Whether changed certificates are read again.",
    ),
    ignored(
        "fips-mode",
        Some("zookeeper.fips-mode"),
        WITHOUT_TLS_PORT,
        "TLS as FIPS has it.",
    ),
    ignored(
        "netty.server.outstandingHandshake.limit",
        Some("zookeeper.netty.server.outstandingHandshake.limit"),
        WITHOUT_TLS_PORT,
        "TLS handshakes in progress.",
    ),
    ignored(
        "outstandingHandshake.limit",
        None,
        WITHOUT_TLS_PORT,
        "The guide's name for the same.",
    ),
    ignored(
        "netty.server.earlyDropSecureConnectionHandshakes",
        Some("zookeeper.netty.server.earlyDropSecureConnectionHandshakes"),
        WITHOUT_TLS_PORT,
        "Whether TLS connections are dropped while the server starts.",
    ),
    ignored(
        "client.secure",
        Some("zookeeper.client.secure"),
        "only clients read it",
        "TLS of clients.",
    ),
    ignored(
        "clientCnxnSocket",
        Some("zookeeper.clientCnxnSocket"),
        "only clients read it",
        "Class of client connections.",
    ),
];
