//! Runs commands, one or many, on one client after the other.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};

use crate::client::{
    Client, ClientConfig, ClientError, ConnectString, EventKind, KeeperState, State, WatchedEvent,
    Watcher,
};
use crate::types::ErrorCode;

use super::command::{self, Sort};
use super::complete::{Completion, CurrentClient};
use super::console::Console;
use super::error::CliError;
use super::words;

/// How long output waits for events that came before it.
const EVENTS_BEFORE_OUTPUT: Duration = Duration::from_secs(1);

/// The state of zkCli.
pub struct Shell {
    config: ClientConfig,
    wait_for_connection: bool,
    console: Arc<Console>,
    print_watches: Arc<AtomicBool>,
    host: String,
    current: CurrentClient,
    watcher: Watcher,
    /// Told when the present client is connected for the first time.
    connects: Option<Receiver<()>>,
    /// The lines so far, by their number.
    lines: BTreeMap<usize, String>,
    command_number: usize,
    exit_code: u8,
    quits: bool,
}

impl Shell {
    /// A shell without a client. With `wait_for_connection` a connect that does not succeed within
    /// the session timeout is an error.
    pub fn new(console: Console, config: ClientConfig, wait_for_connection: bool) -> Shell {
        let console = Arc::new(console);
        let print_watches = Arc::new(AtomicBool::new(true));
        Shell {
            config,
            wait_for_connection,
            watcher: printing_watcher(&console, &print_watches),
            console,
            print_watches,
            host: String::new(),
            current: CurrentClient::default(),
            connects: None,
            lines: BTreeMap::new(),
            command_number: 0,
            exit_code: 0,
            quits: false,
        }
    }

    /// Closes the session, if there is one, and begins another with the servers of `host`.
    pub fn connect(&mut self, host: String) -> Result<(), CliError> {
        // A bad connect string leaves the present session as it is.
        ConnectString::parse(&host).map_err(ClientError::from)?;
        self.close();
        self.host = host;
        let (connected, connects) = sync_channel(1);
        let print = self.watcher.clone();
        let watcher = Watcher::new(move |event: &WatchedEvent| {
            print.process(event);
            if event.kind == EventKind::None && event.state == KeeperState::SyncConnected {
                // Full, or nobody waits: it has been told before.
                let _ = connected.try_send(());
            }
        });
        let client = Client::connect(&self.host, self.config.clone(), Some(watcher.clone()))?;
        self.watcher = watcher;
        *self.lock_current() = Some(Arc::new(client));
        let patience = Duration::from_millis(self.config.session_timeout_ms.max(0) as u64);
        if self.wait_for_connection && connects.recv_timeout(patience).is_err() {
            self.close();
            return Err(CliError::Client(ClientError::Keeper {
                code: ErrorCode::ConnectionLoss,
                path: None,
            }));
        }
        // Where it was waited for already, there is nothing more to hear.
        self.connects = (!self.wait_for_connection).then_some(connects);
        Ok(())
    }

    /// Runs the lines of the standard input, with an editor on a terminal. As with zkCli, whose
    /// editor does so, each line is prompted for wherever it comes from.
    pub fn run_lines(&mut self) {
        self.console.out("Welcome to ZooKeeper!");
        self.console.out("JLine support is enabled");
        if io::stdin().is_terminal() {
            match self.editor() {
                Ok(editor) => return self.run_edited_lines(editor),
                Err(error) => tracing::debug!(%error, "no line editor"),
            }
        }
        self.run_plain_lines();
    }

    fn run_plain_lines(&mut self) {
        self.await_connection();
        let mut lines = io::stdin().lock().split(b'\n');
        while !self.quits {
            self.flush_events();
            self.console.raw(&self.prompt());
            match lines.next() {
                Some(Ok(line)) => {
                    let line = String::from_utf8_lossy(&line);
                    self.run_line(line.trim_end_matches('\r'));
                }
                Some(Err(error)) => return self.console.err(&error.to_string()),
                // zkCli's editor fails here, which zkCli takes for one that is not there.
                None => return self.console.out("JLine support is disabled"),
            }
        }
    }

    /// Gives the connection the time that Java needs to get its line editor, so that the first
    /// prompt tells of it here as well.
    fn await_connection(&self) {
        const PATIENCE: Duration = Duration::from_millis(500);
        if let Some(connects) = &self.connects {
            // The prompt shows what came of it.
            let _ = connects.recv_timeout(PATIENCE);
        }
    }

    fn editor(&self) -> rustyline::Result<Editor<Completion, DefaultHistory>> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .auto_add_history(true)
            .build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Completion::new(Arc::clone(&self.current))));
        // Without it events are printed where the cursor is.
        if let Ok(printer) = editor.create_external_printer() {
            self.console.set_above_prompt(Box::new(printer));
        }
        Ok(editor)
    }

    fn run_edited_lines(&mut self, mut editor: Editor<Completion, DefaultHistory>) {
        while !self.quits {
            match editor.readline(&self.prompt()) {
                Ok(line) => self.run_line(&line),
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => return,
                Err(error) => return self.console.err(&error.to_string()),
            }
        }
    }

    fn prompt(&self) -> String {
        let state = self
            .client_if_any()
            .map_or(State::Closed, |client| client.state());
        format!("[zk: {}({state}) {}] ", self.host, self.command_number)
    }

    fn run_line(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        self.remember(line.to_owned());
        self.run(&words::split(line));
        self.command_number += 1;
    }

    /// Runs one command, and keeps its exit code.
    pub fn run(&mut self, words: &[String]) {
        match self.run_words(words) {
            Ok(()) if self.quits => {}
            Ok(()) => self.exit_code = 0,
            Err(error) => {
                self.exit_code = error.exit_code();
                self.console.err(&error.to_string());
            }
        }
        self.flush_events();
    }

    fn run_words(&mut self, words: &[String]) -> Result<(), CliError> {
        let Some(name) = words.first() else {
            self.console.err(&command::usage());
            return Err(CliError::Usage("No command entered".to_owned()));
        };
        let Some(command) = command::find(name) else {
            self.console.err(&command::usage());
            return Err(CliError::UnknownCommand(name.clone()));
        };
        if command.sort == Sort::Shell {
            (command.run)(self, command, words)?;
            if self.quits {
                return Ok(());
            }
        }
        if !self.client().state().is_alive() {
            self.out("Not connected");
            return Ok(());
        }
        if command.sort != Sort::Shell {
            (command.run)(self, command, words)?;
        }
        Ok(())
    }

    /// Closes the session, if it is not closed, and prints the event that tells of it.
    pub fn close(&self) {
        if let Some(client) = self.client_if_any() {
            client.close();
        }
        self.flush_events();
    }

    /// Closes the session and takes no more lines.
    pub fn quit(&mut self) {
        self.close();
        self.quits = true;
    }

    /// The exit code of the last command.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// Where to print to, apart from events: complaints and notices.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Prints a result, after the events that came before it.
    pub fn out(&self, text: &str) {
        self.flush_events();
        self.console.out(text);
    }

    fn flush_events(&self) {
        if let Some(client) = self.client_if_any() {
            client.flush_events(EVENTS_BEFORE_OUTPUT);
        }
    }

    /// The present client.
    pub fn client(&self) -> Arc<Client> {
        self.client_if_any()
            .expect("commands run once there is a client")
    }

    fn client_if_any(&self) -> Option<Arc<Client>> {
        self.lock_current().clone()
    }

    fn lock_current(&self) -> std::sync::MutexGuard<'_, Option<Arc<Client>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connect string of the present client.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The watcher of all watches.
    pub fn watcher(&self) -> Watcher {
        self.watcher.clone()
    }

    /// The watcher, where one is asked for.
    pub fn watch_if(&self, asked: bool) -> Option<Watcher> {
        asked.then(|| self.watcher())
    }

    /// Whether events are printed.
    pub fn print_watches(&self) -> bool {
        self.print_watches.load(Ordering::Relaxed)
    }

    /// Prints events from now on, or does not.
    pub fn set_print_watches(&self, prints: bool) {
        self.print_watches.store(prints, Ordering::Relaxed);
    }

    /// The number of the present line; the first is 0.
    pub fn command_number(&self) -> usize {
        self.command_number
    }

    /// A line by its number.
    pub fn past_line(&self, number: usize) -> Option<&str> {
        self.lines.get(&number).map(String::as_str)
    }

    /// Keeps what the present line says.
    pub fn remember(&mut self, line: String) {
        self.lines.insert(self.command_number, line);
    }
}

fn printing_watcher(console: &Arc<Console>, print_watches: &Arc<AtomicBool>) -> Watcher {
    let (console, print_watches) = (Arc::clone(console), Arc::clone(print_watches));
    Watcher::new(move |event| {
        if print_watches.load(Ordering::Relaxed) {
            console.event(event);
        }
    })
}
