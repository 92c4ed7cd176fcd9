//! `zkore cli`: zkCli, Apache's command line client, with its commands, texts and exit codes
//! (`org.apache.zookeeper.ZooKeeperMain` and `org.apache.zookeeper.cli`).
//!
//! [`command`] is the table of commands, one file a group; [`shell`] runs them, one from the
//! command line or line by line. What Java prints in the course of a crash (an argument that is no
//! number, say) is printed as the message alone, and the shell goes on.

mod access;
mod acl;
mod arguments;
mod command;
mod complete;
mod console;
mod error;
mod format;
mod nodes;
mod options;
mod quota;
mod server;
mod session;
mod shell;
mod trees;
mod watching;
mod words;

use std::process::ExitCode;

use arguments::Arguments;
use console::Console;
use shell::Shell;

/// Runs `zkore cli`. The arguments are those behind `cli`. The exit code is that of the last
/// command: 0, 1 for a failure, 127 for a command that there is not, 2 for a bad configuration
/// file.
pub fn main(args: Vec<String>) -> ExitCode {
    let arguments = Arguments::parse(args);
    let console = Console::default();
    if arguments.help {
        console.out(&command::list_below(arguments::HELP));
        return ExitCode::SUCCESS;
    }
    if let Some(option) = &arguments.without_value {
        console.err(&format!("Error: no argument found for option {option}"));
    }
    console.out(&format!("Connecting to {}", arguments.server));
    let client_config = match arguments.client_config() {
        Ok(client_config) => client_config,
        Err(error) => {
            console.err(&error.to_string());
            return ExitCode::from(error.exit_code());
        }
    };
    let mut shell = Shell::new(console, client_config, arguments.wait_for_connection);
    if let Err(error) = shell.connect(arguments.server) {
        shell.console().err(&error.to_string());
        return ExitCode::from(error.exit_code());
    }
    if arguments.command.is_empty() {
        shell.run_lines();
    } else {
        shell.run(&arguments.command);
    }
    ExitCode::from(shell.exit_code())
}
