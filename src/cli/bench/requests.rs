//! The workloads that send requests on open connections: what they ask, and what the answers have to be.

use super::args::{LoadArgs, Workload};
use super::connection::{Connection, Op, Slot};
use super::keys::Keys;
use super::template::{DIGITS, NUMBER_MAX, PLACES, Pattern, Template, digits};
use super::worker::Work;
use crate::wire::acl::AclList;
use crate::wire::multi::{MultiOp, encode_multi};
use crate::wire::op::OpCode;
use crate::wire::request::{CreateRequest, PathVersionRequest, PathWatchRequest, SetDataRequest};
use crate::wire::stat::Stat;

/// Where a stat has the data's last transaction, the version and the length of the data.
const STAT_MZXID: usize = 8;
const STAT_VERSION: usize = 32;
const STAT_DATA_LENGTH: usize = 52;
const STAT_NUM_CHILDREN: usize = 56;

/// Before each result of a multi: what it is of, whether it is the end, an error.
const MULTI_HEADER: usize = 9;

/// Flags of a create, as Apache's `CreateMode` numbers them.
pub(super) const PERSISTENT: i32 = 0;
pub(super) const EPHEMERAL: i32 = 1;

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

    /// A child of a key; its number is place 1.
    pub(super) fn key_child(&self) -> String {
        format!("{}/c{}", self.key(), PLACES[1])
    }

    /// A znode that is there to be deleted; its number is place 0.
    pub(super) fn stock(&self) -> String {
        format!("{}/n{}", self.scratch, PLACES[0])
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

/// A setData of any version.
pub(super) fn set(path: &str, pattern: &Pattern) -> Template {
    let data = pattern.with_place(0);
    Template::new(OpCode::SET_DATA, |out| {
        SetDataRequest { path: path.into(), data: Some(&data), version: -1 }.encode(out);
    })
}

/// A request that reads a path.
pub(super) fn read(op: OpCode, path: &str, watch: bool) -> Template {
    Template::new(op, |out| PathWatchRequest { path: path.into(), watch }.encode(out))
}

/// So many setData in one.
fn multi(path: &str, pattern: &Pattern, ops: u32) -> Template {
    let data = pattern.with_place(0);
    let set = MultiOp::SetData(SetDataRequest { path: path.into(), data: Some(&data), version: -1 });
    let ops = vec![set; ops as usize];
    let gaps_each = 1 + usize::from(pattern.len() >= DIGITS);
    Template::new(OpCode::MULTI, |out| encode_multi(&ops, out)).renumbered(gaps_each)
}

/// One thread's share of such a workload.
#[derive(Debug)]
pub(super) struct Requests {
    workload: Workload,
    keys: Keys,
    pattern: Pattern,
    write_percent: u32,
    children: u32,
    get: Template,
    set: Template,
    exists: Template,
    get_children: Template,
    multi: Template,
    create: Template,
    delete: Template,
    /// The keys of one multi.
    numbers: Vec<u32>,
    /// The path that a create has to answer with, but for the numbers at its end.
    child_head: Vec<u8>,
}

impl Requests {
    pub(super) fn new(args: &LoadArgs, layout: &Layout, thread: u32) -> Self {
        let key = layout.key();
        let flags = if args.workload == Workload::Ephemeral { EPHEMERAL } else { PERSISTENT };
        Self {
            workload: args.workload,
            keys: Keys::new(args.distribution, args.key_count(), args.seed, thread, args.threads),
            pattern: layout.pattern.clone(),
            write_percent: args.write_percent,
            children: args.children,
            get: read(OpCode::GET_DATA, &key, false),
            set: set(&key, &layout.pattern),
            exists: read(OpCode::EXISTS, &key, false),
            get_children: read(OpCode::GET_CHILDREN2, &key, false),
            multi: multi(&key, &layout.pattern, args.multi_ops),
            create: create(&layout.child(), &layout.pattern, 1, flags),
            delete: delete(&layout.child()),
            numbers: vec![0; args.multi_ops as usize],
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

    fn check_children(&self, body: &[u8]) -> Result<(), &'static str> {
        // Each name is a letter and the digits of a number.
        let names_len = 4 + self.children as usize * (4 + 1 + DIGITS);
        if body.len() != names_len + Stat::LEN || i32_at(body, 0) as u32 != self.children {
            return Err("not the children that this key has");
        }
        if i32_at(&body[names_len..], STAT_NUM_CHILDREN) as u32 == self.children {
            Ok(())
        } else {
            Err("a stat with another number of children")
        }
    }

    fn check_multi(&self, zxid: i64, body: &[u8]) -> Result<(), &'static str> {
        let each = MULTI_HEADER + Stat::LEN;
        if body.len() != self.numbers.len() * each + MULTI_HEADER {
            return Err("a multi of which an operation failed, or an answer that cannot be read");
        }
        for result in body[..self.numbers.len() * each].chunks_exact(each) {
            if i32_at(result, 0) != OpCode::SET_DATA.0 {
                return Err("a multi of which an operation failed");
            }
            self.check_set(zxid, &result[MULTI_HEADER..])?;
        }
        Ok(())
    }

    fn check_create(&self, connection: u32, number: u32, body: &[u8]) -> Result<(), &'static str> {
        check_path(&self.child_head, connection, number, body)
    }
}

/// Whether the answer to a create is the path `HEAD/CONNECTION/NUMBER`.
pub(super) fn check_path(head: &[u8], connection: u32, number: u32, body: &[u8]) -> Result<(), &'static str> {
    let is_right = split_buffer(body).is_some_and(|(path, rest)| {
        rest.is_empty()
            && path.strip_prefix(head).is_some_and(|tail| {
                tail.len() == 2 * DIGITS + 1
                    && tail[..DIGITS] == digits(connection)
                    && tail[DIGITS] == b'/'
                    && tail[DIGITS + 1..] == digits(number)
            })
    });
    if is_right { Ok(()) } else { Err("not the path that was asked for") }
}

impl Work for Requests {
    fn next(&mut self, connection: &mut Connection, since: u64) -> bool {
        let (op, template) = match self.workload {
            Workload::Get => (Op::Get, &self.get),
            Workload::Set => (Op::Set, &self.set),
            Workload::Exists => (Op::Exists, &self.exists),
            Workload::Children => (Op::Children, &self.get_children),
            Workload::Mix if self.keys.percent(self.write_percent) => (Op::Set, &self.set),
            Workload::Mix => (Op::Get, &self.get),
            Workload::Multi => {
                self.numbers.iter_mut().for_each(|number| *number = self.keys.next());
                connection.push(&self.multi, &self.numbers, Slot { since, key: 0, op: Op::Multi });
                return true;
            }
            Workload::Create => {
                if connection.counter == NUMBER_MAX {
                    return false;
                }
                let slot = Slot { since, key: connection.counter, op: Op::Create };
                connection.push(&self.create, &[connection.number, connection.counter], slot);
                connection.counter += 1;
                return true;
            }
            Workload::Ephemeral => {
                let (op, template) =
                    if connection.step == 0 { (Op::Create, &self.create) } else { (Op::Delete, &self.delete) };
                let slot = Slot { since, key: connection.counter, op };
                connection.push(template, &[connection.number, connection.counter], slot);
                // Created, deleted, then the next; after the last number the first is free again.
                if connection.step == 1 {
                    connection.counter = (connection.counter + 1) % NUMBER_MAX;
                }
                connection.step = 1 - connection.step;
                return true;
            }
            Workload::Delete | Workload::Session | Workload::Watch | Workload::Connect => {
                panic!("{} is another work's", self.workload.name())
            }
        };
        let key = self.keys.next();
        connection.push(template, &[key], Slot { since, key, op });
        true
    }

    fn check(&mut self, connection: &Connection, slot: Slot, zxid: i64, body: &[u8]) -> Result<(), &'static str> {
        match slot.op {
            Op::Get => self.check_get(slot.key, body),
            Op::Set => self.check_set(zxid, body),
            Op::Exists => self.check_stat(body),
            Op::Children => self.check_children(body),
            Op::Multi => self.check_multi(zxid, body),
            Op::Create => self.check_create(connection.number, slot.key, body),
            Op::Delete => check_empty(body),
            other => panic!("{} is no request of this work", other.name()),
        }
    }

    fn lost(&mut self, connection: &mut Connection) {
        // Its ephemerals may live on with a session that is taken up again: others take their place.
        if self.workload == Workload::Ephemeral {
            connection.step = 0;
            connection.counter = (connection.counter + 1) % NUMBER_MAX;
        }
    }

    fn op(&self) -> Op {
        self.workload.headline()[0]
    }
}

/// Deletes a stock of znodes.
#[derive(Debug)]
pub(super) struct Deletes<'a> {
    template: &'a Template,
    next: u32,
    step: u32,
    count: u32,
}

impl<'a> Deletes<'a> {
    /// A thread's share of the numbers below `count`.
    pub(super) const fn new(template: &'a Template, count: u32, thread: u32, threads: u32) -> Self {
        Self { template, next: thread, step: threads, count }
    }
}

impl Work for Deletes<'_> {
    fn next(&mut self, connection: &mut Connection, since: u64) -> bool {
        if self.is_done() {
            return false;
        }
        connection.push(self.template, &[self.next], Slot { since, key: self.next, op: Op::Delete });
        self.next += self.step;
        true
    }

    fn check(&mut self, _: &Connection, _: Slot, _: i64, body: &[u8]) -> Result<(), &'static str> {
        check_empty(body)
    }

    fn is_done(&self) -> bool {
        self.next >= self.count
    }

    fn op(&self) -> Op {
        Op::Delete
    }
}

pub(super) fn check_empty(body: &[u8]) -> Result<(), &'static str> {
    if body.is_empty() { Ok(()) } else { Err("more than the success that was expected") }
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
