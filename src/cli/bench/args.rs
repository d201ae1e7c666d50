//! The words of `zoo-server bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::connection::Op;
use super::keys::Distribution;

const AFTER_HELP: &str = "\
A closed loop keeps --outstanding requests on the way on each connection; latency counts from when a request's batch was written.
With --rate, requests are due at even intervals whatever the server does; latency counts from the instant each was due, so time in
which the server stands still is in the figures (no coordinated omission).

Below --root the tool makes what the workload needs, and removes it afterwards. It refuses a root that is there already, unless
--reuse is given; what was there then stays.

Examples:
  zoo-server bench get                                     reads from 127.0.0.1:2181, as many as it can answer
  zoo-server bench set --hosts a:2181,b:2181,c:2181        durable writes, connections spread over an ensemble
  zoo-server bench mix --write-percent 10 --rate 20000     latency at a load that the server can carry
  zoo-server bench get --keys 1000000 --prepare-only       fill a tree of a million znodes, then
  zoo-server bench get --keys 1000000 --reuse              ... read from it, as often as you like
  zoo-server bench set --connections 1 --outstanding 1     a lone writer
  zoo-server bench watch --watchers 10000                  one write, ten thousand events
  zoo-server bench get --json ours.json --name ours        keep a run, then
  zoo-server bench report ours.json theirs.json -o report.html    ... lay several side by side

Exit codes:
  0  every answer was good
  1  errors or wrong answers were counted, or the run could not be made
  2  the command line is wrong";

/// Puts load on any server that speaks the ZooKeeper protocol, and measures it.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    override_usage = "zoo-server bench [OPTIONS] WORKLOAD\n       zoo-server bench report RUN.json... -o REPORT.html"
)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(super) command: Option<BenchCommand>,

    #[command(flatten)]
    pub(super) load: Option<LoadArgs>,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Lay recorded runs side by side on one page for a browser.
    Report(ReportArgs),
}

/// Which runs, and where the page goes.
#[derive(Args, Clone, Debug)]
pub(super) struct ReportArgs {
    /// What `--json` wrote.
    #[arg(value_name = "RUN.json", required = true)]
    pub(super) runs: Vec<PathBuf>,

    /// The page: one file that needs nothing else, and asks nobody for anything.
    #[arg(short, long, value_name = "REPORT.html")]
    pub(super) output: PathBuf,

    /// What stands at its head.
    #[arg(long, default_value = "zoo-server bench")]
    pub(super) title: String,
}

/// What is done to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Workload {
    /// getData of keys
    Get,
    /// setData of keys
    Set,
    /// create, each connection below a parent of its own
    Create,
    /// delete of a stock of --keys znodes, which is made again, unmeasured, whenever it is used up
    Delete,
    /// exists of keys
    Exists,
    /// getChildren2 of keys that have --children each
    Children,
    /// getData and setData of keys, by --write-percent
    Mix,
    /// A multi of --multi-ops setData
    Multi,
    /// create and delete of ephemeral znodes in turn
    Ephemeral,
    /// Lives of sessions: connect, create an ephemeral znode, close; each connection one life after the other
    Session,
    /// One setData after the other to a znode on which --watchers connections have watches; latency until each has its event
    Watch,
    /// Sessions opened (and closed again) as fast as --connections at a time can
    Connect,
}

impl Workload {
    /// Its name as it is written.
    pub(super) fn name(self) -> String {
        self.to_possible_value().expect("every workload has a name").get_name().to_owned()
    }

    /// What counts as an operation.
    pub(super) const fn headline(self) -> &'static [Op] {
        match self {
            Self::Get => &[Op::Get],
            Self::Set => &[Op::Set],
            Self::Create => &[Op::Create],
            Self::Delete => &[Op::Delete],
            Self::Exists => &[Op::Exists],
            Self::Children => &[Op::Children],
            Self::Mix => &[Op::Get, Op::Set],
            Self::Multi => &[Op::Multi],
            Self::Ephemeral => &[Op::Create, Op::Delete],
            Self::Session => &[Op::Session],
            Self::Watch => &[Op::Event],
            Self::Connect => &[Op::Connect],
        }
    }

    /// Whether it works on the keys.
    pub(super) const fn wants_keys(self) -> bool {
        matches!(self, Self::Get | Self::Set | Self::Exists | Self::Children | Self::Mix | Self::Multi | Self::Watch)
    }

    /// Whether it makes znodes of its own below a parent for each connection.
    pub(super) const fn wants_parents(self) -> bool {
        matches!(self, Self::Create | Self::Ephemeral | Self::Session)
    }
}

/// One run.
#[derive(Args, Clone, Debug)]
pub(super) struct LoadArgs {
    /// What to do.
    #[arg(value_enum, value_name = "WORKLOAD")]
    pub(super) workload: Workload,

    /// Servers; the connections are spread over them.
    #[arg(long, value_name = "HOST:PORT,...", default_value = "127.0.0.1:2181", help_heading = "Load")]
    pub(super) hosts: String,

    /// Connections, each with a session of its own.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = "Load")]
    pub(super) connections: u32,

    /// Requests outstanding on each connection at most.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = "Load")]
    pub(super) outstanding: u32,

    /// Requests a second in all; absent: as many as are answered.
    #[arg(long, value_name = "N", value_parser = parse_rate, help_heading = "Load")]
    pub(super) rate: Option<f64>,

    /// How long is measured: 10s, 500ms, 2m.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time, help_heading = "Load")]
    pub(super) duration: Duration,

    /// How long the load runs before that.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_time, help_heading = "Load")]
    pub(super) warm_up: Duration,

    /// Threads of this tool; one drives more than a million requests a second.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "Load")]
    pub(super) threads: u32,

    /// Bytes of data in each znode.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=64 << 20), help_heading = "Work")]
    pub(super) data: u32,

    /// Znodes to work on (1000; for delete the stock, 100000).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000_000), help_heading = "Work")]
    pub(super) keys: Option<u32>,

    /// How they are chosen.
    #[arg(long, value_enum, default_value = "uniform", help_heading = "Work")]
    pub(super) distribution: Distribution,

    /// For mix: how many of a hundred requests write.
    #[arg(long, value_name = "P", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100), help_heading = "Work")]
    pub(super) write_percent: u32,

    /// For multi: how many setData are in each.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "Work")]
    pub(super) multi_ops: u32,

    /// For children: how many each key has.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = "Work")]
    pub(super) children: u32,

    /// For watch: connections that watch; one more writes. Takes the place of --connections.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = "Work")]
    pub(super) watchers: u32,

    /// The same seed chooses the same keys.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Work")]
    pub(super) seed: u64,

    /// Where the tool's znodes are.
    #[arg(long, value_name = "PATH", default_value = "/bench", help_heading = "Znodes")]
    pub(super) root: String,

    /// Leave them there.
    #[arg(long, help_heading = "Znodes")]
    pub(super) keep: bool,

    /// Take those that are there; they stay.
    #[arg(long, help_heading = "Znodes")]
    pub(super) reuse: bool,

    /// Make them, and end.
    #[arg(long, help_heading = "Znodes")]
    pub(super) prepare_only: bool,

    /// What the run is called in reports.
    #[arg(long, value_name = "LABEL", help_heading = "Result")]
    pub(super) name: Option<String>,

    /// Write the result as JSON.
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub(super) json: Option<PathBuf>,

    /// Write percentile files of HdrHistogram: PREFIX.hgrm, and PREFIX-OPERATION.hgrm if there are several operations.
    #[arg(long, value_name = "PREFIX", help_heading = "Result")]
    pub(super) hgrm: Option<PathBuf>,

    /// Ask each server's mntr before and after for the time that requests spend in its stages (zk_stage_*), and show it.
    #[arg(long, help_heading = "Result")]
    pub(super) server_stages: bool,

    /// Only the result.
    #[arg(long, help_heading = "Result")]
    pub(super) quiet: bool,
}

impl LoadArgs {
    /// What the run is called.
    pub(super) fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.workload.name())
    }

    /// Connections in all.
    pub(super) const fn connections(&self) -> u32 {
        match self.workload {
            Workload::Watch => self.watchers + 1,
            _ => self.connections,
        }
    }

    /// Znodes that are there for the workload.
    pub(super) const fn key_count(&self) -> u32 {
        match self.workload {
            Workload::Watch => 1,
            Workload::Delete => match self.keys {
                Some(keys) => keys,
                None => 100_000,
            },
            _ => match self.keys {
                Some(keys) => keys,
                None => 1000,
            },
        }
    }

    /// All of them, for the record.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "hosts": self.hosts,
            "connections": self.connections(),
            "outstanding": self.outstanding,
            "rate": self.rate,
            "duration_s": self.duration.as_secs_f64(),
            "warm_up_s": self.warm_up.as_secs_f64(),
            "threads": self.threads,
            "data": self.data,
            "keys": self.key_count(),
            "distribution": self.distribution.to_possible_value().map(|value| value.get_name().to_owned()),
            "write_percent": self.write_percent,
            "multi_ops": self.multi_ops,
            "children": self.children,
            "watchers": self.watchers,
            "seed": self.seed,
            "root": self.root,
            "keep": self.keep,
            "reuse": self.reuse,
        })
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.replace('_', "").parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e9 => Ok(rate),
        _ => Err("write it as requests a second, above 0".to_owned()),
    }
}

/// A time with its unit; a bare number is seconds.
fn parse_time(text: &str) -> Result<Duration, String> {
    let bad = || "write it as 10s, 500ms or 2m".to_owned();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let seconds = match unit {
        "" | "s" => number,
        "ms" => number / 1e3,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(bad()),
    };
    if seconds > 86_400.0 * 7.0 { Err("at most a week".to_owned()) } else { Ok(Duration::from_secs_f64(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, ms) in [("10s", 10_000), ("500ms", 500), ("2m", 120_000), ("1.5", 1500), ("0", 0), ("1h", 3_600_000)]
        {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "1d", "1.2.3s", "-1s", "9999h"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(parse_rate("20_000"), Ok(20_000.0));
        for text in ["0", "-1", "x", "inf", "NaN"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
