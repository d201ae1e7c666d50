//! Answers to the operator: a server's status goes in, text comes out.

pub mod word;
