//! Named after the rules of `SessionTrackerImpl` and `ExpiryQueue`.

use super::*;

const TICK_MS: u32 = 2000;
const A: SessionId = SessionId(0xA);
const B: SessionId = SessionId(0xB);
const ONE: Owner = Owner(1);
const TWO: Owner = Owner(2);

fn at_ms(ms: u64) -> Instant {
    Instant(ms * 1000)
}

fn sessions() -> Sessions {
    Sessions::new(TICK_MS, SessionId(100))
}

#[test]
fn initialize_next_session_id() {
    let id = first_id(ServerId(3), WallTime(1_700_000_000_123));
    assert_eq!(id.0 >> 56, 3);
    assert_eq!(id.0 & 0xffff, 0, "room for 65,536 sessions a millisecond");
    let time = ((1_700_000_000_123_i64 << 24).cast_unsigned() >> 8).cast_signed();
    assert_eq!(id.0 & ((1 << 56) - 1), time);
    // ZOOKEEPER-1622: a time with its top bit set must not spoil the server's id.
    assert_eq!(first_id(ServerId(1), WallTime(0xff_ffff_ffff)).0 >> 56, 1);
    // The sentinel of containers is no session.
    assert_eq!(first_id(ServerId(0x80), WallTime(0)).0, i64::MIN + 1);
    assert_ne!(first_id(ServerId(0), WallTime(0)), SessionId::NONE);
}

#[test]
fn ids_are_never_given_twice() {
    let mut sessions = Sessions::new(TICK_MS, SessionId(-1));
    sessions.add(SessionId(1), 4000, None, at_ms(0));
    assert_eq!(sessions.take_id(), SessionId(-1));
    assert_eq!(sessions.take_id(), SessionId(2), "0 is no id and 1 is taken");
    let mut sessions = Sessions::new(TICK_MS, SessionId(i64::MAX));
    assert_eq!(sessions.take_id(), SessionId(i64::MAX));
    assert_eq!(sessions.take_id(), SessionId(i64::MIN + 1));
}

#[test]
fn session_timeout_is_clamped() {
    assert_eq!(negotiate(10_000, 4000, 40_000), 10_000);
    assert_eq!(negotiate(1, 4000, 40_000), 4000);
    assert_eq!(negotiate(-5, 4000, 40_000), 4000);
    assert_eq!(negotiate(i32::MAX, 4000, 40_000), 40_000);
    assert_eq!(negotiate(10_000, 40_000, 4000), 4000, "with crossed bounds the maximum wins");
}

#[test]
fn expiry_queue_round_to_next_interval() {
    let mut sessions = sessions();
    sessions.add(A, 4000, Some(ONE), at_ms(0));
    assert_eq!(sessions.next_expiry(), Some(at_ms(6000)), "4000 ms fall on an end and go to the next");
    sessions.add(B, 3999, Some(ONE), at_ms(0));
    assert_eq!(sessions.next_expiry(), Some(at_ms(4000)));
    assert_eq!(sessions.expire(at_ms(3999)), []);
    assert_eq!(sessions.expire(at_ms(4000)), [B]);
    assert_eq!(sessions.expire(at_ms(5999)), []);
    assert_eq!(sessions.expire(at_ms(6000)), [A]);
    assert_eq!(sessions.next_expiry(), None);
    assert!(!sessions.is_live(A), "expired is closing");
    assert_eq!(sessions.len(), 2, "until the close has been applied");
}

#[test]
fn a_touch_postpones_and_late_touches_never_shorten() {
    let mut sessions = sessions();
    sessions.add(A, 4000, Some(ONE), at_ms(0));
    assert!(sessions.touch(A, at_ms(3000)));
    assert!(sessions.touch(A, at_ms(1000)), "an older one that comes later");
    assert_eq!(sessions.next_expiry(), Some(at_ms(6000)), "it looks there once more ...");
    assert_eq!(sessions.expire(at_ms(6000)), [], "... and files it anew");
    assert_eq!(sessions.next_expiry(), Some(at_ms(8000)));
    assert_eq!(sessions.expire(at_ms(8000)), [A]);
    assert!(!sessions.touch(A, at_ms(8000)), "closing");
    assert!(!sessions.touch(B, at_ms(8000)), "unknown");
}

#[test]
fn revalidate_session_takes_the_new_timeout_for_touches_only() {
    let mut sessions = sessions();
    sessions.add(A, 30_000, Some(ONE), at_ms(0));
    assert_eq!(sessions.reopen(A, 4000, TWO, at_ms(1000)), Ok(Some(ONE)));
    assert_eq!(sessions.owner(A), Some(TWO));
    assert_eq!(sessions.timeout_ms(A), Some(30_000), "what the log says of it does not change");
    assert_eq!(sessions.next_expiry(), Some(at_ms(6000)), "a shorter timeout counts at once");
    assert!(sessions.touch(A, at_ms(4000)));
    assert_eq!(sessions.expire(at_ms(6000)), []);
    assert_eq!(sessions.expire(at_ms(9999)), []);
    assert_eq!(sessions.expire(at_ms(10_000)), [A]);
    // The stale entry of the first timeout expires nobody.
    assert_eq!(sessions.expire(at_ms(100_000)), []);
    assert_eq!(sessions.reopen(A, 4000, ONE, at_ms(0)), Err(SessionError::Closing));
    assert_eq!(sessions.reopen(B, 4000, ONE, at_ms(0)), Err(SessionError::Unknown));
}

#[test]
fn reopening_on_the_same_connection_moves_nobody() {
    let mut sessions = sessions();
    sessions.add(A, 4000, Some(ONE), at_ms(0));
    assert_eq!(sessions.reopen(A, 4000, ONE, at_ms(0)), Ok(None));
}

#[test]
fn check_session() {
    let mut sessions = sessions();
    assert_eq!(sessions.check(A, ONE), Err(SessionError::Unknown));
    sessions.add(A, 4000, None, at_ms(0));
    assert_eq!(sessions.check(A, ONE), Ok(()), "the first to ask owns it");
    assert_eq!(sessions.check(A, TWO), Err(SessionError::Moved));
    assert_eq!(sessions.set_owner(A, TWO), Ok(()));
    assert_eq!(sessions.check(A, TWO), Ok(()));
    sessions.set_closing(A);
    assert_eq!(sessions.check(A, TWO), Err(SessionError::Closing));
    assert_eq!(sessions.set_owner(A, ONE), Err(SessionError::Closing));
    assert!(sessions.remove(A));
    assert!(!sessions.remove(A));
    assert_eq!(sessions.check(A, TWO), Err(SessionError::Unknown));
}

#[test]
fn a_removed_session_leaves_no_trace_for_its_successor() {
    let mut sessions = sessions();
    sessions.add(A, 4000, None, at_ms(0));
    sessions.remove(A);
    sessions.add(A, 40_000, None, at_ms(0));
    assert_eq!(sessions.expire(at_ms(6000)), [], "the entry of the first must not expire the second");
    assert_eq!(sessions.expire(at_ms(42_000)), [A]);
}

#[test]
fn dump_sessions_by_expiry() {
    let mut sessions = sessions();
    sessions.add(B, 4000, Some(ONE), at_ms(0));
    sessions.add(A, 4000, None, at_ms(0));
    sessions.add(SessionId(1), 40_000, None, at_ms(0));
    let dump = sessions.dump();
    assert_eq!(dump.iter().map(|info| info.session).collect::<Vec<_>>(), [A, B, SessionId(1)]);
    assert_eq!(dump[0].expires, at_ms(6000));
    assert_eq!(dump[1].owner, Some(ONE));
    let mut kept: Vec<_> = sessions.iter().collect();
    kept.sort_unstable();
    assert_eq!(kept, [(SessionId(1), 40_000), (A, 4000), (B, 4000)]);
}

/// Against a model that moves a session at every touch, as Apache does.
#[test]
fn expiry_agrees_with_a_plain_model() {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % bound
    };
    let mut sessions = sessions();
    let mut model: std::collections::BTreeMap<SessionId, (u64, i32)> = std::collections::BTreeMap::new();
    let mut now_ms = 0;
    let mut expired_in_all = 0;
    for _ in 0..20_000 {
        now_ms += next(400);
        let id = SessionId(i64::try_from(next(40)).expect("small") + 1);
        let timeout_ms = 1000 * (1 + i32::try_from(next(20)).expect("small"));
        let round = |timeout_ms: i32| (now_ms.saturating_add_signed(i64::from(timeout_ms)) / 2000 + 1) * 2000;
        match next(10) {
            0 | 1 => {
                if let std::collections::btree_map::Entry::Vacant(vacant) = model.entry(id) {
                    vacant.insert((round(timeout_ms), timeout_ms));
                    assert!(sessions.add(id, timeout_ms, None, at_ms(now_ms)));
                }
            }
            2 => assert_eq!(sessions.remove(id), model.remove(&id).is_some()),
            3 => {
                let reopened = sessions.reopen(id, timeout_ms, ONE, at_ms(now_ms));
                assert_eq!(reopened.is_ok(), model.contains_key(&id));
                model.entry(id).and_modify(|(expires, timeout)| (*expires, *timeout) = (round(timeout_ms), timeout_ms));
            }
            4..8 => {
                assert_eq!(sessions.touch(id, at_ms(now_ms)), model.contains_key(&id));
                model.entry(id).and_modify(|(expires, timeout)| *expires = round(*timeout));
            }
            _ => {
                let mut expired = sessions.expire(at_ms(now_ms));
                expired.sort_unstable();
                let due: Vec<SessionId> =
                    model.iter().filter(|(_, (expires, _))| *expires <= now_ms).map(|(id, _)| *id).collect();
                assert_eq!(expired, due, "at {now_ms} ms");
                expired_in_all += expired.len();
                for id in expired {
                    sessions.remove(id);
                    model.remove(&id);
                }
            }
        }
    }
    assert!(expired_in_all > 500, "the test must let sessions expire: {expired_in_all}");
}

#[test]
fn leader_session_tracker_begins_with_whole_timeouts() {
    let mut sessions = sessions();
    sessions.add(A, 4000, Some(ONE), at_ms(0));
    sessions.reopen(A, 20_000, TWO, at_ms(0)).expect("it is live");
    sessions.set_closing(A);
    sessions.learn();
    assert_eq!((sessions.duty(), sessions.next_expiry()), (Duty::Learner, None));
    assert!(sessions.is_live(A), "its end was never committed");
    assert_eq!(sessions.owner(A), None);
    assert_eq!(sessions.reopen(A, 1000, ONE, at_ms(0)), Ok(None));
    assert_eq!(sessions.next_expiry(), None, "an earlier expiry files nobody on a learner");
    sessions.lead(at_ms(100_000));
    assert_eq!(sessions.next_expiry(), Some(at_ms(106_000)), "the timeout that it was created with");
    assert_eq!(sessions.expire(at_ms(106_000)), [A]);
}

#[test]
fn the_journal_undoes_what_is_behind_a_zxid() {
    let mut sessions = sessions();
    sessions.add(A, 4000, None, at_ms(0));
    sessions.lead(at_ms(0));
    assert!(sessions.create(Zxid(1), B, 5000, Some(ONE), at_ms(0)));
    assert_eq!(sessions.close(Zxid(2), A), None);
    assert!(!sessions.create(Zxid(3), B, 6000, None, at_ms(0)), "it is there, and has another timeout now");
    assert_eq!(sessions.close(Zxid(4), B), Some(ONE));
    assert_eq!(sessions.close(Zxid(5), B), None, "gone already");
    let at = |sessions: &Sessions, zxid| {
        let mut all = sessions.at(Zxid(zxid));
        all.sort_unstable();
        all
    };
    assert_eq!(at(&sessions, 0), [(A, 4000)]);
    assert_eq!(at(&sessions, 1), [(A, 4000), (B, 5000)]);
    assert_eq!(at(&sessions, 2), [(B, 5000)]);
    assert_eq!(at(&sessions, 3), [(B, 6000)]);
    assert_eq!((at(&sessions, 4), at(&sessions, 9)), (vec![], vec![]));
    sessions.committed(Zxid(2));
    assert_eq!(at(&sessions, 2), [(B, 5000)]);
    sessions.undo_after(Zxid(2));
    sessions.learn();
    assert_eq!(at(&sessions, 2), [(B, 5000)]);
}

#[test]
#[should_panic(expected = "is committed and cannot be undone")]
fn what_is_committed_is_not_undone() {
    let mut sessions = sessions();
    sessions.lead(at_ms(0));
    sessions.create(Zxid(7), A, 4000, None, at_ms(0));
    sessions.committed(Zxid(7));
    sessions.undo_after(Zxid(6));
}

#[test]
#[should_panic(expected = "must be undone first")]
fn a_learner_does_not_begin_with_uncommitted_sessions() {
    let mut sessions = sessions();
    sessions.lead(at_ms(0));
    sessions.create(Zxid(7), A, 4000, None, at_ms(0));
    sessions.learn();
}
