//! Completion of commands and of paths (Apache's `JLineZNodeCompleter`).

use std::sync::{Arc, Mutex, PoisonError};

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use crate::client::Client;
use crate::types::path::{join, parent};

use super::command;

/// The client that the shell uses now, shared with the line editor.
pub type CurrentClient = Arc<Mutex<Option<Arc<Client>>>>;

/// Completes the word before the cursor: a path where it begins with a slash, else a command.
pub struct Completion {
    client: CurrentClient,
}

impl Completion {
    /// Completes with the children that `client` lists.
    pub fn new(client: CurrentClient) -> Completion {
        Completion { client }
    }

    fn paths(&self, word: &str) -> Vec<String> {
        let client = self
            .client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // Without a connection the list would not come, and the user could not type.
        let Some(client) = client.filter(|client| client.state().is_connected()) else {
            return Vec::new();
        };
        let folder = parent(word);
        match client.get_children(folder, None) {
            Ok((children, _)) => matching(folder, children, word),
            Err(_) => Vec::new(),
        }
    }
}

fn matching(folder: &str, children: Vec<String>, word: &str) -> Vec<String> {
    let mut paths: Vec<String> = children
        .iter()
        .map(|child| join(folder, child))
        .filter(|path| path.starts_with(word))
        .collect();
    paths.sort();
    paths
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = &line[..position];
        let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = &before[start..];
        let candidates = if word.starts_with('/') {
            self.paths(word)
        } else {
            let names = command::names().into_iter();
            names
                .filter(|name| name.starts_with(word))
                .map(str::to_owned)
                .collect()
        };
        let pairs = candidates.into_iter().map(|candidate| Pair {
            display: candidate.clone(),
            replacement: candidate,
        });
        Ok((start, pairs.collect()))
    }
}

impl Hinter for Completion {
    type Hint = String;
}

impl Highlighter for Completion {}

impl Validator for Completion {}

impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_that_begin_like_the_word() {
        let children = || vec!["b".to_owned(), "ab".to_owned(), "aa".to_owned()];
        assert_eq!(matching("/", children(), "/a"), ["/aa", "/ab"]);
        assert_eq!(
            matching("/x", children(), "/x/"),
            ["/x/aa", "/x/ab", "/x/b"]
        );
        assert!(matching("/x", children(), "/x/c").is_empty());
    }
}
