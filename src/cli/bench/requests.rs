//! The workloads that send requests on open connections: what they ask, and what the answers have to be.

use super::args::{LoadArgs, Workload};
use super::connection::{Connection, Op, Slot};
use super::keys::Keys;
use super::template::{DIGITS, NUMBER_MAX, PLACES, Pattern, Template, digits};
use super::worker::Work;
use crate::wire::acl::AclList;
use crate::wire::op::OpCode;
use crate::wire::request::{CreateRequest, PathVersionRequest, PathWatchRequest, SetDataRequest};
use crate::wire::stat::Stat;

/// Where a stat has the data's last transaction, the version and the length of the data.
const STAT_MZXID: usize = 8;
const STAT_VERSION: usize = 32;
const STAT_DATA_LENGTH: usize = 52;

/// Where znodes are, as templates: what the options say of them.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) root: String,
    /// Below the root, for this run alone.
    pub(super) scratch: String,
    pub(super) pattern: Pattern,
}

impl Layout {
    pub(super) fn new(args: &LoadArgs, scratch: &str) -> Self {
        let root = args.root.trim_end_matches('/').to_owned();
        Self { scratch: format!("{root}/{scratch}"), root, pattern: Pattern::new(args.data as usize) }
    }

    /// A key, its number a place.
    pub(super) fn key(&self) -> String {
        format!("{}/k{}", self.root, PLACES[0])
    }

    /// A key by number.
    pub(super) fn key_of(&self, number: u32) -> String {
        self.key().replace(PLACES[0], std::str::from_utf8(&digits(number)).expect("digits are ASCII"))
    }

    /// A connection's own parent; its number is place 0.
    pub(super) fn parent(&self) -> String {
        format!("{}/{}", self.scratch, PLACES[0])
    }

    /// A znode below such a parent; its number is place 1.
    pub(super) fn child(&self) -> String {
        format!("{}/{}", self.parent(), PLACES[1])
    }
}

/// A create; the data's number is that of `place`.
pub(super) fn create(path: &str, pattern: &Pattern, place: usize, flags: i32) -> Template {
    let data = pattern.with_place(place);
    Template::new(OpCode::CREATE, |out| {
        CreateRequest { path: path.into(), data: Some(&data), acl: AclList::OPEN, flags, ttl_ms: -1 }
            .encode(OpCode::CREATE, out);
    })
}

/// A delete of any version.
pub(super) fn delete(path: &str) -> Template {
    Template::new(OpCode::DELETE, |out| PathVersionRequest { path: path.into(), version: -1 }.encode(out))
}

/// A request that reads a path and leaves no watch.
fn read(op: OpCode, path: &str) -> Template {
    Template::new(op, |out| PathWatchRequest { path: path.into(), watch: false }.encode(out))
}

/// One thread's share of such a workload.
#[derive(Debug)]
pub(super) struct Requests {
    workload: Workload,
    keys: Keys,
    pattern: Pattern,
    write_percent: u32,
    get: Template,
    set: Template,
    exists: Template,
    create: Template,
    /// The path that a create has to answer with, but for the numbers at its end.
    child_head: Vec<u8>,
}

impl Requests {
    pub(super) fn new(args: &LoadArgs, layout: &Layout, thread: u32) -> Self {
        let key = layout.key();
        let data = layout.pattern.with_place(0);
        Self {
            workload: args.workload,
            keys: Keys::new(args.distribution, args.keys, args.seed, thread, args.threads),
            pattern: layout.pattern.clone(),
            write_percent: args.write_percent,
            get: read(OpCode::GET_DATA, &key),
            set: Template::new(OpCode::SET_DATA, |out| {
                SetDataRequest { path: key.as_str().into(), data: Some(&data), version: -1 }.encode(out);
            }),
            exists: read(OpCode::EXISTS, &key),
            create: create(&layout.child(), &layout.pattern, 1, 0),
            child_head: format!("{}/", layout.scratch).into_bytes(),
        }
    }

    fn check_get(&self, key: u32, body: &[u8]) -> Result<(), &'static str> {
        let Some((data, stat)) = split_buffer(body) else {
            return Err("an answer that cannot be read");
        };
        if stat.len() != Stat::LEN {
            return Err("an answer that cannot be read");
        }
        if self.pattern.is_of(data, key) { Ok(()) } else { Err("not the data that this key has") }
    }

    fn check_stat(&self, stat: &[u8]) -> Result<(), &'static str> {
        if stat.len() != Stat::LEN {
            return Err("an answer that cannot be read");
        }
        if i32_at(stat, STAT_DATA_LENGTH) as usize == self.pattern.len() {
            Ok(())
        } else {
            Err("a stat with another length of data")
        }
    }

    fn check_set(&self, zxid: i64, stat: &[u8]) -> Result<(), &'static str> {
        self.check_stat(stat)?;
        if i32_at(stat, STAT_VERSION) < 1 {
            return Err("a stat whose version says that nothing was set");
        }
        if i64_at(stat, STAT_MZXID) > zxid {
            return Err("a stat from after its own transaction");
        }
        Ok(())
    }

    fn check_create(&self, connection: u32, number: u32, body: &[u8]) -> Result<(), &'static str> {
        let is_right = split_buffer(body).is_some_and(|(path, rest)| {
            rest.is_empty()
                && path.strip_prefix(&*self.child_head).is_some_and(|tail| {
                    tail.len() == 2 * DIGITS + 1
                        && tail[..DIGITS] == digits(connection)
                        && tail[DIGITS] == b'/'
                        && tail[DIGITS + 1..] == digits(number)
                })
        });
        if is_right { Ok(()) } else { Err("not the path that was asked for") }
    }
}

impl Work for Requests {
    fn next(&mut self, connection: &mut Connection, since: u64) -> bool {
        let op = match self.workload {
            Workload::Get => Op::Get,
            Workload::Set => Op::Set,
            Workload::Exists => Op::Exists,
            Workload::Mix if self.keys.percent(self.write_percent) => Op::Set,
            Workload::Mix => Op::Get,
            Workload::Create => Op::Create,
        };
        if op == Op::Create {
            if connection.counter == NUMBER_MAX {
                return false;
            }
            let slot = Slot { since, key: connection.counter, op };
            connection.push(&self.create, &[connection.number, connection.counter], slot);
            connection.counter += 1;
            return true;
        }
        let key = self.keys.next();
        let template = match op {
            Op::Get => &self.get,
            Op::Set => &self.set,
            _ => &self.exists,
        };
        connection.push(template, &[key], Slot { since, key, op });
        true
    }

    fn check(&mut self, connection: &Connection, slot: Slot, zxid: i64, body: &[u8]) -> Result<(), &'static str> {
        match slot.op {
            Op::Get => self.check_get(slot.key, body),
            Op::Set => self.check_set(zxid, body),
            Op::Exists => self.check_stat(body),
            Op::Create => self.check_create(connection.number, slot.key, body),
            other => panic!("{} is no request of this work", other.name()),
        }
    }

    fn op(&self) -> Op {
        self.workload.headline()[0]
    }
}

/// A buffer or string, and what is behind it.
fn split_buffer(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(i32::from_be_bytes(*len)).ok()?)
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(*bytes[at..].first_chunk().expect("the stat's length was checked"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(*bytes[at..].first_chunk().expect("the stat's length was checked"))
}
