//! One run from its options to its result: connect, make the znodes, load and measure, clean up.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fmt, fs, thread};

use hdrhistogram::Histogram;

use super::args::{LoadArgs, Workload};
use super::churn::Churn;
use super::connection::Op;
use super::outcome::{Outcome, grouped};
use super::progress::{self, Screen, Timeline};
use super::record::{Faults, Recorder, histogram};
use super::requests::{Deletes, Layout, PERSISTENT, Requests, create, delete};
use super::setup::{Batch, Closing, Control, Numbers, Opening};
use super::stages::{self, Stages, Told};
use super::template::Template;
use super::watch::Watch;
use super::worker::{Pace, Plan, Work, Worker};
use crate::cli::client::{ConnectString, HostPort, validate_path};
use crate::rt::limits;
use crate::rt::process::cpu_time;
use crate::rt::signal;
use crate::wire::error_code::ErrorCode;

/// Files that this process needs besides its connections.
const FILES_SPARE: u64 = 100;

/// Requests, and bytes of them, that are outstanding on all connections together while znodes are made and removed.
const BATCH_OUTSTANDING: u32 = 4096;
const BATCH_BYTES: u32 = 32 << 20;

/// What is as good as success while znodes are made where some may be, and while they are removed.
const THERE: &[ErrorCode] = &[ErrorCode::NODE_EXISTS];
const GONE: &[ErrorCode] = &[ErrorCode::NO_NODE];
/// An ephemeral of a session that was lost stays until that session expires, and its parent with it.
const GONE_OR_IN_USE: &[ErrorCode] = &[ErrorCode::NO_NODE, ErrorCode::NOT_EMPTY];

/// How long the closing of all sessions may take.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The words were wrong.
    Usage(String),
    /// It could not be made, or broke off.
    Run(String),
}

impl From<String> for Failure {
    fn from(words: String) -> Self {
        Self::Run(words)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(words) | Self::Run(words) => f.write_str(words),
        }
    }
}

/// Makes a run; whether all was good.
pub(super) fn run(args: &LoadArgs) -> Result<bool, Failure> {
    let hosts = check(args)?;
    let mut runner = Runner::connect(args, &hosts)?;
    let mut made = Made { is_kept: args.keep || args.prepare_only, ..Made::default() };
    let outcome = match runner.prepare(&mut made) {
        Ok(()) if args.prepare_only => Ok(None),
        Ok(()) => runner.measure().map(Some),
        Err(failure) => Err(failure),
    };
    // What was made goes away, even if something failed.
    let removed = if made.is_kept { Ok(()) } else { runner.remove(&made) };
    runner.close();
    let Some(outcome) = outcome? else {
        return Ok(true);
    };
    print!("{}", outcome.to_table());
    if let Some(file) = &args.json {
        let text = format!("{:#}\n", outcome.to_json());
        fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    if let Some(prefix) = &args.hgrm {
        let written = outcome.write_percentiles(prefix);
        written.map_err(|error| format!("cannot write {}.hgrm: {error}", prefix.display()))?;
    }
    removed?;
    Ok(outcome.faults.count() == 0)
}

/// What clap cannot check; the hosts.
fn check(args: &LoadArgs) -> Result<Vec<HostPort>, Failure> {
    let usage = |words: String| Failure::Usage(words);
    let connect = ConnectString::parse(&args.hosts).map_err(|error| usage(format!("--hosts: {error}")))?;
    if !connect.chroot.is_empty() {
        return Err(usage("--hosts takes no path: use --root".to_owned()));
    }
    validate_path(&args.root).map_err(|error| usage(format!("--root: {error}")))?;
    if args.root == "/" || args.root == "/zookeeper" || args.root.starts_with("/zookeeper/") {
        return Err(usage(format!("--root: {} is not for this tool; give it a znode of its own", args.root)));
    }
    if args.workload == Workload::Watch && args.threads > 1 {
        return Err(usage("watch runs on one thread: leave --threads out".to_owned()));
    }
    if args.threads > args.connections() {
        return Err(usage(format!("{} threads cannot share {} connections", args.threads, args.connections())));
    }
    if args.duration.is_zero() {
        return Err(usage("--duration: nothing to measure".to_owned()));
    }
    Ok(connect.hosts)
}

fn resolve(hosts: &[HostPort]) -> Result<Arc<[SocketAddr]>, Failure> {
    let first = |host: &HostPort| match (host.host.as_str(), host.port).to_socket_addrs() {
        Ok(mut found) => found.next().ok_or_else(|| format!("{host} has no address")),
        Err(error) => Err(format!("{host}: {error}")),
    };
    Ok(hosts.iter().map(first).collect::<Result<Vec<_>, _>>()?.into())
}

/// What was made for the run.
#[derive(Debug, Default)]
struct Made {
    /// Everything is to stay.
    is_kept: bool,
    /// The root was not there before, and these parts of its path.
    roots: Vec<String>,
    has_keys: bool,
    /// Whatever is only for this run.
    has_scratch: bool,
}

/// Lets every worker do a finite work, in silence.
fn all<W: Work + Send>(
    workers: &mut [Worker],
    until: u64,
    is_strict: bool,
    work: impl FnMut(usize) -> W,
) -> Result<(), Failure> {
    let never = AtomicBool::new(false);
    let works = (0..workers.len()).map(work).map(|work| (work, Recorder::silent())).collect();
    let plan = Plan { until, pace: None, stop: &never, strict: is_strict };
    together(workers, works, &plan, |_| {})?;
    Ok(())
}

struct Runner<'a> {
    args: &'a LoadArgs,
    layout: Layout,
    hosts: Vec<HostPort>,
    addresses: Arc<[SocketAddr]>,
    workers: Vec<Worker>,
    control: Control,
    screen: Screen,
    base: Instant,
    stop: Arc<AtomicBool>,
    _signals: Option<signal::Watch>,
}

impl<'a> Runner<'a> {
    fn connect(args: &'a LoadArgs, hosts: &[HostPort]) -> Result<Self, Failure> {
        let addresses = resolve(hosts)?;
        let limit = limits::raise_open_files().map_err(|error| format!("limits of open files: {error}"))?;
        if limit.soft < u64::from(args.connections()) + FILES_SPARE {
            return Err(Failure::Run(format!(
                "{} connections need more open files than this user may have ({}); raise the limit (ulimit -n)",
                args.connections(),
                limit.soft
            )));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let base = Instant::now();
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let scratch = format!("{}-{:x}", args.workload.name(), started.as_millis());
        let mut workers = Vec::new();
        for thread in 0..args.threads {
            let numbers = (thread..args.connections()).step_by(args.threads as usize);
            let slots = args.outstanding.max(batch_outstanding(args)) as usize;
            let worker = Worker::new(base, &addresses, numbers, slots);
            workers.push(worker.map_err(|error| format!("cannot watch sockets: {error}"))?);
        }
        let asked = Arc::clone(&stop);
        let signals = signal::watch(move |_| {
            if asked.swap(true, Ordering::Relaxed) {
                eprintln!("zoo-server bench: asked to end twice; znodes may be left behind");
                std::process::exit(130);
            }
        });
        // The load's connections come first: a server that deals connections out to cores would give the control connection, which
        // is silent while the load runs, the best place, and a lone client another.
        all(&mut workers, u64::MAX, true, |_| Opening)?;
        let control = hosts.iter().map(Control::connect).reduce(|found, next| found.or(next));
        let control = control.expect("a connect string has at least one host")?;
        Ok(Self {
            args,
            layout: Layout::new(args, &scratch),
            hosts: hosts.to_vec(),
            addresses,
            workers,
            control,
            screen: Screen::new(args.quiet),
            base,
            stop,
            _signals: signals.ok(),
        })
    }

    fn clock(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn limit(&mut self, outstanding: u32) {
        let connections = self.workers.iter_mut().flat_map(|worker| &mut worker.connections);
        connections.for_each(|connection| connection.limit(outstanding as usize));
    }

    /// Lets every worker of the run do a finite work, in silence.
    fn all<W: Work + Send>(
        &mut self,
        until: u64,
        is_strict: bool,
        work: impl FnMut(usize) -> W,
    ) -> Result<(), Failure> {
        all(&mut self.workers, until, is_strict, work)
    }

    /// Makes or removes many znodes.
    fn batch(
        &mut self,
        what: &str,
        op: Op,
        template: &Template,
        excused: &'static [ErrorCode],
        total: u64,
        numbers: impl Fn(&Worker, u32) -> Numbers,
    ) -> Result<(), Failure> {
        let done = AtomicU64::new(0);
        let never = AtomicBool::new(false);
        let mut works = Vec::new();
        for (thread, worker) in self.workers.iter().enumerate() {
            let work = Batch::new(op, template, numbers(worker, thread as u32), excused, &done);
            works.push((work, Recorder::silent()));
        }
        self.limit(batch_outstanding(self.args));
        let screen = &mut self.screen;
        let records = together(&mut self.workers, works, &Plan::strict(&never), |over| {
            progress::count(screen, what, &done, total, over);
        })?;
        let mut faults = Faults::default();
        records.iter().for_each(|(record, _)| faults.add(&record.faults));
        match faults.errors.first_key_value() {
            None => Ok(()),
            Some((code, count)) => {
                Err(Failure::Run(format!("{what}: {} of {total} were answered with {}", count, ErrorCode(*code))))
            }
        }
    }

    /// Makes what the workload needs.
    fn prepare(&mut self, made: &mut Made) -> Result<(), Failure> {
        let args = self.args;
        let mut path = String::new();
        for part in self.layout.root[1..].split('/') {
            path = format!("{path}/{part}");
            if self.control.create(&path)? {
                made.roots.push(path.clone());
            }
        }
        if made.roots.last() != Some(&self.layout.root) && !args.reuse {
            return Err(Failure::Run(format!(
                "{root} is there already, perhaps from a run that did not end well: --reuse takes what is there, --root \
                 names another, `zoo-server shell deleteall {root}` removes it",
                root = self.layout.root
            )));
        }
        if args.workload.wants_keys() {
            made.has_keys = true;
            made.has_keys = self.make_keys()?;
        }
        if args.prepare_only {
            return Ok(());
        }
        made.has_scratch = true;
        if args.workload.wants_parents() || args.workload == Workload::Delete {
            self.control.create(&self.layout.scratch)?;
        }
        if args.workload.wants_parents() {
            let template = create(&self.layout.parent(), &self.layout.pattern, 0, PERSISTENT);
            let count = args.connections();
            self.batch("parents made", Op::Create, &template, &[], count.into(), share(count, args.threads))?;
        }
        Ok(())
    }

    /// Makes the keys, and their children if the workload wants some, unless they are there; whether it made them.
    fn make_keys(&mut self) -> Result<bool, Failure> {
        let args = self.args;
        let keys = args.key_count();
        if args.reuse && self.has_keys(keys)? {
            return Ok(false);
        }
        let begin = Instant::now();
        let excused = if args.reuse { THERE } else { &[] };
        let template = create(&self.layout.key(), &self.layout.pattern, 0, PERSISTENT);
        self.batch("znodes made", Op::Create, &template, excused, keys.into(), share(keys, args.threads))?;
        let mut total = u64::from(keys);
        if args.workload == Workload::Children {
            let template = create(&self.layout.key_child(), &self.layout.pattern, 1, PERSISTENT);
            let count = u64::from(keys) * u64::from(args.children);
            let numbers = share_children(keys, args.children, args.threads);
            self.batch("children made", Op::Create, &template, excused, count, numbers)?;
            total += count;
        }
        if args.prepare_only {
            let seconds = begin.elapsed().as_secs_f64();
            let rate = grouped((total as f64 / seconds.max(1e-9)) as u64);
            let made = grouped(total);
            self.screen.say(&format!("{made} znodes of {} bytes in {seconds:.2} s ({rate} /s)", args.data));
        }
        Ok(true)
    }

    /// Whether the keys are there: the last one is made last, or nearly so.
    fn has_keys(&mut self, keys: u32) -> Result<bool, Failure> {
        let args = self.args;
        let (first, last) = (self.layout.key_of(0), self.layout.key_of(keys - 1));
        let Some(data) = self.control.get(&first)? else {
            return Ok(false);
        };
        if !self.layout.pattern.is_of(&data, 0) {
            return Err(Failure::Run(format!(
                "{first} holds {} bytes that are not those of --data {}: give the same --data as when it was made",
                data.len(),
                args.data
            )));
        }
        let last = match args.workload {
            Workload::Children => format!("{last}/c{:09}", args.children - 1),
            _ => last,
        };
        Ok(self.control.get(&last)?.is_some())
    }

    /// Loads and measures.
    fn measure(&mut self) -> Result<Outcome, Failure> {
        let args = self.args;
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let before = self.stages();
        let mut measured = Measured::new(self.workers.len());
        let layout = self.layout.clone();
        let (warm_up, duration) = (args.warm_up, args.duration);
        match args.workload {
            Workload::Delete => self.measure_deletes(&mut measured)?,
            Workload::Session | Workload::Connect => {
                self.close_sessions()?;
                self.part(&mut measured, warm_up, duration, |_| Churn::new(args.workload, &layout))?;
                self.all(u64::MAX, true, |_| Opening)?;
            }
            Workload::Watch => self.part(&mut measured, warm_up, duration, |_| Watch::new(args.watchers, &layout))?,
            _ => self.part(&mut measured, warm_up, duration, |thread| Requests::new(args, &layout, thread as u32))?,
        }
        let stages: Vec<Told> = before
            .into_iter()
            .zip(self.stages())
            .map(|((server, before), (_, after))| Told { server, before, after })
            .collect();
        let mut all = histogram();
        for op in args.workload.headline() {
            if let Some(found) = measured.by_operation.get(op) {
                all.add(found).expect("all have the same bounds");
            }
        }
        Ok(Outcome {
            name: args.label(),
            workload: args.workload.name(),
            options: args.to_json(),
            servers: self.hosts.iter().map(HostPort::to_string).collect(),
            started,
            seconds: measured.nanoseconds as f64 / 1e9,
            operations: measured.operations,
            all,
            headline_count: args.workload.headline().len(),
            by_operation: measured.by_operation,
            timeline: measured.timeline.finish(measured.nanoseconds / 1_000_000_000),
            faults: measured.faults,
            lateness: measured.lateness,
            sent_bytes: measured.sent_bytes,
            received_bytes: measured.received_bytes,
            generator_cores: measured.cpu.as_secs_f64() * 1e9 / (measured.wall_ns as f64).max(1.0),
            stages,
        })
    }

    /// What the servers tell of their stages, if that was asked for.
    fn stages(&self) -> Vec<(String, Result<Stages, String>)> {
        if !self.args.server_stages {
            return Vec::new();
        }
        let ask = |address: &SocketAddr| stages::ask(*address).map_err(|error| error.to_string());
        self.hosts.iter().map(HostPort::to_string).zip(self.addresses.iter().map(ask)).collect()
    }

    /// Makes a stock of znodes and deletes it, again and again: only the deleting is measured.
    fn measure_deletes(&mut self, measured: &mut Measured) -> Result<(), Failure> {
        let args = self.args;
        let keys = args.key_count();
        let made = create(&self.layout.stock(), &self.layout.pattern, 0, PERSISTENT);
        let gone = delete(&self.layout.stock());
        let mut warm_up = Measured::new(self.workers.len());
        loop {
            let is_warm = Duration::from_nanos(warm_up.nanoseconds) >= args.warm_up;
            let (into, wanted) = if is_warm { (&mut *measured, args.duration) } else { (&mut warm_up, args.warm_up) };
            let left = wanted.saturating_sub(Duration::from_nanos(into.nanoseconds));
            if left.is_zero() || self.stop.load(Ordering::Relaxed) {
                break;
            }
            // A part that was ended by the clock has left some of its stock.
            self.batch("stock made", Op::Create, &made, THERE, keys.into(), share(keys, args.threads))?;
            self.part(into, Duration::ZERO, left, |thread| Deletes::new(&gone, keys, thread as u32, args.threads))?;
        }
        measured.faults.add(&warm_up.faults);
        Ok(())
    }

    /// One part of the measured time, with the same kind of work in every thread.
    fn part<W: Work + Send>(
        &mut self,
        measured: &mut Measured,
        warm_up: Duration,
        duration: Duration,
        mut work: impl FnMut(usize) -> W,
    ) -> Result<(), Failure> {
        let args = self.args;
        self.limit(args.outstanding);
        let now = self.clock();
        let from = now + nanoseconds(warm_up);
        let until = from + nanoseconds(duration);
        let is_of_first = args.workload == Workload::Watch;
        let pace = args.rate.map(|rate| Pace {
            start: now,
            interval_ns: 1e9 / rate,
            connections: if is_of_first { 1 } else { args.connections.into() },
            is_of_first,
        });
        let (sender, seconds) = mpsc::channel();
        let record = || Recorder::new(from, until, args.workload.headline(), Some(sender.clone()));
        let works =
            (0..self.workers.len()).map(|thread| (work(thread), record().after(measured.nanoseconds))).collect();
        drop(sender);
        let stop = Arc::clone(&self.stop);
        let plan = Plan { until, pace, stop: &stop, strict: false };
        let (screen, timeline, label) = (&mut self.screen, &mut measured.timeline, args.label());
        let (cpu, begin) = (cpu_time(), now);
        let records = together(&mut self.workers, works, &plan, |_| {
            timeline.follow(screen, &label, duration, &seconds);
        })?;
        // Ended early by its own end or the operator's wish, or late because answers were waited for.
        let now = self.clock();
        measured.cpu += cpu_time() - cpu;
        measured.wall_ns += now - begin;
        measured.nanoseconds += now.clamp(from, until) - from;
        for (record, by_operation) in records {
            measured.add(record, by_operation);
        }
        Ok(())
    }

    /// Removes what was made.
    fn remove(&mut self, made: &Made) -> Result<(), Failure> {
        let args = self.args;
        self.screen.show("removing");
        if args.workload == Workload::Create && made.has_scratch {
            let counts = |worker: &Worker| -> Vec<(u32, u32)> {
                worker.connections.iter().map(|connection| (connection.number, connection.counter)).collect()
            };
            let total = self.workers.iter().flat_map(counts).map(|(_, count)| u64::from(count)).sum();
            let template = delete(&self.layout.child());
            // One whose create was lost may not be there.
            self.batch("znodes removed", Op::Delete, &template, GONE, total, move |worker, _| {
                let counts = counts(worker);
                Box::new(counts.into_iter().flat_map(|(number, count)| (0..count).map(move |child| [number, child])))
            })?;
        }
        if args.workload == Workload::Delete && made.has_scratch {
            let (template, count) = (delete(&self.layout.stock()), args.key_count());
            self.batch("stock removed", Op::Delete, &template, GONE, count.into(), share(count, args.threads))?;
            self.control.delete(&self.layout.scratch)?;
        }
        if args.workload.wants_parents() && made.has_scratch {
            if args.workload == Workload::Ephemeral {
                // The last ones were created and not deleted: they go with their sessions.
                self.close_sessions()?;
                self.all(u64::MAX, true, |_| Opening)?;
            }
            let (template, count) = (delete(&self.layout.parent()), args.connections());
            self.batch(
                "parents removed",
                Op::Delete,
                &template,
                GONE_OR_IN_USE,
                count.into(),
                share(count, args.threads),
            )?;
            self.control.delete(&self.layout.scratch)?;
        }
        if made.has_keys && !args.reuse {
            let keys = args.key_count();
            if args.workload == Workload::Children {
                let template = delete(&self.layout.key_child());
                let count = u64::from(keys) * u64::from(args.children);
                let numbers = share_children(keys, args.children, args.threads);
                self.batch("children removed", Op::Delete, &template, GONE, count, numbers)?;
            }
            let template = delete(&self.layout.key());
            self.batch("znodes removed", Op::Delete, &template, GONE, keys.into(), share(keys, args.threads))?;
        }
        for path in made.roots.iter().rev().filter(|_| !args.reuse) {
            if !self.control.delete(path)? {
                self.screen.say(&format!("{path} stays: somebody else has znodes below it"));
                break;
            }
        }
        Ok(())
    }

    /// Closes every session of the workers' connections.
    fn close_sessions(&mut self) -> Result<(), Failure> {
        let until = self.clock() + nanoseconds(CLOSE_MAX);
        let mut open = vec![0; self.workers.len()];
        for (worker, open) in self.workers.iter_mut().zip(&mut open) {
            for connection in &mut worker.connections {
                connection.step = 0;
                *open += usize::from(connection.is_open());
            }
        }
        self.all(until, false, |thread| Closing::new(open[thread]))
    }

    /// Closes all.
    fn close(mut self) {
        // The run is over: sessions that cannot be closed now will expire.
        let _ = self.close_sessions();
        self.control.close();
    }
}

/// Shares the numbers below `count` out among the threads.
fn share(count: u32, threads: u32) -> impl Fn(&Worker, u32) -> Numbers {
    move |_, thread| Box::new((thread..count).step_by(threads as usize).map(|number| [number, 0]))
}

/// The same, for the children of each.
fn share_children(count: u32, children: u32, threads: u32) -> impl Fn(&Worker, u32) -> Numbers {
    move |_, thread| {
        let keys = (thread..count).step_by(threads as usize);
        Box::new(keys.flat_map(move |key| (0..children).map(move |child| [key, child])))
    }
}

/// Requests that are outstanding on each connection while znodes are made and removed.
fn batch_outstanding(args: &LoadArgs) -> u32 {
    (BATCH_OUTSTANDING.min(BATCH_BYTES / (args.data + 100)) / args.connections()).max(1)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What the threads have measured, in all parts of the run.
#[derive(Debug)]
struct Measured {
    timeline: Timeline,
    by_operation: BTreeMap<Op, Histogram<u64>>,
    operations: u64,
    faults: Faults,
    lateness: Option<Histogram<u64>>,
    sent_bytes: u64,
    received_bytes: u64,
    /// Of the measured time.
    nanoseconds: u64,
    /// Processor time of this process, and the time in which it was used.
    cpu: Duration,
    wall_ns: u64,
}

impl Measured {
    fn new(threads: usize) -> Self {
        Self {
            timeline: Timeline::new(threads),
            by_operation: BTreeMap::new(),
            operations: 0,
            faults: Faults::default(),
            lateness: None,
            sent_bytes: 0,
            received_bytes: 0,
            nanoseconds: 0,
            cpu: Duration::ZERO,
            wall_ns: 0,
        }
    }

    fn add(&mut self, record: Recorder, by_operation: BTreeMap<Op, Histogram<u64>>) {
        let bounds = "all have the same bounds";
        for (op, found) in by_operation {
            self.by_operation.entry(op).or_insert_with(histogram).add(found).expect(bounds);
        }
        if let Some(found) = record.lateness {
            self.lateness.get_or_insert_with(histogram).add(found).expect(bounds);
        }
        self.operations += record.operations;
        self.faults.add(&record.faults);
        self.sent_bytes += record.sent_bytes;
        self.received_bytes += record.received_bytes;
    }
}

/// What one thread brings back.
type Brought = (Recorder, BTreeMap<Op, Histogram<u64>>);

/// Lets every worker do its work on a thread of its own, and does something meanwhile, which can tell by its receiver's end
/// that all threads have ended.
fn together<W: Work + Send>(
    workers: &mut [Worker],
    works: Vec<(W, Recorder)>,
    plan: &Plan<'_>,
    meanwhile: impl FnOnce(&Receiver<()>),
) -> Result<Vec<Brought>, Failure> {
    let (running, over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let threads: Vec<_> = workers
            .iter_mut()
            .zip(works)
            .map(|(worker, (mut work, mut record))| {
                let running = running.clone();
                scope.spawn(move || {
                    let ended = worker.run(&mut work, plan, &mut record);
                    let by_operation = record.finish();
                    drop(running);
                    ended.map(|()| (record, by_operation))
                })
            })
            .collect();
        drop(running);
        meanwhile(&over);
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(Failure::Run))
            .collect()
    })
}
