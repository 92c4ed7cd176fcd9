//! Commands on a node and what is below it: ls, deleteall, getAllChildrenNumber, getEphemerals.

use std::collections::VecDeque;

use crate::client::{Client, ClientError, Op, Watcher};
use crate::types::ErrorCode;
use crate::types::path::join;

use super::command::{Command, Sort};
use super::error::CliError;
use super::format;
use super::options::{Parsed, Spec, flag, value};
use super::shell::Shell;

/// Nodes that `deleteall` deletes in one transaction unless told otherwise.
const DELETE_BATCH: i32 = 1000;

const LS_SPEC: Spec = Spec::any(&[
    flag("?", "help"),
    flag("s", "stat"),
    flag("w", "watch"),
    flag("R", "recurse"),
]);

/// The commands on a node and what is below it.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "ls",
        usage: "[-s] [-w] [-R] path",
        spec: LS_SPEC,
        table_in_usage: false,
        run: ls,
        sort: Sort::Client,
    },
    Command {
        name: "ls2",
        usage: "path [watch]",
        spec: LS_SPEC,
        table_in_usage: false,
        run: ls2,
        sort: Sort::Deprecated,
    },
    Command {
        name: "deleteall",
        usage: "path [-b batch size]",
        spec: Spec::any(&[value("b", "batch size")]),
        table_in_usage: false,
        run: delete_all,
        sort: Sort::Client,
    },
    Command {
        name: "rmr",
        usage: "path",
        spec: Spec::any(&[value("b", "batch size")]),
        table_in_usage: false,
        run: rmr,
        sort: Sort::Deprecated,
    },
    Command {
        name: "getAllChildrenNumber",
        usage: "path",
        spec: Spec::NONE,
        table_in_usage: false,
        run: all_children_number,
        sort: Sort::Client,
    },
    Command {
        name: "getEphemerals",
        usage: "path",
        spec: Spec::NONE,
        table_in_usage: false,
        run: ephemerals,
        sort: Sort::Client,
    },
];

fn ls(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    if command.spec.parse(words)?.has("?") {
        let help = command.spec.help();
        shell.out(&format!("usage: ls [options] path\n{}", help.trim_end()));
    }
    let notice = "'ls path [watch]' has been deprecated. Please use 'ls [-w] path' instead.";
    let parsed = command.parse_with_watch(shell, words, 1, notice)?;
    list(shell, &parsed)
}

fn ls2(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    shell
        .console()
        .err("'ls2' has been deprecated. Please use 'ls [-s] path' instead.");
    let mut with_stat: Vec<String> = words.to_vec();
    if let Some(watch) = with_stat.get_mut(2) {
        *watch = "-w".to_owned();
    }
    with_stat.push("-s".to_owned());
    list(shell, &command.parse(&with_stat, 1)?)
}

fn list(shell: &mut Shell, parsed: &Parsed) -> Result<(), CliError> {
    let path = &parsed.args[1];
    let watch = shell.watch_if(parsed.has("w"));
    if parsed.has("R") {
        let client = shell.client();
        return walk(&client, path, watch.as_ref(), &mut |path| {
            shell.out(path);
            Ok(())
        });
    }
    let (mut children, stat) = shell.client().get_children(path, watch.as_ref())?;
    children.sort();
    let mut text = format::list(&children);
    if parsed.has("s") {
        text.push('\n');
        text.push_str(&format::stat(&stat));
    }
    shell.out(&text);
    Ok(())
}

/// Visits a node and all below it, the children of a node in their order before the children of
/// the first of them (Apache's `ZKUtil.visitSubTreeDFS`). Nodes that go meanwhile are passed over.
pub fn walk(
    client: &Client,
    path: &str,
    watch: Option<&Watcher>,
    visit: &mut dyn FnMut(&str) -> Result<(), CliError>,
) -> Result<(), CliError> {
    client.get_data(path, watch)?;
    visit(path)?;
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let mut children = match client.get_children(&path, watch) {
            Ok((children, _)) => children,
            Err(error) if error.code() == Some(ErrorCode::NoNode) => continue,
            Err(error) => return Err(error.into()),
        };
        children.sort();
        let paths: Vec<String> = children.iter().map(|child| join(&path, child)).collect();
        for path in &paths {
            visit(path)?;
        }
        waiting.extend(paths.into_iter().rev());
    }
    Ok(())
}

fn delete_all(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let parsed = command.parse(words, 1)?;
    let batch = match parsed.value("b") {
        None => DELETE_BATCH,
        Some(text) => text
            .parse()
            .map_err(|_| CliError::Usage("-b argument must be an int value".to_owned()))?,
    };
    let client = shell.client();
    let tree = descendants(&client, &parsed.args[1])?;
    if batch <= 0 {
        for path in tree.iter().rev() {
            client.delete(path, -1)?;
        }
        return Ok(());
    }
    // Leaves come first, so a batch never deletes a node whose children stand in a later one.
    let leaves_first: Vec<&String> = tree.iter().rev().collect();
    for paths in leaves_first.chunks(batch as usize) {
        let ops: Vec<Op> = paths
            .iter()
            .map(|path| Op::Delete {
                path: path.to_string(),
                version: -1,
            })
            .collect();
        if client.multi(&ops).is_err() {
            shell
                .console()
                .err("Failed to delete some node(s) in the subtree!");
            break;
        }
    }
    Ok(())
}

fn rmr(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    shell
        .console()
        .err("The command 'rmr' has been deprecated. Please use 'deleteall' instead.");
    delete_all(shell, command, words)
}

/// A node and all below it, parents before their children.
fn descendants(client: &Client, root: &str) -> Result<Vec<String>, ClientError> {
    let mut tree = vec![root.to_owned()];
    let mut waiting = VecDeque::from([root.to_owned()]);
    while let Some(path) = waiting.pop_front() {
        for child in client.get_children(&path, None)?.0 {
            let child = join(&path, &child);
            tree.push(child.clone());
            waiting.push_back(child);
        }
    }
    Ok(tree)
}

fn all_children_number(
    shell: &mut Shell,
    command: &Command,
    words: &[String],
) -> Result<(), CliError> {
    let parsed = command.parse(words, 1)?;
    let number = shell.client().get_all_children_number(&parsed.args[1])?;
    shell.out(&number.to_string());
    Ok(())
}

fn ephemerals(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let parsed = command.parse(words, 0)?;
    let prefix = parsed.args.get(1).map_or("/", String::as_str);
    let ephemerals = shell.client().get_ephemerals(prefix)?;
    shell.out(&format::list(&ephemerals));
    Ok(())
}
