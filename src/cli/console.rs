//! Where output goes. Results and events are printed from different threads, so each is written as
//! one piece.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use rustyline::ExternalPrinter;

use crate::client::WatchedEvent;

/// The standard output and error of a shell.
#[derive(Default)]
pub struct Console {
    /// Prints above the line that the user is editing, while there is one.
    above_prompt: Mutex<Option<Box<dyn ExternalPrinter + Send>>>,
}

impl Console {
    /// Prints lines to the standard output. That nobody reads them is no reason to stop: the
    /// command has its effect all the same.
    pub fn out(&self, text: &str) {
        self.raw(&format!("{text}\n"));
    }

    /// Prints text as it is to the standard output.
    pub fn raw(&self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Prints lines to the standard error.
    pub fn err(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Prints an event as zkCli does.
    pub fn event(&self, event: &WatchedEvent) {
        let text = format!("\nWATCHER::\n\n{event}\n");
        let mut printer = self
            .above_prompt
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let printed = match printer.as_mut() {
            Some(printer) => printer.print(text.clone()).is_ok(),
            None => false,
        };
        if !printed {
            self.raw(&text);
        }
    }

    /// From now on events are printed above the line that the user is editing.
    pub fn set_above_prompt(&self, printer: Box<dyn ExternalPrinter + Send>) {
        *self
            .above_prompt
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(printer);
    }
}
