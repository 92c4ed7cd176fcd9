//! `zkore start`, `stop`, `restart`, `status`, `version`, `print-cmd`: what zkServer.sh does;
//! and `zkore ensemble`, which has no counterpart there.
//!
//! Text, streams and exit codes are those of zkServer.sh, which scripts and unit files rely on.
//! Where it differs it is kinder: a bad configuration is reported by `start` itself, `stop`
//! returns when the server has ended, and a process that merely got the number of a dead server is
//! left alone. There is no line about JMX, since there is none.

mod ensemble;
mod environment;
mod installation;
mod process;
mod status;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

pub use ensemble::{EnsembleRequest, ensemble};
pub use environment::Environment;
use installation::Installation;
pub use status::status;

use crate::config::{Config, ConfigError, Sources};

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The settings are bad.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file or directory cannot be used.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Creating data directories is switched off, and one is missing.
    #[error("ZooKeeper {kind} directory is missing at {path} fix the path or run initialize")]
    MissingDirectory {
        /// `data` or `txnlog`.
        kind: &'static str,
        /// The directory.
        path: String,
    },
    /// These servers cannot be run together.
    #[error("{reason}")]
    Ensemble {
        /// Why.
        reason: String,
    },
    /// The file of the process id holds something else.
    #[error("{path} does not hold a process id")]
    BadPidFile {
        /// The file.
        path: String,
    },
}

impl LaunchError {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LaunchError {
        move |source| LaunchError::File {
            action,
            path: path.display().to_string(),
            source,
        }
    }
}

/// What a command line said besides the command.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The zoo.cfg as it was named.
    pub config: Option<String>,
    /// Settings to pass on to the server, as `key=value`.
    pub overrides: Vec<String>,
}

/// Starts a server in the background and waits a second to see that it stays.
pub fn start(environment: &Environment, request: &Request) -> Result<ExitCode, LaunchError> {
    let installation = Installation::announced(environment, request)?;
    start_installation(environment, &installation)
}

fn start_installation(
    environment: &Environment,
    installation: &Installation,
) -> Result<ExitCode, LaunchError> {
    installation.prepare_pid_file(environment)?;
    print_now("Starting zookeeper ... ");
    if let Some(pid) = process::read_pid(&installation.pid_file)?
        && process::is_server(pid)
    {
        say(&format!("already running as process {pid}."));
        return Ok(ExitCode::FAILURE);
    }
    let failed = |said: &'static str| {
        move |error: LaunchError| {
            say(said);
            error
        }
    };
    Config::load(&installation.sources)
        .map_err(LaunchError::from)
        .map_err(failed("FAILED TO START"))?;
    let mut child = process::spawn_detached(
        &installation.server_arguments(),
        &environment.log_dir,
        &environment.out_file(),
    )
    .map_err(failed("SERVER DID NOT START"))?;
    if let Err(error) = process::write_pid(&installation.pid_file, child.id()) {
        say("FAILED TO WRITE PID");
        process::kill_child(&mut child);
        return Err(error);
    }
    if process::stays(&mut child) {
        say("STARTED");
        return Ok(ExitCode::SUCCESS);
    }
    say("FAILED TO START");
    process::report_end(&environment.out_file());
    let pid_file = &installation.pid_file;
    std::fs::remove_file(pid_file).map_err(LaunchError::file("remove", pid_file))?;
    Ok(ExitCode::FAILURE)
}

/// Asks the server to end and waits until it has.
pub fn stop(environment: &Environment, request: &Request) -> Result<ExitCode, LaunchError> {
    let installation = Installation::announced(environment, request)?;
    stop_installation(&installation)
}

fn stop_installation(installation: &Installation) -> Result<ExitCode, LaunchError> {
    print_now("Stopping zookeeper ... ");
    let pid_file = &installation.pid_file;
    let Some(pid) = process::read_pid(pid_file)? else {
        say(&format!(
            "no zookeeper to stop (could not find file {})",
            pid_file.display()
        ));
        return Ok(ExitCode::SUCCESS);
    };
    if process::is_server(pid) {
        process::terminate(pid);
    } else {
        eprintln!("process {pid} is not running, or is not a server");
    }
    std::fs::remove_file(pid_file).map_err(LaunchError::file("remove", pid_file))?;
    let has_ended = process::wait_for_end(pid);
    say("STOPPED");
    if !has_ended {
        eprintln!("process {pid} is still ending");
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops the server, if one is running, and starts it again.
pub fn restart(environment: &Environment, request: &Request) -> Result<ExitCode, LaunchError> {
    let installation = Installation::announced(environment, request)?;
    stop_installation(&installation)?;
    start_installation(environment, &installation)
}

/// Settings for a server in the foreground, after saying where they come from as zkServer.sh does.
pub fn start_foreground(
    environment: &Environment,
    request: &Request,
) -> Result<Sources, LaunchError> {
    let installation = Installation::announced(environment, request)?;
    installation.prepare_pid_file(environment)?;
    Ok(installation.sources)
}

/// Settings for a server that was given this zoo.cfg, or none.
pub fn server_sources(
    environment: &Environment,
    request: &Request,
) -> Result<Sources, LaunchError> {
    Ok(Installation::find(environment, request)?.sources)
}

/// Prints the version.
pub fn version() -> ExitCode {
    say(concat!(
        "zkore, version ",
        env!("CARGO_PKG_VERSION"),
        " (protocol of Apache ZooKeeper 3.9)"
    ));
    ExitCode::SUCCESS
}

/// Prints the command that `start` runs.
pub fn print_command(
    environment: &Environment,
    request: &Request,
) -> Result<ExitCode, LaunchError> {
    let installation = Installation::announced(environment, request)?;
    let program = process::own_program()?;
    let words: Vec<String> = std::iter::once(program.display().to_string())
        .chain(installation.server_arguments())
        .map(|word| format!("\"{word}\""))
        .collect();
    say(&format!(
        "{} > \"{}\" 2>&1 < /dev/null",
        words.join(" "),
        environment.out_file().display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Prints a line.
fn say(line: &str) {
    print_now(&format!("{line}\n"));
}

/// Prints without ending the line.
fn print_now(text: &str) {
    let mut out = io::stdout();
    // A reader that went away, as `grep -q` does, must not keep the command from its work.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
