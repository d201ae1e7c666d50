//! The tree of znodes.

pub mod map;
