//! Commands on quotas: setquota, listquota, delquota. A quota is kept in nodes below
//! `/zookeeper/quota`: a limits node that these commands write, and a stats node that the server
//! keeps (Apache's `Quotas` and `StatsTrack`).

use std::collections::BTreeMap;
use std::fmt;

use crate::client::{Client, ClientError, open_acl};
use crate::types::path::{QUOTA_LIMITS_NAME, QUOTA_ROOT, QUOTA_STATS_NAME, SYSTEM_ROOT, parent};
use crate::types::{CreateMode, ErrorCode};

use super::command::{Command, Sort};
use super::error::CliError;
use super::options::{Group, Parsed, Spec, flag, value};
use super::shell::Shell;
use super::trees::walk;

/// The commands on quotas.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "setquota",
        usage: "-n|-b|-N|-B val path",
        spec: Spec {
            options: &[
                value("n", "num soft quota"),
                value("b", "bytes soft quota"),
                value("N", "num hard quota"),
                value("B", "bytes hard quota"),
            ],
            group: Group::One,
        },
        table_in_usage: false,
        run: set_quota,
        sort: Sort::Client,
    },
    Command {
        name: "listquota",
        usage: "path",
        spec: Spec::NONE,
        table_in_usage: false,
        run: list_quota,
        sort: Sort::Client,
    },
    Command {
        name: "delquota",
        usage: "[-n|-b|-N|-B] path",
        spec: Spec {
            options: &[
                flag("n", "num soft quota"),
                flag("b", "bytes soft quota"),
                flag("N", "num hard quota"),
                flag("B", "bytes hard quota"),
            ],
            group: Group::AtMostOne,
        },
        table_in_usage: false,
        run: delete_quota,
        sort: Sort::Client,
    },
];

/// The options, and the key of a quota that each stands for.
const KEYS: [(&str, &str); 4] = [
    ("n", COUNT),
    ("b", BYTES),
    ("N", "countHardLimit"),
    ("B", "byteHardLimit"),
];
const COUNT: &str = "count";
const BYTES: &str = "bytes";

/// Limits or usage of a quota; −1 stands for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct StatsTrack(BTreeMap<String, i64>);

impl StatsTrack {
    fn parse(data: &[u8]) -> StatsTrack {
        let text = String::from_utf8_lossy(data);
        let pairs = text.split([',', ';']).filter_map(|pair| {
            let mut parts = pair.split('=');
            let key = parts.next().filter(|key| !key.is_empty())?;
            let value = parts.next()?.parse().unwrap_or(-1);
            Some((key.to_owned(), value))
        });
        StatsTrack(pairs.collect())
    }

    fn get(&self, key: &str) -> i64 {
        self.0.get(key).copied().unwrap_or(-1)
    }

    fn set(&mut self, key: &str, value: i64) {
        self.0.insert(key.to_owned(), value);
    }
}

/// The count and the bytes come first, and the equals sign behind them hides the rest from old
/// readers.
impl fmt::Display for StatsTrack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{COUNT}={},{BYTES}={}", self.get(COUNT), self.get(BYTES))?;
        let rest = self
            .0
            .iter()
            .filter(|(key, _)| *key != COUNT && *key != BYTES);
        for (position, (key, value)) in rest.enumerate() {
            let mark = if position == 0 { "=" } else { "" };
            write!(f, "{mark};{key}={value}")?;
        }
        Ok(())
    }
}

fn quota_path(path: &str) -> String {
    format!("{QUOTA_ROOT}{path}")
}

fn limits_path(path: &str) -> String {
    format!("{QUOTA_ROOT}{path}/{QUOTA_LIMITS_NAME}")
}

fn stats_path(path: &str) -> String {
    format!("{QUOTA_ROOT}{path}/{QUOTA_STATS_NAME}")
}

fn read(client: &Client, path: &str) -> Result<StatsTrack, ClientError> {
    let (data, _) = client.get_data(path, None)?;
    Ok(StatsTrack::parse(&data.unwrap_or_default()))
}

fn set_quota(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let parsed = command.parse(words, 1)?;
    let path = &parsed.args[1];
    if path.starts_with(QUOTA_ROOT) {
        let message = format!("cannot set a quota under the path: {QUOTA_ROOT}");
        shell.console().err(&message);
        return Ok(());
    }
    match limit(&parsed) {
        Ok((key, value)) => create_quota(shell, path, key, value),
        // Told, but no failure: so the reference.
        Err(message) => {
            shell.console().err(message);
            Ok(())
        }
    }
}

/// The limit that the options ask for.
fn limit(parsed: &Parsed) -> Result<(&'static str, i64), &'static str> {
    for (option, key) in KEYS {
        let Some(text) = parsed.value(option) else {
            continue;
        };
        let counts = option.eq_ignore_ascii_case("n");
        let number = if counts {
            text.parse::<i32>().map(i64::from)
        } else {
            text.parse::<i64>()
        };
        return match number {
            Err(_) => Err("NumberFormatException happens when parsing the option value"),
            Ok(value) if counts && value <= 0 => Err("the num quota must be greater than zero"),
            Ok(value) if value < 0 => Err("the bytes quota must be greater than or equal to zero"),
            Ok(value) => Ok((key, value)),
        };
    }
    Err("NumberFormatException happens when parsing the option value")
}

fn create_quota(
    shell: &mut Shell,
    path: &str,
    key: &'static str,
    value: i64,
) -> Result<(), CliError> {
    let client = shell.client();
    if client.exists(path, None)?.is_none() {
        return Err(CliError::Usage(format!("{path} does not exist.")));
    }
    refuse_quota_below(&client, path)?;
    refuse_quota_above(&client, path)?;
    create_parents(&client, path)?;

    let (limits_path, stats_path) = (limits_path(path), stats_path(path));
    if client.exists(&limits_path, None)?.is_none() {
        let mut limits = StatsTrack::default();
        for (_, key) in KEYS {
            limits.set(key, -1);
        }
        limits.set(key, value);
        create(&client, &limits_path, Some(limits.to_string().as_bytes()))?;
        let mut stats = StatsTrack::default();
        stats.set(COUNT, 0);
        stats.set(BYTES, 0);
        create(&client, &stats_path, Some(stats.to_string().as_bytes()))?;
        warn_if_exceeded(
            shell,
            &read(&client, &limits_path)?,
            &read(&client, &stats_path)?,
        );
    } else {
        let mut limits = read(&client, &limits_path)?;
        limits.set(key, value);
        warn_if_exceeded(shell, &limits, &read(&client, &stats_path)?);
        client.set_data(&limits_path, Some(limits.to_string().as_bytes()), -1)?;
    }
    Ok(())
}

fn create(client: &Client, path: &str, data: Option<&[u8]>) -> Result<(), ClientError> {
    client
        .create(path, data, &open_acl(), CreateMode::Persistent)
        .map(drop)
}

/// Creates the nodes that the quota's nodes stand below, as far as they are missing.
fn create_parents(client: &Client, path: &str) -> Result<(), ClientError> {
    let mut parents = vec![SYSTEM_ROOT.to_owned(), QUOTA_ROOT.to_owned()];
    let mut at = QUOTA_ROOT.to_owned();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        at = format!("{at}/{name}");
        parents.push(at.clone());
    }
    for path in parents {
        if client.exists(&path, None)?.is_some() {
            continue;
        }
        match create(client, &path, None) {
            Err(error) if error.code() != Some(ErrorCode::NodeExists) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn warn_if_exceeded(shell: &Shell, limits: &StatsTrack, stats: &StatsTrack) {
    for (kind, soft, hard) in [(COUNT, KEYS[0].1, KEYS[2].1), (BYTES, KEYS[1].1, KEYS[3].1)] {
        let used = stats.get(soft);
        let exceeded = [soft, hard].iter().any(|key| {
            let limit = limits.get(key);
            limit > -1 && limit < used
        });
        if exceeded {
            shell.out(&format!(
                "[Warning]: the {kind} quota you create is less than the existing {kind}:{used}"
            ));
        }
    }
}

/// Quotas do not nest: there must be none below the path.
fn refuse_quota_below(client: &Client, path: &str) -> Result<(), CliError> {
    let root = quota_path(path);
    let walked = walk(client, &root, None, &mut |at| {
        if at != root && has_limits(client, at)? {
            let child = &at[QUOTA_ROOT.len()..];
            return Err(CliError::Usage(format!(
                "{path} has a child {child} which has a quota"
            )));
        }
        Ok(())
    });
    match walked {
        Err(CliError::Client(error)) if error.code() == Some(ErrorCode::NoNode) => Ok(()),
        walked => walked,
    }
}

/// Quotas do not nest: there must be none above the path.
fn refuse_quota_above(client: &Client, path: &str) -> Result<(), CliError> {
    let mut above = path;
    while parent(above) != "/" {
        above = parent(above);
        if has_limits(client, &quota_path(above))? {
            return Err(CliError::Usage(format!(
                "{path} has a parent {above} which has a quota"
            )));
        }
    }
    Ok(())
}

fn has_limits(client: &Client, quota_path: &str) -> Result<bool, ClientError> {
    match client.get_children(quota_path, None) {
        Ok((children, _)) => Ok(children.iter().any(|child| child == QUOTA_LIMITS_NAME)),
        Err(error) if error.code() == Some(ErrorCode::NoNode) => Ok(false),
        Err(error) => Err(error),
    }
}

fn list_quota(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let parsed = command.parse(words, 1)?;
    let path = &parsed.args[1];
    shell
        .console()
        .err(&format!("absolute path is {}", limits_path(path)));
    let client = shell.client();
    let quota = read(&client, &limits_path(path))
        .and_then(|limits| Ok((limits, read(&client, &stats_path(path))?)));
    match quota {
        Ok((limits, stats)) => {
            shell.out(&format!("Output quota for {path} {limits}"));
            shell.out(&format!("Output stat for {path} {stats}"));
            Ok(())
        }
        Err(error) => absent_or(shell, path, error),
    }
}

/// That there is no quota is told, and no failure: so the reference.
fn absent_or(shell: &Shell, path: &str, error: ClientError) -> Result<(), CliError> {
    if error.code() != Some(ErrorCode::NoNode) {
        return Err(error.into());
    }
    shell
        .console()
        .err(&format!("quota for {path} does not exist."));
    Ok(())
}

fn delete_quota(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let parsed = command.parse(words, 1)?;
    let path = &parsed.args[1];
    let client = shell.client();
    if client.exists(&limits_path(path), None)?.is_none() {
        shell.out(&format!("Quota does not exist for {path}"));
        return Ok(());
    }
    let keys: Vec<&str> = KEYS
        .iter()
        .filter(|(option, _)| parsed.has(option))
        .map(|(_, key)| *key)
        .collect();
    let deleted = if keys.is_empty() {
        delete_whole_quota(&client, path)
    } else {
        delete_limits(&client, path, &keys)
    };
    deleted.or_else(|error| absent_or(shell, path, error))
}

fn delete_limits(client: &Client, path: &str, keys: &[&str]) -> Result<(), ClientError> {
    let mut limits = read(client, &limits_path(path))?;
    for key in keys {
        limits.set(key, -1);
    }
    let data = limits.to_string();
    client
        .set_data(&limits_path(path), Some(data.as_bytes()), -1)
        .map(drop)
}

/// Deletes the quota's nodes, and those above them that nothing else needs.
fn delete_whole_quota(client: &Client, path: &str) -> Result<(), ClientError> {
    let quota_path = quota_path(path);
    for child in client.get_children(&quota_path, None)?.0 {
        client.delete(&format!("{quota_path}/{child}"), -1)?;
    }
    let mut at = quota_path.as_str();
    while at != QUOTA_ROOT && client.get_children(at, None)?.0.is_empty() {
        client.delete(at, -1)?;
        at = parent(at);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_written_and_read_as_the_reference_does() {
        for (data, text) in [
            ("", "count=-1,bytes=-1"),
            ("count=5,bytes=-1", "count=5,bytes=-1"),
            (
                "count=5,bytes=7=;byteHardLimit=-1;countHardLimit=9",
                "count=5,bytes=7=;byteHardLimit=-1;countHardLimit=9",
            ),
        ] {
            assert_eq!(StatsTrack::parse(data.as_bytes()).to_string(), text);
        }
    }

    #[test]
    fn limits_are_checked() {
        let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        let spec = COMMANDS[0].spec;
        for (line, want) in [
            ("setquota -n 5 /x", Ok((COUNT, 5))),
            ("setquota -B 0 /x", Ok(("byteHardLimit", 0))),
            (
                "setquota -N 0 /x",
                Err("the num quota must be greater than zero"),
            ),
            (
                "setquota -b -1 /x",
                Err("the bytes quota must be greater than or equal to zero"),
            ),
            (
                "setquota -n x /x",
                Err("NumberFormatException happens when parsing the option value"),
            ),
        ] {
            let parsed = spec.parse(&words(line)).expect("well formed");
            assert_eq!(limit(&parsed), want, "{line}");
        }
    }
}
