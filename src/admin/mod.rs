//! Answers to the operator: a server's status goes in, text comes out. No clock, no socket, no file.
//!
//! [`answer()`] gives the very text that Apache's server gives for a four-letter word; [`needs`] says what of a [`Status`] the
//! server has to gather for it. What a word changes (`crst`, `srst`, `stmk`) is the server's part: it does it before or
//! after it sends the text. Figures that this server does not have are left out, not invented.

mod answer;
pub mod figures;
mod java;
pub mod status;
pub mod version;
pub mod word;

pub use answer::{answer, answer_not_allowed, answer_not_serving, needs};
pub use java::iso_time;
pub use status::Status;
pub use word::{Whitelist, Word};
