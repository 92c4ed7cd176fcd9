//! zkCli as a script sees it: what `zkore cli` prints to which stream, and its exit codes.
//!
//! The expectations hold for Apache's server too: with `ZKORE_TEST_CONNECT=host:port` in the
//! environment the tests use the server there, which must have `extendedTypesEnabled`, and skip
//! those that restart it.

#![allow(clippy::disallowed_methods, reason = "waits for real processes")]

mod support;

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use support::{Server, ServerSpec, free_port};
use tempfile::TempDir;

/// How long a line of output may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server, and a node on it that is the root of one test.
struct Place {
    /// `host:port/chroot`.
    connect: String,
    chroot: String,
    server: Option<(Server, TempDir)>,
}

impl Place {
    fn new() -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let (host, server) = match env::var("ZKORE_TEST_CONNECT") {
            Ok(host) => (host, None),
            Err(_) => {
                let folder = tempfile::tempdir().expect("a temporary directory");
                let server = spec(folder.path()).start();
                (server.address.to_string(), Some((server, folder)))
            }
        };
        let chroot = format!("/cli-{}-{count}", std::process::id());
        let created = run_at(&host, &["create", &chroot]);
        assert_eq!(created.stderr, format!("Created {chroot}\n"));
        Place {
            connect: format!("{host}{chroot}"),
            chroot,
            server,
        }
    }

    /// Runs one command.
    fn run(&self, args: &[&str]) -> Outcome {
        run_at(&self.connect, args)
    }

    /// Pipes lines into a shell.
    fn pipe(&self, lines: &str) -> Outcome {
        let mut child = cli(&self.connect, &[])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built for this test");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(lines.as_bytes()).expect("the shell reads");
        drop(stdin);
        let output = child.wait_with_output().expect("our child");
        Outcome::new(&output)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.server.is_none() {
            let host = self.connect.trim_end_matches(&self.chroot);
            run_at(host, &["deleteall", &self.chroot]);
        }
    }
}

fn spec(folder: &Path) -> ServerSpec {
    ServerSpec::new(folder).with("extendedTypesEnabled=true")
}

fn cli(connect: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zkore"));
    command.args(["cli", "-server", connect]).args(args);
    command.env("TZ", "UTC");
    command
}

fn run_at(connect: &str, args: &[&str]) -> Outcome {
    let output = cli(connect, args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary was built for this test");
    Outcome::new(&output)
}

/// What a shell left behind.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    /// Without the lines of the start, the prompts and the event of the first connect, and with
    /// zxids and times made equal.
    stdout: String,
    stderr: String,
}

impl Outcome {
    fn new(output: &std::process::Output) -> Outcome {
        let stdout = String::from_utf8_lossy(&output.stdout);
        Outcome {
            code: output.status.code(),
            stdout: normalize(&stdout),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

const CONNECTED: &str =
    "\nWATCHER::\n\nWatchedEvent state:SyncConnected type:None path:null zxid: -1\n";

fn normalize(stdout: &str) -> String {
    let stdout = without_prompts(stdout).replacen(CONNECTED, "", 1);
    let mut out = String::new();
    for line in stdout.lines() {
        let is_start = ["Connecting to ", "Welcome to ZooKeeper!", "JLine support"];
        if is_start.iter().any(|start| line.starts_with(start)) {
            continue;
        }
        out.push_str(&normalize_line(line));
        out.push('\n');
    }
    out
}

fn without_prompts(text: &str) -> String {
    let mut parts = text.split("[zk: ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, behind) = part.split_once("] ").expect("a prompt ends");
        out.push_str(behind);
    }
    out
}

fn normalize_line(line: &str) -> String {
    for key in ["cZxid", "mZxid", "pZxid"] {
        if line.starts_with(&format!("{key} = 0x")) && !line.ends_with("= 0x0") {
            return format!("{key} = 0xN");
        }
    }
    for key in ["ctime", "mtime"] {
        if let Some(time) = line.strip_prefix(&format!("{key} = ")) {
            assert!(is_java_date(time), "{time}");
            return format!("{key} = T");
        }
    }
    match line.split_once(" zxid: ") {
        Some((event, zxid)) if zxid != "-1" => format!("{event} zxid: N"),
        _ => line.to_owned(),
    }
}

/// `Thu Jan 01 00:00:00 UTC 1970`.
fn is_java_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split(' ').collect();
    let [weekday, month, day, time, "UTC", year] = parts.as_slice() else {
        return false;
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    weekday.len() == 3
        && month.len() == 3
        && day.len() == 2
        && time.len() == 8
        && year.len() == 4
        && digits(day)
        && digits(year)
}

fn event(state: &str, kind: &str, path: &str) -> String {
    let zxid = if kind == "None" || kind.ends_with("Removed") {
        "-1"
    } else {
        "N"
    };
    format!("\nWATCHER::\n\nWatchedEvent state:{state} type:{kind} path:{path} zxid: {zxid}\n")
}

fn stat_block(data_version: i32, data_length: usize, num_children: i32) -> String {
    format!(
        "cZxid = 0xN\nctime = T\nmZxid = 0xN\nmtime = T\npZxid = 0xN\ncversion = {num_children}\n\
         dataVersion = {data_version}\naclVersion = 0\nephemeralOwner = 0x0\n\
         dataLength = {data_length}\nnumChildren = {num_children}\n"
    )
}

/// Runs commands one by one: arguments, exit code, standard output, standard error.
fn check(place: &Place, table: &[(&[&str], i32, &str, &str)]) {
    for (args, code, stdout, stderr) in table {
        let outcome = place.run(args);
        assert_eq!(
            (
                outcome.code,
                outcome.stdout.as_str(),
                outcome.stderr.as_str()
            ),
            (Some(*code), *stdout, *stderr),
            "{args:?}"
        );
    }
}

#[test]
fn nodes_are_created_read_changed_and_deleted() {
    let place = Place::new();
    let stat_2 = format!("v2\n{}", stat_block(2, 2, 0));
    let stat_3 = stat_block(3, 5, 0);
    check(
        &place,
        &[
            (&["create", "/x"], 0, "", "Created /x\n"),
            (&["create", "/x"], 1, "", "Node already exists: /x\n"),
            (&["create", "/n/x"], 1, "", "Node does not exist: /n/x\n"),
            (&["get", "/x"], 0, "null\n", ""),
            (&["set", "/x", "a b"], 0, "", ""),
            (&["get", "/x"], 0, "a b\n", ""),
            (&["get", "-b", "/x"], 0, "YSBi\n", ""),
            (&["set", "/x", "v2", "-v", "1"], 0, "", ""),
            (
                &["set", "-v", "1", "/x", "v3"],
                1,
                "",
                "version No is not valid : /x\n",
            ),
            (&["get", "-s", "/x"], 0, &stat_2, ""),
            (&["set", "-b", "-s", "/x", "aGVsbG8="], 0, &stat_3, ""),
            (&["stat", "/x"], 0, &stat_3, ""),
            (&["ls", "/x"], 0, "[]\n", ""),
            (&["sync", "/x"], 0, "Sync is OK\n", ""),
            (
                &["delete", "-v", "9", "/x"],
                1,
                "",
                "version No is not valid : /x\n",
            ),
            (&["delete", "-v", "3", "/x"], 0, "", ""),
            (&["get", "/x"], 1, "", "Node does not exist: /x\n"),
            (&["set", "/x", "v"], 1, "", "Node does not exist: /x\n"),
            (&["stat", "/x"], 1, "", "Node does not exist: /x\n"),
            (&["ls", "/x"], 1, "", "Node does not exist: /x\n"),
            (&["delete", "/x"], 1, "", "Node does not exist: /x\n"),
        ],
    );
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn mistakes_are_told_and_have_exit_codes() {
    let place = Place::new();
    let unrecognized =
        "org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: -z\n";
    check(
        &place,
        &[
            (&["ls"], 1, "", "ls [-s] [-w] [-R] path\n"),
            (&["stat"], 1, "", "stat [-w] path\n"),
            (&["delete"], 1, "", "delete [-v version] path\n"),
            (&["get", "-z", "/"], 1, "", unrecognized),
            (
                &["delete", "-v"],
                1,
                "",
                "org.apache.commons.cli.MissingArgumentException: Missing argument for option: v\n",
            ),
            (
                &["delete", "-v", "x", "/x"],
                1,
                "",
                "For input string: \"x\"\n",
            ),
            (&["ls", "x"], 1, "", "Path must start with / character\n"),
            (
                &["ls", "/x/"],
                1,
                "",
                "Path must not end with / character\n",
            ),
            (
                &["create", "//x"],
                1,
                "",
                "Invalid path string \"//x\" caused by empty node name specified @1\n",
            ),
            (
                &["create", "-c", "-e", "/x"],
                1,
                "",
                "-c cannot be combined with -s or -e. Containers cannot be ephemeral or \
                 sequential.\n",
            ),
            (
                &["create", "-t", "0", "/x"],
                1,
                "",
                "ttl must be positive and cannot be larger than: 1099511627775\n",
            ),
            (
                &["create", "/x", "", "nobody"],
                1,
                "",
                "nobody does not have the form scheme:id:perm\nKeeperErrorCode = InvalidACL\n\
                 Acl is not valid : null\n",
            ),
            (
                &["removewatches", "/x"],
                1,
                "",
                "KeeperErrorCode = No such watcher for /x\n",
            ),
            (
                &["get"],
                1,
                "",
                "get [-s] [-w] [-b] [-x] path\n -b   Output data in base64 format\n \
                 -s   Print znode stats additionally\n -w   Watch for changes on the znode\n \
                 -x   Output data in hexdump format\n\n",
            ),
        ],
    );
    let unknown = place.run(&["nonsense"]);
    assert_eq!(unknown.code, Some(127));
    let first = "ZooKeeper -server host:port -client-configuration properties-file cmd args\n\t\
                 addWatch [-m mode] path";
    assert!(unknown.stderr.starts_with(first), "{}", unknown.stderr);
    let last = "\twhoami \nCommand not found: Command not found nonsense\n";
    assert!(unknown.stderr.ends_with(last), "{}", unknown.stderr);
}

#[test]
fn every_mode_of_create() {
    let place = Place::new();
    let shell = place.pipe(
        "create /p\ncreate -s /p/s- x\ncreate -s /p/s- x\ncreate -e /p/e x\ncreate -e -s /p/es- x\n\
         create -c /p/c\ncreate -t 60000 /p/t x\ncreate -s -t 60000 /p/ts- x\ncreate /p/e/child\n\
         getEphemerals\nls /p\nstat /p/c\n",
    );
    assert_eq!(
        shell.stderr,
        "Created /p\nCreated /p/s-0000000000\nCreated /p/s-0000000001\nCreated /p/e\n\
         Created /p/es-0000000003\nCreated /p/c\nCreated /p/t\nCreated /p/ts-0000000006\n\
         Ephemerals cannot have children: /p/e/child\n"
    );
    let mut lines = shell.stdout.lines();
    let ephemerals = lines.next().expect("a list");
    let [e, es] = ["e", "es-0000000003"].map(|name| format!("{}/p/{name}", place.chroot));
    assert!(
        [format!("[{e}, {es}]"), format!("[{es}, {e}]")].contains(&ephemerals.to_owned()),
        "{ephemerals}"
    );
    assert_eq!(
        lines.next(),
        Some("[c, e, es-0000000003, s-0000000000, s-0000000001, t, ts-0000000006]")
    );
    // The mark of a container is the server's own.
    let container = lines.find(|line| line.starts_with("ephemeralOwner"));
    assert_eq!(container, Some("ephemeralOwner = 0x0"));
}

#[test]
fn trees_are_listed_counted_and_deleted() {
    let place = Place::new();
    let shell = place.pipe(
        "create /t\ncreate /t/b\ncreate /t/b/c\ncreate /t/a\nls -R /t\nls -s /t\n\
         getAllChildrenNumber /t\ndelete /t\ndeleteall /t -b 2\nls -R /t\nls /\ndeleteall /t\n",
    );
    assert_eq!(
        shell.stdout,
        format!(
            "/t\n/t/a\n/t/b\n/t/b/c\n[a, b]\n{}3\n[]\n",
            stat_block(0, 0, 2)
        )
    );
    assert!(
        shell
            .stderr
            .ends_with("Node not empty: /t\nNode does not exist: /t\nNode does not exist: /t\n"),
        "{}",
        shell.stderr
    );
    assert_eq!(shell.code, Some(1), "that of the last command");
}

#[test]
fn watches_print_their_events() {
    let place = Place::new();
    let shell = place.pipe(
        "create /w 1\nget -w /w\nset /w 2\nset /w 3\nls -w /w\ncreate /w/c\nstat -w /gone\n\
         create /gone\naddWatch /w\nset /w/c x\nset /w/c y\naddWatch -m PERSISTENT /gone\n\
         set /gone z\ndelete /gone\nremovewatches /w -r\nset /w/c z\nprintwatches off\n\
         get -w /w\nset /w 4\nprintwatches\nprintwatches on\nget -w /nonode\nquit\n",
    );
    let changed = |path: &str| event("SyncConnected", "NodeDataChanged", path);
    let expected = [
        "1\n".to_owned(),
        changed("/w"),
        "[]\n".to_owned(),
        event("SyncConnected", "NodeChildrenChanged", "/w"),
        event("SyncConnected", "NodeCreated", "/gone"),
        changed("/w/c"),
        changed("/w/c"),
        changed("/gone"),
        event("SyncConnected", "NodeDeleted", "/gone"),
        event("SyncConnected", "PersistentWatchRemoved", "/w"),
        "3\n".to_owned(),
        "printwatches is off\n".to_owned(),
        event("Closed", "None", "null"),
    ];
    assert_eq!(shell.stdout, expected.concat());
    assert_eq!(
        shell.stderr,
        "Created /w\nCreated /w/c\nNode does not exist: /gone\nCreated /gone\n\
         Node does not exist: /nonode\n"
    );
}

#[test]
fn access_control() {
    let place = Place::new();
    let shell = place.pipe(
        "create /open\ngetAcl /open\nwhoami\naddauth digest ann:secret\ncreate /mine x \
         auth::cdrwa\ngetAcl /mine\nwhoami\nsetAcl -s /open world:anyone:r\nset /open x\n\
         setAcl -v 9 /mine world:anyone:r\nsetAcl -R /mine auth::cdrwa,world:anyone:r\n\
         getAcl /mine\n",
    );
    let mut stat = stat_block(0, 0, 0);
    stat = stat.replace("aclVersion = 0", "aclVersion = 1");
    let ip = "ip: 127.0.0.1\n";
    let world = "'world,'anyone\n";
    let mine = format!("'digest,'ann:{}\n: cdrwa\n", digest_of(&shell.stdout));
    let expected = format!(
        "{world}: cdrwa\nAuth scheme: User\n{ip}{mine}Auth scheme: User\n{ip}digest: ann\n\
         {stat}{mine}{world}: r\n"
    );
    // The order of a session's identities is the server's own affair.
    let stdout = shell
        .stdout
        .replace(&format!("digest: ann\n{ip}"), &format!("{ip}digest: ann\n"));
    assert_eq!(stdout, expected);
    assert_eq!(
        shell.stderr,
        "Created /open\nCreated /mine\nInsufficient permission : /open\n\
         version No is not valid : /mine\n"
    );
    check(
        &place,
        &[
            (&["get", "/mine"], 0, "x\n", ""),
            (
                &["set", "/mine", "y"],
                1,
                "",
                "Insufficient permission : /mine\n",
            ),
            (&["delete", "-v", "0", "/mine"], 0, "", ""),
        ],
    );
}

/// The digest in the first ACL of a user, which the server made.
fn digest_of(stdout: &str) -> &str {
    let start = stdout.find("'ann:").expect("ann's ACL") + "'ann:".len();
    let end = stdout[start..].find('\n').expect("a line end");
    &stdout[start..start + end]
}

#[test]
fn quotas() {
    let place = Place::new();
    run_at(place.connect.trim_end_matches(&place.chroot), &["ls", "/"]);
    let host = place.connect.trim_end_matches(&place.chroot).to_owned();
    let path = format!("{}/q", place.chroot);
    let limits = format!("/zookeeper/quota{path}/zookeeper_limits");
    let quota = |args: &[&str]| {
        let outcome = run_at(&host, args);
        (outcome.code, outcome.stdout, outcome.stderr)
    };
    let ok = |stdout: &str, stderr: &str| (Some(0), stdout.to_owned(), stderr.to_owned());
    let absolute = format!("absolute path is {limits}\n");
    assert_eq!(
        quota(&["listquota", &path]),
        ok("", &format!("{absolute}quota for {path} does not exist.\n"))
    );
    assert_eq!(
        quota(&["setquota", "-n", "5", &path]),
        (Some(1), String::new(), format!("{path} does not exist.\n"))
    );
    place.run(&["create", "/q", "12345"]);
    assert_eq!(quota(&["setquota", "-n", "5", &path]), ok("", ""));
    assert_eq!(quota(&["setquota", "-B", "100", &path]), ok("", ""));
    let listed = format!(
        "Output quota for {path} count=5,bytes=-1=;byteHardLimit=100;countHardLimit=-1\n\
         Output stat for {path} count=1,bytes=5\n"
    );
    assert_eq!(quota(&["listquota", &path]), ok(&listed, &absolute));
    assert_eq!(
        quota(&["setquota", "-b", "1", &path]),
        ok(
            "[Warning]: the bytes quota you create is less than the existing bytes:5\n",
            ""
        )
    );
    assert_eq!(
        quota(&["setquota", "-n", "5", &place.chroot]),
        (
            Some(1),
            String::new(),
            format!("{} has a child {path} which has a quota\n", place.chroot)
        )
    );
    assert_eq!(
        quota(&["setquota", "-n", "0", &path]),
        ok("", "the num quota must be greater than zero\n")
    );
    assert_eq!(quota(&["delquota", "-n", &path]), ok("", ""));
    assert_eq!(quota(&["delquota", &path]), ok("", ""));
    assert_eq!(
        quota(&["delquota", &path]),
        ok(&format!("Quota does not exist for {path}\n"), "")
    );
}

#[test]
fn a_shell_has_history_and_sessions() {
    let place = Place::new();
    let host = place.connect.trim_end_matches(&place.chroot).to_owned();
    let shell = place.pipe(&format!(
        "create /h \"two words\"\nget /h\n\nredo 1\nredo 9\nhistory\ncreate -e /e\nclose\n\
         ls /\nconnect {host}\nls {0}\nconnect nonsense:port\nversion\nquit\nls /",
        place.chroot
    ));
    let expected = [
        "two words\ntwo words\n".to_owned(),
        "0 - create /h \"two words\"\n1 - get /h\n2 - get /h\n3 - redo 9\n4 - history\n".to_owned(),
        event("Closed", "None", "null"),
        "Not connected\n".to_owned(),
        CONNECTED.to_owned(),
        "[h]\n".to_owned(),
    ];
    let expected = expected.concat();
    assert!(shell.stdout.starts_with(&expected), "{}", shell.stdout);
    let rest = &shell.stdout[expected.len()..];
    let version = rest.strip_prefix("ZooKeeper CLI version: 3.9.");
    assert!(version.is_some(), "{rest}");
    assert!(
        rest.ends_with(&event("Closed", "None", "null")),
        "nothing is run after quit: {rest}"
    );
    assert_eq!(
        shell.stderr,
        "Created /h\nCommand index out of range\nCreated /e\nFor input string: \"port\"\n"
    );
    assert_eq!(shell.code, Some(0));
}

#[test]
fn deprecated_forms_still_work() {
    let place = Place::new();
    let shell = place.pipe(
        "create /d v\nget /d watch\nset /d w\nls /d watch\nstat /d watch\nls2 /d\ndelete /d 7\n\
         rmr /none\ncreate /d\nrmr /d\nls /\n",
    );
    let stat = stat_block(1, 1, 0);
    let changed = event("SyncConnected", "NodeDataChanged", "/d");
    let deleted = event("SyncConnected", "NodeDeleted", "/d");
    assert_eq!(
        shell.stdout,
        format!("v\n{changed}[]\n{stat}[]\n{stat}{deleted}[]\n")
    );
    assert_eq!(
        shell.stderr,
        "Created /d\n\
         'get path [watch]' has been deprecated. Please use 'get [-s] [-w] path' instead.\n\
         'ls path [watch]' has been deprecated. Please use 'ls [-w] path' instead.\n\
         'stat path [watch]' has been deprecated. Please use 'stat [-w] path' instead.\n\
         'ls2' has been deprecated. Please use 'ls [-s] path' instead.\n\
         'delete path [version]' has been deprecated. Please use 'delete [-v version] path' \
         instead.\n\
         The command 'rmr' has been deprecated. Please use 'deleteall' instead.\n\
         Node does not exist: /none\nCreated /d\n\
         The command 'rmr' has been deprecated. Please use 'deleteall' instead.\n"
    );
}

#[test]
fn the_ensemble_of_a_standalone_server() {
    let place = Place::new();
    check(
        &place,
        &[
            (&["config"], 0, "\n", ""),
            (&["config", "-c"], 0, " \n", ""),
            (
                &["reconfig", "-remove", "1"],
                1,
                "",
                "KeeperErrorCode = Reconfig is disabled\n",
            ),
            (
                &["reconfig", "-add", "a", "-members", "b"],
                1,
                "",
                "Can't use -file or -members together with -add or -remove (mixing incremental \
                 and non-incremental modes is not allowed)\n",
            ),
        ],
    );
}

#[test]
fn every_line_is_prompted_for() {
    let place = Place::new();
    let mut child = cli(&place.connect, &[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary was built for this test");
    let mut stdin = child.stdin.take().expect("piped");
    let lines = b"create /a one\nls /\n\nset /a two\nget /a\n";
    stdin.write_all(lines).expect("the shell reads");
    drop(stdin);
    let output = child.wait_with_output().expect("our child");
    let connect = &place.connect;
    let prompt = |number: usize| format!("[zk: {connect}(CONNECTED) {number}] ");
    let [zero, one, two, three, four] = [0, 1, 2, 3, 4].map(prompt);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!(
            "Connecting to {connect}\nWelcome to ZooKeeper!\nJLine support is enabled\n\
             {CONNECTED}{zero}{one}[a]\n{two}{two}{three}two\n{four}JLine support is disabled\n"
        )
    );
}

#[test]
fn without_a_server() {
    let connect = format!("127.0.0.1:{}", free_port());
    let lost = run_at(&connect, &["ls", "/"]);
    assert_eq!(
        (lost.code, lost.stderr.as_str()),
        (Some(1), "KeeperErrorCode = ConnectionLoss for /\n")
    );
    let waited = run_at(
        &connect,
        &["-timeout", "300", "-waitforconnection", "ls", "/"],
    );
    assert_eq!(
        (waited.code, waited.stderr.as_str()),
        (Some(1), "KeeperErrorCode = ConnectionLoss\n")
    );
    assert_eq!(waited.stdout, event("Closed", "None", "null"));
}

/// A shell that is talked to.
struct Live {
    child: Child,
    lines: Receiver<String>,
}

impl Live {
    fn new(connect: &str) -> Live {
        let mut child = cli(connect, &[])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary was built for this test");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Live { child, lines }
    }

    fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").expect("the shell reads");
    }

    /// Passes over lines until this one.
    fn hear(&self, want: &str) {
        loop {
            let line = self
                .lines
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("{want:?} does not come"));
            if normalize_line(&without_prompts(&line)) == want {
                return;
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_session_survives_a_restart_of_the_server() {
    if env::var("ZKORE_TEST_CONNECT").is_ok() {
        eprintln!("skipped: the server of ZKORE_TEST_CONNECT is not restarted");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let spec = spec(folder.path()).with("maxSessionTimeout=60000");
    let server = spec.start();
    let connect = server.address.to_string();
    let mut shell = Live::new(&connect);
    let session = |state: &str| format!("WatchedEvent state:{state} type:None path:null zxid: -1");
    let node = |kind: &str, path: &str| {
        format!("WatchedEvent state:SyncConnected type:{kind} path:{path} zxid: N")
    };
    shell.hear(&session("SyncConnected"));
    shell.say("addauth digest ann:secret");
    shell.say("create -e /live x auth::cdrwa");
    shell.say("stat -w /later");
    shell.say("addWatch /");
    shell.say("sync /");
    shell.hear("Sync is OK");

    server.kill();
    shell.hear(&session("Disconnected"));
    let server = spec.start();
    shell.hear(&session("SyncConnected"));
    assert_eq!(run_at(&connect, &["create", "/later"]).code, Some(0));
    shell.hear(&node("NodeCreated", "/later"));
    shell.say("get /live");
    shell.hear("x");
    shell.say("whoami");
    shell.hear("digest: ann");
    shell.say("delete /later");
    shell.hear(&node("NodeDeleted", "/later"));
    shell.say("quit");
    shell.hear(&session("Closed"));
    let gone = run_at(&connect, &["stat", "/live"]);
    assert_eq!(gone.stderr, "Node does not exist: /live\n");
    assert!(server.stop());
}
