//! The shell's command line: zkCli's own, with its one-dash options, and then a command that may have options of its own.

use std::time::Duration;

use clap::Args;

/// Where zkCli connects when nothing is said.
const SERVER_DEFAULT: &str = "localhost:2181";

/// The session timeout that zkCli asks for.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Talk to a ZooKeeper server, in the words of zkCli.
///
/// Without a command, reads commands from the terminal or from standard input. `help` lists them.
#[derive(Args, Clone, Debug, Default)]
#[command(override_usage = "zoo-server shell [-server host:port[,host:port...][/chroot]] [-timeout ms] [-r] \
                            [-waitforconnection] [command [arguments...]]")]
pub struct ShellArgs {
    /// Options as of zkCli: -server host:port,.../chroot (localhost:2181), -timeout milliseconds (30000), -r (a read-only
    /// server will do), -waitforconnection. Then a command with its arguments, which is run alone.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS AND COMMAND")]
    pub words: Vec<String>,
}

/// What the words mean.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Invocation {
    pub(super) server: String,
    pub(super) timeout: Duration,
    pub(super) read_only: bool,
    pub(super) wait_for_connection: bool,
    /// Empty: interactive.
    pub(super) command: Vec<String>,
}

impl Invocation {
    /// Reads the words as `ZooKeeperMain` does: options, then from the first word without a dash on the command. Unlike it,
    /// unknown options are errors. Two dashes are as good as one.
    pub(super) fn parse(words: &[String]) -> Result<Self, String> {
        let mut invocation = Self {
            server: SERVER_DEFAULT.to_owned(),
            timeout: TIMEOUT_DEFAULT,
            read_only: false,
            wait_for_connection: false,
            command: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix('-') else {
                invocation.command = std::iter::once(word).chain(words).cloned().collect();
                break;
            };
            let mut value = || words.next().ok_or_else(|| format!("Error: no argument found for option {word}"));
            match option.strip_prefix('-').unwrap_or(option) {
                "server" => invocation.server.clone_from(value()?),
                "timeout" => {
                    let text = value()?;
                    let timeout_ms = text.parse::<u32>().ok().filter(|timeout_ms| *timeout_ms > 0);
                    let timeout_ms =
                        timeout_ms.ok_or_else(|| format!("Error: not a timeout in milliseconds: {text}"))?;
                    invocation.timeout = Duration::from_millis(u64::from(timeout_ms));
                }
                "r" => invocation.read_only = true,
                "waitforconnection" => invocation.wait_for_connection = true,
                "client-configuration" => {
                    return Err(
                        "Error: -client-configuration is for TLS and SASL, which this shell does not speak".to_owned()
                    );
                }
                _ => return Err(format!("Error: unknown option {word}")),
            }
        }
        Ok(invocation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Invocation::parse(&words)
    }

    #[test]
    fn options_end_where_the_command_begins() {
        let parsed = parse("-server a:1/b -timeout 500 -r create -e /x").expect("good");
        assert_eq!(parsed.server, "a:1/b");
        assert_eq!(parsed.timeout, Duration::from_millis(500));
        assert!(parsed.read_only);
        assert!(!parsed.wait_for_connection);
        assert_eq!(parsed.command, ["create", "-e", "/x"]);
        assert_eq!(parse("").expect("nothing is fine").server, SERVER_DEFAULT);
    }

    #[test]
    fn mistakes_are_told() {
        for line in ["-server", "-timeout x", "-timeout 0", "-sevrer a:1 ls /"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
