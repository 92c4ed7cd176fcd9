//! Commands on one node: create, delete, get, set, stat, sync.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::client::{ClientError, open_acl};
use crate::types::{CreateMode, ErrorCode, TTL_MS_MAX};

use super::command::{Command, Sort};
use super::error::CliError;
use super::options::{Parsed, Spec, flag, value};
use super::shell::Shell;
use super::{acl, format};

/// The commands on one node.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "create",
        usage: "[-s] [-e] [-c] [-t ttl] path [data] [acl]",
        spec: Spec::any(&[
            flag("e", "ephemeral"),
            flag("s", "sequential"),
            flag("c", "container"),
            value("t", "ttl"),
        ]),
        table_in_usage: false,
        run: create,
        sort: Sort::Client,
    },
    Command {
        name: "delete",
        usage: "[-v version] path",
        spec: Spec::any(&[value("v", "version")]),
        table_in_usage: false,
        run: delete,
        sort: Sort::Client,
    },
    Command {
        name: "get",
        usage: "[-s] [-w] [-b] [-x] path",
        spec: Spec::any(&[
            flag("s", "Print znode stats additionally"),
            flag("w", "Watch for changes on the znode"),
            flag("b", "Output data in base64 format"),
            flag("x", "Output data in hexdump format"),
        ]),
        table_in_usage: true,
        run: get,
        sort: Sort::Client,
    },
    Command {
        name: "set",
        usage: "path data [-s] [-v version] [-b]",
        spec: Spec::any(&[
            flag("s", "Print znode stats additionally"),
            value("v", "Set with an expected version"),
            flag("b", "Supply data in base64 format"),
        ]),
        table_in_usage: true,
        run: set,
        sort: Sort::Client,
    },
    Command {
        name: "stat",
        usage: "[-w] path",
        spec: Spec::any(&[flag("w", "watch")]),
        table_in_usage: false,
        run: stat,
        sort: Sort::Client,
    },
    Command {
        name: "sync",
        usage: "path",
        spec: Spec::NONE,
        table_in_usage: false,
        run: sync,
        sort: Sort::Client,
    },
];

fn create(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let parsed = command.parse(words, 1)?;
    let (mode, ttl_ms) = create_mode(&parsed)?;
    let path = &parsed.args[1];
    let data = parsed.args.get(2).map(|data| data.as_bytes());
    let acl = match parsed.args.get(3) {
        None => open_acl(),
        Some(text) => acl::parse(text, |complaint| shell.console().err(&complaint)),
    };
    let created = match ttl_ms {
        None => shell.client().create(path, data, &acl, mode),
        Some(ttl_ms) => shell
            .client()
            .create_ttl(path, data, &acl, mode, ttl_ms)
            .map(|(path, _)| path),
    };
    match created {
        // To the standard error, as the reference does.
        Ok(path) => shell.console().err(&format!("Created {path}")),
        Err(error) => {
            match error.code() {
                Some(ErrorCode::EphemeralOnLocalSession) => shell
                    .console()
                    .err("Unable to create ephemeral node on a local session"),
                Some(ErrorCode::InvalidAcl) => shell.console().err(&error.to_string()),
                _ => {}
            }
            return Err(error.into());
        }
    }
    Ok(())
}

/// The mode that the options ask for, with the time to live in milliseconds.
fn create_mode(parsed: &Parsed) -> Result<(CreateMode, Option<i64>), CliError> {
    let [ephemeral, sequential, container] = ["e", "s", "c"].map(|name| parsed.has(name));
    let refuse = |message: &str| Err(CliError::Usage(message.to_owned()));
    if container && (ephemeral || sequential) {
        return refuse(
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.",
        );
    }
    let Some(ttl) = parsed.value("t") else {
        let mode = match (ephemeral, sequential) {
            (true, true) => CreateMode::EphemeralSequential,
            (true, false) => CreateMode::Ephemeral,
            (false, true) => CreateMode::PersistentSequential,
            (false, false) if container => CreateMode::Container,
            (false, false) => CreateMode::Persistent,
        };
        return Ok((mode, None));
    };
    let Ok(ttl_ms) = ttl.parse() else {
        return refuse("-t argument must be a long value");
    };
    if ephemeral {
        return refuse("TTLs cannot be used with Ephemeral znodes");
    }
    if container {
        return refuse("TTLs cannot be used with Container znodes");
    }
    if !(1..=TTL_MS_MAX).contains(&ttl_ms) {
        return Err(ClientError::Ttl { max_ms: TTL_MS_MAX }.into());
    }
    let mode = if sequential {
        CreateMode::PersistentSequentialWithTtl
    } else {
        CreateMode::PersistentWithTtl
    };
    Ok((mode, Some(ttl_ms)))
}

fn delete(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let parsed = command.parse(words, 1)?;
    if parsed.args.len() > 2 {
        shell.console().err(
            "'delete path [version]' has been deprecated. Please use 'delete [-v version] path' \
             instead.",
        );
    }
    let version = version(&parsed)?;
    Ok(shell.client().delete(&parsed.args[1], version)?)
}

/// The version that `-v` asks for, or −1 for any.
pub fn version(parsed: &Parsed) -> Result<i32, CliError> {
    match parsed.value("v") {
        None => Ok(-1),
        Some(text) => text.parse().map_err(|_| CliError::number(text)),
    }
}

fn get(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let notice = "'get path [watch]' has been deprecated. Please use 'get [-s] [-w] path' instead.";
    let parsed = command.parse_with_watch(shell, words, 1, notice)?;
    let watch = shell.watch_if(parsed.has("w"));
    let (data, stat) = shell.client().get_data(&parsed.args[1], watch.as_ref())?;
    let data = data.unwrap_or_else(|| b"null".to_vec());
    let mut text = if parsed.has("x") {
        format::hex_dump(&data)
    } else if parsed.has("b") {
        BASE64.encode(&data)
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

fn set(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let parsed = command.parse(words, 2)?;
    let text = &parsed.args[2];
    let data = if parsed.has("b") {
        BASE64
            .decode(text)
            .map_err(|error| CliError::Usage(error.to_string()))?
    } else {
        text.clone().into_bytes()
    };
    let version = version(&parsed)?;
    let stat = shell
        .client()
        .set_data(&parsed.args[1], Some(&data), version)?;
    if parsed.has("s") {
        shell.out(&format::stat(&stat));
    }
    Ok(())
}

fn stat(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let notice = "'stat path [watch]' has been deprecated. Please use 'stat [-w] path' instead.";
    let parsed = command.parse_with_watch(shell, words, 1, notice)?;
    let path = &parsed.args[1];
    let watch = shell.watch_if(parsed.has("w"));
    let stat = shell
        .client()
        .exists(path, watch.as_ref())?
        .ok_or_else(|| ClientError::Keeper {
            code: ErrorCode::NoNode,
            path: Some(path.clone()),
        })?;
    shell.out(&format::stat(&stat));
    Ok(())
}

fn sync(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let parsed = command.parse(words, 1)?;
    match shell.client().sync(&parsed.args[1]) {
        Ok(()) => shell.out("Sync is OK"),
        Err(error) => match error.code() {
            Some(code) => shell.out(&format!("Sync has failed. rc={}", code.code())),
            None => return Err(error.into()),
        },
    }
    Ok(())
}
