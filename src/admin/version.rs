//! What this server says it is.
//!
//! Clients and monitoring tools take the first three numbers for the ZooKeeper version and choose their features by it (kazoo
//! from `envi`, exporters from `mntr` and `srvr`): so the version whose behaviour this server keeps comes first, then ours.

/// The Apache ZooKeeper version whose behaviour is kept.
pub const ZOOKEEPER_VERSION: &str = "3.9.5";

/// Our own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// When this version was made, in the form of Apache's builds. Set `ZOO_BUILT_ON` while building to state another time.
pub const BUILT_ON: &str = match option_env!("ZOO_BUILT_ON") {
    Some(time) => time,
    None => "2026-11-22 00:00 UTC",
};

/// `3.9.5-zoo_server-0.1.0, built on ...`: the shape of Apache's `Version.getFullVersion`.
pub fn full_version() -> String {
    format!("{ZOOKEEPER_VERSION}-zoo_server-{VERSION}, built on {BUILT_ON}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_find_a_zookeeper_version_first() {
        let version = full_version();
        // kazoo: everything up to the first character that is neither digit nor dot.
        let numbers = version.split(|letter: char| !letter.is_ascii_digit() && letter != '.').next().unwrap();
        assert_eq!(numbers, ZOOKEEPER_VERSION);
        assert_eq!(version.split(", built on ").count(), 2);
    }
}
