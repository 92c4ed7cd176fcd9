//! The table of commands.

use super::error::CliError;
use super::options::{Parsed, Spec};
use super::shell::Shell;
use super::{access, nodes, quota, server, session, trees, watching};

/// One command.
pub struct Command {
    /// What the user types.
    pub name: &'static str,
    /// What follows the name in the list of commands.
    pub usage: &'static str,
    /// The options.
    pub spec: Spec,
    /// Whether the usage that an error prints ends in a table of the options.
    pub table_in_usage: bool,
    /// Runs it. The words are the whole line, the command's name first.
    pub run: fn(&mut Shell, &Command, &[String]) -> Result<(), CliError>,
    /// What the command is.
    pub sort: Sort,
}

/// What a command needs and whether it is still shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Of the shell itself; works without a connection.
    Shell,
    /// Needs a session that is not closed.
    Client,
    /// As [`Sort::Client`], kept for old scripts and not listed.
    Deprecated,
}

impl Command {
    /// The usage as an error prints it.
    pub fn usage(&self) -> String {
        let line = format!("{} {}", self.name, self.usage);
        if self.table_in_usage {
            format!("{line}\n{}", self.spec.help())
        } else {
            line
        }
    }

    /// Parses the words by the command's options, and wants `args_min` arguments besides its name.
    pub fn parse(&self, words: &[String], args_min: usize) -> Result<Parsed, CliError> {
        let parsed = self.spec.parse(words)?;
        if parsed.args.len() <= args_min {
            return Err(CliError::Usage(self.usage()));
        }
        Ok(parsed)
    }

    /// Like [`Command::parse`], for commands that once took `watch` behind the path: that word, or
    /// any other in its place, is replaced by the option, with a notice.
    pub fn parse_with_watch(
        &self,
        shell: &Shell,
        words: &[String],
        args_min: usize,
        notice: &str,
    ) -> Result<Parsed, CliError> {
        let parsed = self.parse(words, args_min)?;
        if parsed.args.len() <= 2 {
            return Ok(parsed);
        }
        shell.console().err(notice);
        let mut words = words.to_vec();
        words[2] = "-w".to_owned();
        Ok(self.spec.parse(&words)?)
    }
}

/// The command with this name.
pub fn find(name: &str) -> Option<&'static Command> {
    groups().find(|command| command.name == name)
}

/// The names of the commands that are listed, sorted.
pub fn names() -> Vec<&'static str> {
    listed().iter().map(|command| command.name).collect()
}

/// What is printed when there is no such command.
pub fn usage() -> String {
    list_below("ZooKeeper -server host:port -client-configuration properties-file cmd args")
}

/// The list of commands with their arguments, below a headline.
pub fn list_below(headline: &str) -> String {
    let mut text = headline.to_owned();
    for command in listed() {
        text.push_str(&format!("\n\t{} {}", command.name, command.usage));
    }
    text
}

fn listed() -> Vec<&'static Command> {
    let mut listed: Vec<&Command> = groups()
        .filter(|command| command.sort != Sort::Deprecated)
        .collect();
    listed.sort_by_key(|command| command.name);
    listed
}

fn groups() -> impl Iterator<Item = &'static Command> {
    [
        session::COMMANDS,
        nodes::COMMANDS,
        trees::COMMANDS,
        access::COMMANDS,
        quota::COMMANDS,
        watching::COMMANDS,
        server::COMMANDS,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_commands_is_that_of_the_reference() {
        let want = include_str!("usage.txt");
        assert_eq!(usage(), want.trim_end_matches('\n'));
    }

    #[test]
    fn the_readme_lists_every_command() {
        let readme = include_str!("../../README.md");
        let (_, rest) = readme
            .split_once("<!-- commands: ")
            .expect("the table is marked");
        let (table, _) = rest
            .split_once("<!-- end of commands -->")
            .expect("the table is marked");
        let listed: Vec<&str> = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(listed, names());
    }

    #[test]
    fn deprecated_commands_are_found_but_not_listed() {
        for name in ["ls2", "rmr"] {
            assert!(find(name).is_some() && !names().contains(&name));
        }
        assert!(find("help").is_none());
    }
}
