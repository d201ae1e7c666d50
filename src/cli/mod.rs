//! The operator's words: the command line and what it starts.

pub mod client;
pub mod shell;
