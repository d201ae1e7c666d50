//! Host names into addresses, without stopping the executor: each look-up has a thread of its own, because getaddrinfo(3) may
//! take half a minute, and one name that nobody answers for must not keep the others waiting.
//!
//! Who asks for a name that is being looked up already shares that answer, so there are never more threads than names, nor
//! more than [`LOOKUPS_MAX`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;

use crate::rt::executor::spawn_local;
use crate::rt::inbox::{self, Receiver, Sender};

/// Look-ups at once; the next one fails.
pub const LOOKUPS_MAX: usize = 64;

/// What a look-up gave, in a form that several may have.
type Answer = Result<Vec<IpAddr>, (io::ErrorKind, String)>;

/// One look-up, shared by all who wait for it.
#[derive(Default)]
struct Lookup {
    answer: RefCell<Option<Answer>>,
    waiting: RefCell<Vec<Waker>>,
}

/// Looks names up for the tasks of one executor.
pub struct Resolver {
    lookups: RefCell<BTreeMap<String, Rc<Lookup>>>,
    answers: Sender<(String, Answer)>,
}

impl Resolver {
    /// For the executor that this is called on.
    ///
    /// # Panics
    /// Outside an executor.
    pub fn new() -> Rc<Self> {
        let (answers, inbox) = inbox::channel(LOOKUPS_MAX);
        let resolver = Rc::new(Self { lookups: RefCell::default(), answers });
        spawn_local(hear(Rc::downgrade(&resolver), inbox));
        resolver
    }

    /// The addresses of `host`, IPv4 before IPv6, which is where Java begins, too; never empty. An address is its own answer.
    ///
    /// # Errors
    /// As getaddrinfo says, or if too many names are being looked up.
    pub async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let lookup = self.lookup(host)?;
        poll_fn(|cx| match &*lookup.answer.borrow() {
            Some(Ok(addresses)) => Poll::Ready(Ok(addresses.clone())),
            Some(Err((kind, text))) => Poll::Ready(Err(io::Error::new(*kind, text.clone()))),
            None => {
                let mut waiting = lookup.waiting.borrow_mut();
                if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        })
        .await
    }

    /// The look-up of `host` that is under way, or a new one.
    fn lookup(&self, host: &str) -> io::Result<Rc<Lookup>> {
        let mut lookups = self.lookups.borrow_mut();
        if let Some(lookup) = lookups.get(host) {
            return Ok(lookup.clone());
        }
        if lookups.len() >= LOOKUPS_MAX {
            return Err(io::Error::other(format!("more than {LOOKUPS_MAX} names are being looked up")));
        }
        let (name, answers) = (host.to_owned(), self.answers.clone());
        thread::Builder::new().name("zoo-resolver".to_owned()).spawn(move || {
            let answer = lookup_blocking(&name).map_err(|error| (error.kind(), error.to_string()));
            // An executor that has ended wants no answer.
            let _ = answers.send_blocking((name, answer));
        })?;
        let lookup = Rc::new(Lookup::default());
        lookups.insert(host.to_owned(), lookup.clone());
        Ok(lookup)
    }
}

/// Hands the threads' answers to those who wait.
async fn hear(resolver: std::rc::Weak<Resolver>, mut inbox: Receiver<(String, Answer)>) {
    let mut answers = Vec::new();
    while inbox.recv_many(&mut answers, LOOKUPS_MAX).await.is_ok() {
        let Some(resolver) = resolver.upgrade() else { return };
        for (host, answer) in answers.drain(..) {
            if let Some(lookup) = resolver.lookups.borrow_mut().remove(&host) {
                *lookup.answer.borrow_mut() = Some(answer);
                lookup.waiting.borrow_mut().drain(..).for_each(Waker::wake);
            }
        }
    }
}

/// The same for a thread that may wait.
///
/// # Errors
/// As getaddrinfo says.
pub fn lookup_blocking(host: &str) -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<_> = (host, 0).to_socket_addrs()?.map(|address| address.ip()).collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.dedup();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("\"{host}\" has no address")));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::executor::{Options, spawn};

    #[test]
    fn names_and_addresses() {
        let executor = spawn("resolver", None, Options::default(), || async {
            let resolver = Resolver::new();
            let loopback: IpAddr = "127.0.0.1".parse().expect("an address");
            assert_eq!(resolver.resolve("127.0.0.1").await.expect("an address"), [loopback]);
            assert_eq!(resolver.resolve("::1").await.expect("an address").len(), 1);
            let (one, other) =
                futures_lite::future::zip(resolver.resolve("localhost"), resolver.resolve("localhost")).await;
            assert!(one.expect("known everywhere").iter().all(IpAddr::is_loopback));
            assert!(!other.expect("the same answer").is_empty());
            assert!(resolver.lookups.borrow().is_empty(), "an answer is not kept: addresses move");
            resolver.resolve("no such host.invalid").await.expect_err("no such name");
        })
        .expect("starts");
        executor.join().expect("ends well");
    }
}
