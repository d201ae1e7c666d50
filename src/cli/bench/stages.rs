//! What servers tell of the time that requests spend in their stages: `zk_stage_STAGE_FIGURE` in mntr, in microseconds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer that is read.
const ANSWER_LEN_MAX: u64 = 1 << 20;

/// Of a stage: the mean, percentiles and the greatest since the server's start, and how many there were.
const FIGURES: [&str; 6] = ["avg", "p50", "p99", "p999", "max", "cnt"];

/// Figures by stage.
pub(super) type Stages = BTreeMap<String, BTreeMap<String, f64>>;

/// Asks a server; what it does not tell is empty.
pub(super) fn ask(address: SocketAddr) -> std::io::Result<Stages> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"mntr")?;
    let mut answer = String::new();
    stream.take(ANSWER_LEN_MAX).read_to_string(&mut answer)?;
    Ok(parse(&answer))
}

fn parse(answer: &str) -> Stages {
    let mut stages = Stages::new();
    for line in answer.lines() {
        let figure = line.strip_prefix("zk_stage_").and_then(|rest| {
            let (key, value) = rest.split_once(['\t', ' '])?;
            let (stage, figure) = key.rsplit_once('_')?;
            Some((stage, FIGURES.contains(&figure).then_some(figure)?, value.trim().parse().ok()?))
        });
        if let Some((stage, figure, value)) = figure {
            stages.entry(stage.to_owned()).or_default().insert(figure.to_owned(), value);
        }
    }
    stages
}

/// What one server said before and after the run.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) server: String,
    pub(super) before: Result<Stages, String>,
    pub(super) after: Result<Stages, String>,
}

/// For the record.
pub(super) fn to_json(told: &[Told]) -> Value {
    let side = |stages: &Result<Stages, String>| match stages {
        Ok(stages) => json!(stages),
        Err(error) => json!({ "error": error }),
    };
    told.iter()
        .map(|told| (told.server.clone(), json!({ "before": side(&told.before), "after": side(&told.after) })))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// For people: the mean of the run itself, and the percentiles since the server's start.
pub(super) fn to_table(told: &[Told]) -> String {
    let mut text = String::new();
    for told in told {
        let (before, after) = match (&told.before, &told.after) {
            (Ok(before), Ok(after)) => (before, after),
            (Err(error), _) | (_, Err(error)) => {
                let _ = writeln!(text, "\n{}: its stages could not be asked for: {error}", told.server);
                continue;
            }
        };
        if after.is_empty() {
            let _ =
                writeln!(text, "\n{}: this server tells nothing of its stages (no zk_stage_* in mntr)", told.server);
            continue;
        }
        let _ = writeln!(
            text,
            "\n{:<22}{:>12}{:>12}   since the server's start:{:>9}{:>11}{:>11}{:>11}",
            format!("stages of {}", told.server),
            "in this run",
            "mean us",
            "p50",
            "p99",
            "p99.9",
            "max us"
        );
        for (stage, figures) in after {
            let figure = |name: &str| figures.get(name).copied().unwrap_or(0.0);
            let earlier = |name: &str| before.get(stage).and_then(|found| found.get(name)).copied().unwrap_or(0.0);
            let count = figure("cnt") - earlier("cnt");
            let sum = figure("avg") * figure("cnt") - earlier("avg") * earlier("cnt");
            let mean = if count > 0.0 { sum / count } else { 0.0 };
            let _ = writeln!(
                text,
                "{stage:<22}{count:>12.0}{mean:>12.1}{:>35.1}{:>11.1}{:>11.1}{:>11.1}",
                figure("p50"),
                figure("p99"),
                figure("p999"),
                figure("max")
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MNTR: &str = "zk_version\t3.10\nzk_stage_sync_avg\t10.5\nzk_stage_sync_cnt\t4\nzk_stage_log_write_p999\t7\n\
                        zk_stage_sync_odd\t1\nzk_stage_broken\nzk_server_state\tleader\n";

    #[test]
    fn stages_are_found_among_other_lines() {
        let stages = parse(MNTR);
        assert_eq!(stages.keys().collect::<Vec<_>>(), ["log_write", "sync"]);
        assert_eq!((stages["sync"]["avg"], stages["sync"]["cnt"], stages["log_write"]["p999"]), (10.5, 4.0, 7.0));
        assert!(parse("zk_version\t3.8.0\n").is_empty());
    }

    #[test]
    fn a_run_has_its_own_mean() {
        let stage =
            |avg, cnt| Stages::from([("sync".to_owned(), [("avg".to_owned(), avg), ("cnt".to_owned(), cnt)].into())]);
        let told = Told { server: "a:1".to_owned(), before: Ok(stage(10.0, 100.0)), after: Ok(stage(20.0, 200.0)) };
        let table = to_table(std::slice::from_ref(&told));
        assert!(
            table.lines().any(|line| line.starts_with("sync") && line.contains("100") && line.contains("30.0")),
            "{table}"
        );
        assert_eq!(to_json(&[told])["a:1"]["after"]["sync"]["cnt"], 200.0);
        let told = [
            Told { server: "a:1".to_owned(), before: Ok(Stages::new()), after: Ok(Stages::new()) },
            Told { server: "b:1".to_owned(), before: Err("refused".to_owned()), after: Ok(Stages::new()) },
        ];
        let table = to_table(&told);
        assert!(
            table.contains("a:1: this server tells nothing") && table.contains("b:1: its stages could not"),
            "{table}"
        );
    }
}
