//! Trials of the runtime: what glommio 0.9.0 was suspected of, tried with our ways around it.
//!
//! Each trial prints its figures (`cargo test --test rt_trials -- --nocapture`). They run one at a time and take about half
//! a minute together; `ZOO_TRIAL_SECONDS=3600` makes each long one last that long.
//!
//! A lost wake-up shows as a standstill: the executors' ticker, which would paper over it, is set to an hour, so a message
//! that woke nobody stays where it is. Nothing here depends on how fast the machine is, only on whether it goes on.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use zoo_server::rt::executor::{self, JoinHandle, Options};
use zoo_server::rt::inbox::{self, Receiver, Sender};
use zoo_server::rt::limits;
use zoo_server::rt::listener::{Accepted, Listener};
use zoo_server::rt::socket::Stream;

/// A standstill of this long is a lost wake-up, on however slow a machine.
const STANDSTILL: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

/// One trial at a time: they measure the process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn trial_length(default_seconds: u64) -> Duration {
    let asked = std::env::var("ZOO_TRIAL_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(asked.unwrap_or(default_seconds))
}

/// Without the ticker that would hide a lost wake-up.
fn bare() -> Options {
    Options { tick: HOUR, ..Options::default() }
}

fn start<F: Future<Output = ()> + 'static>(
    name: &str,
    options: Options,
    make: impl FnOnce() -> F + Send + 'static,
) -> JoinHandle {
    executor::spawn(name, None, options, make).expect("an executor starts")
}

fn listen() -> Listener {
    Listener::bind("127.0.0.1:0".parse().expect("an address"), 4096).expect("a free port")
}

/// Threads that keep every core busy until dropped.
struct Load(Arc<AtomicBool>, Vec<thread::JoinHandle<()>>);

impl Load {
    fn on_every_core() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let cores = limits::cores().expect("known").len();
        let threads = (0..cores)
            .map(|_| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || {
                    let mut sum = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        for n in 0..10_000 {
                            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(n));
                        }
                    }
                })
            })
            .collect();
        Self(stop, threads)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        for thread in self.1.drain(..) {
            thread.join().expect("load ends well");
        }
    }
}

/// A small generator, so that a run can be told by its seed.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// One stage's progress: messages, and the longest time without one.
#[derive(Default)]
struct Progress {
    messages: AtomicU64,
    longest_us: AtomicU64,
}

impl Progress {
    fn note(&self, count: usize, last: &mut Instant) {
        let now = Instant::now();
        self.messages.fetch_add(count as u64, Ordering::Relaxed);
        self.longest_us.fetch_max((now - *last).as_micros() as u64, Ordering::Relaxed);
        *last = now;
    }
}

/// Waits `length`, or panics when one of the stages stands still.
fn watch_progress(stages: &[(&str, Arc<Progress>)], length: Duration) {
    let start = Instant::now();
    let mut seen: Vec<(u64, Instant)> = stages.iter().map(|_| (0, start)).collect();
    while start.elapsed() < length {
        thread::sleep(Duration::from_millis(50));
        for ((name, progress), (messages, since)) in stages.iter().zip(&mut seen) {
            let now = progress.messages.load(Ordering::Relaxed);
            if now != *messages {
                (*messages, *since) = (now, Instant::now());
            }
            assert!(since.elapsed() < STANDSTILL, "{name} stands still after {now} messages: a wake-up was lost");
        }
    }
}

fn print_progress(stages: &[(&str, Arc<Progress>)], length: Duration) {
    for (name, progress) in stages {
        let messages = progress.messages.load(Ordering::Relaxed);
        println!(
            "  {name:28} {messages:>10} messages, {:>9.0} a second, longest gap {:>7.1} ms",
            messages as f64 / length.as_secs_f64(),
            progress.longest_us.load(Ordering::Relaxed) as f64 / 1000.0
        );
    }
}

// ---- 1: the lost wake-up ----

/// A ring of two executors and a plain thread, through which bursts travel: thread, A, B, thread. Every burst ends with all
/// three asleep, so each is a chance to lose a wake-up. Beside it A and B play ping-pong with single messages.
fn lost_wake_up(title: &str, with_load: bool, with_sockets: bool, length: Duration) {
    let load = with_load.then(Load::on_every_core);
    let stop = Arc::new(AtomicBool::new(false));
    let stages: Vec<(&str, Arc<Progress>)> = ["bursts: thread, A, B, thread", "ping-pong: A, B", "echo over TCP"]
        .into_iter()
        .take(if with_sockets { 3 } else { 2 })
        .map(|name| (name, Arc::new(Progress::default())))
        .collect();

    let (to_a, from_thread) = inbox::channel::<u64>(1024);
    let (to_b, from_a) = inbox::channel::<u64>(256);
    let (to_thread, mut from_b) = inbox::channel::<u64>(4096);
    let (ping, pinged) = inbox::channel::<u64>(4);
    let (pong, mut ponged) = inbox::channel::<u64>(4);
    let listeners = [listen(), listen()];
    let addrs = listeners.each_ref().map(Listener::local_addr);
    let [listener_a, listener_b] = listeners;

    async fn forward(mut from: Receiver<u64>, to: Sender<u64>) {
        let mut batch = Vec::new();
        while from.recv_many(&mut batch, 512).await.is_ok() {
            for message in batch.drain(..) {
                if to.send(message).await.is_err() {
                    return;
                }
            }
        }
    }

    let progress = Arc::clone(&stages[1].1);
    let stopped = Arc::clone(&stop);
    let a = start("trial-a", bare(), move || async move {
        executor::spawn_local(serve(listener_a));
        executor::spawn_local(async move {
            let mut last = Instant::now();
            let mut batch = Vec::new();
            for round in 0.. {
                if stopped.load(Ordering::Relaxed) || ping.send(round).await.is_err() {
                    return;
                }
                if ponged.recv_many(&mut batch, 4).await.is_err() {
                    return;
                }
                assert_eq!(batch.pop(), Some(round));
                assert!(batch.is_empty());
                progress.note(1, &mut last);
            }
        });
        forward(from_thread, to_b).await;
    });
    let b = start("trial-b", bare(), move || async move {
        executor::spawn_local(serve(listener_b));
        executor::spawn_local(forward(pinged, pong));
        forward(from_a, to_thread).await;
    });

    let progress = Arc::clone(&stages[0].1);
    let stopped = Arc::clone(&stop);
    let thread = thread::spawn(move || {
        let mut random = Random(0x5EED_0001);
        let mut batch = Vec::new();
        let (mut sent, mut received) = (0_u64, 0_u64);
        let mut last = Instant::now();
        while !stopped.load(Ordering::Relaxed) {
            // Mostly small bursts, some that fill every inbox on the way.
            let burst = if random.below(20) == 0 { 1 + random.below(3000) } else { 1 + random.below(8) };
            for _ in 0..burst {
                to_a.send_blocking(sent).expect("A lives");
                sent += 1;
            }
            while received < sent {
                let count = from_b.recv_many_blocking(&mut batch, 4096, None).expect("B lives");
                for message in batch.drain(..) {
                    assert_eq!(message, received, "messages arrive once and in order");
                    received += 1;
                }
                progress.note(count, &mut last);
            }
        }
    });
    let clients: Vec<_> = (0..if with_sockets { 4 } else { 0 })
        .map(|number| {
            let (stopped, progress) = (Arc::clone(&stop), Arc::clone(&stages[2].1));
            thread::spawn(move || {
                let mut stream = TcpStream::connect(addrs[number % 2]).expect("connects");
                stream.set_nodelay(true).expect("set");
                let mut random = Random(0x5EED_0100 + number as u64);
                let mut last = Instant::now();
                while !stopped.load(Ordering::Relaxed) {
                    let bytes = vec![number as u8; 1 + random.below(3000) as usize];
                    let mut echo = vec![0; bytes.len()];
                    match stream.write_all(&bytes).and_then(|()| stream.read_exact(&mut echo)) {
                        Ok(()) => assert!(echo == bytes),
                        // The executors end as soon as they are told to, and their connections with them.
                        Err(_) if stopped.load(Ordering::Relaxed) => break,
                        Err(error) => panic!("no echo: {error}"),
                    }
                    progress.note(1, &mut last);
                }
            })
        })
        .collect();

    watch_progress(&stages, length);
    stop.store(true, Ordering::Relaxed);
    // The thread drops its sender, A ends, then B.
    thread.join().expect("ends well");
    for client in clients {
        client.join().expect("ends well");
    }
    a.join().expect("ends well");
    b.join().expect("ends well");
    drop(load);
    println!("lost wake-up, {title}:");
    print_progress(&stages, length);
}

#[test]
fn no_wake_up_is_lost_between_executors_and_a_thread() {
    let _alone = alone();
    lost_wake_up("cores free", false, false, trial_length(4));
    lost_wake_up("every core loaded", true, false, trial_length(7));
}

#[test]
fn no_wake_up_is_lost_beside_real_connections() {
    let _alone = alone();
    lost_wake_up("beside connections, cores free", false, true, trial_length(4));
    lost_wake_up("beside connections, every core loaded", true, true, trial_length(7));
}

// ---- 2: thousands of connections ----

async fn echo(stream: Stream) {
    let mut bytes = Vec::new();
    while stream.read(&mut bytes).await.is_ok_and(|len| len > 0) {
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
        // An idle connection keeps no buffer.
        bytes = Vec::new();
    }
}

async fn serve(listener: Listener) {
    loop {
        let accepted = listener.accept().await.expect("descriptors are there");
        executor::spawn_local(echo(Stream::adopt(accepted)));
    }
}

/// Two shards, one acceptor which gives the first of them seven connections of eight. Ends when the stop inbox closes.
fn start_shards(listener: Listener, options: &Options) -> (Sender<()>, Vec<JoinHandle>) {
    let mut shards = Vec::new();
    let mut senders: Vec<Sender<Accepted>> = Vec::new();
    for name in ["shard-0", "shard-1"] {
        let (sender, mut receiver) = inbox::channel(64);
        senders.push(sender);
        shards.push(start(name, options.clone(), move || async move {
            let mut batch = Vec::new();
            while receiver.recv_many(&mut batch, 64).await.is_ok() {
                for accepted in batch.drain(..) {
                    executor::spawn_local(echo(Stream::adopt(accepted)));
                }
            }
        }));
    }
    let (stop, mut stopped) = inbox::channel::<()>(1);
    shards.push(start("acceptor", options.clone(), move || async move {
        executor::spawn_local(async move {
            for number in 0_usize.. {
                let accepted = listener.accept().await.expect("descriptors are there");
                let shard = usize::from(number % 8 == 7);
                if senders[shard].send(accepted).await.is_err() {
                    return;
                }
            }
        });
        // The senders are dropped with the task above, and the shards end.
        stopped.recv_many(&mut Vec::new(), 1).await.expect_err("nothing is sent, only dropped");
    }));
    (stop, shards)
}

fn join(stop: Sender<()>, executors: Vec<JoinHandle>) {
    drop(stop);
    for executor in executors {
        executor.join().expect("ends well");
    }
}

fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("readable");
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096
}

/// CPU time of the threads whose names begin so.
fn cpu_time(names: &[&str]) -> Duration {
    let mut nanoseconds = 0;
    for task in fs::read_dir("/proc/self/task").expect("readable").flatten() {
        let Ok(name) = fs::read_to_string(task.path().join("comm")) else { continue };
        let Ok(stat) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        if names.iter().any(|known| name.starts_with(known)) {
            nanoseconds += stat.split(' ').next().and_then(|spent| spent.parse::<u64>().ok()).expect("a number");
        }
    }
    Duration::from_nanos(nanoseconds)
}

/// Open descriptors by what they are: "socket", "anon_inode:[eventfd]" ...
fn descriptors() -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd").expect("readable").flatten() {
        if let Ok(target) = fs::read_link(entry.path()) {
            let target = target.to_string_lossy().into_owned();
            let kind = target.split_once(":[").map_or(target.as_str(), |(kind, _)| kind);
            let kind = if target.starts_with("anon_inode") { target.as_str() } else { kind };
            if !kind.starts_with("/proc") {
                *kinds.entry(kind.to_owned()).or_default() += 1;
            }
        }
    }
    kinds
}

fn sockets() -> usize {
    descriptors().get("socket").copied().unwrap_or(0)
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("connects");
    stream.set_nodelay(true).expect("set");
    // A bound, so that a server that stands still fails the trial rather than hang it.
    stream.set_read_timeout(Some(STANDSTILL)).expect("set");
    stream
}

#[test]
fn thousands_of_connections_arrive_unevenly_and_idle_cheaply() {
    let _alone = alone();
    let files = limits::raise_open_files().expect("raised").soft;
    // Both ends are in this process.
    let count = usize::try_from(files.saturating_sub(200) / 2).unwrap_or(usize::MAX).min(10_000);
    let listener = listen();
    let addr = listener.local_addr();
    // The ticker as in the product: it is part of what idling costs.
    let (stop, executors) = start_shards(listener, &Options::default());
    let resident = resident_bytes();

    let started = Instant::now();
    let mut clients: Vec<TcpStream> = (0..count).map(|_| connect(addr)).collect();
    // Everyone speaks once: all are served.
    for client in &mut clients {
        client.write_all(b"hello").expect("written");
    }
    for client in &mut clients {
        let mut echo = [0; 5];
        client.read_exact(&mut echo).expect("echoed");
        assert_eq!(&echo, b"hello");
    }
    let connecting = started.elapsed();

    // Nineteen of twenty messages on one connection of twenty, in waves.
    let mut random = Random(0x5EED_0002);
    let started = Instant::now();
    let mut messages = 0_u64;
    let mut longest = Duration::ZERO;
    while started.elapsed() < trial_length(4) {
        let mut wave = BTreeMap::new();
        for _ in 0..1 + random.below(500) {
            let hot = random.below(20) != 0;
            let bound = if hot { count / 20 } else { count };
            *wave.entry(random.below(bound.max(1) as u64) as usize).or_insert(0_usize) += 1;
        }
        let sent = Instant::now();
        for (&number, &times) in &wave {
            clients[number].write_all(&vec![number as u8; times]).expect("written");
        }
        for (&number, &times) in &wave {
            let mut echo = vec![0; times];
            clients[number].read_exact(&mut echo).expect("echoed");
            assert!(echo.iter().all(|&byte| byte == number as u8));
            messages += times as u64;
        }
        longest = longest.max(sent.elapsed());
    }

    let names = ["shard-0", "shard-1", "acceptor"];
    let (before, window) = (cpu_time(&names), Duration::from_secs(3));
    thread::sleep(window);
    let idle_share = (cpu_time(&names) - before).as_secs_f64() / window.as_secs_f64();
    let grown = resident_bytes().saturating_sub(resident);
    println!(
        "{count} connections in {connecting:.1?}; {messages} messages, slowest wave {longest:.1?}; {:.0} bytes resident each; \
         idle: {:.2} % of a core for three executors",
        grown as f64 / count as f64,
        idle_share * 100.0
    );
    assert!(grown / (count as u64) < 20_000, "5,000 idle connections must fit into 100 MB");
    join(stop, executors);
    let mut end = [0; 1];
    for client in &mut clients {
        assert!(matches!(client.read(&mut end), Ok(0) | Err(_)), "closed with the server");
    }
}

// ---- 3: shutdown under load ----

#[test]
fn shutdown_under_load_closes_everything() {
    let _alone = alone();
    // Once before counting: what the first executor of a process makes for good is no leak.
    let warm = listen();
    let (stop, executors) = start_shards(warm, &bare());
    join(stop, executors);
    let before = (descriptors(), sockets());

    for round in 0..3 {
        let listener = listen();
        let addr = listener.local_addr();
        let (stop, executors) = start_shards(listener, &bare());
        let served = Arc::new(AtomicU64::new(0));
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let served = Arc::clone(&served);
                thread::spawn(move || {
                    let mut streams: Vec<TcpStream> = (0..25).map(|_| connect(addr)).collect();
                    let bytes = [7; 2000];
                    // Until the server closes: never a lasting silence.
                    'busy: loop {
                        for stream in &mut streams {
                            if stream.write_all(&bytes).is_err() {
                                break 'busy;
                            }
                        }
                        for stream in &mut streams {
                            let mut echo = [0; 2000];
                            match stream.read_exact(&mut echo) {
                                Ok(()) => served.fetch_add(1, Ordering::Relaxed),
                                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                                    panic!("neither answered nor closed")
                                }
                                Err(_) => break 'busy,
                            };
                        }
                    }
                })
            })
            .collect();
        while served.load(Ordering::Relaxed) < 5_000 {
            assert!(!executors.iter().any(JoinHandle::is_finished), "an executor ended under load");
            thread::sleep(Duration::from_millis(1));
        }
        let asked = Instant::now();
        join(stop, executors);
        let ended = asked.elapsed();
        for client in clients {
            client.join().expect("ends well");
        }
        println!(
            "shutdown {round} under load: {} answers, executors ended {ended:.1?} later",
            served.load(Ordering::Relaxed)
        );
    }
    println!("descriptors before: {:?}\n             after: {:?}", before.0, descriptors());
    assert_eq!(sockets(), before.1, "sockets leaked");
}

// ---- 4: a panic in a task ----

#[test]
fn a_panic_in_a_task_is_reported_and_with_the_binarys_hook_aborts() {
    const CHILD: &str = "ZOO_TRIAL_PANIC_CHILD";
    let _alone = alone();
    let panics = || async {
        executor::spawn_local(async {
            executor::sleep(Duration::from_millis(5)).await;
            panic!("a mistake of ours");
        });
        std::future::pending::<()>().await;
    };
    if std::env::var_os(CHILD).is_some() {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            print(info);
            std::process::abort();
        }));
        let _ = start("panics", bare(), panics).join();
        unreachable!("the hook aborts");
    }
    // Without the hook: the thread ends, others go on.
    let (sender, mut receiver) = inbox::channel::<u8>(1);
    let other = start("other", bare(), move || async move {
        assert_eq!(receiver.recv_many(&mut Vec::new(), 1).await, Ok(1));
    });
    let error = start("panics", bare(), panics).join().expect_err("reported");
    assert_eq!(error.name, "panics");
    sender.send_blocking(1).expect("the other lives");
    other.join().expect("ends well");

    let child = Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", "a_panic_in_a_task_is_reported_and_with_the_binarys_hook_aborts", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("runs");
    let words = String::from_utf8_lossy(&child.stderr).into_owned();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.status), Some(6), "SIGABRT: {words}");
    assert!(words.contains("a mistake of ours") && words.contains("'panics'"), "{words}");
}

// ---- 5: churn ----

#[test]
fn churn_leaks_neither_descriptors_nor_memory() {
    let _alone = alone();
    let listener = listen();
    let addr = listener.local_addr();
    let (stop, executors) = start_shards(listener, &bare());
    let mut random = Random(0x5EED_0003);
    let mut connections = 0_u64;
    let mut churn = |length: Duration| {
        let started = Instant::now();
        while started.elapsed() < length {
            let mut streams: Vec<TcpStream> = (0..1 + random.below(60)).map(|_| connect(addr)).collect();
            connections += streams.len() as u64;
            for stream in &mut streams {
                match random.below(4) {
                    // Some leave without a word, some without hearing the answer.
                    0 => {}
                    1 => stream.write_all(b"and gone").expect("written"),
                    _ => {
                        stream.write_all(b"hello").expect("written");
                        let mut echo = [0; 5];
                        stream.read_exact(&mut echo).expect("echoed");
                    }
                }
            }
        }
        // The server closes its ends when it hears of ours.
        let settled = Instant::now();
        loop {
            let now = sockets();
            thread::sleep(Duration::from_millis(20));
            if sockets() == now || settled.elapsed() > STANDSTILL {
                return (sockets(), resident_bytes());
            }
        }
    };
    let length = trial_length(4);
    let warm = churn(length / 4);
    let after = churn(length);
    println!(
        "churn: {connections} connections; sockets {} -> {}; resident {:.1} -> {:.1} MB",
        warm.0,
        after.0,
        warm.1 as f64 / 1e6,
        after.1 as f64 / 1e6
    );
    assert_eq!(after.0, warm.0, "sockets leaked");
    assert!(after.1 < warm.1 + 16_000_000, "memory leaked");
    join(stop, executors);
}

// ---- and a full disk, for real ----

/// In a mount namespace of its own, on a file system of 4 MiB: needs no root, but a kernel that lets users make one.
#[test]
fn a_full_disk_is_told_and_room_is_found_again() {
    use zoo_server::rt::ring::{self, Ring};
    use zoo_server::storage::disk::{BlockBuf, Completion, Disk, DiskError, FileId, Operation};

    const CHILD: &str = "ZOO_TRIAL_FULL_CHILD";
    const PIECE: usize = 64 * 1024;
    let _alone = alone();
    let Some(folder) = std::env::var_os(CHILD) else {
        let folder = tempfile::tempdir().expect("a folder");
        let child = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
            .arg(format!("mount -t tmpfs -o size=4m none \"${CHILD}\" || exit 77; exec \"$0\" \"$@\""))
            .arg(std::env::current_exe().expect("known"))
            .args(["--exact", "a_full_disk_is_told_and_room_is_found_again", "--nocapture"])
            .env(CHILD, folder.path())
            .output()
            .expect("unshare (util-linux) is installed");
        let words = format!("{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
        let refused = child.status.code() == Some(77) || words.contains("unshare failed");
        if refused {
            println!("a full disk: NOT TRIED, this machine lets users make no namespaces: {words}");
            return;
        }
        assert!(child.status.success() && words.contains("full after"), "{words}");
        return;
    };

    fn write(disk: &mut Ring, file: FileId, at: u64) -> Result<(), DiskError> {
        let operation = Operation::Write { offset: at, block: BlockBuf::zeroed(PIECE), durable: true };
        disk.submit(file, operation, at).expect("submitted");
        let mut done: Vec<Completion> = Vec::new();
        while done.is_empty() {
            disk.wait(true, &mut done).expect("waits");
        }
        done.remove(0).result
    }

    let mut disk = Ring::open(folder.as_ref(), &ring::Options::default()).expect("opens");
    let spare = disk.create("spare", 1 << 20).expect("room for a spare");
    disk.close(spare);
    let file = disk.create("log", 0).expect("created");
    let mut written = 0;
    let error = loop {
        match write(&mut disk, file, written) {
            Ok(()) => written += PIECE as u64,
            Err(error) => break error,
        }
        assert!(written < 64 << 20, "more was written than there is room for");
    };
    assert_eq!(error, DiskError::Full { file: "log".to_owned() });
    assert_eq!(disk.create("more", 1 << 20), Err(DiskError::Full { file: "more".to_owned() }));
    let mut back = vec![1; written as usize];
    assert_eq!(disk.read(file, 0, &mut back).expect("reads go on"), back.len());
    disk.remove("spare").expect("removed");
    write(&mut disk, file, written).expect("room again");
    println!("full after {written} bytes, direct: {}", disk.is_direct());
}

// ---- and what a wake-up costs ----

/// A lone durable write: executor, log thread, disk, executor; beside the same write made by the log thread for itself.
#[test]
fn a_lone_durable_write_is_measured() {
    use zoo_server::rt::ring::{self, Ring};
    use zoo_server::storage::disk::{BlockBuf, Disk, FileId, Operation};

    const ROUNDS: usize = 300;
    const BLOCK: usize = 4096;

    fn write(disk: &mut Ring, file: FileId, round: usize) {
        let operation =
            Operation::Write { offset: (round * BLOCK) as u64, block: BlockBuf::zeroed(BLOCK), durable: true };
        disk.submit(file, operation, round as u64).expect("submitted");
    }
    fn median(mut times: Vec<Duration>) -> Duration {
        times.sort_unstable();
        times[times.len() / 2]
    }

    let _alone = alone();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut disk = Ring::open(folder.path(), &ring::Options::default()).expect("opens");
    let file = disk.create("log", (ROUNDS * BLOCK) as u64).expect("created");
    // Written ahead, then written alone.
    let mut alone_times = Vec::new();
    for pass in 0..2 {
        for round in 0..ROUNDS {
            let started = Instant::now();
            write(&mut disk, file, round);
            let mut done = Vec::new();
            while done.is_empty() {
                disk.wait(true, &mut done).expect("waits");
            }
            done.remove(0).result.expect("written");
            if pass == 1 {
                alone_times.push(started.elapsed());
            }
        }
    }
    let (to_log, mut work) = inbox::channel::<usize>(16);
    let (to_executor, mut answers) = inbox::channel::<usize>(16);
    work.attach_doorbell(&disk.doorbell());
    let log = limits::spawn_thread("log", None, move || {
        let (mut batch, mut done) = (Vec::new(), Vec::new());
        while work.try_recv_many(&mut batch, 16).is_ok() {
            for round in batch.drain(..) {
                write(&mut disk, file, round);
            }
            disk.wait(true, &mut done).expect("waits");
            for completion in done.drain(..) {
                completion.result.expect("written");
                to_executor.send_blocking(completion.token as usize).expect("the executor lives");
            }
        }
    })
    .expect("starts");
    let alone_time = median(alone_times);
    start("writes", Options::default(), move || async move {
        let (mut times, mut batch) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let started = Instant::now();
            to_log.send(round).await.expect("the log lives");
            answers.recv_many(&mut batch, 16).await.expect("the log lives");
            times.push(started.elapsed());
            assert_eq!(std::mem::take(&mut batch), [round]);
        }
        println!(
            "a lone durable write: {:.1?} by the log thread, {:.1?} through two inboxes",
            alone_time,
            median(times)
        );
    })
    .join()
    .expect("ends well");
    log.join().expect("ends well");
}

#[test]
fn a_wake_up_between_executors_is_measured() {
    const ROUNDS: usize = 5_000;
    let _alone = alone();
    let (ping, mut pinged) = inbox::channel::<Instant>(4);
    let (pong, mut ponged) = inbox::channel::<()>(4);
    let b = start("wake-b", Options::default(), move || async move {
        let mut batch = Vec::new();
        let mut hops = Vec::new();
        while pinged.recv_many(&mut batch, 4).await.is_ok() {
            hops.extend(batch.drain(..).map(|sent| sent.elapsed()));
            if pong.send(()).await.is_err() {
                break;
            }
        }
        hops.sort_unstable();
        let at = |share: usize| hops[hops.len() * share / 1000];
        println!("a hop between idle executors: p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}", at(500), at(990), at(999));
    });
    let a = start("wake-a", Options::default(), move || async move {
        let rounds = Rc::new(Cell::new(0));
        let mut batch = Vec::new();
        while rounds.get() < ROUNDS {
            ping.send(Instant::now()).await.expect("B lives");
            assert_eq!(ponged.recv_many(&mut batch, 4).await, Ok(1));
            batch.clear();
            rounds.set(rounds.get() + 1);
        }
    });
    a.join().expect("ends well");
    b.join().expect("ends well");
}
