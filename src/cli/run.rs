//! `zoo-server run`: from the command line to a server that serves, and to its end.

use std::backtrace::Backtrace;
use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::advice;
use super::args::RunArgs;
use super::logging;
use super::machine;
use super::{EXIT_CONFIG, EXIT_DATA, EXIT_FAILED, complain};
use crate::admin::version::{VERSION, ZOOKEEPER_VERSION};
use crate::config::{self, Config, ConfigError, ErrorKind, Start};
use crate::rt::clock;
use crate::rt::faulty::Fault;
use crate::rt::signal::{self, Signal};
use crate::server::node::Server;

/// The variable that makes the disk fail on purpose, for tests of whole processes: `write:N`, `sync:N`, `full:N` or
/// `panic:N`.
const FAULT_VARIABLE: &str = "ZOO_FAULT";

/// Serves until it is told to end.
pub(super) fn run(args: &RunArgs) -> ExitCode {
    end_with_any_panic();
    match start(args) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(server)) => serve(server),
        Err(failure) => {
            complain(&failure.text);
            ExitCode::from(failure.code)
        }
    }
}

/// A panic on any thread ends the process: a server that has lost a shard would take connections and answer nobody. What
/// was acknowledged is on the disk already.
fn end_with_any_panic() {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = thread::current();
        complain(format_args!(
            "\nthread '{}' {panic}\n{}\nzoo-server: ended by a mistake of its own: please report it. The next start recovers what \
             was acknowledged",
            thread.name().unwrap_or("without a name"),
            Backtrace::capture()
        ));
        logging::flush();
        std::process::exit(i32::from(EXIT_FAILED));
    }));
}

/// What was said about a start that failed, and the code to end with.
pub(super) struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    /// `problem`, and each on a line of its own, where and what to do.
    pub(super) fn new(code: u8, problem: impl Display, place: Option<&dyn Display>, advice: Option<&str>) -> Self {
        let mut text = format!("zoo-server: {problem}");
        if let Some(place) = place {
            let _ = write!(text, "\n  where:      {place}");
        }
        if let Some(advice) = advice {
            let _ = write!(text, "\n  what to do: {advice}");
        }
        Self { text, code }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let code = match error.kind {
            ErrorKind::ApacheData | ErrorKind::DataFolder => EXIT_DATA,
            _ => EXIT_CONFIG,
        };
        let problem = match &error.key {
            Some(key) => format!("{key}: {}", error.problem),
            None => error.problem.clone(),
        };
        let place = error.place.as_ref().map(|place| place as &dyn Display);
        Self::new(code, problem, place, Some(&error.advice))
    }
}

/// `None` if the configuration was only to be checked.
fn start(args: &RunArgs) -> Result<Option<Server>, Failure> {
    let source = args.source().map_err(|problem| Failure::new(EXIT_CONFIG, problem, None, None))?;
    let flags: Vec<_> = config::JVM_FLAGS_VARIABLES.iter().filter_map(|name| std::env::var(name).ok()).collect();
    let config = config::load_with_flags(&source, &flags.join(" "), &args.settings, &machine::machine())?;
    for line in config.notices.lines() {
        tracing::warn!("{line}");
    }
    if args.check {
        say(&format!("{}\n", check_text(&config)));
        return Ok(None);
    }
    let storage = &config.storage;
    config::prepare(&storage.data_dir, &storage.data_log_dir, storage.autocreate)?;
    let is_marked = config::take_initialize(&storage.data_dir)?;
    config::check_log(&storage.data_dir, &storage.data_log_dir, is_marked)?;
    if let Some(quorum) = &config.quorum {
        config::check_voter(&storage.data_dir, &storage.data_log_dir, is_marked, quorum.db_autocreate)?;
    }
    config::back_up(&config);
    let random = || machine::random().map_err(|error| Failure::new(EXIT_FAILED, error, Some(&"/dev/urandom"), None));
    let mut options = config.server_options(&Start {
        now: clock::now(),
        random: [random()?, random()?, random()?],
        environment: machine::environment(),
        has_ipv6: Path::new("/proc/net/if_inet6").exists(),
    });
    options.fault = fault()?;
    let server = Server::start(options).map_err(|error| advice::start_failed(&error, &config))?;
    config::expect_log(&storage.data_dir, &storage.data_log_dir);
    say(&banner(&config, server.address(), server.secure_address(), server.is_direct()));
    Ok(Some(server))
}

fn fault() -> Result<Option<Fault>, Failure> {
    let Ok(text) = std::env::var(FAULT_VARIABLE) else { return Ok(None) };
    match text.parse() {
        Ok(fault) => {
            tracing::warn!(fault = text, "the disk is going to fail on purpose");
            Ok(Some(fault))
        }
        Err(problem) => Err(Failure::new(EXIT_CONFIG, problem, Some(&FAULT_VARIABLE), Some("unset it"))),
    }
}

/// Ends with the server: at the first signal in order, at the second at once. Only a terminal that goes asks twice without
/// meaning it.
fn serve(server: Server) -> ExitCode {
    let stop = server.stopper();
    let asked = AtomicBool::new(false);
    let watch = signal::watch(move |signal| {
        if asked.swap(true, Ordering::Relaxed) {
            if signal == Signal::HangUp {
                return;
            }
            // Whatever was acknowledged is on the disk already.
            logging::flush();
            std::process::exit(i32::from(EXIT_FAILED));
        }
        tracing::info!(?signal, "ending");
        stop();
    });
    let _watch = match watch {
        Ok(watch) => watch,
        Err(error) => {
            complain(format_args!("zoo-server: signals cannot be watched: {error}"));
            return ExitCode::from(EXIT_FAILED);
        }
    };
    match server.wait() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("zoo-server: {error}"));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Writes to standard output. That nobody reads it is no reason not to serve.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Where it listens, where its data is, and how to reach it.
fn banner(config: &Config, address: SocketAddr, secure: Option<SocketAddr>, is_direct: bool) -> String {
    let reach = if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
    } else {
        address
    };
    let place = |address: SocketAddr| {
        if address.ip().is_unspecified() {
            format!("all interfaces, port {}", address.port())
        } else {
            address.to_string()
        }
    };
    let listens = match secure {
        None => place(address),
        Some(secure) if secure == address => format!("{} with TLS", place(secure)),
        Some(secure) => format!("{}; with TLS {}", place(address), place(secure)),
    };
    let cached = if is_direct { "" } else { " (through the page cache: the file system refuses O_DIRECT)" };
    format!(
        "zoo-server {VERSION} serves as ZooKeeper {ZOOKEEPER_VERSION}\n  \
         listens on  {listens}\n  \
         data in     {}{cached}\n  \
         cores       {}\n  \
         reach it    zoo-server shell -server {reach}\n",
        folders(config),
        cores(config)
    )
}

pub(super) fn folders(config: &Config) -> String {
    let (data, log) = (config::folder(&config.storage.data_dir), config::folder(&config.storage.data_log_dir));
    if data == log {
        return data.display().to_string();
    }
    format!("{}, log in {}", data.display(), log.display())
}

/// Which server of how many.
fn ensemble(config: &Config) -> Option<String> {
    let quorum = config.quorum.as_ref()?;
    let (voters, all) = (quorum.ensemble.participants().count(), quorum.ensemble.members.len());
    let others = if all > voters { format!(", {} that observe", all - voters) } else { String::new() };
    Some(format!("server.{} of {voters} that vote{others}", quorum.my_id))
}

fn cores(config: &Config) -> String {
    let cores = &config.cores;
    let shards: Vec<_> = cores.shards.iter().map(usize::to_string).collect();
    let both = if cores.replica == cores.log {
        format!("replica and log {}", cores.replica)
    } else {
        format!("replica {}, log {}", cores.replica, cores.log)
    };
    format!("{both}, shards {}", shards.join(" "))
}

/// What `--check` says of a good configuration.
fn check_text(config: &Config) -> String {
    let session = &config.session;
    let ensemble = ensemble(config).map(|ensemble| format!("ensemble    {ensemble}\n  ")).unwrap_or_default();
    let secure = config.security.tls.as_ref().and_then(|tls| tls.listen);
    let listens: Vec<_> =
        [config.client.listen.map(|listen| listen.to_string()), secure.map(|listen| format!("{listen} with TLS"))]
            .into_iter()
            .flatten()
            .collect();
    format!(
        "the configuration is good\n  \
         {ensemble}listens on  {}\n  \
         data in     {}\n  \
         cores       {}\n  \
         sessions    {} to {} ms, tick {} ms",
        listens.join("; "),
        folders(config),
        cores(config),
        session.timeout_min_ms,
        session.timeout_max_ms,
        session.tick_ms
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Machine, Source};

    fn config(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let settings: Vec<_> = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        config::load(&Source::Default, &settings, &Machine::with_cores([0, 1, 2]))
    }

    #[test]
    fn the_banner_says_where_and_how() {
        let config = config(&[("dataDir", "/d"), ("dataLogDir", "/l")]).unwrap();
        let text = banner(&config, "[::]:2181".parse().unwrap(), None, true);
        assert!(text.contains("listens on  all interfaces, port 2181\n"), "{text}");
        assert!(text.contains("data in     /d/zoo-1, log in /l/zoo-1\n"), "{text}");
        assert!(text.contains("cores       replica and log 0, shards 1 2\n"), "{text}");
        assert!(text.ends_with("reach it    zoo-server shell -server 127.0.0.1:2181\n"), "{text}");
        let secure = Some("10.0.0.1:6".parse().unwrap());
        let text = banner(&config, "10.0.0.1:5".parse().unwrap(), secure, false);
        assert!(
            text.contains("page cache") && text.contains("listens on  10.0.0.1:5; with TLS 10.0.0.1:6\n"),
            "{text}"
        );
    }

    #[test]
    fn errors_say_what_where_and_what_to_do() {
        let failure = Failure::from(config(&[("tickTime", "x")]).unwrap_err());
        assert_eq!(
            failure.text,
            "zoo-server: tickTime: \"x\" is not a whole number\n  where:      command line\n  \
             what to do: give milliseconds, e.g. 2000"
        );
        assert_eq!(failure.code, EXIT_CONFIG);
    }
}
