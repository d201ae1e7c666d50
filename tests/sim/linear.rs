//! Whether what clients were told of a znode can be explained by one order of their requests: the search of Wing and Gong, with
//! Lowe's memory of what was tried. It knows nothing of zxids, servers or logs: only when each request began and ended, and what was
//! answered. A request without an answer may have been done at any time behind its begin, or never.
//!
//! The requests: writes, deletes, and reads behind a `sync`, which begin with it. A znode's version counts its writes, so that few
//! orders are possible, and the search is short.

use std::collections::{BTreeMap, BTreeSet};

/// A request's life as its client saw it.
#[derive(Clone, Debug)]
pub struct Call {
    pub path: String,
    pub what: What,
    /// Moments in the order of all of them; `None`: no answer ever came.
    pub begun: u64,
    pub ended: Option<u64>,
}

/// What was asked for, and what was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Create {
        value: u64,
    },
    /// Its version behind it, if that was asked for or answered.
    Set {
        value: u64,
        version: Option<i32>,
    },
    Delete,
    /// The value and the version; `None`: there was no such znode.
    Read(Option<(u64, i32)>),
}

/// What a znode is.
type State = Option<(u64, i32)>;

impl What {
    /// The state behind it, if it can be done in this one with the answer that was given.
    fn apply(self, state: State) -> Option<State> {
        match (self, state) {
            (Self::Create { value }, None) => Some(Some((value, 0))),
            (Self::Set { value, version }, Some((_, before)))
                if version.is_none_or(|version| version == before + 1) =>
            {
                Some(Some((value, before + 1)))
            }
            (Self::Delete, Some(_)) => Some(None),
            (Self::Read(read), state) if read == state => Some(state),
            _ => None,
        }
    }
}

/// Steps of a search; beyond it nothing is said of the znode.
const STEPS_MAX: u64 = 200_000;

/// How many znodes were judged, and how many were too hard to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    pub calls: u64,
    pub undecided: u64,
}

/// Judges all znodes.
pub fn judge(history: &[Call]) -> Result<Judged, String> {
    let mut by_path: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in history {
        by_path.entry(&call.path).or_default().push(call);
    }
    let mut judged = Judged::default();
    for (path, mut calls) in by_path {
        calls.sort_by_key(|call| call.begun);
        judged.calls += calls.len() as u64;
        let mut search =
            Search { done: vec![false; calls.len()], tried: BTreeSet::new(), steps: 0, furthest: 0, calls };
        match search.goes_on(0, 0, None) {
            Some(true) => {}
            Some(false) => {
                let stuck = search.calls[search.furthest..].iter().take(4).collect::<Vec<_>>();
                return Err(format!("what clients were told of {path} has no order: it ends near {stuck:?}"));
            }
            None => judged.undecided += 1,
        }
    }
    Ok(judged)
}

struct Search<'a> {
    /// By their begin.
    calls: Vec<&'a Call>,
    done: Vec<bool>,
    tried: BTreeSet<(Vec<usize>, State)>,
    steps: u64,
    furthest: usize,
}

impl Search<'_> {
    /// Whether the calls that are not done can follow `state`; `first`: all before it are done. `None`: too hard to say.
    fn goes_on(&mut self, mut first: usize, count: usize, state: State) -> Option<bool> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return None;
        }
        while self.done.get(first) == Some(&true) {
            first += 1;
        }
        self.furthest = self.furthest.max(first);
        // Nobody may go before a call that ended before it began.
        let mut deadline = u64::MAX;
        let mut candidates = Vec::new();
        for index in first..self.calls.len() {
            if self.calls[index].begun > deadline {
                break;
            }
            if !self.done[index] {
                deadline = deadline.min(self.calls[index].ended.unwrap_or(u64::MAX));
                candidates.push(index);
            }
        }
        candidates.retain(|index| self.calls[*index].begun <= deadline);
        if candidates.iter().all(|index| self.calls[*index].ended.is_none()) {
            // The rest may never have been done.
            return Some(true);
        }
        let open: Vec<usize> = std::iter::once(count).chain(candidates.iter().copied()).collect();
        if !self.tried.insert((open, state)) {
            return Some(false);
        }
        candidates.sort_by_key(|index| self.calls[*index].ended.unwrap_or(u64::MAX));
        for index in candidates {
            let Some(behind) = self.calls[index].what.apply(state) else { continue };
            self.done[index] = true;
            let goes_on = self.goes_on(first, count + 1, behind);
            self.done[index] = false;
            if goes_on != Some(false) {
                return goes_on;
            }
        }
        Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(what: What, begun: u64, ended: u64) -> Call {
        Call { path: "/r/0".to_owned(), what, begun, ended: (ended > 0).then_some(ended) }
    }

    fn is_linear(calls: &[Call]) -> bool {
        judge(calls).is_ok()
    }

    const fn set(value: u64) -> What {
        What::Set { value, version: None }
    }

    #[test]
    fn what_overlaps_may_come_in_any_order_and_nothing_else() {
        let create = call(What::Create { value: 1 }, 1, 2);
        let [early, late] = [call(set(2), 3, 6), call(set(3), 4, 5)];
        let read = |value, version, begun| call(What::Read(Some((value, version))), begun, begun + 1);
        assert!(is_linear(&[create.clone(), early.clone(), late.clone(), read(2, 2, 7)]));
        assert!(is_linear(&[create.clone(), early.clone(), late.clone(), read(3, 2, 7)]));
        assert!(!is_linear(&[create.clone(), early.clone(), late.clone(), read(3, 1, 7)]), "a write is lost");
        assert!(!is_linear(&[create, early, late, read(1, 0, 7)]), "a read is stale");
    }

    #[test]
    fn what_was_not_answered_may_be_done_at_any_time_or_never() {
        let create = call(What::Create { value: 1 }, 1, 2);
        let unknown = call(set(2), 3, 0);
        let read = |value, version, begun| call(What::Read(Some((value, version))), begun, begun + 1);
        let one = [create.clone(), unknown.clone(), read(1, 0, 5), read(2, 1, 7)];
        assert!(is_linear(&one));
        assert!(is_linear(&[create.clone(), unknown.clone(), read(1, 0, 5), read(1, 0, 7)]));
        assert!(!is_linear(&[create.clone(), unknown, read(2, 1, 5), read(1, 0, 7)]), "it is not undone");
        assert!(!is_linear(&[create, call(What::Delete, 3, 4), read(1, 0, 5)]));
    }
}
