//! Access control lists, each kept once (Apache's `ReferenceCountedACLCache`).
//!
//! A znode holds a number. [`AclTable`] finds the list by it and belongs to a version: it is cut into chunks, and a
//! version that still shows a chunk makes the writer copy just that one. [`Interner`] is the writer's side: the number of
//! a list, and how many znodes have it. A number is used again when no znode of the newest version has it; older
//! versions keep their own tables, so for them it still means the old list.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::wire::acl::{Acl, AclList, Id, Perms};

/// A list's number in its tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct AclId(pub u32);

impl AclId {
    /// What a znode without a list has, as the root from the start: everybody may do everything. Apache's -1.
    pub const OPEN: Self = Self(u32::MAX);
}

/// A list, with what is asked of it most.
#[derive(PartialEq, Eq, Debug)]
pub struct AclEntry {
    /// As it travels.
    pub list: AclList<'static>,
    /// What everybody may do by it: the fast path of every check. A list without entries forbids nothing, as in Apache
    /// (`ZooKeeperServer.checkACL`).
    pub anyone: Perms,
    /// Its entries, decoded.
    pub entries: Vec<Acl<'static>>,
}

impl AclEntry {
    /// Looks through a list.
    pub fn new(list: AclList<'static>) -> Self {
        let entries: Vec<Acl<'static>> =
            list.iter().map(|acl| Acl { perms: acl.perms, id: acl.id.into_owned() }).collect();
        let by_entry = entries.iter().filter(|acl| acl.id == Id::anyone()).fold(0, |perms, acl| perms | acl.perms.0);
        let anyone = if entries.is_empty() { Perms::ALL } else { Perms(by_entry) };
        Self { list, anyone, entries }
    }
}

/// What is copied for a change, if a version shows it.
const CHUNK: usize = 256;
type Chunk = Vec<Option<Arc<AclEntry>>>;

/// The lists of one version, by number.
#[derive(Clone)]
pub(super) struct AclTable {
    open: Arc<AclEntry>,
    chunks: Arc<Vec<Arc<Chunk>>>,
}

impl AclTable {
    pub(super) fn new() -> Self {
        Self { open: Arc::new(AclEntry::new(AclList::OPEN)), chunks: Arc::default() }
    }

    /// # Panics
    /// If no znode of the version has it.
    pub(super) fn get(&self, id: AclId) -> &Arc<AclEntry> {
        if id == AclId::OPEN {
            return &self.open;
        }
        let at = id.0 as usize;
        self.chunks
            .get(at / CHUNK)
            .and_then(|chunk| chunk.get(at % CHUNK)?.as_ref())
            .unwrap_or_else(|| panic!("{id:?} is not a list of this version"))
    }

    /// All but the open list that has no number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (AclId, &Arc<AclEntry>)> {
        self.chunks
            .iter()
            .flat_map(|chunk| chunk.iter())
            .zip(0_u32..)
            .filter_map(|(entry, id)| Some((AclId(id), entry.as_ref()?)))
    }

    fn slot(&mut self, id: AclId) -> &mut Option<Arc<AclEntry>> {
        let at = id.0 as usize;
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.len() <= at / CHUNK {
            chunks.resize_with(at / CHUNK + 1, || Arc::new(vec![None; CHUNK]));
        }
        &mut Arc::make_mut(&mut chunks[at / CHUNK])[at % CHUNK]
    }
}

/// The writer's side of the table.
#[derive(Default)]
pub(super) struct Interner {
    /// Ordered rather than hashed: clients choose the lists, and there are few.
    ids: BTreeMap<Box<[u8]>, AclId>,
    /// Znodes by list. Zero: the number is free.
    uses: Vec<u64>,
    free: Vec<AclId>,
}

impl Interner {
    /// The number of a list, which one more znode has from here on.
    ///
    /// # Panics
    /// At 2^32 - 1 different lists, which no memory holds.
    pub(super) fn intern(&mut self, table: &mut AclTable, list: &AclList<'_>) -> AclId {
        if list.is_null() {
            return AclId::OPEN;
        }
        if let Some(&id) = self.ids.get(list.as_bytes()) {
            self.uses[id.0 as usize] += 1;
            return id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            let id = u32::try_from(self.uses.len()).ok().filter(|&id| id != u32::MAX);
            self.uses.push(0);
            AclId(id.expect("more access control lists than 32 bits can number"))
        });
        self.uses[id.0 as usize] = 1;
        self.ids.insert(list.as_bytes().into(), id);
        *table.slot(id) = Some(Arc::new(AclEntry::new(list.borrowed().into_owned())));
        id
    }

    /// One znode less has it; with the last the list is forgotten.
    pub(super) fn release(&mut self, table: &mut AclTable, id: AclId) {
        if id == AclId::OPEN {
            return;
        }
        let uses = &mut self.uses[id.0 as usize];
        *uses = uses.checked_sub(1).expect("a znode gave back a list that no znode has");
        if *uses == 0 {
            let entry = table.slot(id).take().expect("a list in use is in the table");
            self.ids.remove(entry.list.as_bytes());
            self.free.push(id);
        }
    }

    /// Whether a list has this number.
    pub(super) fn is_known(&self, id: AclId) -> bool {
        id == AclId::OPEN || self.uses.get(id.0 as usize).is_some_and(|&uses| uses > 0)
    }

    /// Counts anew, for a table that was put in place of another: `uses` are the lists of all its znodes.
    pub(super) fn recount(&mut self, table: &AclTable, uses: impl Iterator<Item = AclId>) {
        self.recount_by(table, uses.map(|id| (id, 1)));
    }

    /// As [`Self::recount`], told how many znodes have each.
    pub(super) fn recount_by(&mut self, table: &AclTable, uses: impl Iterator<Item = (AclId, u64)>) {
        self.ids.clear();
        self.free.clear();
        self.uses.clear();
        for (id, entry) in table.iter() {
            self.uses.resize(id.0 as usize + 1, 0);
            self.ids.insert(entry.list.as_bytes().into(), id);
        }
        for (id, znodes) in uses.filter(|(id, _)| *id != AclId::OPEN) {
            self.uses[id.0 as usize] += znodes;
        }
        self.free.extend((0_u32..).zip(&self.uses).filter(|(_, uses)| **uses == 0).map(|(id, _)| AclId(id)));
    }

    /// Takes lists that no znode has out of the table.
    pub(super) fn purge(&mut self, table: &mut AclTable) {
        for &id in &self.free {
            if let Some(entry) = table.slot(id).take() {
                self.ids.remove(entry.list.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(n: i32) -> AclList<'static> {
        AclList::from_entries([Acl { perms: Perms(n), id: Id::new("digest", format!("u:{n}")) }].iter())
    }

    #[test]
    fn a_list_is_kept_once_and_forgotten_with_its_last_znode() {
        let (mut table, mut interner) = (AclTable::new(), Interner::default());
        let a = interner.intern(&mut table, &list(1));
        assert_eq!(interner.intern(&mut table, &list(1)), a);
        let b = interner.intern(&mut table, &list(2));
        assert_ne!(a, b);
        let older = table.clone();
        interner.release(&mut table, a);
        assert_eq!(table.get(a).list, list(1));
        interner.release(&mut table, a);
        assert_eq!(table.iter().map(|(id, _)| id).collect::<Vec<_>>(), [b]);
        assert_eq!(interner.intern(&mut table, &list(3)), a, "the number is used again");
        assert_eq!(table.get(a).list, list(3));
        assert_eq!(older.get(a).list, list(1), "an older version keeps its own");
    }

    #[test]
    fn null_is_open_and_what_anyone_may_do_is_known() {
        let (mut table, mut interner) = (AclTable::new(), Interner::default());
        let null = AclList::decode(&mut crate::wire::jute::Reader::new(&[0xff; 4])).expect("null is a list");
        let id = interner.intern(&mut table, &null);
        assert_eq!(id, AclId::OPEN);
        assert_eq!(table.get(id).anyone, Perms::ALL);
        interner.release(&mut table, id);
        assert_eq!(AclEntry::new(AclList::READ_ONLY).anyone, Perms::READ);
        assert_eq!(AclEntry::new(list(3)).anyone, Perms(0));
        assert_eq!(AclEntry::new(AclList::from_entries([].iter())).anyone, Perms::ALL);
        assert_eq!(AclEntry::new(list(3)).entries[0].perms, Perms(3));
    }

    #[test]
    fn many_lists_keep_their_numbers() {
        let (mut table, mut interner) = (AclTable::new(), Interner::default());
        let ids: Vec<_> = (0..1000).map(|n| interner.intern(&mut table, &list(n))).collect();
        for (n, id) in (0..).zip(&ids) {
            assert_eq!(table.get(*id).list, list(n));
        }
        ids.iter().step_by(2).for_each(|&id| interner.release(&mut table, id));
        assert_eq!(table.iter().count(), 500);
        assert!(!interner.is_known(ids[0]) && interner.is_known(ids[1]) && !interner.is_known(AclId(5000)));
        let mut other = Interner::default();
        other.recount(&table, ids.iter().copied().skip(1).step_by(2));
        let again = other.intern(&mut table, &list(1));
        assert_eq!(again, ids[1]);
    }
}
