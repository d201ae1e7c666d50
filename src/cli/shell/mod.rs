//! `zoo-server shell`: zkCli's commands and syntax, interactive or one command alone.
//!
//! What goes to standard output and what to standard error, the words of the answers and of the errors, are zkCli's, because
//! scripts read them. Different on purpose: a command that fails makes a shell that runs it alone (or last) end with code 1
//! also where zkCli forgets to; the session is closed at the end, so that ephemeral znodes do not outlive it by a timeout; times
//! are in UTC; `help` exists.

mod args;
mod commands;
mod complete;
mod ensemble;
mod line;
mod options;
mod print;
mod quota;
mod screen;

#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use rustyline::error::ReadlineError;
use rustyline::history::{FileHistory, History};
use rustyline::{CompletionType, Config, Editor, ExternalPrinter};

pub use args::ShellArgs;

use args::Invocation;
use commands::{COMMANDS, Command, Context, Failure};
use complete::Completer;
use screen::Screen;

use super::client::{Client, ConnectString, ConnectionState, Error, Options};
use crate::wire::error_code::ErrorCode;

/// Lines that the history file keeps.
const HISTORY_LINES_MAX: usize = 1000;

/// How many lines `history` shows before the present one.
const HISTORY_SHOWN: usize = 10;

/// How the complaint about an unknown command begins.
const NOT_FOUND: &str = "Command not found";

/// The commands that need no server, with zkCli's usage.
const BUILT_IN: &[(&str, &str)] = &[
    ("connect", "host:port"),
    ("exit", ""),
    ("help", ""),
    ("history", ""),
    ("printwatches", "on|off"),
    ("quit", ""),
    ("redo", "cmdno"),
];

/// Runs the shell to its end.
pub fn run(args: &ShellArgs) -> ExitCode {
    let screen = Arc::new(Screen::standard());
    let invocation = match Invocation::parse(&args.words) {
        Ok(invocation) => invocation,
        Err(message) => {
            screen.complain(message);
            return ExitCode::FAILURE;
        }
    };
    screen.say(format!("Connecting to {}", invocation.server));
    let command = invocation.command.clone();
    let mut shell = match Shell::start(invocation, Arc::clone(&screen)) {
        Ok(shell) => shell,
        Err(failure) => {
            screen.complain(failure.0);
            return ExitCode::FAILURE;
        }
    };
    if !command.is_empty() {
        // Alone: no words about the end of the session behind the answer.
        shell.last = shell.execute(&command, None);
        screen.set_shows_events(false);
        shell.client.close();
        return shell.last.code();
    }
    screen.say("Welcome to ZooKeeper!");
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let ended = if is_terminal { shell.edit_lines() } else { shell.read_lines() };
    if let Err(error) = ended {
        screen.complain(format!("the shell cannot read on: {error}"));
        shell.last = Ending::Failed;
    }
    shell.client.close();
    shell.last.code()
}

/// How a command ended, which is how the shell ends if it was the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    Ok,
    Failed,
    /// There is no such command.
    Unknown,
}

impl Ending {
    /// The codes of zkCli, which gives the one that POSIX shells give to an unknown command.
    fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Unknown => 127,
        })
    }
}

/// A shell with its connection.
struct Shell {
    invocation: Invocation,
    screen: Arc<Screen>,
    client: Arc<Client>,
    /// Every line so far; a line's number is its place.
    history: Vec<String>,
    last: Ending,
    is_over: bool,
}

impl Shell {
    fn start(invocation: Invocation, screen: Arc<Screen>) -> Result<Self, Failure> {
        let client = Arc::new(connect(&invocation, &screen)?);
        Ok(Self { invocation, screen, client, history: Vec::new(), last: Ending::Ok, is_over: false })
    }

    /// Commands from a terminal, with editing, history and completion.
    fn edit_lines(&mut self) -> Result<(), ReadlineError> {
        let config = Config::builder().completion_type(CompletionType::List).auto_add_history(false);
        let config = config.max_history_size(HISTORY_LINES_MAX)?.build();
        let mut editor: Editor<Completer, FileHistory> = Editor::with_config(config)?;
        editor.set_helper(Some(Completer::new(Arc::clone(&self.client))));
        let history_file = history_file();
        if let Some(file) = &history_file {
            // There is none the first time.
            let _ = editor.load_history(file);
        }
        if let Ok(mut printer) = editor.create_external_printer() {
            self.screen.set_line_printer(Box::new(move |text| {
                let _ = printer.print(text);
            }));
        }
        while !self.is_over {
            let prompt = format!("[zk: {}({}) {}] ", self.invocation.server, self.client.state(), self.history.len());
            match editor.readline(&prompt) {
                Ok(line) => {
                    // Credentials do not belong into a file.
                    if !line.trim_start().starts_with("addauth") {
                        editor.add_history_entry(&line)?;
                    }
                    self.take_line(&line);
                    if let Some(helper) = editor.helper_mut() {
                        helper.set_client(Arc::clone(&self.client));
                    }
                }
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(error),
            }
        }
        if let Some(file) = &history_file {
            save_history(editor.history_mut(), file);
        }
        Ok(())
    }

    /// Commands from a file or pipe.
    fn read_lines(&mut self) -> Result<(), ReadlineError> {
        for line in io::stdin().lock().lines() {
            self.take_line(&line?);
            if self.is_over {
                break;
            }
        }
        Ok(())
    }

    /// One typed line.
    fn take_line(&mut self, text: &str) {
        let words = line::split(text);
        if words.is_empty() {
            return;
        }
        let number = self.history.len();
        self.history.push(text.to_owned());
        self.last = self.execute(&words, Some(number));
    }

    /// Runs a command; complains if it fails. `number` is its line's, if it came on a line.
    fn execute(&mut self, words: &[String], number: Option<usize>) -> Ending {
        match self.dispatch(words, number) {
            Ok(()) => Ending::Ok,
            Err(failure) => {
                self.screen.complain(&failure.0);
                if failure.0.starts_with(NOT_FOUND) { Ending::Unknown } else { Ending::Failed }
            }
        }
    }

    fn dispatch(&mut self, words: &[String], number: Option<usize>) -> Result<(), Failure> {
        let Some((name, rest)) = words.split_first() else { return Err("No command entered".into()) };
        match name.as_str() {
            "quit" | "exit" => {
                self.is_over = true;
                Ok(())
            }
            "help" => {
                self.screen.say(usage());
                Ok(())
            }
            "history" => {
                self.show_history();
                Ok(())
            }
            "printwatches" => self.print_watches(rest),
            "connect" => self.reconnect(rest.first()),
            "redo" => self.redo(rest, number),
            _ => self.run_command(name, rest),
        }
    }

    fn run_command(&self, name: &str, rest: &[String]) -> Result<(), Failure> {
        let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
            self.screen.complain(usage());
            return Err(format!("{NOT_FOUND} {name}").into());
        };
        if !self.client.state().is_alive() {
            return Err("Not connected".into());
        }
        command.run(&Context { client: &self.client, screen: &self.screen }, rest)
    }

    fn show_history(&self) {
        let first = self.history.len().saturating_sub(HISTORY_SHOWN + 1);
        for (number, line) in self.history.iter().enumerate().skip(first) {
            self.screen.say(format!("{number} - {line}"));
        }
    }

    fn print_watches(&self, rest: &[String]) -> Result<(), Failure> {
        match rest.first() {
            None => {
                let state = if self.screen.shows_events() { "on" } else { "off" };
                self.screen.say(format!("printwatches is {state}"));
            }
            Some(word) => self.screen.set_shows_events(word == "on"),
        }
        Ok(())
    }

    fn reconnect(&mut self, server: Option<&String>) -> Result<(), Failure> {
        let invocation =
            Invocation { server: server.unwrap_or(&self.invocation.server).clone(), ..self.invocation.clone() };
        self.client.close();
        self.client = Arc::new(connect(&invocation, &self.screen)?);
        self.invocation = invocation;
        Ok(())
    }

    fn redo(&mut self, rest: &[String], number: Option<usize>) -> Result<(), Failure> {
        let text = rest.first().ok_or_else(|| Failure::from("redo cmdno"))?;
        let earlier = text.parse::<usize>().ok().filter(|earlier| number.is_some_and(|number| *earlier < number));
        let line = earlier.and_then(|earlier| self.history.get(earlier)).cloned();
        let line = line.ok_or_else(|| Failure::from("Command index out of range"))?;
        let words = line::split(&line);
        if words.first().is_some_and(|first| first == "redo") {
            return Err("No redoing redos".into());
        }
        // From now on this line stands for what it redid.
        if let Some(present) = number.and_then(|number| self.history.get_mut(number)) {
            *present = line;
        }
        self.dispatch(&words, number)
    }
}

/// Starts a client, and waits for its connection if that was asked for.
fn connect(invocation: &Invocation, screen: &Arc<Screen>) -> Result<Client, Failure> {
    let listener = Arc::clone(screen);
    let options = Options {
        session_timeout: invocation.timeout,
        read_only: invocation.read_only,
        listener: Some(Arc::new(move |event| listener.show_event(event))),
        ..Options::new(ConnectString::parse(&invocation.server)?)
    };
    let client = Client::start(options).map_err(|error| Failure(format!("no thread for the connection: {error}")))?;
    if invocation.wait_for_connection && !client.wait_connected(invocation.timeout) {
        let is_expired = client.state() == ConnectionState::Expired;
        let code = if is_expired { ErrorCode::SESSION_EXPIRED } else { ErrorCode::CONNECTION_LOSS };
        return Err(Error::keeper(code, None).into());
    }
    Ok(client)
}

/// All commands with their syntax.
fn usage() -> String {
    let mut lines: Vec<String> = COMMANDS
        .iter()
        .map(Command::usage)
        .chain(BUILT_IN.iter().map(|(name, rest)| format!("{name} {rest}")))
        .collect();
    lines.sort();
    format!("ZooKeeper -server host:port cmd args\n\t{}", lines.join("\n\t"))
}

/// The names of all commands.
fn command_names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|command| command.name).chain(BUILT_IN.iter().map(|(name, _)| *name))
}

fn history_file() -> Option<PathBuf> {
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".zoo_server_history"))
}

/// Keeps the history for the next time; it may hold what others should not read. That it cannot be kept is no reason to fail.
fn save_history(history: &mut FileHistory, file: &PathBuf) {
    let private = OpenOptions::new().create(true).append(true).mode(0o600).open(file);
    if private.is_ok() {
        let _ = history.save(file);
    }
}
