//! The commands that talk to the server, each with zkCli's syntax, words and habits (Apache's package `cli`).
//!
//! Where zkCli ends with a stack trace (a version that is no number), a command here says what is wrong and fails.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::super::client::{
    AddWatchMode, Client, CreateMode, Error, MultiOutcome, TTL_MS_MAX, Ticket, WatcherType, validate_path,
};
use super::options::{OptionSpec, Parsed, flag, value};
use super::screen::Screen;
use super::{ensemble, print, quota};
use crate::wire::acl::AclList;
use crate::wire::error_code::ErrorCode;
use crate::wire::multi::MultiOp;

/// How many operations one multi of `deleteall` carries unless told otherwise, and how many such multis are on their way at
/// one time (Apache's `ZKUtil.deleteInBatch`).
const DELETE_BATCH_DEFAULT: usize = 1000;
const DELETE_BATCHES_IN_FLIGHT_MAX: usize = 10;

/// Why a command failed, in the words for the user.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure(pub(super) String);

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self(message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Self(message.to_owned())
    }
}

/// As Apache's `CliWrapperException` puts it.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let Error::Keeper { code, path } = &error else { return Self(error.to_string()) };
        let path = path.as_deref().unwrap_or("null");
        Self(match *code {
            ErrorCode::NO_NODE => format!("Node does not exist: {path}"),
            ErrorCode::NO_CHILDREN_FOR_EPHEMERALS => format!("Ephemerals cannot have children: {path}"),
            ErrorCode::NODE_EXISTS => format!("Node already exists: {path}"),
            ErrorCode::NOT_EMPTY => format!("Node not empty: {path}"),
            ErrorCode::NOT_READ_ONLY => format!("Not a read-only call: {path}"),
            ErrorCode::INVALID_ACL => format!("Acl is not valid : {path}"),
            ErrorCode::NO_AUTH => format!("Insufficient permission : {path}"),
            ErrorCode::BAD_ARGUMENTS => format!("Arguments are not valid : {path}"),
            ErrorCode::BAD_VERSION => format!("version No is not valid : {path}"),
            ErrorCode::QUOTA_EXCEEDED => format!("Quota has exceeded : {path}"),
            ErrorCode::RECONFIG_IN_PROGRESS => {
                "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)".to_owned()
            }
            ErrorCode::NEW_CONFIG_NO_QUORUM => {
                "No quorum of new config is connected and up-to-date with the leader of \
                last committed config - try invoking reconfiguration after new servers are connected and synced"
                    .to_owned()
            }
            _ => error.to_string(),
        })
    }
}

/// What a command works with.
pub(super) struct Context<'a> {
    pub(super) client: &'a Client,
    pub(super) screen: &'a Screen,
}

/// A command.
pub(super) struct Command {
    pub(super) name: &'static str,
    /// What follows the name, as zkCli's usage has it.
    pub(super) syntax: &'static str,
    options: &'static [OptionSpec],
    words_min: usize,
    run: fn(&Context<'_>, &Parsed) -> Result<(), Failure>,
}

impl Command {
    /// The line that tells how to use it.
    pub(super) fn usage(&self) -> String {
        format!("{} {}", self.name, self.syntax)
    }

    /// Runs it with the words behind its name.
    pub(super) fn run(&self, context: &Context<'_>, line: &[String]) -> Result<(), Failure> {
        let parsed = Parsed::parse(self.options, line)?;
        if parsed.words.len() < self.words_min {
            return Err(self.usage().into());
        }
        (self.run)(context, &parsed)
    }
}

const RECONFIG_SYNTAX: &str = "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | \
                               [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]";
const ADD_WATCH_SYNTAX: &str = "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is \
                                PERSISTENT_RECURSIVE";

/// All of them, in the order of the usage.
pub(super) const COMMANDS: &[Command] = &[
    Command { name: "addWatch", syntax: ADD_WATCH_SYNTAX, options: &[value("m")], words_min: 1, run: add_watch },
    Command { name: "addauth", syntax: "scheme auth", options: &[], words_min: 1, run: add_auth },
    Command { name: "close", syntax: "", options: &[], words_min: 0, run: close },
    Command {
        name: "config",
        syntax: "[-c] [-w] [-s]",
        options: &[flag("s"), flag("w"), flag("c")],
        words_min: 0,
        run: ensemble::config,
    },
    Command {
        name: "create",
        syntax: "[-s] [-e] [-c] [-t ttl] path [data] [acl]",
        options: &[flag("e"), flag("s"), flag("c"), value("t")],
        words_min: 1,
        run: create,
    },
    Command { name: "delete", syntax: "[-v version] path", options: &[value("v")], words_min: 1, run: delete },
    Command {
        name: "deleteall",
        syntax: "path [-b batch size]",
        options: &[value("b")],
        words_min: 1,
        run: delete_all,
    },
    Command {
        name: "delquota",
        syntax: "[-n|-b|-N|-B] path",
        options: &[flag("n"), flag("b"), flag("N"), flag("B")],
        words_min: 1,
        run: quota::delete,
    },
    Command {
        name: "get",
        syntax: "[-s] [-w] [-b] [-x] path",
        options: &[flag("s"), flag("w"), flag("b"), flag("x")],
        words_min: 1,
        run: get,
    },
    Command { name: "getAcl", syntax: "[-s] path", options: &[flag("s")], words_min: 1, run: get_acl },
    Command { name: "getAllChildrenNumber", syntax: "path", options: &[], words_min: 1, run: get_all_children_number },
    Command { name: "getEphemerals", syntax: "path", options: &[], words_min: 0, run: get_ephemerals },
    Command { name: "listquota", syntax: "path", options: &[], words_min: 1, run: quota::list },
    Command {
        name: "ls",
        syntax: "[-s] [-w] [-R] path",
        options: &[flag("s"), flag("w"), flag("R")],
        words_min: 1,
        run: ls,
    },
    Command {
        name: "reconfig",
        syntax: RECONFIG_SYNTAX,
        options: &[flag("s"), value("v"), value("file"), value("members"), value("add"), value("remove")],
        words_min: 0,
        run: ensemble::reconfig,
    },
    Command {
        name: "removewatches",
        syntax: "path [-c|-d|-p|-r|-a] [-l]",
        options: &[flag("c"), flag("d"), flag("p"), flag("r"), flag("a"), flag("l")],
        words_min: 1,
        run: remove_watches,
    },
    Command {
        name: "set",
        syntax: "path data [-s] [-v version] [-b]",
        options: &[flag("s"), value("v"), flag("b")],
        words_min: 2,
        run: set,
    },
    Command {
        name: "setAcl",
        syntax: "[-s] [-v version] [-R] path acl",
        options: &[flag("s"), value("v"), flag("R")],
        words_min: 2,
        run: set_acl,
    },
    Command {
        name: "setquota",
        syntax: "-n|-b|-N|-B val path",
        options: &[value("n"), value("b"), value("N"), value("B")],
        words_min: 1,
        run: quota::set,
    },
    Command { name: "stat", syntax: "[-w] path", options: &[flag("w")], words_min: 1, run: stat },
    Command { name: "sync", syntax: "path", options: &[], words_min: 1, run: sync },
    Command { name: "version", syntax: "", options: &[], words_min: 0, run: version },
    Command { name: "whoami", syntax: "", options: &[], words_min: 0, run: who_am_i },
];

fn add_watch(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let mode = match parsed.value("m").map(str::to_uppercase).as_deref() {
        None | Some("PERSISTENT_RECURSIVE") => AddWatchMode::PersistentRecursive,
        Some("PERSISTENT") => AddWatchMode::Persistent,
        Some(_) => return Err(format!("addWatch {ADD_WATCH_SYNTAX}").into()),
    };
    Ok(context.client.add_watch(&parsed.words[0], mode)?)
}

fn add_auth(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let auth = parsed.words.get(1).map_or(&[][..], |auth| auth.as_bytes());
    Ok(context.client.add_auth(&parsed.words[0], auth)?)
}

fn close(context: &Context<'_>, _: &Parsed) -> Result<(), Failure> {
    context.client.close();
    Ok(())
}

fn create(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let (ephemeral, sequential, container) = (parsed.has("e"), parsed.has("s"), parsed.has("c"));
    if container && (ephemeral || sequential) {
        return Err("-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.".into());
    }
    let ttl_ms = match parsed.value("t") {
        None => None,
        Some(text) => Some(text.parse::<i64>().map_err(|_| Failure::from("-t argument must be a long value"))?),
    };
    if ttl_ms.is_some() && ephemeral {
        return Err("TTLs cannot be used with Ephemeral znodes".into());
    }
    if ttl_ms.is_some() && container {
        return Err("TTLs cannot be used with Container znodes".into());
    }
    if ttl_ms.is_some_and(|ttl_ms| !(1..=TTL_MS_MAX).contains(&ttl_ms)) {
        return Err(format!("ttl must be positive and cannot be larger than: {TTL_MS_MAX}").into());
    }
    let mode = match (ephemeral, sequential, container, ttl_ms) {
        (true, true, ..) => CreateMode::EphemeralSequential,
        (true, false, ..) => CreateMode::Ephemeral,
        (_, _, true, _) => CreateMode::Container,
        (_, true, _, Some(ttl_ms)) => CreateMode::SequentialTtl(ttl_ms),
        (_, true, _, None) => CreateMode::PersistentSequential,
        (_, false, _, Some(ttl_ms)) => CreateMode::Ttl(ttl_ms),
        (_, false, _, None) => CreateMode::Persistent,
    };
    let data = parsed.words.get(1).map(String::as_bytes);
    let acl = match parsed.words.get(2) {
        None => AclList::OPEN,
        Some(text) => read_acl(context, text),
    };
    let created = context.client.create(&parsed.words[0], data, &acl, mode)?;
    // On standard error, as zkCli does.
    context.screen.complain(format!("Created {created}"));
    Ok(())
}

fn read_acl(context: &Context<'_>, text: &str) -> AclList<'static> {
    let entries = print::parse_acl(text, |complaint| context.screen.complain(complaint));
    AclList::from_entries(entries.iter())
}

fn delete(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    if parsed.words.len() > 1 {
        context
            .screen
            .complain("'delete path [version]' has been deprecated. Please use 'delete [-v version] path' instead.");
    }
    let version = parsed.number("v")?.unwrap_or(-1);
    Ok(context.client.delete(&parsed.words[0], version)?)
}

/// Deletes the leaves first, in multis.
fn delete_all(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let client = context.client;
    let batch_len: i64 = match parsed.value("b") {
        None => DELETE_BATCH_DEFAULT as i64,
        Some(text) => text.parse().map_err(|_| Failure::from("-b argument must be an int value"))?,
    };
    let tree = breadth_first(client, &parsed.words[0])?;
    let Some(batch_len) = usize::try_from(batch_len).ok().filter(|len| *len > 0) else {
        for path in tree.iter().rev() {
            client.delete(path, -1)?;
        }
        return Ok(());
    };
    let leaves_first: Vec<&String> = tree.iter().rev().collect();
    let mut in_flight = VecDeque::new();
    for batch in leaves_first.chunks(batch_len) {
        if in_flight.len() >= DELETE_BATCHES_IN_FLIGHT_MAX {
            in_flight.pop_front().map_or(Ok(()), batch_done)?;
        }
        let ops: Vec<MultiOp<'_>> = batch.iter().map(|path| client.delete_op(path, -1)).collect();
        in_flight.push_back(client.multi_start(&ops)?);
    }
    in_flight.into_iter().try_for_each(batch_done)
}

fn batch_done(ticket: Ticket) -> Result<(), Failure> {
    let done = |outcomes: &[MultiOutcome]| outcomes.iter().all(|outcome| *outcome == MultiOutcome::Deleted);
    match ticket.wait_multi() {
        Ok(outcomes) if done(&outcomes) => Ok(()),
        Ok(_) | Err(Error::Keeper { .. }) => Err("Failed to delete some node(s) in the subtree!".into()),
        Err(error) => Err(error.into()),
    }
}

/// All znodes at and below `root`, parents before their children.
fn breadth_first(client: &Client, root: &str) -> Result<Vec<String>, Failure> {
    let mut tree = vec![root.to_owned()];
    let mut next = 0;
    while next < tree.len() {
        let path = tree[next].clone();
        next += 1;
        let (children, _) = client.get_children(&path, false)?;
        tree.extend(children.iter().map(|child| join(&path, child)));
    }
    Ok(tree)
}

/// Visits the znodes at and below `root`: a znode, all its children in order, then what is below each of them. What goes away
/// meanwhile is passed over.
pub(super) fn depth_first(
    client: &Client,
    root: &str,
    watch: bool,
    visit: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    client.get_data(root, watch)?;
    visit(root)?;
    // The stack holds what is to be listed, the next one last.
    let mut stack = vec![root.to_owned()];
    while let Some(path) = stack.pop() {
        let mut children = match client.get_children(&path, watch) {
            Ok((children, _)) => children,
            Err(Error::Keeper { code: ErrorCode::NO_NODE, .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        children.sort();
        let children: Vec<String> = children.iter().map(|child| join(&path, child)).collect();
        children.iter().try_for_each(|child| visit(child))?;
        stack.extend(children.into_iter().rev());
    }
    Ok(())
}

/// The path of a child.
pub(super) fn join(parent: &str, child: &str) -> String {
    if parent == "/" { format!("/{child}") } else { format!("{parent}/{child}") }
}

/// Whether to leave a watch: `-w`, or a second word as of old, which is complained about.
fn wants_watch(context: &Context<'_>, parsed: &Parsed, name: &str, options: &str) -> bool {
    if parsed.words.len() > 1 {
        context.screen.complain(format!(
            "'{name} path [watch]' has been deprecated. Please use '{name} {options} path' instead."
        ));
    }
    parsed.has("w") || parsed.words.len() > 1
}

fn get(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let watch = wants_watch(context, parsed, "get", "[-s] [-w]");
    let (data, stat) = context.client.get_data(&parsed.words[0], watch)?;
    let data = data.as_deref().unwrap_or(b"null");
    if parsed.has("x") {
        context.screen.say(print::hex_dump(data));
    } else if parsed.has("b") {
        context.screen.say(BASE64.encode(data));
    } else {
        context.screen.say_bytes(data);
    }
    if parsed.has("s") {
        context.screen.say(print::stat(&stat));
    }
    Ok(())
}

fn get_acl(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let (entries, stat) = context.client.get_acl(&parsed.words[0])?;
    if !entries.is_empty() {
        context.screen.say(print::acl(&entries));
    }
    if parsed.has("s") {
        context.screen.say(print::stat(&stat));
    }
    Ok(())
}

fn get_all_children_number(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let number = context.client.get_all_children_number(&parsed.words[0])?;
    context.screen.say(number);
    Ok(())
}

fn get_ephemerals(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let prefix = parsed.words.first().map_or("/", String::as_str);
    let paths = context.client.get_ephemerals(prefix)?;
    context.screen.say(print::list(&paths));
    Ok(())
}

fn ls(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let watch = wants_watch(context, parsed, "ls", "[-w]");
    let path = &parsed.words[0];
    if parsed.has("R") {
        return depth_first(context.client, path, watch, &mut |path| {
            context.screen.say(path);
            Ok(())
        });
    }
    let (mut children, stat) = context.client.get_children(path, watch)?;
    children.sort();
    context.screen.say(print::list(&children));
    if parsed.has("s") {
        context.screen.say(print::stat(&stat));
    }
    Ok(())
}

fn remove_watches(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let kinds = [
        ("c", WatcherType::Children),
        ("d", WatcherType::Data),
        ("p", WatcherType::Persistent),
        ("r", WatcherType::PersistentRecursive),
    ];
    let kind = kinds.iter().find(|(name, _)| parsed.has(name)).map_or(WatcherType::Any, |(_, kind)| *kind);
    Ok(context.client.remove_watches(&parsed.words[0], kind, parsed.has("l"))?)
}

fn set(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let text = parsed.words[1].as_bytes();
    let data = if parsed.has("b") {
        BASE64.decode(text).map_err(|error| Failure(format!("the data is not base64: {error}")))?
    } else {
        text.to_vec()
    };
    let version = parsed.number("v")?.unwrap_or(-1);
    let stat = context.client.set_data(&parsed.words[0], Some(&data), version)?;
    if parsed.has("s") {
        context.screen.say(print::stat(&stat));
    }
    Ok(())
}

fn set_acl(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let acl = read_acl(context, &parsed.words[1]);
    let version = parsed.number("v")?.unwrap_or(-1);
    let path = &parsed.words[0];
    if !parsed.has("R") {
        let stat = context.client.set_acl(path, &acl, version)?;
        if parsed.has("s") {
            context.screen.say(print::stat(&stat));
        }
        return Ok(());
    }
    // The visit goes on after a refusal, and the command fails in the end.
    let mut first_refusal = None;
    depth_first(context.client, path, false, &mut |path| match context.client.set_acl(path, &acl, version) {
        Ok(_) => Ok(()),
        Err(error @ Error::Keeper { code, .. }) if code != ErrorCode::CONNECTION_LOSS => {
            context.screen.say(&error);
            first_refusal.get_or_insert(error);
            Ok(())
        }
        Err(error) => Err(error.into()),
    })?;
    first_refusal.map_or(Ok(()), |error| Err(error.into()))
}

fn stat(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let path = &parsed.words[0];
    let watch = wants_watch(context, parsed, "stat", "[-w]");
    let Some(stat) = context.client.exists(path, watch)? else {
        return Err(Error::keeper(ErrorCode::NO_NODE, Some(path)).into());
    };
    context.screen.say(print::stat(&stat));
    Ok(())
}

fn sync(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    let path = &parsed.words[0];
    validate_path(path)?;
    match context.client.sync(path) {
        Ok(()) => {
            context.screen.say("Sync is OK");
            Ok(())
        }
        Err(error) => Err(error
            .code()
            .map_or_else(|| Failure(error.to_string()), |code| Failure(format!("Sync has failed. rc={}", code.0)))),
    }
}

fn version(context: &Context<'_>, parsed: &Parsed) -> Result<(), Failure> {
    if !parsed.words.is_empty() {
        return Err("version ".into());
    }
    context.screen.say(format!("ZooKeeper CLI version: zoo-server {}", env!("CARGO_PKG_VERSION")));
    Ok(())
}

fn who_am_i(context: &Context<'_>, _: &Parsed) -> Result<(), Failure> {
    let identities = context.client.who_am_i()?;
    context.screen.say("Auth scheme: User");
    for (scheme, user) in identities {
        context.screen.say(format!("{scheme}: {user}"));
    }
    Ok(())
}
