//! What can be wrong with a configuration, said so that the operator can mend it: where, which key, what, and what to do.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Where a setting was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a file.
    Line {
        /// The file as it was named.
        file: PathBuf,
        /// From 1.
        line: usize,
    },
    /// A file as a whole.
    File(PathBuf),
    /// The command line.
    CommandLine,
    /// The flags of the Java machine, in the environment.
    Environment,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{}:{line}", file.display()),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::CommandLine => f.write_str("command line"),
            Self::Environment => f.write_str("SERVER_JVMFLAGS or JVMFLAGS"),
        }
    }
}

/// The kinds of trouble, in the order in which reading meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A file cannot be read.
    Unreadable,
    /// A file is not in Properties syntax.
    Syntax,
    /// A key that must be there is not.
    Missing,
    /// A value that its key does not allow.
    Value,
    /// Two settings that contradict each other.
    Conflict,
    /// A setting whose point is to protect, and which this server cannot keep: better not to start than to serve unprotected.
    Unprotected,
    /// A complete and valid ensemble, which this version does not serve.
    Ensemble,
    /// The data folder holds an Apache ZooKeeper's data and none of ours.
    ApacheData,
    /// The data folder cannot be used.
    DataFolder,
}

/// Why the server cannot start with this configuration.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub struct ConfigError {
    /// What sort of trouble.
    pub kind: ErrorKind,
    /// Where; `None` if nothing in particular is at fault (a missing key when there is no file).
    pub place: Option<Place>,
    /// The key at fault, as it was written.
    pub key: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub advice: String,
}

impl ConfigError {
    /// An error with no place and no key yet.
    pub(super) fn new(kind: ErrorKind, problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { kind, place: None, key: None, problem: problem.into(), advice: advice.into() }
    }

    pub(super) fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    pub(super) fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

/// `place: key: problem; advice`.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        write!(f, "{}; {}", self.problem, self.advice)
    }
}
