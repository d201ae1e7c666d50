//! Things by small number, in one array: a shard's connections. A number is used again after its thing is gone, each time
//! with the next generation.

use crate::replica::message::ConnectionId;

/// See the file's page.
#[derive(Debug)]
pub(in crate::server) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    thing: Option<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Puts in what `make` makes of the slot's number and generation; the number.
    pub(in crate::server) fn insert(&mut self, make: impl FnOnce(u32, u32) -> T) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, thing: None });
            u32::try_from(self.slots.len() - 1).expect("far fewer connections than 2^32")
        });
        let entry = &mut self.slots[slot as usize];
        assert!(entry.thing.is_none(), "slot {slot} is free and taken at once");
        entry.generation = ConnectionId::next_generation(entry.generation);
        entry.thing = Some(make(slot, entry.generation));
        slot
    }

    /// Takes out.
    pub(in crate::server) fn remove(&mut self, slot: u32) -> Option<T> {
        let thing = self.slots.get_mut(slot as usize)?.thing.take()?;
        self.free.push(slot);
        Some(thing)
    }

    /// What is there.
    pub(in crate::server) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot as usize)?.thing.as_mut()
    }

    /// All that are there.
    pub(in crate::server) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.slots).filter_map(|(slot, entry)| Some((slot, entry.thing.as_ref()?)))
    }

    /// All that are there, to change.
    pub(in crate::server) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        (0..).zip(&mut self.slots).filter_map(|(slot, entry)| Some((slot, entry.thing.as_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_with_another_generation() {
        let mut slots = Slots::default();
        let first = slots.insert(|slot, generation| (slot, generation));
        assert_eq!(slots.get_mut(first), Some(&mut (0, 1)));
        assert_eq!(slots.remove(first), Some((0, 1)));
        assert_eq!(slots.remove(first), None);
        let second = slots.insert(|slot, generation| (slot, generation));
        assert_eq!(slots.get_mut(second), Some(&mut (0, 2)));
        slots.insert(|slot, generation| (slot, generation));
        assert_eq!(slots.iter().count(), 2);
    }
}
