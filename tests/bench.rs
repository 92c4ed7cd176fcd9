//! `zkore bench` from the outside: a short run against a real server, its JSON document, and what
//! it leaves behind.
//!
//! Against `ZKORE_TEST_CONNECT=host:port` where that is set, such as a server of Apache's;
//! otherwise against a zkore server that the test starts.

#![allow(clippy::disallowed_methods, reason = "waits for real processes")]

#[path = "interop/support.rs"]
#[allow(dead_code, reason = "shared with the interop tests, which use more")]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a server may take to start.
const START_MAX: Duration = Duration::from_secs(30);

/// A server of ours, ended with the test.
struct Server {
    process: Option<Child>,
    address: String,
}

impl Server {
    fn start(folder: &Path) -> Server {
        if let Ok(address) = std::env::var("ZKORE_TEST_CONNECT") {
            return Server {
                process: None,
                address,
            };
        }
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port");
        let config = folder.join("zoo.cfg");
        let text = format!(
            "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
             admin.enableServer=false\n4lw.commands.whitelist=*\n",
            folder.join("data").display(),
            address.port()
        );
        fs::write(&config, text).expect("the folder is writable");
        let process = Command::new(env!("CARGO_BIN_EXE_zkore"))
            .arg("server")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program is there");
        let mut server = Server {
            process: Some(process),
            address: address.to_string(),
        };
        server.wait_until_up();
        server
    }

    fn wait_until_up(&mut self) {
        let deadline = Instant::now() + START_MAX;
        let tiny = [
            "--keys",
            "1",
            "--warmup",
            "0",
            "--duration",
            "100ms",
            "--quiet",
        ];
        while let (code, text) = bench(self, &tiny)
            && code != Some(0)
        {
            if let Some(process) = &mut self.process {
                let ended = process.try_wait().expect("the process is ours");
                assert!(ended.is_none(), "the server ended: {ended:?}");
            }
            assert!(Instant::now() < deadline, "the server is not there: {text}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // A server that ended by itself has failed its test already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn bench(server: &Server, words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_zkore"))
        .args(["bench", "--server", &server.address])
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("the program is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

fn number(json: &Value, pointer: &str) -> f64 {
    json.pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("{pointer} is missing in {json}"))
}

#[test]
fn every_operation_is_measured_and_nothing_is_left() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let file = folder.path().join("report.json");
    let own = server
        .process
        .as_ref()
        .map_or(std::process::id(), Child::id)
        .to_string();
    let mix = "get=4,set=2,create=2,delete,exists,getChildren,multi,sync";
    let run = [
        "--connections",
        "8",
        "--pipeline",
        "4",
        "--keys",
        "200",
        "--value-size",
        "100",
        "--base",
        "/bench-of-tests",
        "--duration",
        "1s",
        "--warmup",
        "200ms",
        "--mix",
        mix,
        "--server-pid",
        &own,
        "--json",
        file.to_str().expect("temporary paths are UTF-8"),
    ];
    // The second run starts from what the first leaves, which must be nothing.
    for _ in 0..2 {
        let (code, text) = bench(&server, &run);
        assert_eq!(code, Some(0), "{text}");
        let json = fs::read_to_string(&file).expect("the report was written");
        let json: Value = serde_json::from_str(&json).expect("valid JSON");
        assert_eq!(json["errors"], serde_json::json!({}), "{text}");
        assert_eq!(number(&json, "/total/errors"), 0.0);
        assert_eq!(number(&json, "/total/wrong"), 0.0);
        assert_eq!(number(&json, "/reconnects"), 0.0);
        let operations = json["operations"].as_object().expect("an object");
        assert_eq!(operations.len(), 8);
        for name in operations.keys() {
            let at = |field: &str| number(&json, &format!("/operations/{name}/{field}"));
            assert!(at("count") > 0.0, "{name}\n{text}");
            assert!(at("throughput_ops_s") > 0.0, "{name}");
            let latency: Vec<f64> = ["min", "p50", "p90", "p99", "p99_9", "p99_99", "max"]
                .map(|quantile| at(&format!("latency_us/{quantile}")))
                .to_vec();
            assert!(
                latency[0] > 0.0 && latency.is_sorted(),
                "{name}: {latency:?}"
            );
        }
        assert!(number(&json, "/client/cpu_us_per_op") > 0.0);
        assert!(number(&json, "/client/rss_bytes") > 1e6);
        assert!(number(&json, "/server/rss_bytes") > 0.0);
        assert!(number(&json, "/server/cpu_us_per_op") >= 0.0);
    }
}

fn json_of(file: &Path) -> Value {
    let text = fs::read_to_string(file).expect("the report was written");
    serde_json::from_str(&text).expect("valid JSON")
}

#[test]
fn an_open_loop_keeps_its_times_and_sees_a_stall() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let Some(process) = &server.process else {
        // A server that is not ours is not to be stopped.
        return;
    };
    let pid = process.id().to_string();
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &pid]).status();
        assert!(sent.expect("kill is there").success());
    };
    let (json, html) = (folder.path().join("r.json"), folder.path().join("r.html"));
    let words = [
        "--base=/bench-open",
        "--rate=500",
        "--connections=5",
        "--keys=100",
        "--mix=get",
        "--popularity=zipf",
        "--value-size=0..300",
        "--depth=1..5",
        "--warmup=200ms",
        "--duration=3s",
        "--no-ceiling",
    ];
    let [json_word, html_word] = [("json", &json), ("html", &html)]
        .map(|(option, file)| format!("--{option}={}", file.display()));
    let stall = Duration::from_millis(500);
    let (code, text) = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(1_700));
            signal("-STOP");
            thread::sleep(stall);
            signal("-CONT");
        });
        bench(&server, &[&words[..], &[&json_word, &html_word]].concat())
    });
    assert_eq!(code, Some(0), "{text}");
    let json = json_of(&json);
    // Every request that was due counts, and those of the stall with the time that they waited.
    assert_eq!(number(&json, "/total/count"), 1_500.0, "{text}");
    assert_eq!(number(&json, "/total/errors"), 0.0, "{text}");
    let stall_us = stall.as_micros() as f64;
    assert!(
        number(&json, "/total/latency_us/max") > 0.8 * stall_us,
        "{text}"
    );
    // A sixth of all were due in the stall; half of these waited for half of it or longer.
    assert!(
        number(&json, "/total/latency_us/p99") > 0.4 * stall_us,
        "{text}"
    );
    assert!(number(&json, "/open_loop/lag_us/max") > 0.0, "{text}");
    let slots = json["timeline"].as_array().expect("a time line");
    assert!((3..=4).contains(&slots.len()), "{slots:?}");
    let html = fs::read_to_string(html).expect("the report was written");
    assert!(html.contains("<svg") && html.contains("polyline") && html.ends_with("</html>\n"));
    assert!(html.contains("client  ") && html.contains(" MiB resident"));
    for word in ["<script", "src=", "href="] {
        assert!(!html.contains(word), "{word}");
    }
}

#[test]
fn two_targets_are_compared_in_turns() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let (json, html) = (folder.path().join("c.json"), folder.path().join("c.html"));
    let address = &server.address;
    let own = std::process::id();
    let words = [
        "compare".to_owned(),
        format!("--target=one={address}@{own}"),
        format!("--target=two={address},{address}@{own}"),
        "--rounds=2".to_owned(),
        format!("--json={}", json.display()),
        format!("--html={}", html.display()),
        "--".to_owned(),
    ];
    let load = [
        "--duration=300ms",
        "--warmup=50ms",
        "--keys=50",
        "--base=/bench-compare",
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).chain(load).collect();
    let output = Command::new(env!("CARGO_BIN_EXE_zkore"))
        .arg("bench")
        .args(words)
        .output()
        .expect("the program is there");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        text.contains("one/two")
            && text.contains("server_cpu_us_per_op")
            && text.contains("client_rss_bytes")
            && text.contains("ceiling "),
        "{text}"
    );
    let json = json_of(&json);
    assert!(number(&json, "/ceiling_ops_s") > 0.0);
    let figures = json["figures"].as_array().expect("figures");
    let ops = figures
        .iter()
        .find(|row| row["name"] == "ops_s")
        .expect("measured");
    assert_eq!(ops["ratio"]["rounds"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["reports"]["one"].as_array().map(Vec::len), Some(2));
    let html = fs::read_to_string(html).expect("the report was written");
    assert!(html.contains("<circle") && html.contains("one / two"));
}

#[test]
fn a_scenario_begins_anew_in_every_round() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let address = &server.address;
    let targets = ["one", "two"].map(|name| format!("--target={name}={address}"));
    let load = [
        "--rounds=2",
        "--",
        "--scenario=locks",
        "--keys=1",
        "--connections=4",
        "--duration=300ms",
        "--warmup=0",
        "--base=/bench-rounds",
    ];
    let output = Command::new(env!("CARGO_BIN_EXE_zkore"))
        .args(["bench", "compare"])
        .args(targets)
        .args(load)
        .output()
        .expect("the program is there");
    // The lock that somebody held at the end of a round is free in the next.
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn the_ceiling_has_files_of_its_own() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let file = folder.path().join("ceiling.json");
    // Enough for the load and not for both ends of it, so that the limit must be raised.
    let output = Command::new("sh")
        .args(["-c", "ulimit -Sn 250 && exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_zkore"))
        .args(["bench", "--server", &server.address])
        .args(["--scenario=watch-fanout", "--connections=180"])
        .args(["--duration=300ms", "--warmup=0", "--base=/bench-ceiling"])
        .arg(format!("--json={}", file.display()))
        .output()
        .expect("a shell is there");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("ceiling "), "{text}");
    assert!(number(&json_of(&file), "/client/ceiling_ops_s") > 0.0);
}

#[test]
fn every_preset_runs_and_measures_what_it_is_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    check_presets(&Server::start(folder.path()));
}

/// The same, and every operation of a mix, against Apache's server, to whose answers all checks must
/// hold.
#[test]
fn every_preset_runs_on_apaches_server() {
    let what = "zkore bench on Apache's server";
    if !support::ready(what, &["jars"]) {
        return;
    }
    let apache = support::Server::start(support::Kind::Apache, &[]);
    let server = Server {
        process: None,
        address: apache.address().to_owned(),
    };
    let mix = "get=4,set=2,create=2,createEphemeral,delete,exists,getChildren,multi,sync,ping,reconnect,renew";
    let words = ["--pipeline=4", "--duration=1s", "--keys=100", "--mix", mix];
    let (code, text) = bench(&server, &words);
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("errors  "), "{text}");
    check_presets(&server);
}

/// Runs every preset, made small.
fn check_presets(server: &Server) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("preset.json");
    let json_word = format!("--json={}", file.display());
    let (small, few) = ("--connections=30", "--keys=200");
    for (preset, own, measured) in [
        ("idle-sessions", ["--rate=200", small], &["ping"][..]),
        ("reconnect-storm", ["--rate=60", small], &["reconnect"]),
        (
            "ephemeral-churn",
            ["--pipeline=5", small],
            &["createEphemeral", "renew"],
        ),
        (
            "watch-fanout",
            ["--threads=2", small],
            &["event", "lastEvent", "get", "set"],
        ),
        (
            "service-discovery",
            ["--threads=2", small],
            &["event", "lastEvent", "getChildren"],
        ),
        ("locks", ["--keys=3", small], &["acquire", "delete"]),
        (
            "kafka-controller",
            [few, "--connections=2"],
            &["start", "get", "multi"],
        ),
        ("hbase-assignment", [few, small], &["assignment", "set"]),
        (
            "clickhouse-inserts",
            [few, "--connections=3"],
            &["insert", "multi"],
        ),
    ] {
        let common = [
            "--preset",
            preset,
            "--duration=2s",
            "--warmup=100ms",
            "--no-ceiling",
            "--base=/bench-presets",
            &json_word,
        ];
        let (code, text) = bench(server, &[&common[..], &own].concat());
        assert_eq!(code, Some(0), "{preset}: {text}");
        let json = json_of(&file);
        assert_eq!(json["errors"], serde_json::json!({}), "{preset}: {text}");
        assert_eq!(number(&json, "/total/wrong"), 0.0, "{preset}: {text}");
        assert_eq!(number(&json, "/reconnects"), 0.0, "{preset}: {text}");
        for name in measured {
            let count = number(&json, &format!("/operations/{name}/count"));
            assert!(count > 0.0, "{preset} measures no {name}: {text}");
            let wrong = number(&json, &format!("/operations/{name}/wrong"));
            assert_eq!(wrong, 0.0, "{preset} {name}: {text}");
        }
    }
}

/// What the word `mntr` tells.
fn mntr(server: &Server) -> BTreeMap<String, f64> {
    let mut stream = TcpStream::connect(&server.address).expect("the server is there");
    stream.write_all(b"mntr").expect("it listens");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text.lines()
        .filter_map(|line| line.split_once('\t'))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

#[test]
fn a_server_tells_the_stages_of_its_writes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    if server.process.is_none() {
        // Others have no such stages.
        return;
    }
    let words = [
        "--mix=set=1",
        "--duration=1s",
        "--warmup=0",
        "--keys=50",
        "--quiet",
    ];
    let (code, text) = bench(&server, &words);
    assert_eq!(code, Some(0), "{text}");
    let told = mntr(&server);
    let value = |name: String| {
        *told
            .get(&name)
            .unwrap_or_else(|| panic!("{name}: {told:?}"))
    };
    let writes = value("zk_cnt_write_answered_us".to_owned());
    assert!(writes > 50.0, "{told:?}");
    for stage in ["write_handed_us", "write_taken_us", "write_published_us"] {
        // Those that make and end sessions have no such moment.
        let count = value(format!("zk_cnt_{stage}"));
        assert!(
            (count / writes - 1.0).abs() < 0.5,
            "{stage}: {count} of {writes}"
        );
    }
    for stage in [
        "receive_us",
        "log_write_us",
        "quorum_wait_us",
        "output_wait_us",
    ] {
        assert!(value(format!("zk_cnt_{stage}")) > 0.0, "{stage}");
    }
    let averages = ["handed", "taken", "published", "answered"]
        .map(|stage| value(format!("zk_avg_write_{stage}_us")));
    assert!(averages.is_sorted() && averages[2] > 0.0, "{averages:?}");
    assert!(told.contains_key("zk_p999_write_published_us"), "{told:?}");
}

#[test]
fn wrong_usage_and_absent_servers_are_told() {
    let absent = Server {
        process: None,
        address: "127.0.0.1:1".to_owned(),
    };
    let (code, text) = bench(&absent, &["--mix", "put=1"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("`put` is not one of get, set"), "{text}");
    let (code, text) = bench(&absent, &["--duration", "100ms"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("connection to 127.0.0.1:1"), "{text}");
}
