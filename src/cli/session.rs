//! Commands of the shell itself and of its session: connect, close, quit, history, redo,
//! printwatches, version.

use super::command::{Command, Sort};
use super::error::CliError;
use super::options::Spec;
use super::shell::Shell;

/// The version of ZooKeeper whose commands and output these are.
const ZOOKEEPER_VERSION: &str = "3.9.5";

/// Lines that `history` goes back.
const HISTORY_LINES: usize = 10;

/// The commands of the shell and its session.
pub const COMMANDS: &[Command] = &[
    of_shell("connect", "host:port", connect),
    of_shell("history", "", history),
    of_shell("redo", "cmdno", redo),
    of_shell("printwatches", "on|off", print_watches),
    of_shell("quit", "", quit),
    of_client("close", "", close),
    of_client("version", "", version),
];

type Run = fn(&mut Shell, &Command, &[String]) -> Result<(), CliError>;

const fn of_shell(name: &'static str, usage: &'static str, run: Run) -> Command {
    Command {
        sort: Sort::Shell,
        ..of_client(name, usage, run)
    }
}

const fn of_client(name: &'static str, usage: &'static str, run: Run) -> Command {
    Command {
        name,
        usage,
        spec: Spec::NONE,
        table_in_usage: false,
        run,
        sort: Sort::Client,
    }
}

fn connect(shell: &mut Shell, _: &Command, words: &[String]) -> Result<(), CliError> {
    let host = match words.get(1) {
        Some(host) => host.clone(),
        None => shell.host().to_owned(),
    };
    shell.connect(host)
}

fn history(shell: &mut Shell, _: &Command, _: &[String]) -> Result<(), CliError> {
    let last = shell.command_number();
    for number in last.saturating_sub(HISTORY_LINES)..=last {
        let line = shell.past_line(number).unwrap_or("null");
        shell.console().out(&format!("{number} - {line}"));
    }
    Ok(())
}

fn redo(shell: &mut Shell, _: &Command, words: &[String]) -> Result<(), CliError> {
    let Some(word) = words.get(1) else {
        return Ok(());
    };
    let number: i64 = word.parse().map_err(|_| CliError::number(word))?;
    let line = usize::try_from(number)
        .ok()
        .filter(|number| *number < shell.command_number())
        .and_then(|number| shell.past_line(number))
        .ok_or_else(|| CliError::Usage("Command index out of range".to_owned()))?
        .to_owned();
    let words = super::words::split(&line);
    if words.first().is_some_and(|word| word == "redo") {
        return Err(CliError::Usage("No redoing redos".to_owned()));
    }
    shell.remember(line);
    shell.run(&words);
    Ok(())
}

fn print_watches(shell: &mut Shell, _: &Command, words: &[String]) -> Result<(), CliError> {
    match words.get(1) {
        Some(word) => shell.set_print_watches(word == "on"),
        None => {
            let state = if shell.print_watches() { "on" } else { "off" };
            shell.console().out(&format!("printwatches is {state}"));
        }
    }
    Ok(())
}

fn quit(shell: &mut Shell, _: &Command, _: &[String]) -> Result<(), CliError> {
    shell.quit();
    Ok(())
}

fn close(shell: &mut Shell, _: &Command, _: &[String]) -> Result<(), CliError> {
    shell.close();
    Ok(())
}

fn version(shell: &mut Shell, command: &Command, words: &[String]) -> Result<(), CliError> {
    let parsed = command.parse(words, 0)?;
    if parsed.args.len() > 1 {
        return Err(CliError::Usage(command.usage()));
    }
    shell.out(&format!(
        "ZooKeeper CLI version: {ZOOKEEPER_VERSION}-zkore-{}",
        env!("CARGO_PKG_VERSION")
    ));
    Ok(())
}
