//! Completion: commands, and paths of znodes.

use std::sync::Arc;

use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::super::client::{Client, ConnectionState};
use super::command_names;

/// Completes with what the server has at this moment.
pub(super) struct Completer {
    client: Arc<Client>,
}

impl Completer {
    pub(super) const fn new(client: Arc<Client>) -> Self {
        Self { client }
    }

    pub(super) fn set_client(&mut self, client: Arc<Client>) {
        self.client = client;
    }
}

/// The word that ends at the cursor and where it starts, and what could stand in its place.
fn candidates(line: &str, children: impl FnOnce(&str) -> Vec<String>) -> (usize, Vec<String>) {
    let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let word = &line[start..];
    let mut found: Vec<String> = if let Some(slash) = word.rfind('/').filter(|_| word.starts_with('/')) {
        // Only the root ends in a slash.
        let (parent, prefix) = (&word[..slash.max(1)], &word[slash + 1..]);
        let children = children(parent).into_iter().filter(|child| child.starts_with(prefix));
        children.map(|child| format!("{}/{child}", if slash == 0 { "" } else { parent })).collect()
    } else {
        command_names().filter(|name| name.starts_with(word)).map(str::to_owned).collect()
    };
    found.sort();
    (start, found)
}

impl rustyline::completion::Completer for Completer {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(candidates(&line[..pos], |parent| {
            // Without a connection there is nothing to complete with, and no reason to wait for one.
            let connected =
                matches!(self.client.state(), ConnectionState::Connected | ConnectionState::ConnectedReadOnly);
            if !connected {
                return Vec::new();
            }
            self.client.get_children(parent, false).map(|(children, _)| children).unwrap_or_default()
        }))
    }
}

impl Hinter for Completer {
    type Hint = String;
}

impl Highlighter for Completer {}

impl Validator for Completer {}

impl Helper for Completer {}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(line: &str) -> (usize, Vec<String>) {
        candidates(line, |parent| match parent {
            "/" => vec!["b".to_owned(), "app".to_owned(), "apple".to_owned()],
            "/app" => vec!["x".to_owned()],
            _ => vec![],
        })
    }

    #[test]
    fn commands_complete() {
        assert_eq!(complete("getA"), (0, vec!["getAcl".to_owned(), "getAllChildrenNumber".to_owned()]));
        assert_eq!(complete("set /a").0, 4);
    }

    #[test]
    fn paths_complete() {
        assert_eq!(complete("get /a"), (4, vec!["/app".to_owned(), "/apple".to_owned()]));
        assert_eq!(complete("ls -s /"), (6, vec!["/app".to_owned(), "/apple".to_owned(), "/b".to_owned()]));
        assert_eq!(complete("ls /app/"), (3, vec!["/app/x".to_owned()]));
        assert_eq!(complete("ls /none/x"), (3, vec![]));
    }
}
