//! Commands on watches: addWatch, removewatches.

use crate::client::{AddWatchMode, WatcherType};

use super::command::{Command, Sort};
use super::error::CliError;
use super::options::{Spec, flag, value};
use super::shell::Shell;

/// The commands on watches.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "addWatch",
        usage: "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - \
                default is PERSISTENT_RECURSIVE",
        spec: Spec::any(&[value("m", "")]),
        table_in_usage: false,
        run: add_watch,
        sort: Sort::Client,
    },
    Command {
        name: "removewatches",
        usage: "path [-c|-d|-a] [-l]",
        spec: Spec::any(&[
            flag("c", "child watcher type"),
            flag("d", "data watcher type"),
            flag("p", "persistent watcher type"),
            flag("r", "persistent recursive watcher type"),
            flag("a", "any watcher type"),
            flag("l", "remove locally when there is no server connection"),
        ]),
        table_in_usage: false,
        run: remove_watches,
        sort: Sort::Client,
    },
];

fn add_watch(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let parsed = command.parse(words, 1)?;
    let usage = || CliError::Usage(command.usage());
    if parsed.args.len() != 2 {
        return Err(usage());
    }
    let mode = match parsed.value("m").map(str::to_uppercase).as_deref() {
        None | Some("PERSISTENT_RECURSIVE") => AddWatchMode::PersistentRecursive,
        Some("PERSISTENT") => AddWatchMode::Persistent,
        Some(_) => return Err(usage()),
    };
    let watcher = shell.watcher();
    Ok(shell.client().add_watch(&parsed.args[1], &watcher, mode)?)
}

fn remove_watches(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    const BY_OPTION: [(&str, WatcherType); 4] = [
        ("c", WatcherType::Children),
        ("d", WatcherType::Data),
        ("p", WatcherType::Persistent),
        ("r", WatcherType::PersistentRecursive),
    ];
    let parsed = command.parse(words, 1)?;
    let of = BY_OPTION
        .iter()
        .find(|(option, _)| parsed.has(option))
        .map_or(WatcherType::Any, |(_, of)| *of);
    Ok(shell
        .client()
        .remove_watches(&parsed.args[1], None, of, parsed.has("l"))?)
}
