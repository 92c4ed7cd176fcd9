//! Commands on the ensemble: config, reconfig.

use std::fs;

use crate::config::properties::{self, Property};

use super::command::{Command, Sort};
use super::error::CliError;
use super::format;
use super::options::{Parsed, Spec, flag, value};
use super::shell::Shell;

/// The commands on the ensemble.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "config",
        usage: "[-c] [-w] [-s]",
        spec: Spec::any(&[
            flag("s", "stats"),
            flag("w", "watch"),
            flag("c", "client connection string"),
        ]),
        table_in_usage: false,
        run: config,
        sort: Sort::Client,
    },
    Command {
        name: "reconfig",
        usage: "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] \
                | [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
        spec: Spec::any(&[
            flag("s", "stats"),
            value("v", "required current config version"),
            value("file", "path of config file to parse for membership"),
            value(
                "members",
                "comma-separated list of config strings for non-incremental reconfig",
            ),
            value(
                "add",
                "comma-separated list of config strings for new servers",
            ),
            value("remove", "comma-separated list of server IDs to remove"),
        ]),
        table_in_usage: false,
        run: reconfig,
        sort: Sort::Client,
    },
];

fn config(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let parsed = command.parse(words, 0)?;
    let watch = shell.watch_if(parsed.has("w"));
    let (data, stat) = shell.client().get_config(watch.as_ref())?;
    let data = data.unwrap_or_else(|| b"null".to_vec());
    let mut text = if parsed.has("c") {
        client_string(&data)?
    } else {
        String::from_utf8_lossy(&data).into_owned()
    };
    if parsed.has("s") {
        text.push('\n');
        text.push_str(&format::stat(&stat));
    }
    shell.out(&text);
    Ok(())
}

fn read_properties(bytes: &[u8]) -> Result<Vec<Property>, CliError> {
    properties::parse(bytes).map_err(|error| CliError::Usage(error.to_string()))
}

/// The version of a configuration and where its clients connect (Apache's
/// `ConfigUtils.getClientConfigStr`).
fn client_string(config: &[u8]) -> Result<String, CliError> {
    let mut version = String::new();
    let mut addresses = Vec::new();
    for property in read_properties(config)? {
        if property.key == "version" {
            version = property.value;
        } else if property.key.starts_with("server.") {
            addresses.push(client_address(&property.value));
        }
    }
    Ok(format!("{version} {}", addresses.join(",")))
}

/// Where clients connect to a server: what follows the semicolon of its line; nothing where it
/// does not say. A port alone means every address.
fn client_address(server: &str) -> String {
    let Some((_, client)) = server.split_once(';') else {
        return String::new();
    };
    // Roles may stand behind the address in lists of several.
    let client = client.split('|').next().unwrap_or_default().trim();
    if client.parse::<u16>().is_ok() {
        return format!("0.0.0.0:{client}");
    }
    client.replace(['[', ']'], "")
}

fn reconfig(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let parsed = command.parse(words, 0)?;
    let whole = parsed.has("file") || parsed.has("members");
    let by_steps = parsed.has("add") || parsed.has("remove");
    if !whole && !by_steps {
        return Err(CliError::Usage(command.usage()));
    }
    let version = match parsed.value("v") {
        None => -1,
        Some(text) => i64::from_str_radix(text, 16).map_err(|_| {
            CliError::Usage("-v must be followed by a long (configuration version)".to_owned())
        })?,
    };
    if whole && by_steps {
        return Err(CliError::Usage(
            "Can't use -file or -members together with -add or -remove (mixing incremental and \
             non-incremental modes is not allowed)"
                .to_owned(),
        ));
    }
    if parsed.has("file") && parsed.has("members") {
        return Err(CliError::Usage(
            "Can't use -file and -members together (conflicting non-incremental modes)".to_owned(),
        ));
    }
    let lower = |name: &str| parsed.value(name).map(str::to_lowercase);
    let members = members(&parsed)?;
    let (config, stat) = shell.client().reconfig(
        lower("add").as_deref(),
        lower("remove").as_deref(),
        members.as_deref(),
        version,
    )?;
    let config = String::from_utf8_lossy(&config);
    shell.out(&format!("Committed new configuration:\n{config}"));
    if parsed.has("s") {
        shell.out(&format::stat(&stat));
    }
    Ok(())
}

/// The whole new membership, if it is given: as text, or by the lines of a file that name it.
fn members(parsed: &Parsed) -> Result<Option<String>, CliError> {
    let Some(file) = parsed.value("file") else {
        return Ok(parsed.value("members").map(str::to_lowercase));
    };
    let refuse = |reason: String| CliError::Usage(format!("Error processing {file}: {reason}"));
    let bytes = fs::read(file).map_err(|error| refuse(error.to_string()))?;
    let lines: Vec<String> = properties::parse(&bytes)
        .map_err(|error| refuse(error.to_string()))?
        .into_iter()
        .filter(|property| {
            ["server.", "group.", "weight."]
                .iter()
                .any(|start| property.key.starts_with(start))
                || property.key == "version"
        })
        .map(|property| format!("{}={}", property.key, property.value))
        .collect();
    Ok(Some(lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_strings_list_version_and_addresses() {
        let config = b"server.1=a:2888:3888:participant;0.0.0.0:2181\n\
            server.2=b:2888:3888;2182\n\
            server.3=c:2888:3888:observer;[::1]:2183\n\
            version=100000000";
        assert_eq!(
            client_string(config).expect("well formed"),
            "100000000 0.0.0.0:2181,0.0.0.0:2182,::1:2183"
        );
        assert_eq!(client_string(b"").expect("well formed"), " ");
    }
}
