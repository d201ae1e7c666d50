//! What survives a power cut: the log, the snapshots, and how a server finds its way back from them.

pub mod disk;
