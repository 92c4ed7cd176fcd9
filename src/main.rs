//! The `zkore` binary: dispatches its subcommands.

use std::fmt::Display;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tracing_subscriber::EnvFilter;
use zkore::config::{Config, LogFormat, Severity, Sources, Warning};
use zkore::history;
use zkore::launch::{self, EnsembleRequest, Environment, LaunchError, Request};
use zkore::rt::allocator::Allocator;
use zkore::rt::clock::Monotonic;
use zkore::rt::disk::StdDisk;
use zkore::sim::{self, Aim, Seeds, Shape, Told};
use zkore::wal::{self, WalError};

/// Small blocks of many sizes, freed on other threads than they were made on: what the C library's
/// allocator is slow at, and huge pages (perf/modules.md).
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Exit code of a bad command line or configuration, as Apache's `ExitCode.INVALID_INVOCATION`.
const EXIT_INVALID: u8 = 2;
/// Environment variable with a filter for log lines, as `tracing_subscriber::EnvFilter` reads it.
const LOG_VARIABLE: &str = "ZKORE_LOG";

const SERVER_USAGE: &str = "zkore server [OPTIONS] [ZOO.CFG]
       zkore server [OPTIONS] <PORT> <DATADIR> [TICKTIME] [MAXCNXNS]";

const ENSEMBLE_ABOUT: &str = "Run a whole ensemble on this machine, for trying it out

Writes a folder with zoo.cfg, myid and data for each member into DIR, or goes on with those that are
there, runs the members in the foreground, and prints the addresses for clients and each change of a
member's mode. Kill the leader to watch a failover; Ctrl-C ends all members. No member is restarted.";

/// The ZooKeeper service as a thread-per-core storage engine.
#[derive(Parser)]
#[command(name = "zkore", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a server in the foreground
    #[command(override_usage = SERVER_USAGE)]
    Server(ServerArguments),
    /// Start a server in the background
    Start(LaunchArguments),
    /// Run a server in the foreground, announced as by zkServer.sh
    StartForeground(LaunchArguments),
    /// Stop the server in the background
    Stop(LaunchArguments),
    /// Stop the server in the background and start it again
    Restart(LaunchArguments),
    /// Say in which mode the server runs
    Status(LaunchArguments),
    /// Print the version
    Version,
    /// Print the command that start runs
    PrintCmd(LaunchArguments),
    /// Run a whole ensemble on this machine, for trying it out
    #[command(long_about = ENSEMBLE_ABOUT)]
    Ensemble(EnsembleArguments),
    /// Talk to a server: zkCli
    #[command(disable_help_flag = true)]
    Cli(PassedOn),
    /// Run whole ensembles in virtual time, each from one seed, and check that they stand all that
    /// can go wrong
    Sim(SimArguments),
    /// Put load on a server and measure it
    #[command(disable_help_flag = true)]
    Bench(PassedOn),
    /// List the transactions in files of the log, and where they are damaged
    Log {
        /// Files log.<zxid>
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Check a recorded history of client operations: linearizable writes, whole multis, sessions that
    /// never go back, watches, ephemerals
    CheckHistory {
        /// JSON lines, one operation each; `zkore::history` describes them
        file: PathBuf,
    },
    /// Print the completions of a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Args)]
struct ServerArguments {
    /// A zoo.cfg; or port, data directory, tick time in ms and connections per client
    #[arg(value_name = "ARGUMENT", num_args = 0..=4)]
    arguments: Vec<String>,
    #[command(flatten)]
    settings: SettingArguments,
}

#[derive(Args)]
struct LaunchArguments {
    /// The zoo.cfg; a bare name is looked for in $ZOOCFGDIR
    #[arg(value_name = "ZOO.CFG")]
    config: Option<String>,
    #[command(flatten)]
    settings: SettingArguments,
}

#[derive(Args)]
struct EnsembleArguments {
    /// Members that vote
    #[arg(long, value_name = "N", default_value_t = 3)]
    members: usize,
    /// Members that follow without a vote
    #[arg(long, value_name = "M", default_value_t = 0)]
    observers: usize,
    /// Folder for the members' configurations, data and logs
    #[arg(long)]
    dir: PathBuf,
    /// The first member's port for clients; the others' follow it, and the members themselves use
    /// the ports 100 and 200 above
    #[arg(long, value_name = "PORT", default_value_t = 2181)]
    base_port: u16,
}

#[derive(Args)]
struct SimArguments {
    /// Run this seed; a failure prints what happened last
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run the seeds from A to B, without B, on all cores
    #[arg(long, value_name = "A..B")]
    seeds: Option<Seeds>,
    /// Begin no seed after this time, which may be a fraction; without seeds, run them from 1 on
    #[arg(long, value_name = "M", value_parser = read_minutes)]
    minutes: Option<Duration>,
    /// How many members: 1, 3, 5, or 5+2 with observers [default: each seed chooses]
    #[arg(long, value_name = "MEMBERS")]
    members: Option<Shape>,
    /// What is to go wrong: chance, new-epoch, lost-leader, slowness, sleep, deposed, unresolved or full
    /// [default: each seed chooses]
    #[arg(long, value_name = "AIM", conflicts_with = "no_faults")]
    aim: Option<Aim>,
    /// Let nothing go wrong
    #[arg(long)]
    no_faults: bool,
    /// Print everything that happens; takes one seed
    #[arg(long, requires = "seed")]
    trace: bool,
}

#[derive(Args)]
struct SettingArguments {
    /// Threads that serve clients [default: the cores but one]
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// What these threads run on: ring or glommio [default: ring]
    #[arg(long, value_name = "RUNTIME")]
    runtime: Option<String>,
    /// Set a key of zoo.cfg or a system property; outweighs both
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    define: Vec<String>,
    /// How log lines look: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Which log lines are written: error, warn, info, debug, trace, or a filter like
    /// info,zkore::wal=debug [env: ZKORE_LOG] [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Args)]
struct PassedOn {
    /// Arguments of the command itself
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("zkore: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Why a command ended early.
struct Failure {
    message: String,
    code: u8,
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Failure {
        let code = match error {
            LaunchError::Config(_) | LaunchError::Ensemble { .. } => EXIT_INVALID,
            _ => 1,
        };
        Failure {
            message: error.to_string(),
            code,
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode, Failure> {
    let environment = Environment::from_process();
    match command {
        Command::Server(arguments) => serve(&server_sources(&environment, arguments)?),
        Command::Start(arguments) => Ok(launch::start(&environment, &arguments.request())?),
        Command::StartForeground(arguments) => serve(&launch::start_foreground(
            &environment,
            &arguments.request(),
        )?),
        Command::Stop(arguments) => Ok(launch::stop(&environment, &arguments.request())?),
        Command::Restart(arguments) => Ok(launch::restart(&environment, &arguments.request())?),
        Command::Status(arguments) => Ok(launch::status(&environment, &arguments.request())?),
        Command::Ensemble(arguments) => Ok(launch::ensemble(&EnsembleRequest {
            members: arguments.members,
            observers: arguments.observers,
            dir: arguments.dir,
            base_port: arguments.base_port,
        })?),
        Command::Version => Ok(launch::version()),
        Command::PrintCmd(arguments) => {
            Ok(launch::print_command(&environment, &arguments.request())?)
        }
        Command::Sim(arguments) => simulate(&arguments),
        Command::Cli(passed) => Ok(zkore::cli::main(passed.arguments)),
        Command::Bench(passed) => Ok(zkore::bench::main(passed.arguments)),
        Command::Log { files } => list_log(&files),
        Command::CheckHistory { file } => check_history(&file),
        Command::Completions { shell } => {
            print_completions(shell);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Lists segments of the log (Apache's `TxnLogToolkit`); fails where one is damaged.
fn list_log(files: &[PathBuf]) -> Result<ExitCode, Failure> {
    let mut faults = 0;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for file in files {
        let summary = match wal::dump(&StdDisk, file, &mut out) {
            Ok(summary) => summary,
            // A reader that went away has seen what it wanted.
            Err(WalError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => break,
            Err(error) => {
                return Err(Failure {
                    message: error.to_string(),
                    code: 1,
                });
            }
        };
        faults += summary.faults;
    }
    let _ = out.flush();
    Ok(ExitCode::from(u8::from(faults > 0)))
}

/// Prints what a history shows; fails where it is not sound.
fn check_history(file: &Path) -> Result<ExitCode, Failure> {
    let failure = |error: &dyn Display| Failure {
        message: format!("{}: {error}", file.display()),
        code: 1,
    };
    let input = BufReader::new(File::open(file).map_err(|error| failure(&error))?);
    let history = history::read_lines(input).map_err(|error| failure(&error))?;
    let report = history::check(&history, history::CONFIGURATIONS_LIMIT_DEFAULT);
    print!("{report}");
    Ok(ExitCode::from(u8::from(!report.is_sound())))
}

/// Runs seeds; fails with the trace of the first that fails.
fn simulate(arguments: &SimArguments) -> Result<ExitCode, Failure> {
    let clock = Monotonic::start();
    let options = sim::Options {
        shape: arguments.members,
        aim: arguments.aim,
        has_faults: !arguments.no_faults,
        is_traced: arguments.trace,
    };
    let one = arguments.seed.map(|seed| Seeds(seed..seed + 1));
    let all = match arguments.minutes {
        Some(_) => Seeds(1..u64::MAX),
        None => Seeds(1..2),
    };
    let seeds = one.or_else(|| arguments.seeds.clone()).unwrap_or(all);
    let limit = arguments.minutes.unwrap_or(Duration::MAX);
    let is_over = || Duration::from_millis(clock.now_ms()) >= limit;
    let tell = |told: Told<'_>| match told {
        Told::Done(seed, summary) => println!(
            "seed {seed}: {} members, {} writes, checksum {:08x}",
            summary.shape, summary.writes, summary.digest.0
        ),
        Told::Failed(failure) => println!("{failure}"),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    match sim::run_seeds(seeds, options, threads, &is_over, &tell) {
        Ok(count) => {
            println!("{count} seeds stood all that went wrong");
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => Err(sim_failure(&failure)),
    }
}

fn read_minutes(text: &str) -> Result<Duration, String> {
    let minutes = text.parse().ok();
    let limit = minutes.and_then(|minutes: f64| Duration::try_from_secs_f64(60.0 * minutes).ok());
    limit.ok_or_else(|| "wanted a number of minutes, such as 10 or 0.5".to_owned())
}

fn sim_failure(failure: &sim::Failure) -> Failure {
    Failure {
        message: format!("seed {}: {}", failure.seed, failure.reason),
        code: 1,
    }
}

fn print_completions(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "zkore", &mut script);
    // A reader that went away has seen what it wanted.
    let _ = std::io::stdout().write_all(&script);
}

impl LaunchArguments {
    fn request(self) -> Request {
        Request {
            config: self.config,
            overrides: self.settings.overrides(),
        }
    }
}

impl SettingArguments {
    /// The flags as settings; a flag outweighs `-D`.
    fn overrides(self) -> Vec<String> {
        let log_level = self.log_level.or_else(|| {
            let variable = std::env::var(LOG_VARIABLE).ok();
            variable.filter(|filter| !filter.is_empty())
        });
        let flags = [
            ("zkore.shards", self.shards),
            ("zkore.runtime", self.runtime),
            ("zkore.logFormat", self.log_format),
            ("zkore.logLevel", log_level),
        ];
        let mut overrides = self.define;
        for (key, value) in flags {
            overrides.extend(value.map(|value| format!("{key}={value}")));
        }
        overrides
    }
}

/// One argument is a zoo.cfg, more are the standalone form, none leaves it to the environment.
fn server_sources(
    environment: &Environment,
    arguments: ServerArguments,
) -> Result<Sources, LaunchError> {
    let overrides = arguments.settings.overrides();
    let mut sources = match arguments.arguments.as_slice() {
        [] => launch::server_sources(environment, &Request::default())?,
        [config] => {
            let mut sources = Sources::from_environment();
            sources.read_file(config.as_ref())?;
            sources
        }
        _ => Sources {
            standalone_args: arguments.arguments,
            ..Sources::from_environment()
        },
    };
    sources.overrides.extend(overrides);
    Ok(sources)
}

fn serve(sources: &Sources) -> Result<ExitCode, Failure> {
    let invalid = |message: String| Failure {
        message,
        code: EXIT_INVALID,
    };
    let (config, warnings) =
        Config::load(sources).map_err(|error| invalid(format!("invalid config: {error}")))?;
    start_log(&config).map_err(invalid)?;
    for warning in &warnings {
        log_warning(warning);
    }
    zkore::server::run(config).map_err(|error| Failure {
        message: error.to_string(),
        code: error.exit_code(),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn start_log(config: &Config) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.log_filter)
        .map_err(|error| format!("log level {:?}: {error}", config.log_filter))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn log_warning(warning: &Warning) {
    match warning.severity {
        Severity::Notice => tracing::info!("{warning}"),
        Severity::Warning => tracing::warn!("{warning}"),
    }
}
