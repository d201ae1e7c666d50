//! `config` and `reconfig`: the ensemble's configuration, shown and changed.

use std::fs;

use super::commands::{Context, Failure};
use super::options::Parsed;
use super::print;

/// `config [-c] [-w] [-s]`.
pub(super) fn config(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let (data, stat) = context.client.get_config(parsed.has("w"))?;
    let data = data.unwrap_or_else(|| b"null".to_vec());
    if parsed.has("c") {
        context.screen.say(client_addresses(&String::from_utf8_lossy(&data)));
    } else {
        context.screen.say_bytes(&data);
    }
    if parsed.has("s") {
        context.screen.say(print::stat(&stat));
    }
    Ok(())
}

/// `reconfig`, by members that join and leave, or by all new members.
pub(super) fn reconfig(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let given = |name: &str| parsed.value(name);
    let by_all = given("file").is_some() || given("members").is_some();
    let by_some = given("add").is_some() || given("remove").is_some();
    if !by_all && !by_some {
        return Err(format!(
            "reconfig {}",
            super::commands::COMMANDS
                .iter()
                .find(|command| command.name == "reconfig")
                .map_or("", |found| found.syntax)
        )
        .into());
    }
    if by_all && by_some {
        return Err(
            "Can't use -file or -members together with -add or -remove (mixing incremental and non-incremental \
                    modes is not allowed)"
                .into(),
        );
    }
    if given("file").is_some() && given("members").is_some() {
        return Err("Can't use -file and -members together (conflicting non-incremental modes)".into());
    }
    let version = match given("v") {
        None => -1,
        Some(text) => i64::from_str_radix(text, 16)
            .map_err(|_| Failure::from("-v must be followed by a long (configuration version)"))?,
    };
    let lower = |name: &str| given(name).map(str::to_lowercase);
    let members = match given("file") {
        Some(path) => Some(members_of_file(path)?),
        None => lower("members"),
    };
    let (config, stat) =
        context.client.reconfig(lower("add").as_deref(), lower("remove").as_deref(), members.as_deref(), version)?;
    context.screen.say("Committed new configuration:");
    context.screen.say_bytes(&config.unwrap_or_default());
    if parsed.has("s") {
        context.screen.say(print::stat(&stat));
    }
    Ok(())
}

/// The membership lines of a configuration file.
fn members_of_file(path: &str) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure(format!("Error processing {path}: {error}")))?;
    let is_member = |line: &&str| ["server.", "group.", "weight."].iter().any(|start| line.starts_with(start));
    let lines: Vec<&str> = text.lines().map(str::trim).filter(is_member).collect();
    if lines.is_empty() {
        return Err(format!("Error processing {path}: it names no server").into());
    }
    Ok(lines.join("\n"))
}

/// The version and the servers' client addresses, as a connect string.
fn client_addresses(config: &str) -> String {
    let mut version = "";
    let mut addresses = Vec::new();
    for line in config.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        match key.trim() {
            "version" => version = value.trim(),
            // server.N=host:port:port[:role];[client host:]client port
            key if key.starts_with("server.") => {
                if let Some((_, client)) = value.split_once(';') {
                    let client = client.trim();
                    let has_host = client.contains(':');
                    addresses.push(if has_host { client.to_owned() } else { format!("0.0.0.0:{client}") });
                }
            }
            _ => {}
        }
    }
    format!("{version} {}", addresses.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_addresses_are_a_connect_string() {
        let config = "server.1=a:1:2:participant;10.0.0.1:2181\nserver.2=b:1:2;2182\nserver.3=c:1:2\nversion=1a";
        assert_eq!(client_addresses(config), "1a 10.0.0.1:2181,0.0.0.0:2182");
        assert_eq!(client_addresses(""), " ");
    }
}
