//! The observer of the servers: what each of them really has on its disk, and the one order of committed transactions.
//!
//! A transaction is committed when the first server lets a client see a state that holds it. From then on
//!
//! - it is durable on a quorum of the configuration that holds (and a reconfiguration on one of that which it makes, too), by what the
//!   disks did
//!   and not by what anybody said of them;
//! - every server that shows a later state has the same bytes at the same zxid before it, and nothing in between;
//! - its changes are those of the model ([`Model`]), and every server's tree is the model's at the same zxid, digest included.
//!
//! The bytes come from the log batches on their way to the disk, and from the log itself after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use zoo_server::ids::{SessionId, Zxid};
use zoo_server::quorum::Membership;
use zoo_server::tree::View;
use zoo_server::wire::error_code::ErrorCode;
use zoo_server::wire::op::OpCode;
use zoo_server::wire::txn::{Txn, TxnRecord};

use crate::model::Model;
use crate::network::server_id;
use crate::random::fingerprint;

/// A record as a server's log holds it.
#[derive(Clone)]
pub struct Logged {
    pub zxid: Zxid,
    pub fingerprint: u64,
    pub bytes: Rc<[u8]>,
}

impl Logged {
    pub fn new(zxid: Zxid, bytes: &[u8]) -> Self {
        Self { zxid, fingerprint: fingerprint(bytes), bytes: bytes.into() }
    }
}

/// What a server's disk holds.
#[derive(Clone, Default)]
pub struct Truth {
    /// Its log begins behind this: what is before it lies in a snapshot only.
    pub base: Zxid,
    /// Everything that its state is made of, from the first transaction on: also what it has from a snapshot, of its own or of a
    /// leader.
    pub records: Vec<Logged>,
    /// On the medium for certain through here.
    pub durable: Zxid,
    /// Shown to clients through here, since the server's last start.
    shown: Zxid,
    /// The disk was told to cut the log, or to replace everything, and has not answered.
    pub truncating: Option<Zxid>,
    pub installing: Option<Zxid>,
    /// What the state is made of that a leader sent last.
    pub sent: Vec<Logged>,
}

impl Truth {
    /// The newest transaction that was handed to the log.
    pub fn last(&self) -> Zxid {
        self.records.last().map_or(Zxid::ZERO, |record| record.zxid)
    }

    fn find(&self, zxid: Zxid) -> Option<&Logged> {
        let index = self.records.binary_search_by_key(&zxid, |record| record.zxid).ok()?;
        Some(&self.records[index])
    }

    /// Whether it certainly has the transaction, as these bytes or within a snapshot.
    fn has_durably(&self, logged: &Logged) -> bool {
        logged.zxid <= self.durable
            && self.find(logged.zxid).is_some_and(|record| record.fingerprint == logged.fingerprint)
    }

    /// The log was cut behind `to`.
    pub fn truncate(&mut self, to: Zxid) {
        self.records.retain(|record| record.zxid <= to);
        self.durable = self.durable.min(to);
        self.shown = Zxid::ZERO;
        self.truncating = None;
    }

    /// Everything was replaced by a leader's state, which is made of these.
    pub fn install(&mut self, zxid: Zxid) {
        let records = std::mem::take(&mut self.sent);
        let records = records.into_iter().filter(|record| record.zxid <= zxid).collect();
        *self = Self { base: zxid, durable: zxid, records, ..Self::default() };
    }
}

/// A committed transaction.
pub struct Entry {
    pub logged: Logged,
    pub session: SessionId,
    pub cxid: i32,
    /// Of a refused request: why.
    pub err: ErrorCode,
    /// The path of a creation.
    pub created: Option<String>,
    /// The tree's digest after it, once a server has shown a state that ends with it.
    digest: Option<u64>,
}

pub struct Ledger {
    /// The configurations that came to hold, by version.
    configurations: BTreeMap<i64, Membership>,
    pub truths: Vec<Truth>,
    pub entries: Vec<Entry>,
    pub model: Model,
    by_request: BTreeMap<(SessionId, i32), Zxid>,
    /// By request that is under way: the newest zxid that anybody had been answered when it was made.
    floors: BTreeMap<(SessionId, i32), Zxid>,
    /// Requests that were answered as not done.
    refused: BTreeSet<(SessionId, i32)>,
    /// The newest zxid of any answer of a write.
    pub answered: Zxid,
    /// Whether a quorum's disks are looked at.
    pub checks_quorum: bool,
    shown_count: u64,
}

type Verdict = Result<(), String>;

impl Ledger {
    pub fn new(servers: usize, first: Membership) -> Self {
        Self {
            configurations: BTreeMap::from([(0, first)]),
            truths: vec![Truth::default(); servers],
            entries: Vec::new(),
            model: Model::default(),
            by_request: BTreeMap::new(),
            floors: BTreeMap::new(),
            refused: BTreeSet::new(),
            answered: Zxid::ZERO,
            checks_quorum: true,
            shown_count: 0,
        }
    }

    /// A server goes by this configuration from now on. Whether it is a new one.
    pub fn holds(&mut self, membership: &Membership) -> Result<bool, String> {
        match self.configurations.get(&membership.version) {
            None => {
                self.configurations.insert(membership.version, membership.clone());
                Ok(true)
            }
            Some(known) if known == membership => Ok(false),
            Some(known) => {
                Err(format!("two configurations of one version: {}, and {}", known.to_text(), membership.to_text()))
            }
        }
    }

    /// The newest configuration that holds.
    pub fn configuration(&self) -> &Membership {
        self.configurations.last_key_value().expect("there is the first").1
    }

    /// Whether those servers are a quorum of a configuration.
    pub fn is_quorum(membership: &Membership, servers: impl Iterator<Item = usize>) -> bool {
        membership.contains_quorum(servers.map(server_id))
    }

    pub fn last(&self) -> Zxid {
        self.entries.last().map_or(Zxid::ZERO, |entry| entry.logged.zxid)
    }

    fn index_behind(&self, zxid: Zxid) -> usize {
        self.entries.partition_point(|entry| entry.logged.zxid <= zxid)
    }

    /// The last committed transaction before this zxid.
    pub fn last_before(&self, zxid: Zxid) -> Zxid {
        self.index_behind(zxid).checked_sub(1).map_or(Zxid::ZERO, |index| self.entries[index].logged.zxid)
    }

    pub fn find(&self, zxid: Zxid) -> Option<&Entry> {
        let index = self.index_behind(zxid).checked_sub(1)?;
        Some(&self.entries[index]).filter(|entry| entry.logged.zxid == zxid)
    }

    /// The transaction that a request became.
    pub fn of_request(&self, session: SessionId, cxid: i32) -> Option<&Entry> {
        self.find(*self.by_request.get(&(session, cxid))?)
    }

    /// A client makes a request that may become a transaction.
    pub fn requested(&mut self, session: SessionId, cxid: i32) {
        self.floors.insert((session, cxid), self.answered);
    }

    /// A client was told that its request was not done.
    pub fn refused(&mut self, session: SessionId, cxid: i32) -> Verdict {
        if let Some(entry) = self.of_request(session, cxid)
            && entry.err == ErrorCode::OK
        {
            return Err(format!("request {cxid} of {session} was refused and is done at {}", entry.logged.zxid));
        }
        self.refused.insert((session, cxid));
        Ok(())
    }

    /// A server hands a record to its log.
    pub fn appended(&mut self, server: usize, zxid: Zxid, bytes: &[u8]) -> Verdict {
        let truth = &mut self.truths[server];
        if zxid <= truth.last() {
            return Err(format!("server {server} logs {zxid} behind {}", truth.last()));
        }
        truth.records.push(Logged::new(zxid, bytes));
        Ok(())
    }

    /// A server's disk has made its log durable.
    pub fn durable(&mut self, server: usize, through: Zxid) {
        let truth = &mut self.truths[server];
        truth.durable = truth.durable.max(through);
    }

    /// A server has read its disk after a start. `base`: where its log begins.
    pub fn recovered(&mut self, server: usize, base: Zxid, records: Vec<Logged>, is_rotten: bool) -> Verdict {
        let last = records.last().map_or(base, |record| record.zxid);
        let truth = &mut self.truths[server];
        // What the disk was told may be done, or not.
        if let Some(to) = truth.truncating.take().filter(|to| last <= *to) {
            truth.truncate(to);
        }
        if let Some(zxid) = truth.installing.take().filter(|zxid| base == *zxid && truth.base != *zxid) {
            truth.install(zxid);
        }
        if !is_rotten && last < truth.durable {
            return Err(format!("server {server} had {} durably and comes back with {last}", truth.durable));
        }
        if last > truth.last().max(truth.base) {
            return Err(format!("server {server} comes back with {last}, it never logged more than {}", truth.last()));
        }
        let kept = |record: &&Logged| record.zxid > base && record.zxid <= last;
        if truth.records.iter().filter(kept).count() != records.len() {
            return Err(format!("server {server} comes back with a hole in its log between {base} and {last}"));
        }
        let differs =
            |record: &&Logged| truth.find(record.zxid).map(|known| known.fingerprint) != Some(record.fingerprint);
        if let Some(other) = records.iter().find(differs) {
            return Err(format!("server {server} comes back with another {}", other.zxid));
        }
        truth.records.retain(|record| record.zxid <= last);
        truth.base = base;
        truth.durable = last;
        truth.shown = Zxid::ZERO;
        Ok(())
    }

    /// A server lets clients see this state.
    pub fn shown(&mut self, server: usize, view: &View) -> Verdict {
        let truth = &self.truths[server];
        let zxid = match view.zxid() {
            // The start of an epoch is the state of the last transaction before it.
            zxid if zxid.counter() == 0 => {
                let end = truth.records.partition_point(|record| record.zxid <= zxid);
                truth.records[..end].last().map_or(Zxid::ZERO, |record| record.zxid)
            }
            zxid => zxid,
        };
        if zxid < truth.shown {
            return Err(format!("server {server} shows {zxid} behind {}", truth.shown));
        }
        let from = truth.shown;
        // A learner hears of what is decided, and may show it before its own log has room for it.
        let is_ahead = zxid > truth.last();
        if is_ahead && zxid > self.last() {
            return Err(format!("server {server} shows {zxid}, which it never logged, {} is committed", self.last()));
        }
        let shown = if is_ahead { truth.last().max(from) } else { zxid };
        let start = truth.records.partition_point(|record| record.zxid <= from);
        let end = truth.records.partition_point(|record| record.zxid <= zxid);
        let news: Vec<Logged> = truth.records[start..end].to_vec();
        let mut at = self.index_behind(from);
        if let Some(unseen) = self.entries[..at].last().filter(|entry| entry.logged.zxid > from) {
            return Err(format!("the order of commits is broken at {}", unseen.logged.zxid));
        }
        for logged in news {
            match self.entries.get(at) {
                None => self.commit(server, logged)?,
                Some(entry) if entry.logged.zxid == logged.zxid => {
                    if entry.logged.fingerprint != logged.fingerprint {
                        return Err(format!("server {server} shows another {} than was committed", logged.zxid));
                    }
                }
                Some(entry) if entry.logged.zxid < logged.zxid => {
                    let lost = entry.logged.zxid;
                    return Err(format!("server {server} shows {} without {lost}, which was committed", logged.zxid));
                }
                Some(_) => {
                    return Err(format!(
                        "server {server} shows {}, which was not committed when {} was",
                        logged.zxid,
                        self.last()
                    ));
                }
            }
            at += 1;
        }
        let shown_here = self.index_behind(shown);
        if shown_here != at {
            let lost = self.entries[at.min(shown_here)].logged.zxid;
            return Err(format!("server {server} shows {zxid} without {lost}, which was committed"));
        }
        self.truths[server].shown = shown;
        self.compare_digest(server, view)?;
        self.shown_count += 1;
        if self.shown_count.is_multiple_of(64) { self.compare_tree(server, view) } else { Ok(()) }
    }

    fn compare_digest(&mut self, server: usize, view: &View) -> Verdict {
        let zxid = view.zxid();
        let Some(index) = self.index_behind(zxid).checked_sub(1) else { return Ok(()) };
        let entry = &mut self.entries[index];
        match entry.digest {
            None => {
                entry.digest = Some(view.digest());
                Ok(())
            }
            Some(digest) if digest == view.digest() => Ok(()),
            Some(digest) => Err(format!(
                "server {server} has the digest {:x} at {}, another had {digest:x}",
                view.digest(),
                entry.logged.zxid
            )),
        }
    }

    /// Compares all znodes of a state that is shown.
    pub fn compare_tree(&mut self, server: usize, view: &View) -> Verdict {
        self.model.compare(view).map_err(|difference| format!("server {server}: {difference}"))
    }

    fn commit(&mut self, server: usize, logged: Logged) -> Verdict {
        let zxid = logged.zxid;
        let bytes = logged.bytes.clone();
        let record = TxnRecord::decode(&bytes).map_err(|error| format!("{zxid} cannot be read: {error}"))?;
        if record.header.zxid != zxid {
            return Err(format!("the record of {zxid} says {}", record.header.zxid));
        }
        if self.checks_quorum {
            let holders = || (0..self.truths.len()).filter(|holder| self.truths[*holder].has_durably(&logged));
            let (_, before) = self.configurations.range(..zxid.0).next_back().expect("there is the first");
            let made = match &record.txn {
                Txn::SetData { data: Some(data), .. } if record.header.op == OpCode::RECONFIG => {
                    let text = std::str::from_utf8(data).map_err(|error| error.to_string())?;
                    Some(Membership::parse_text(text).map_err(|error| error.to_string())?)
                }
                _ => None,
            };
            for membership in made.iter().chain([before]) {
                if !Self::is_quorum(membership, holders()) {
                    let holders: Vec<_> = holders().collect();
                    let text = membership.to_text();
                    return Err(format!(
                        "server {server} shows {zxid}, which {holders:?} have durably: no quorum of {text}"
                    ));
                }
            }
        }
        let request = (record.header.session, record.header.cxid);
        let err = err_of(&record.txn);
        if let Some(floor) = self.floors.remove(&request)
            && zxid <= floor
        {
            return Err(format!("{zxid} was asked for when {floor} had been answered"));
        }
        if err == ErrorCode::OK && self.refused.contains(&request) {
            return Err(format!("{zxid} does what its client was told is not done"));
        }
        let is_request = !matches!(record.txn, Txn::CreateSession { .. } | Txn::CloseSession { .. }) && request.1 > 0;
        if is_request {
            if let Some(before) = self.by_request.get(&request) {
                return Err(format!("{zxid} and {before} are the same request {} of {}", request.1, request.0));
            }
            let newest = self.by_request.range((request.0, 0)..=(request.0, i32::MAX)).next_back();
            if let Some(((_, cxid), before)) = newest.filter(|((_, cxid), _)| *cxid > request.1)
                && err == ErrorCode::OK
            {
                return Err(format!(
                    "request {} of {} became {zxid} behind its request {cxid}, which became {before}",
                    request.1, request.0
                ));
            }
            self.by_request.insert(request, zxid);
        }
        let created = match &record.txn {
            Txn::Create(create) => Some(create.path.to_string()),
            _ => None,
        };
        self.model.apply(&record.header, &record.txn)?;
        self.entries.push(Entry {
            logged,
            session: request.0,
            cxid: request.1,
            err,
            created,
            digest: record.digest.map(|digest| digest.tree),
        });
        Ok(())
    }
}

fn err_of(txn: &Txn<'_>) -> ErrorCode {
    match txn {
        Txn::Error { err } => *err,
        Txn::Multi(subs) => {
            let mut errors = subs.iter().map(|sub| err_of(&sub.txn)).filter(|err| *err != ErrorCode::OK);
            errors.next().unwrap_or(ErrorCode::OK)
        }
        _ => ErrorCode::OK,
    }
}
