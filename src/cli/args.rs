//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::bench::BenchArgs;
use super::shell::ShellArgs;
use crate::ids::Zxid;

const AFTER_HELP: &str = "\
Examples:
  zoo-server                                one server on 127.0.0.1:2181, data in ./data
  zoo-server run /etc/zookeeper/zoo.cfg     in the place of an Apache ZooKeeper server
  zoo-server run 2181 /var/lib/zoo          client port and data folder, as ZooKeeperServerMain takes them
  zoo-server run -D clientPort=0 --check    what a configuration comes to, without starting
  zoo-server shell -server localhost:2181 ls /
  zoo-server bench mix --rate 20000         throughput and latency of any ZooKeeper server
  zoo-server log verify data                is the log whole and unbroken?

Exit codes:
  0  ended in order
  1  failed while running, or a command found something wrong
  2  the command line or the configuration is wrong
  3  the data folder cannot be used";

/// Quiet unless something is wrong, but for a member of an ensemble: who leads since when, and why an election began.
const LOG_LEVEL_DEFAULT: &str = "warn,zoo_server::replica::node::ensemble=info,zoo_server::server::peers=info";

/// A coordination server that every ZooKeeper client can use unchanged.
#[derive(Clone, Debug, Parser)]
#[command(name = "zoo-server", version, after_help = AFTER_HELP, max_term_width = 120)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) log: LogArgs,

    /// What to do; `run` if nothing is said.
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// What is logged, and how. Logs go to standard error.
#[derive(Args, Clone, Debug)]
pub(super) struct LogArgs {
    /// What is logged: off, error, warn, info, debug or trace; or for single parts, as `warn,zoo_server::storage=debug`.
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        default_value = LOG_LEVEL_DEFAULT,
        help_heading = "Logging (to standard error)"
    )]
    pub(super) log_level: String,

    /// How a log line is written.
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Logging (to standard error)"
    )]
    pub(super) log_format: LogFormat,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Serve.
    Run(RunArgs),
    /// Talk to a server, in the words of zkCli.
    Shell(ShellArgs),
    /// Put load on any ZooKeeper server, and measure it.
    Bench(Box<BenchArgs>),
    /// Look into the log.
    #[command(subcommand)]
    Log(LogCommand),
    /// Look into snapshots.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
}

/// What to do with the log.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Show every transaction, in order; damage and what lies behind it too.
    Dump(LogDumpArgs),
    /// Check every byte, and that the files make one unbroken chain. Ends with 1 if not.
    Verify(InspectArgs),
}

/// What to do with snapshots.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum SnapshotCommand {
    /// Show everything in a snapshot; in a folder, in the newest.
    Dump(SnapshotDumpArgs),
    /// Check every byte. Ends with 1 if one is not whole.
    Verify(InspectArgs),
}

/// What to look at. Nothing is changed or locked: a server may be running.
#[derive(Args, Clone, Debug)]
pub(super) struct InspectArgs {
    /// A data folder (dataDir, or dataLogDir for the log), or one file of it.
    #[arg(value_name = "FOLDER | FILE", default_value = "data")]
    pub(super) path: PathBuf,

    /// One JSON object a line.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  zoo-server log dump /var/lib/zookeeper --from 0x1a2 --to 0x1b0
  zoo-server log dump --json --data data | jq 'select(.op == \"create\")'")]
pub(super) struct LogDumpArgs {
    #[command(flatten)]
    pub(super) inspect: InspectArgs,

    /// The first zxid to show, as 0x1f or as a decimal number.
    #[arg(long, value_name = "ZXID", value_parser = parse_zxid)]
    pub(super) from: Option<Zxid>,

    /// The last zxid to show.
    #[arg(long, value_name = "ZXID", value_parser = parse_zxid)]
    pub(super) to: Option<Zxid>,

    /// Show data too (escaped; base64 in JSON), not only its length.
    #[arg(long)]
    pub(super) data: bool,

    /// Show the frames too: what was made durable together.
    #[arg(long)]
    pub(super) frames: bool,
}

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  zoo-server snapshot dump /var/lib/zookeeper
  zoo-server snapshot dump --json data/zoo-1/snapshot.00000000000186a0 | jq 'select(.item == \"znode\").path'")]
pub(super) struct SnapshotDumpArgs {
    #[command(flatten)]
    pub(super) inspect: InspectArgs,

    /// Show data too (escaped; base64 in JSON), not only its length.
    #[arg(long)]
    pub(super) data: bool,
}

fn parse_zxid(text: &str) -> Result<Zxid, String> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    number.map(Zxid).map_err(|_| "write it as 0x1f, or as a decimal number".to_owned())
}

/// What to serve, and how.
#[derive(Args, Clone, Debug, Default)]
#[command(
    override_usage = "zoo-server run [OPTIONS] [ZOO_CFG]\n       zoo-server run [OPTIONS] PORT DATA_DIR [TICK_TIME [MAX_CLIENT_CNXNS]]",
    after_help = RUN_AFTER_HELP
)]
pub(super) struct RunArgs {
    /// A zoo.cfg; or client port and data folder, then perhaps tickTime (milliseconds) and maxClientCnxns. Nothing: port
    /// 2181 on 127.0.0.1, data in ./data.
    #[arg(value_name = "ZOO_CFG | PORT DATA_DIR ...", num_args = 0..=4)]
    pub(super) words: Vec<String>,

    /// Set a key of zoo.cfg, or a property that Apache's server takes as -Dkey=value; counts more than the file.
    #[arg(short = 'D', long = "set", value_name = "KEY=VALUE", value_parser = parse_setting)]
    pub(super) settings: Vec<(String, String)>,

    /// Read the configuration, say what it comes to, and end.
    #[arg(long)]
    pub(super) check: bool,
}

const RUN_AFTER_HELP: &str = "\
Keys of this server's own, for zoo.cfg or -D:
  zoo.shards        number of shards (one for each core that is left)
  zoo.shard.cores   their cores, as 2-7,9
  zoo.replica.core  core of the replica (the first)
  zoo.log.core      core of the log (the replica's with up to 4 cores, else the second)
  zoo.spin          microseconds that replica and log look for work before they sleep

SIGTERM, SIGINT and SIGHUP (the terminal is gone; not under nohup) end the server in order: what was acknowledged is there
at the next start.

Examples:
  zoo-server run zoo.cfg
  zoo-server run zoo.cfg -Dzookeeper.4lw.commands.whitelist='*' -D jute.maxbuffer=0x3fffff
  zoo-server run 2181 /var/lib/zoo 2000 100";

fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

impl RunArgs {
    /// The source of the configuration that the words name.
    pub(super) fn source(&self) -> Result<crate::config::Source, String> {
        use crate::config::Source;
        let number = |word: &String, what: &str| {
            word.parse::<i32>().map_err(|_| {
                format!("\"{word}\" is not a {what}: usage is PORT DATA_DIR [TICK_TIME [MAX_CLIENT_CNXNS]]")
            })
        };
        match self.words.as_slice() {
            [] => Ok(Source::Default),
            [file] => Ok(Source::File(PathBuf::from(file))),
            [port, data_dir, rest @ ..] => Ok(Source::Arguments {
                port: u16::try_from(number(port, "port")?)
                    .map_err(|_| format!("{port} is not a port: give 0 to 65535"))?,
                data_dir: PathBuf::from(data_dir),
                tick_ms: rest.first().map(|word| number(word, "tickTime")).transpose()?,
                max_client_cnxns: rest.get(1).map(|word| number(word, "number of connections")).transpose()?,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::Source;

    fn run_args(line: &str) -> RunArgs {
        let words = ["zoo-server"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).expect("a good line").command {
            Some(Command::Run(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }

    #[test]
    fn nothing_said_is_run() {
        let cli = Cli::try_parse_from(["zoo-server"]).expect("a good line");
        assert!(cli.command.is_none());
        assert_eq!((cli.log.log_level.as_str(), cli.log.log_format), (LOG_LEVEL_DEFAULT, LogFormat::Text));
        assert_eq!(RunArgs::default().source(), Ok(Source::Default));
    }

    #[test]
    fn sources() {
        assert_eq!(run_args("run conf/zoo.cfg").source(), Ok(Source::File("conf/zoo.cfg".into())));
        assert_eq!(
            run_args("run 2181 /data 500").source(),
            Ok(Source::Arguments { port: 2181, data_dir: "/data".into(), tick_ms: Some(500), max_client_cnxns: None })
        );
        assert!(run_args("run zoo.cfg other.cfg").source().unwrap_err().contains("\"zoo.cfg\" is not a port"));
        assert!(run_args("run 70000 /data").source().unwrap_err().contains("70000 is not a port"));
        assert!(Cli::try_parse_from(["zoo-server", "run", "1", "2", "3", "4", "5"]).is_err());
    }

    #[test]
    fn settings_as_java_and_as_we_write_them() {
        let args = run_args("run -Dzookeeper.snapCount=5 --set a=b=c -D x= zoo.cfg --log-level debug");
        let own = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(args.settings, [own("zookeeper.snapCount", "5"), own("a", "b=c"), own("x", "")]);
        assert_eq!(args.words, ["zoo.cfg"]);
        assert!(Cli::try_parse_from(["zoo-server", "run", "-D", "novalue"]).is_err());
    }

    #[test]
    fn zxids() {
        assert_eq!(parse_zxid("0x1f"), Ok(Zxid(31)));
        assert_eq!(parse_zxid("31"), Ok(Zxid(31)));
        assert!(parse_zxid("1f").is_err());
    }
}
