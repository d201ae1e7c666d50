//! The page that lays several runs side by side: one file, with all it needs in it.

use std::fs;

use serde_json::Value;

use super::args::ReportArgs;
use super::outcome::FORMAT;
use super::runner::Failure;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What a run's JSON must have for the page to show it.
const FIELDS: [&str; 12] = [
    "name",
    "workload",
    "options",
    "servers",
    "started",
    "seconds",
    "operations",
    "per_second",
    "errors",
    "latency_us",
    "percentiles",
    "timeline",
];

/// Reads the runs and writes the page.
pub(super) fn run(args: &ReportArgs) -> Result<bool, Failure> {
    let mut runs = Vec::new();
    for file in &args.runs {
        let bad = |words: String| Failure::Usage(format!("{}: {words}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| bad(error.to_string()))?;
        let run: Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        runs.push(checked(run).map_err(bad)?);
    }
    fs::write(&args.output, page(&args.title, runs))
        .map_err(|error| Failure::Run(format!("cannot write {}: {error}", args.output.display())))?;
    Ok(true)
}

/// Whether it is a run, and one that this page can show.
fn checked(run: Value) -> Result<Value, String> {
    if run["format"] != FORMAT {
        return Err(format!("not a run that --json wrote (its format is {}, not \"{FORMAT}\")", run["format"]));
    }
    match FIELDS.iter().find(|field| run[**field].is_null()) {
        Some(field) => Err(format!("a run without {field}")),
        None => Ok(run),
    }
}

fn page(title: &str, runs: Vec<Value>) -> String {
    // Within a script element only "</" and "<!--" could end or confuse it.
    let data = Value::Array(runs).to_string().replace('<', "\\u003c");
    // Each place is filled once, and what was filled in is not looked at again: data may say "@SCRIPT@".
    let mut page = String::new();
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once('@') {
        page.push_str(before);
        let (name, after) = after.split_once('@').expect("places of the page are names between at signs");
        match name {
            "TITLE" => page.push_str(&escaped(title)),
            "STYLE" => page.push_str(STYLE),
            "SCRIPT" => page.push_str(SCRIPT),
            "DATA" => page.push_str(&data),
            other => panic!("the page has a place called {other}"),
        }
        rest = after;
    }
    page + rest
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn a_run(name: &str) -> Value {
        let mut run = json!({ "format": FORMAT });
        for field in FIELDS {
            run[field] = json!(0);
        }
        run["name"] = json!(name);
        run
    }

    #[test]
    fn what_runs_are_called_cannot_break_the_page() {
        let page = page("a < b & c", vec![a_run("</script><script>alert(1)</script> @SCRIPT@")]);
        assert!(page.contains("<title>a &lt; b &amp; c</title>"));
        assert_eq!(page.matches("</script>").count(), 2, "the page's own");
        assert!(page.contains("\\u003c/script>\\u003cscript>alert(1)"));
        assert_eq!(page.matches("@SCRIPT@").count(), 1, "within the data");
    }

    #[test]
    fn nothing_is_asked_of_others() {
        let page = page("t", vec![a_run("a")]);
        for word in ["http:", "https:", "src=", "@import", "url(", "fetch(", "XMLHttpRequest"] {
            assert!(!page.contains(word), "{word}");
        }
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn only_runs_are_taken() {
        assert!(checked(a_run("a")).is_ok());
        assert!(checked(json!({})).unwrap_err().contains("not a run"));
        assert!(checked(json!([1])).unwrap_err().contains("not a run"));
        let mut run = a_run("a");
        run["percentiles"] = Value::Null;
        assert_eq!(checked(run).unwrap_err(), "a run without percentiles");
    }
}
