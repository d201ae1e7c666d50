//! What came of a run: as a table for people, as JSON, as percentile files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::connection::Op;
use super::record::Faults;
use super::stages::{self, Told};

/// The format of the JSON.
pub(super) const FORMAT: &str = "zoo-bench-1";

/// Steps of a percentile plot between one half of what remains and the next, as HdrHistogram's own files have them.
const TICKS_PER_HALF: u32 = 5;

/// One second of the measured time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moment {
    pub(super) second: u64,
    pub(super) operations: u64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) max_us: f64,
}

/// See the file's page.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) workload: String,
    pub(super) options: Value,
    pub(super) servers: Vec<String>,
    /// Seconds since 1970.
    pub(super) started: u64,
    /// Measured.
    pub(super) seconds: f64,
    pub(super) operations: u64,
    pub(super) all: Histogram<u64>,
    /// How many kinds of operations are in it.
    pub(super) headline_count: usize,
    pub(super) by_operation: BTreeMap<Op, Histogram<u64>>,
    pub(super) timeline: Vec<Moment>,
    pub(super) faults: Faults,
    pub(super) lateness: Option<Histogram<u64>>,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
    /// Processor time of this tool in the measured time and its warm-up, as a share of one core.
    pub(super) generator_cores: f64,
    /// What the servers tell of their stages; empty if they were not asked.
    pub(super) stages: Vec<Told>,
}

/// Nanoseconds as microseconds.
pub(super) fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

fn latency(histogram: &Histogram<u64>) -> Value {
    let at = |quantile| us(histogram.value_at_quantile(quantile));
    json!({
        "min": us(histogram.min()),
        "mean": (histogram.mean()).round() / 1e3,
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "p999": at(0.999),
        "p9999": at(0.9999),
        "max": us(histogram.max()),
    })
}

impl Outcome {
    pub(super) fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.operations as f64 / self.seconds } else { 0.0 }
    }

    pub(super) fn to_json(&self) -> Value {
        let by_operation: serde_json::Map<String, Value> = self
            .by_operation
            .iter()
            .map(|(op, histogram)| {
                let mut fields = latency(histogram);
                fields["operations"] = histogram.len().into();
                (op.name().to_owned(), fields)
            })
            .collect();
        let percentiles: Vec<Value> = self
            .all
            .iter_quantiles(TICKS_PER_HALF)
            .scan(0, |count, step| {
                *count += step.count_since_last_iteration();
                Some(json!([step.quantile_iterated_to() * 100.0, us(step.value_iterated_to()), *count]))
            })
            .collect();
        let timeline: Vec<Value> = self
            .timeline
            .iter()
            .map(|moment| json!([moment.second, moment.operations, moment.p50_us, moment.p99_us, moment.max_us]))
            .collect();
        let per_second = |bytes: u64| if self.seconds > 0.0 { bytes as f64 / self.seconds } else { 0.0 };
        json!({
            "format": FORMAT,
            "name": self.name,
            "workload": self.workload,
            "options": self.options,
            "servers": self.servers,
            "started": self.started,
            "seconds": self.seconds,
            "operations": self.operations,
            "per_second": self.per_second(),
            "bytes_per_second": { "sent": per_second(self.sent_bytes), "received": per_second(self.received_bytes) },
            "errors": self.faults.errors_by_name(),
            "wrong": self.faults.wrong,
            "examples": self.faults.examples,
            "unsent": self.faults.unsent,
            "latency_us": latency(&self.all),
            "by_operation": by_operation,
            "percentiles": percentiles,
            "timeline": timeline,
            "lateness_us": self.lateness.as_ref().map(latency),
            "generator_cores": self.generator_cores,
            "server_stages": stages::to_json(&self.stages),
        })
    }

    /// For people.
    pub(super) fn to_table(&self) -> String {
        let mut text = String::new();
        let out = &mut text;
        let _ = writeln!(
            out,
            "{}: {} operations in {:.2} s, {} /s   ({} sent, {} received; this tool used {:.2} of a core)",
            self.name,
            grouped(self.operations),
            self.seconds,
            grouped(self.per_second().round() as u64),
            bytes(self.sent_bytes as f64 / self.seconds.max(1e-9)),
            bytes(self.received_bytes as f64 / self.seconds.max(1e-9)),
            self.generator_cores,
        );
        let _ = writeln!(
            out,
            "\n{:<10}{:>13}{:>11}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "latency", "operations", "/s", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"
        );
        for (op, histogram) in &self.by_operation {
            self.row(out, op.name(), histogram);
        }
        if self.headline_count > 1 {
            self.row(out, "all", &self.all);
        }
        if let Some(lateness) = &self.lateness {
            let (p99, max) = (lateness.value_at_quantile(0.99), lateness.max());
            let _ = writeln!(
                out,
                "\nRequests were written {} after they were due at p99, {} at most (it is in their latency).",
                time(p99),
                time(max)
            );
        }
        out.push_str(&stages::to_table(&self.stages));
        if self.faults.unsent > 0 {
            let _ = writeln!(
                out,
                "\n{} requests were due and never made, because so many were outstanding already: the rate is more than is \
                 carried.\nThey are in the latencies with the time that they had waited.",
                grouped(self.faults.unsent)
            );
        }
        if self.faults.count() > 0 {
            let _ = writeln!(out, "\nNOT GOOD:");
            for (name, count) in self.faults.errors_by_name() {
                let _ = writeln!(out, "  {count:>12}  {name}");
            }
            if self.faults.wrong > 0 {
                let _ = writeln!(out, "  {:>12}  wrong answers", self.faults.wrong);
            }
            for example in &self.faults.examples {
                let _ = writeln!(out, "                e.g. {example}");
            }
        }
        text
    }

    fn row(&self, out: &mut String, name: &str, histogram: &Histogram<u64>) {
        let at = |quantile| time(histogram.value_at_quantile(quantile));
        let _ = writeln!(
            out,
            "{:<10}{:>13}{:>11}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
            name,
            grouped(histogram.len()),
            grouped((histogram.len() as f64 / self.seconds.max(1e-9)).round() as u64),
            time(histogram.mean() as u64),
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            at(0.9999),
            time(histogram.max()),
        );
    }

    /// Writes `PREFIX.hgrm`, and one for each operation if there are several.
    pub(super) fn write_percentiles(&self, prefix: &Path) -> io::Result<()> {
        let with = |end: &str| {
            let mut name = prefix.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        fs::write(with(".hgrm"), percentile_file(&self.all))?;
        if self.by_operation.len() > 1 {
            for (op, histogram) in &self.by_operation {
                fs::write(with(&format!("-{}.hgrm", op.name())), percentile_file(histogram))?;
            }
        }
        Ok(())
    }
}

/// A histogram as HdrHistogram's tools print it, in microseconds.
fn percentile_file(histogram: &Histogram<u64>) -> String {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        count += step.count_since_last_iteration();
        let (value, quantile) = (us(step.value_iterated_to()), step.quantile_iterated_to());
        let _ = if quantile < 1.0 {
            writeln!(text, "{value:12.3} {quantile:2.12} {count:10} {:14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(text, "{value:12.3} {quantile:2.12} {count:10}")
        };
    }
    let _ = writeln!(
        text,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]",
        histogram.mean() / 1e3,
        histogram.stdev() / 1e3
    );
    let _ = writeln!(text, "#[Max     = {:12.3}, Total count    = {:12}]", us(histogram.max()), histogram.len());
    let _ = writeln!(text, "#[Buckets = {:12}, SubBuckets     = {:12}]", histogram.buckets(), 2048);
    text
}

/// 1234567 as 1,234,567.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds with a unit that fits.
pub(super) fn time(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000_000 => (ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

fn bytes(per_second: f64) -> String {
    let (value, unit) = match per_second {
        ..1e3 => (per_second, "B/s"),
        ..1e6 => (per_second / 1e3, "kB/s"),
        ..1e9 => (per_second / 1e6, "MB/s"),
        _ => (per_second / 1e9, "GB/s"),
    };
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::super::record::histogram;
    use super::*;

    fn outcome() -> Outcome {
        let mut all = histogram();
        (1..=1000).for_each(|value| all.record(value * 1000).expect("in its bounds"));
        Outcome {
            name: "a run".to_owned(),
            workload: "get".to_owned(),
            options: json!({}),
            servers: vec!["127.0.0.1:2181".to_owned()],
            started: 1,
            seconds: 2.0,
            operations: 1000,
            by_operation: BTreeMap::from([(Op::Get, all.clone())]),
            all,
            headline_count: 1,
            timeline: vec![Moment { second: 0, operations: 500, p50_us: 1.0, p99_us: 2.0, max_us: 3.0 }],
            faults: Faults::default(),
            lateness: None,
            sent_bytes: 2000,
            received_bytes: 4000,
            generator_cores: 0.5,
            stages: Vec::new(),
        }
    }

    #[test]
    fn json_says_all() {
        let value = outcome().to_json();
        assert_eq!(value["format"], FORMAT);
        assert_eq!(value["per_second"], 500.0);
        assert_eq!(value["bytes_per_second"], json!({ "sent": 1000.0, "received": 2000.0 }));
        let p50 = value["latency_us"]["p50"].as_f64().expect("a number");
        assert!((499.0..502.0).contains(&p50), "{p50}");
        assert_eq!(value["by_operation"]["get"]["operations"], 1000);
        let percentiles = value["percentiles"].as_array().expect("an array");
        let last = percentiles.last().expect("some");
        assert_eq!((last[0].as_f64(), last[2].as_u64()), (Some(100.0), Some(1000)));
        assert!(percentiles.windows(2).all(|two| two[0][1].as_f64() <= two[1][1].as_f64()));
        assert_eq!(value["timeline"], json!([[0, 500, 1.0, 2.0, 3.0]]));
    }

    #[test]
    fn percentile_files_read_as_others_do() {
        let text = percentile_file(&outcome().all);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().expect("a number")).collect())
            .collect();
        assert_eq!((rows[0][1], rows[0].len()), (0.0, 4));
        let last = rows.last().expect("some");
        assert_eq!((last[1], last[2], last.len()), (1.0, 1000.0, 3));
        assert!(text.contains("#[Max     =     1000.447, Total count    =         1000]"), "{text}");
    }

    #[test]
    fn people_see_what_went_wrong() {
        let mut outcome = outcome();
        assert!(!outcome.to_table().contains("NOT GOOD"));
        outcome.faults.wrong = 3;
        outcome.faults.examples.push("get: not its data".to_owned());
        outcome.faults.unsent = 7;
        let table = outcome.to_table();
        assert!(table.contains("3  wrong answers") && table.contains("e.g. get: not its data"), "{table}");
        assert!(table.contains("7 requests were due and never made"), "{table}");
    }

    #[test]
    fn figures_for_people() {
        assert_eq!((grouped(1), grouped(999), grouped(1_234_567)), ("1".into(), "999".into(), "1,234,567".into()));
        assert_eq!(
            (time(1_500), time(25_000_000), time(3_100_000_000)),
            ("1.50 us".into(), "25.0 ms".into(), "3.10 s".into())
        );
        assert_eq!((bytes(10.0), bytes(2.5e9)), ("10.0 B/s".into(), "2.5 GB/s".into()));
    }
}
