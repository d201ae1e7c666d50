//! Quotas: znodes below `/zookeeper/quota` that the server reads and keeps the count in (Apache's `Quotas`, `StatsTrack`,
//! `SetQuotaCommand`, `DelQuotaCommand`, `ListQuotaCommand`).

use std::collections::BTreeMap;
use std::fmt;

use super::super::client::{Client, CreateMode, Error};
use super::commands::{Context, Failure, depth_first, join};
use super::options::Parsed;
use crate::wire::acl::AclList;
use crate::wire::error_code::ErrorCode;

const ROOT: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// The four limits: the letter of the option, the key in the znode, and whether 0 is a limit.
const KINDS: [(&str, &str, bool); 4] =
    [("n", COUNT, false), ("b", BYTES, true), ("N", "countHardLimit", false), ("B", "byteHardLimit", true)];
const COUNT: &str = "count";
const BYTES: &str = "bytes";

/// Counts or limits; -1 is none. As text: `count=4,bytes=5=;byteHardLimit=10;countHardLimit=10`, where the odd `=` lets the
/// parser of 3.4 pass over the rest.
#[derive(Debug, Default, PartialEq, Eq)]
struct Track(BTreeMap<String, i64>);

impl Track {
    fn parse(text: &[u8]) -> Result<Self, Failure> {
        let text = String::from_utf8_lossy(text);
        let mut values = BTreeMap::new();
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let bad = || Failure(format!("this is no quota: {text}"));
            let mut parts = pair.split('=');
            let (Some(key), Some(value)) = (parts.next(), parts.next()) else { return Err(bad()) };
            let value = if value.is_empty() { -1 } else { value.parse().map_err(|_| bad())? };
            values.insert(key.to_owned(), value);
        }
        Ok(Self(values))
    }

    fn get(&self, key: &str) -> i64 {
        self.0.get(key).copied().unwrap_or(-1)
    }

    fn put(&mut self, key: &str, value: i64) {
        self.0.insert(key.to_owned(), value);
    }
}

impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{COUNT}={},{BYTES}={}", self.get(COUNT), self.get(BYTES))?;
        let mut others = self.0.iter().filter(|(key, _)| *key != COUNT && *key != BYTES).peekable();
        if others.peek().is_some() {
            f.write_str("=")?;
        }
        others.try_for_each(|(key, value)| write!(f, ";{key}={value}"))
    }
}

/// `listquota path`.
pub(super) fn list(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let path = &parsed.words[0];
    let limits = limits_path(path);
    context.screen.complain(format!("absolute path is {limits}"));
    for (what, at) in [("quota", limits), ("stat", stats_path(path))] {
        match context.client.get_data(&at, false) {
            Ok((data, _)) => {
                let track = Track::parse(data.as_deref().unwrap_or_default())?;
                context.screen.say(format!("Output {what} for {path} {track}"));
            }
            Err(error) if error.code() == Some(ErrorCode::NO_NODE) => return Err(no_quota(path)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// `setquota -n|-b|-N|-B val path`.
pub(super) fn set(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let path = &parsed.words[0];
    if path.starts_with(ROOT) {
        return Err(format!("cannot set a quota under the path: {ROOT}").into());
    }
    let mut limits = Track::default();
    KINDS.iter().for_each(|(_, key, _)| limits.put(key, -1));
    let (letter, key, zero_is_limit) =
        one_kind(parsed)?.ok_or_else(|| Failure::from("setquota -n|-b|-N|-B val path"))?;
    let text = parsed.value(letter).unwrap_or_default();
    let limit: i64 =
        text.parse().map_err(|_| Failure::from("NumberFormatException happens when parsing the option value"))?;
    match (zero_is_limit, limit) {
        (true, ..0) => return Err("the bytes quota must be greater than or equal to zero".into()),
        (false, ..1) => return Err("the num quota must be greater than zero".into()),
        (false, 0x8000_0000..) => return Err("NumberFormatException happens when parsing the option value".into()),
        _ => limits.put(key, limit),
    }
    create(context, path, &limits)
}

/// `delquota [-n|-b|-N|-B] path`.
pub(super) fn delete(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let path = &parsed.words[0];
    let kind = one_kind(parsed)?;
    let client = context.client;
    let limits = limits_path(path);
    let data = match client.get_data(&limits, false) {
        Ok((data, _)) => data,
        Err(error) if error.code() == Some(ErrorCode::NO_NODE) => {
            context.screen.say(format!("Quota does not exist for {path}"));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    if let Some((_, key, _)) = kind {
        let mut track = Track::parse(data.as_deref().unwrap_or_default())?;
        track.put(key, -1);
        client.set_data(&limits, Some(track.to_string().as_bytes()), -1)?;
        return Ok(());
    }
    let mut at = quota_path(path);
    for child in client.get_children(&at, false)?.0 {
        client.delete(&join(&at, &child), -1)?;
    }
    // Parents that were made for this quota go with it, up to one that another quota needs.
    while at != ROOT && client.get_children(&at, false)?.0.is_empty() {
        client.delete(&at, -1)?;
        at.truncate(at.rfind('/').unwrap_or(0));
    }
    Ok(())
}

/// The one limit that the options name.
fn one_kind(parsed: &Parsed) -> Result<Option<(&'static str, &'static str, bool)>, Failure> {
    let mut given = KINDS.iter().filter(|(letter, ..)| parsed.has(letter));
    let first = given.next();
    match (first, given.next()) {
        (Some((first, ..)), Some((second, ..))) => Err(Failure(format!(
            "The option '{second}' was specified but an option from this group has already been selected: '{first}'"
        ))),
        _ => Ok(first.copied()),
    }
}

fn create(context: &Context<'_>, path: &str, limits: &Track) -> Result<(), Failure> {
    let client = context.client;
    if client.exists(path, false)?.is_none() {
        return Err(format!("{path} does not exist.").into());
    }
    check_no_quota_below(client, path)?;
    check_no_quota_above(client, path)?;
    let mut at = ROOT.to_owned();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        at = join(&at, name);
        create_unless_there(client, &at, None)?;
    }
    let (limits_at, stats_at) = (limits_path(path), stats_path(path));
    match client.get_data(&limits_at, false) {
        Err(error) if error.code() == Some(ErrorCode::NO_NODE) => {
            create_unless_there(client, &limits_at, Some(limits))?;
            let mut nothing = Track::default();
            nothing.put(COUNT, 0);
            nothing.put(BYTES, 0);
            create_unless_there(client, &stats_at, Some(&nothing))?;
            warn_if_exceeded(context, limits, &stats_at)
        }
        Err(error) => Err(error.into()),
        Ok((data, _)) => {
            let mut merged = Track::parse(data.as_deref().unwrap_or_default())?;
            for (_, key, _) in KINDS {
                if limits.get(key) > -1 {
                    merged.put(key, limits.get(key));
                }
            }
            warn_if_exceeded(context, &merged, &stats_at)?;
            client.set_data(&limits_at, Some(merged.to_string().as_bytes()), -1)?;
            Ok(())
        }
    }
}

fn create_unless_there(client: &Client, path: &str, track: Option<&Track>) -> Result<(), Failure> {
    let text = track.map(Track::to_string);
    match client.create(path, text.as_deref().map(str::as_bytes), &AclList::OPEN, CreateMode::Persistent) {
        Ok(_) => Ok(()),
        Err(Error::Keeper { code: ErrorCode::NODE_EXISTS, .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn warn_if_exceeded(context: &Context<'_>, limits: &Track, stats_at: &str) -> Result<(), Failure> {
    let (data, _) = context.client.get_data(stats_at, false)?;
    let used = Track::parse(data.as_deref().unwrap_or_default())?;
    for (key, hard, what) in [(COUNT, "countHardLimit", "count"), (BYTES, "byteHardLimit", "bytes")] {
        let exceeded = |limit: i64| limit > -1 && limit < used.get(key);
        if exceeded(limits.get(key)) || exceeded(limits.get(hard)) {
            context.screen.say(format!(
                "[Warning]: the {what} quota you create is less than the existing {what}:{}",
                used.get(key)
            ));
        }
    }
    Ok(())
}

/// One quota on the way from the root to a leaf is all that the server knows of.
fn check_no_quota_below(client: &Client, path: &str) -> Result<(), Failure> {
    let own = limits_path(path);
    let checked = depth_first(client, &quota_path(path), false, &mut |at| match at.strip_suffix(LIMITS) {
        Some(_) if at != own => {
            let with_quota = at[ROOT.len()..].trim_end_matches(LIMITS).trim_end_matches('/');
            Err(format!("{path} has a child {with_quota} which has a quota").into())
        }
        _ => Ok(()),
    });
    match checked {
        Err(failure) if failure == Error::keeper(ErrorCode::NO_NODE, Some(&quota_path(path))).into() => Ok(()),
        other => other,
    }
}

fn check_no_quota_above(client: &Client, path: &str) -> Result<(), Failure> {
    for (slash, _) in path.match_indices('/').skip(1) {
        let above = &path[..slash];
        if client.exists(&limits_path(above), false)?.is_some() {
            return Err(format!("{path} has a parent {above} which has a quota").into());
        }
    }
    Ok(())
}

fn quota_path(path: &str) -> String {
    format!("{ROOT}{}", if path == "/" { "" } else { path })
}

fn limits_path(path: &str) -> String {
    join(&quota_path(path), LIMITS)
}

fn stats_path(path: &str) -> String {
    join(&quota_path(path), STATS)
}

fn no_quota(path: &str) -> Failure {
    Failure(format!("quota for {path} does not exist."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_are_apaches_text() {
        let mut track = Track::default();
        KINDS.iter().for_each(|(_, key, _)| track.put(key, -1));
        track.put(COUNT, 5);
        assert_eq!(track.to_string(), "count=5,bytes=-1=;byteHardLimit=-1;countHardLimit=-1");
        assert_eq!(Track::parse(track.to_string().as_bytes()), Ok(track));
        let old = Track::parse(b"count=1,bytes=2").expect("of 3.4");
        assert_eq!((old.get(COUNT), old.get(BYTES), old.get("countHardLimit")), (1, 2, -1));
        assert_eq!(old.to_string(), "count=1,bytes=2");
        assert!(Track::parse(b"count").is_err());
        assert!(Track::parse(b"count=x").is_err());
    }
}
