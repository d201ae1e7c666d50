//! The leader's rules, one by one, as the learners' packets bring them out. Names begin with the ZooKeeper issue they are about.

use bytes::Bytes;

use std::sync::Arc;

use super::*;
use crate::quorum::Membership;
use crate::wire::op::OpCode;
use crate::wire::quorum::LearnerInfo;
use crate::zab::tests::record;
use crate::zab::{EPOCH_LEAP_MAX, HistoryOptions};

const NOW: Instant = Instant(1_000_000);
const EPOCH: Epoch = Epoch(5);
const START: Zxid = Zxid::new(EPOCH, 0);
const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);
const C: LinkId = LinkId(3);

const fn zxid(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(Epoch(epoch), counter)
}

fn options() -> Options {
    let text = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2:observer";
    Options::new(ServerId(1), Arc::new(Membership::parse_text(text).unwrap()))
}

/// What the leader has: (4,1) to (4,7).
fn history() -> History {
    History::recovered(HistoryOptions::default(), zxid(4, 0), (1..=7).map(|n| (zxid(4, n), record((zxid(4, n), 1)))))
}

fn packet(kind: PacketType, zxid: Zxid) -> QuorumPacket {
    QuorumPacket::new(kind, zxid)
}

fn info(kind: PacketType, server: i64, accepted: u32) -> QuorumPacket {
    QuorumPacket::with_data(kind, zxid(accepted, 0), LearnerInfo::to_bytes(ServerId(server), 0))
}

fn follower_info(server: i64, accepted: u32) -> QuorumPacket {
    info(PacketType::FOLLOWERINFO, server, accepted)
}

fn ack_epoch(current: i32, last: Zxid) -> QuorumPacket {
    QuorumPacket::with_data(PacketType::ACKEPOCH, last, Bytes::copy_from_slice(&current.to_be_bytes()))
}

fn ack(zxid: Zxid) -> QuorumPacket {
    packet(PacketType::ACK, zxid)
}

fn actions(leader: &mut Leader) -> Vec<LeaderAction> {
    std::iter::from_fn(|| leader.poll()).collect()
}

/// Feeds a packet and gives back what it causes.
fn feed(leader: &mut Leader, link: LinkId, packet: QuorumPacket) -> Vec<LeaderAction> {
    leader.packet(NOW, link, packet, &history());
    actions(leader)
}

fn sent(link: LinkId, packet: QuorumPacket) -> LeaderAction {
    LeaderAction::Send { link, packet }
}

fn kinds(actions: &[LeaderAction], to: LinkId) -> Vec<PacketType> {
    let kind = |action: &LeaderAction| match action {
        LeaderAction::Send { link, packet } if *link == to => Some(packet.kind),
        _ => None,
    };
    actions.iter().filter_map(kind).collect()
}

fn is_closed(actions: &[LeaderAction], link: LinkId, words: &str) -> bool {
    let is_it = |action: &LeaderAction| matches!(action, LeaderAction::Close { link: other, why } if *other == link && why.contains(words));
    actions.iter().any(is_it)
}

fn steps_down(actions: &[LeaderAction], words: &str) -> bool {
    matches!(actions.last(), Some(LeaderAction::StepDown { why }) if why.contains(words))
}

/// Leads with current epoch 4 and log up to (4,7).
fn new() -> Leader {
    Leader::new(options(), NOW, Epoch(4), Epoch(4), zxid(4, 7))
}

/// Server 2 has said who it is on link A; the epoch is decided.
fn decided() -> Leader {
    let mut leader = new();
    leader.link_opened(NOW, A);
    let save = LeaderAction::SaveEpochs { accepted: Some(EPOCH), current: None };
    assert_eq!(feed(&mut leader, A, follower_info(2, 4)), [save]);
    leader
}

fn said() -> Leader {
    let mut leader = decided();
    leader.epochs_saved(NOW, EPOCH, Epoch(4));
    assert_eq!(kinds(&actions(&mut leader), A), [PacketType::LEADERINFO]);
    leader
}

/// Server 2, in step, was sent history and NEWLEADER.
fn synchronising() -> Leader {
    let mut leader = said();
    let caused = feed(&mut leader, A, ack_epoch(4, zxid(4, 7)));
    assert_eq!(caused[0], LeaderAction::SaveEpochs { accepted: None, current: Some(EPOCH) });
    assert_eq!(kinds(&caused, A), [PacketType::DIFF, PacketType::NEWLEADER]);
    leader
}

fn established() -> Leader {
    let mut leader = synchronising();
    leader.epochs_saved(NOW, EPOCH, EPOCH);
    let caused = feed(&mut leader, A, ack(START));
    assert_eq!(caused, [LeaderAction::Established { epoch: EPOCH }, sent(A, packet(PacketType::UPTODATE, Zxid(-1)))]);
    leader
}

/// Another learner goes through all of it.
fn join(leader: &mut Leader, link: LinkId, greeting: QuorumPacket, last: Zxid, history: &History) -> Vec<LeaderAction> {
    leader.link_opened(NOW, link);
    leader.packet(NOW, link, greeting, history);
    leader.packet(NOW, link, ack_epoch(4, last), history);
    let caused = actions(leader);
    leader.packet(NOW, link, ack(START), history);
    actions(leader);
    caused
}

fn propose(leader: &mut Leader, counter: u32) -> Zxid {
    let zxid = zxid(5, counter);
    leader.propose(NOW, zxid, record((zxid, 1)), true);
    zxid
}

/// 1291: the leader saves the epoch before it proposes it.
#[test]
fn zk1319_zk1291_the_epoch_is_saved_before_it_is_said() {
    let mut leader = decided();
    leader.link_opened(NOW, B);
    assert_eq!(feed(&mut leader, B, follower_info(3, 4)), [], "it waits for the disk");
    // A report about what was saved before does not count.
    leader.epochs_saved(NOW, Epoch(4), Epoch(4));
    assert_eq!(actions(&mut leader), []);
    leader.epochs_saved(NOW, EPOCH, Epoch(4));
    let said = QuorumPacket::with_data(PacketType::LEADERINFO, START, Bytes::from_static(&[0, 1, 0, 0]));
    assert_eq!(actions(&mut leader), [sent(A, said.clone()), sent(B, said)]);
}

/// 1343: also above what the learners have accepted, whatever the leader has.
#[test]
fn zk1343_the_epoch_is_above_all_that_a_quorum_has_accepted() {
    let mut leader = new();
    leader.link_opened(NOW, A);
    leader.link_opened(NOW, B);
    // An observer is heard, but does not count.
    assert_eq!(feed(&mut leader, B, info(PacketType::OBSERVERINFO, 4, 8)), []);
    let save = LeaderAction::SaveEpochs { accepted: Some(Epoch(9)), current: None };
    assert_eq!(feed(&mut leader, A, follower_info(2, 6)), [save]);
}

#[test]
fn who_may_not_join() {
    let data =
        |bytes: &[u8]| QuorumPacket::with_data(PacketType::FOLLOWERINFO, zxid(4, 0), Bytes::copy_from_slice(bytes));
    let later = QuorumPacket::with_data(PacketType::FOLLOWERINFO, zxid(4, 0), LearnerInfo::to_bytes(ServerId(2), 1));
    for (packet, words) in [
        (ack(zxid(5, 1)), "the first packet is ACK"),
        (data(&[]), "does not say who it is"),
        (data(&[0, 0, 0, 0, 0, 0, 0, 2]), "before ZAB 1.0"),
        (later, "later configuration"),
        (follower_info(1, 4), "same myid"),
        (follower_info(2, EPOCH_NEVER), "claims the epoch"),
        (packet(PacketType::FOLLOWERINFO, Zxid(-1)), "does not say who it is"),
    ] {
        let mut leader = new();
        leader.link_opened(NOW, A);
        let caused = feed(&mut leader, A, packet);
        assert!(is_closed(&caused, A, words), "{words}: {caused:?}");
    }
}

const EPOCH_NEVER: u32 = 0x7fff_ffff;

#[test]
fn a_follower_that_is_ahead_of_the_leader_is_refused() {
    for (current, last) in [(4, zxid(4, 8)), (5, zxid(4, 7)), (5, zxid(4, 1))] {
        let mut leader = said();
        let caused = feed(&mut leader, A, ack_epoch(current, last));
        assert!(is_closed(&caused, A, "is ahead of the leader"), "{current} {last}: {caused:?}");
        assert_eq!(leader.phase(), LeaderPhase::CollectingAcks);
    }
    // It has accepted this epoch before: neither compared nor counted.
    let mut leader = said();
    assert_eq!(feed(&mut leader, A, ack_epoch(-1, zxid(4, 9))), []);
    assert_eq!(leader.phase(), LeaderPhase::CollectingAcks);
}

#[test]
fn after_the_epochs_quorum_even_a_longer_tail_may_join_and_is_cut() {
    let mut leader = synchronising();
    leader.link_opened(NOW, B);
    feed(&mut leader, B, follower_info(3, 4));
    let caused = feed(&mut leader, B, ack_epoch(4, zxid(4, 9)));
    assert_eq!(caused[0], sent(B, packet(PacketType::TRUNC, zxid(4, 7))));
}

/// 335, 1081: what a leader begins with is its own history of the new epoch, by its saved epoch.
#[test]
fn zk4643_zk335_zk1081_the_leaders_own_vote_waits_for_its_current_epoch() {
    let mut leader = synchronising();
    assert_eq!(feed(&mut leader, A, ack(START)), [], "a quorum of followers is not enough");
    assert_eq!(leader.phase(), LeaderPhase::SavingCurrent);
    leader.epochs_saved(NOW, EPOCH, EPOCH);
    assert_eq!(actions(&mut leader)[0], LeaderAction::Established { epoch: EPOCH });
}

#[test]
fn zk4685_an_ack_that_overtakes_new_leaders_is_not_taken_for_it() {
    let mut leader = established();
    let first = propose(&mut leader, 1);
    leader.link_opened(NOW, B);
    feed(&mut leader, B, follower_info(3, 4));
    feed(&mut leader, B, ack_epoch(4, zxid(4, 7)));
    leader.durable(NOW, first);
    actions(&mut leader);
    assert_eq!(feed(&mut leader, B, ack(first)), [], "it has no vote yet");
    leader.durable(NOW, first);
    assert_eq!(actions(&mut leader), [], "nor when acks are counted again");
    let caused = feed(&mut leader, B, ack(START));
    assert_eq!(kinds(&caused, B), [PacketType::UPTODATE, PacketType::COMMIT]);
    assert_eq!(caused.last(), Some(&LeaderAction::Commit { through: first }), "now it counts");

    let mut leader = synchronising();
    assert!(is_closed(&feed(&mut leader, A, ack(zxid(4, 0))), A, "instead of NEWLEADER's"));
    let mut leader = synchronising();
    assert!(is_closed(&feed(&mut leader, A, packet(PacketType::PING, START)), A, "instead of the ACK of NEWLEADER"));
}

#[test]
fn zk3104_history_goes_before_new_leader_and_live_traffic_behind_it() {
    let mut leader = established();
    let first = propose(&mut leader, 1);
    actions(&mut leader);
    leader.link_opened(NOW, B);
    feed(&mut leader, B, follower_info(3, 4));
    let caused = feed(&mut leader, B, ack_epoch(4, zxid(4, 5)));
    let wanted = [
        PacketType::DIFF,
        PacketType::PROPOSAL,
        PacketType::COMMIT,
        PacketType::PROPOSAL,
        PacketType::COMMIT,
        PacketType::PROPOSAL,
        PacketType::NEWLEADER,
    ];
    assert_eq!(kinds(&caused, B), wanted, "committed in pairs, then what is outstanding");
    propose(&mut leader, 2);
    leader.durable(NOW, first);
    assert_eq!(kinds(&actions(&mut leader), B), [PacketType::PROPOSAL]);
    // Commits may come before UPTODATE.
    assert_eq!(kinds(&feed(&mut leader, A, ack(first)), B), [PacketType::COMMIT]);

    // A snapshot's body goes out between SNAP and all else.
    leader.link_opened(NOW, C);
    let history = {
        let mut history = history();
        history.push(first, record((first, 1)));
        history
    };
    leader.packet(NOW, C, info(PacketType::OBSERVERINFO, 4, 4), &history);
    leader.packet(NOW, C, ack_epoch(3, zxid(3, 1)), &history);
    let caused = actions(&mut leader);
    let caused: Vec<_> = caused.into_iter().filter(|action| *action != LeaderAction::SyncDone).collect();
    assert_eq!(kinds(&caused, C), [PacketType::LEADERINFO, PacketType::SNAP, PacketType::NEWLEADER]);
    assert_eq!(caused[2], LeaderAction::SendSnapshot { link: C, zxid: first }, "nothing uncommitted for an observer");
}

#[test]
fn new_leader_carries_the_configuration() {
    let mut leader = said();
    let caused = feed(&mut leader, A, ack_epoch(4, zxid(4, 7)));
    let Some(LeaderAction::Send { packet, .. }) = caused.last() else { panic!("{caused:?}") };
    let text = String::from_utf8(packet.data.as_ref().unwrap().to_vec()).unwrap();
    assert!(text.starts_with("server.1=a:1:2:participant\n") && text.ends_with("\nversion=0"), "{text}");
}

#[test]
fn a_proposal_is_committed_when_a_quorum_has_it_and_all_before_it() {
    let mut leader = established();
    let (first, second) = (propose(&mut leader, 1), propose(&mut leader, 2));
    actions(&mut leader);
    assert_eq!(feed(&mut leader, A, ack(first)), [], "its own log has it not yet");
    leader.durable(NOW, second);
    assert_eq!(
        actions(&mut leader),
        [sent(A, packet(PacketType::COMMIT, first)), LeaderAction::Commit { through: first }]
    );
    // Ignored: the second ACK of the synchronisation, what is committed, what was never proposed.
    for zxid in [START, first, zxid(5, 3), zxid(9, 1), zxid(4, 7)] {
        assert_eq!(feed(&mut leader, A, ack(zxid)), [], "{zxid}");
    }
    assert_eq!(
        feed(&mut leader, A, ack(second)),
        [sent(A, packet(PacketType::COMMIT, second)), LeaderAction::Commit { through: second }]
    );
}

#[test]
fn followers_alone_may_be_a_quorum_and_an_ack_covers_what_is_before_it() {
    let mut leader = established();
    join(&mut leader, B, follower_info(3, 4), zxid(4, 7), &history());
    let _ = (propose(&mut leader, 1), propose(&mut leader, 2));
    let third = propose(&mut leader, 3);
    actions(&mut leader);
    assert_eq!(feed(&mut leader, A, ack(third)), []);
    let caused = feed(&mut leader, B, ack(third));
    assert_eq!(kinds(&caused, A), [PacketType::COMMIT; 3]);
    assert_eq!(caused.last(), Some(&LeaderAction::Commit { through: third }));
}

#[test]
fn observers_and_strangers_are_informed_and_do_not_vote() {
    let mut leader = established();
    join(&mut leader, B, info(PacketType::OBSERVERINFO, 4, 4), zxid(4, 7), &history());
    // A follower that is not in the configuration gets proposals; its acks do not count.
    join(&mut leader, C, follower_info(9, 4), zxid(4, 7), &history());
    let first = propose(&mut leader, 1);
    let caused = actions(&mut leader);
    assert_eq!((kinds(&caused, B), kinds(&caused, C)), (vec![], vec![PacketType::PROPOSAL]));
    leader.durable(NOW, first);
    assert_eq!(feed(&mut leader, B, ack(first)), []);
    assert_eq!(feed(&mut leader, C, ack(first)), []);
    let caused = feed(&mut leader, A, ack(first));
    assert_eq!((kinds(&caused, B), kinds(&caused, C)), (vec![PacketType::INFORM], vec![PacketType::COMMIT]));
}

#[test]
fn an_ack_counts_only_on_the_link_on_which_it_came() {
    let mut leader = established();
    let first = propose(&mut leader, 1);
    actions(&mut leader);
    feed(&mut leader, A, ack(first));
    // It comes again, and is told to cut the very proposal before it gets it again.
    let caused = join(&mut leader, B, follower_info(2, 5), first, &history());
    assert!(is_closed(&caused, A, "came again"));
    assert_eq!(
        kinds(&caused, B),
        [PacketType::LEADERINFO, PacketType::TRUNC, PacketType::PROPOSAL, PacketType::NEWLEADER]
    );
    leader.durable(NOW, first);
    assert_eq!(actions(&mut leader), [], "the old ack is void");
    assert_eq!(feed(&mut leader, B, ack(first)).last(), Some(&LeaderAction::Commit { through: first }));
}

/// 2789 wanted longer counters instead.
#[test]
fn zk1277_zk2789_the_leader_steps_down_before_the_counter_overflows() {
    let mut leader = established();
    leader.last_proposed = zxid(5, u32::MAX - 2);
    leader.propose(NOW, zxid(5, u32::MAX - 1), Bytes::new(), true);
    assert_eq!(kinds(&actions(&mut leader), A), [PacketType::PROPOSAL]);
    leader.propose(NOW, zxid(5, u32::MAX), Bytes::new(), true);
    let caused = actions(&mut leader);
    assert!(matches!(caused[..], [LeaderAction::StepDown { .. }]), "{caused:?}");
    leader.propose(NOW, zxid(6, 1), Bytes::new(), true);
    assert_eq!((actions(&mut leader), leader.timer()), (vec![], None), "nothing follows");
}

#[test]
#[should_panic(expected = "does not follow")]
fn a_proposal_out_of_order_is_our_own_mistake() {
    let mut leader = established();
    propose(&mut leader, 2);
}

#[test]
fn zk3109_waiting_for_an_epoch_is_bounded() {
    let mut leader = new();
    leader.tick(NOW + Duration::from_millis(19_999));
    assert_eq!(actions(&mut leader), []);
    leader.tick(NOW + Duration::from_millis(20_000));
    assert!(steps_down(&actions(&mut leader), "for an epoch from a quorum"));

    let options = Options { max_time_to_wait_for_epoch_ms: Some(3000), ..options() };
    let mut leader = Leader::new(options, NOW, Epoch(4), Epoch(4), zxid(4, 7));
    leader.voter_looking(NOW + Duration::from_millis(3000), ServerId(2));
    leader.voter_looking(NOW + Duration::from_millis(3001), ServerId(4));
    assert_eq!(actions(&mut leader), [], "too early, and one without a vote");
    leader.voter_looking(NOW + Duration::from_millis(3001), ServerId(2));
    assert!(steps_down(&actions(&mut leader), "changed its mind"));
}

#[test]
fn every_wait_for_a_quorum_is_bounded() {
    let late = NOW + Duration::from_secs(20);
    for (mut leader, words) in [(said(), "to accept the epoch"), (synchronising(), "to take over the history")] {
        assert_eq!(leader.timer(), Some(late));
        leader.tick(late);
        assert!(steps_down(&actions(&mut leader), words));
    }
    // And the one for a learner.
    let mut leader = established();
    leader.link_opened(NOW, B);
    leader.next_half_tick = None;
    leader.tick(late - Duration::from_secs(5));
    leader.snapshot_progress(NOW, B);
    leader.tick(late);
    assert!(is_closed(&actions(&mut leader), B, "Greeting"));
}

/// The votes that elected it may be of the past: it looks again sooner than Apache's, less soon each time.
#[test]
fn a_leader_to_whom_nobody_comes_is_impatient() {
    let impatient = |epoch_patience_ms| {
        let options = Options { epoch_patience_ms, ..options() };
        Leader::new(options, NOW, Epoch(4), Epoch(4), zxid(4, 7))
    };
    let soon = NOW + Duration::from_secs(4);
    let mut leader = impatient(4000);
    assert_eq!(leader.timer(), Some(soon));
    leader.tick(soon);
    assert!(steps_down(&actions(&mut leader), "for an epoch from a quorum"));
    assert_eq!(impatient(1 << 60).timer(), Some(NOW + Duration::from_secs(20)), "never longer than initLimit");
    // The disk may be slow, and those that came may be.
    let mut leader = impatient(4000);
    leader.link_opened(NOW, A);
    feed(&mut leader, A, follower_info(2, 4));
    leader.tick(soon);
    leader.epochs_saved(soon, EPOCH, Epoch(4));
    leader.tick(soon + Duration::from_secs(4));
    assert_eq!(leader.phase(), LeaderPhase::CollectingAcks);
}

#[test]
fn a_learner_that_receives_a_snapshot_is_not_late() {
    let mut leader = established();
    leader.next_half_tick = None;
    leader.link_opened(NOW, B);
    feed(&mut leader, B, follower_info(3, 3));
    feed(&mut leader, B, ack_epoch(3, zxid(3, 1)));
    let step = Duration::from_secs(15);
    leader.snapshot_progress(NOW + step, B);
    leader.tick(NOW + step + step);
    assert!(!is_closed(&actions(&mut leader), B, ""));
    leader.tick(NOW + step + step + step);
    assert!(is_closed(&actions(&mut leader), B, "AwaitNewLeaderAck"));
}

#[test]
fn nor_is_the_quorum_that_may_need_it() {
    for (server, moves) in [(2, true), (4, false)] {
        let mut leader = said();
        // A quorum holds the epoch; what it holds of the history is on its way.
        feed(&mut leader, A, ack_epoch(4, zxid(4, 7)));
        leader.link_opened(NOW, B);
        let kind = if server == 4 { PacketType::OBSERVERINFO } else { PacketType::FOLLOWERINFO };
        feed(&mut leader, B, info(kind, server, 3));
        feed(&mut leader, B, ack_epoch(3, zxid(3, 1)));
        let step = Duration::from_secs(15);
        leader.snapshot_progress(NOW + step, B);
        leader.tick(NOW + step + Duration::from_secs(5));
        assert_eq!(steps_down(&actions(&mut leader), "take over the history"), !moves, "server {server}");
        leader.tick(NOW + step + Duration::from_secs(20));
        assert_eq!(leader.phase(), LeaderPhase::Dead);
    }
}

/// A member that alone has promised a later epoch, to a leader that came to nothing (seed 17375 of the simulator).
#[test]
fn a_leader_makes_room_for_a_member_that_has_promised_a_later_epoch() {
    let init = Duration::from_secs(20);
    for (server, kind) in [(3, PacketType::FOLLOWERINFO), (4, PacketType::OBSERVERINFO)] {
        let mut leader = established();
        leader.link_opened(NOW, B);
        assert_eq!(feed(&mut leader, B, info(kind, server, 7)), [], "it waits: this leader has just come to office");
        assert_eq!(leader.promised_beyond(), Some(Epoch(7)));
        let mut now = NOW;
        while now + Duration::from_secs(5) < NOW + init {
            now = now + Duration::from_secs(5);
            leader.packet(now, A, packet(PacketType::PING, Zxid(-1)), &history());
            leader.tick(now);
            assert!(!steps_down(&actions(&mut leader), ""), "at {now:?}");
        }
        leader.tick(NOW + init);
        assert!(steps_down(&actions(&mut leader), "has promised epoch 0x7 to another leader"), "server {server}");
        // The next term goes beyond the promise, and the member joins.
        let accepted = leader.promised_beyond().unwrap();
        let mut next = Leader::new(options(), NOW, accepted, EPOCH, zxid(5, 1));
        next.link_opened(NOW, A);
        let save = LeaderAction::SaveEpochs { accepted: Some(Epoch(8)), current: None };
        assert_eq!(feed(&mut next, A, follower_info(2, 5)), [save]);
    }
    // One that comes later need not wait; one that has given up costs nothing.
    let mut leader = established();
    leader.link_opened(NOW, B);
    feed(&mut leader, B, follower_info(3, 7));
    leader.link_closed(B);
    leader.packet(NOW + init, A, packet(PacketType::PING, Zxid(-1)), &history());
    leader.tick(NOW + init);
    assert!(!steps_down(&actions(&mut leader), ""));
    leader.link_opened(NOW + init, C);
    leader.packet(NOW + init, C, follower_info(3, 7), &history());
    assert!(steps_down(&actions(&mut leader), "server 3 has promised epoch 0x7"));
}

#[test]
fn no_room_is_made_for_strangers_and_for_promises_out_of_reach() {
    let late = NOW + Duration::from_secs(60);
    let mut leader = established();
    leader.link_opened(late, B);
    leader.packet(late, B, follower_info(9, 7), &history());
    assert_eq!(kinds(&actions(&mut leader), B), [PacketType::LEADERINFO], "it may see for itself");
    leader.link_opened(late, C);
    leader.packet(late, C, follower_info(3, EPOCH.0 + EPOCH_LEAP_MAX + 1), &history());
    assert!(is_closed(&actions(&mut leader), C, "is its disk of another ensemble?"));
    assert_eq!((leader.phase(), leader.promised_beyond()), (LeaderPhase::Established, None));
}

/// Whoever can reach the quorum port could use the epochs up otherwise.
#[test]
fn who_has_no_vote_raises_the_epoch_a_little_only_and_a_stranger_not_at_all() {
    let mut leader = Leader::new(options(), NOW, Epoch(4), Epoch(4), zxid(4, 7));
    let stranger = packet(PacketType::OBSERVERINFO, zxid(70, 0));
    let stranger = QuorumPacket { data: Some(LearnerInfo::to_bytes(ServerId(9), 0)), ..stranger };
    for (link, packet) in [(A, stranger), (B, info(PacketType::OBSERVERINFO, 4, EPOCH.0 + EPOCH_LEAP_MAX + 1))] {
        leader.link_opened(NOW, link);
        leader.packet(NOW, link, packet, &history());
        assert_eq!(leader.epoch(), EPOCH);
    }
    assert!(is_closed(&actions(&mut leader), B, "is its disk of another ensemble?"));
    leader.link_opened(NOW, B);
    leader.packet(NOW, B, info(PacketType::OBSERVERINFO, 4, EPOCH.0 + 9), &history());
    assert_eq!(leader.epoch(), Epoch(EPOCH.0 + 10), "an observer of the ensemble can follow");
    leader.link_opened(NOW, C);
    leader.packet(NOW, C, info(PacketType::FOLLOWERINFO, 2, 1 << 20), &history());
    assert_eq!(leader.epoch(), Epoch((1 << 20) + 1), "a voter's promise is kept, whatever it is");
}

#[test]
fn learners_are_pinged_each_half_tick_and_a_quorum_has_to_answer() {
    let mut leader = established();
    let half = Duration::from_secs(1);
    let mut now = NOW;
    for _ in 0..40 {
        now = now + half;
        leader.tick(now);
        let pings = actions(&mut leader);
        assert_eq!(pings, [sent(A, packet(PacketType::PING, START))]);
        leader.packet(now, A, packet(PacketType::PING, START), &history());
    }
    // Silence: syncLimit is 5 ticks.
    let mut ticks = 0;
    let why = loop {
        now = now + half;
        leader.tick(now);
        ticks += 1;
        if let Some(LeaderAction::StepDown { why }) = actions(&mut leader).pop() {
            break why;
        }
    };
    assert!(why.contains("only [1] are alive"), "{why}");
    assert!((9..=12).contains(&ticks), "after {ticks} half ticks");
}

#[test]
fn a_leader_whose_followers_left_steps_down_within_a_tick() {
    // As after SIGSTOP longer than syncLimit: the links are found closed.
    let mut leader = established();
    leader.link_closed(A);
    let mut now = NOW + Duration::from_secs(600);
    leader.tick(now);
    now = now + Duration::from_secs(1);
    leader.tick(now);
    assert!(steps_down(&actions(&mut leader), "not enough followers"));
}

#[test]
fn a_follower_that_does_not_acknowledge_is_closed_after_sync_limit() {
    let mut leader = established();
    join(&mut leader, B, follower_info(3, 4), zxid(4, 7), &history());
    let first = propose(&mut leader, 1);
    feed(&mut leader, A, ack(first));
    let late = NOW + Duration::from_secs(10);
    // Both still talk.
    leader.packet(late, A, packet(PacketType::PING, START), &history());
    leader.packet(late, B, packet(PacketType::PING, START), &history());
    leader.tick(late);
    let caused = actions(&mut leader);
    assert!(is_closed(&caused, B, "not acknowledged within syncLimit") && !is_closed(&caused, A, ""), "{caused:?}");
}

#[test]
fn requests_touches_and_revalidations_go_up_and_answers_down() {
    let mut leader = established();
    let identities = vec![Id::new("ip", "127.0.0.1")];
    let request =
        ForwardedRequest { session: SessionId(9), cxid: 4, op: OpCode::CREATE, body: Bytes::from_static(b"body") };
    let mut up = QuorumPacket::with_data(PacketType::REQUEST, Zxid(-1), request.to_bytes());
    up.authinfo = Some(identities.clone());
    assert_eq!(feed(&mut leader, A, up), [LeaderAction::Request { link: A, request, identities }]);

    let touches = Bytes::from_static(b"\0\0\0\0\0\0\0\x09\0\0\x0f\xa0");
    let pong = QuorumPacket::with_data(PacketType::PING, START, touches.clone());
    let touch = LeaderAction::Touch { link: A, sessions: vec![(SessionId(9), 4000)] };
    assert_eq!(feed(&mut leader, A, pong), [touch]);

    let question = QuorumPacket::with_data(PacketType::REVALIDATE, Zxid(-1), touches);
    let revalidate = LeaderAction::Revalidate { link: A, session: SessionId(9), timeout_ms: 4000 };
    assert_eq!(feed(&mut leader, A, question), [revalidate]);
    leader.revalidated(A, SessionId(9), true);
    let answer = Bytes::from_static(b"\0\0\0\0\0\0\0\x09\x01");
    let answer = QuorumPacket::with_data(PacketType::REVALIDATE, Zxid(-1), answer);
    assert_eq!(actions(&mut leader), [sent(A, answer)]);

    let broken = QuorumPacket::with_data(PacketType::REQUEST, Zxid(-1), Bytes::from_static(b"short"));
    assert!(is_closed(&feed(&mut leader, A, broken), A, "REQUEST"));
}

/// A client of the learner asks for a sync, behind everything that was proposed.
fn ask_sync(leader: &mut Leader, link: LinkId) -> Vec<LeaderAction> {
    leader.sync_request(Some(link), leader.last_proposed());
    actions(leader)
}

#[test]
fn a_sync_is_answered_before_a_later_write_is_committed_and_never_before_an_earlier_one() {
    let mut leader = established();
    let (before, after) = (propose(&mut leader, 1), zxid(5, 2));
    // One more transaction is made and not proposed yet.
    leader.sync_request(Some(A), after);
    leader.propose(NOW, after, Bytes::new(), true);
    let later = zxid(5, 3);
    leader.propose(NOW, later, Bytes::new(), true);
    leader.durable(NOW, later);
    actions(&mut leader);
    // No pong has come: that a quorum took a later proposal says as much.
    let caused = feed(&mut leader, A, ack(later));
    let to_a = |kind, zxid| sent(A, packet(kind, zxid));
    assert_eq!(
        caused,
        [
            to_a(PacketType::COMMIT, before),
            to_a(PacketType::COMMIT, after),
            to_a(PacketType::SYNC, Zxid::ZERO),
            to_a(PacketType::COMMIT, later),
            LeaderAction::Commit { through: later }
        ]
    );
}

#[test]
fn a_sync_waits_for_what_was_proposed_and_for_a_quorum_that_still_follows() {
    let ping = |zxid| sent(A, packet(PacketType::PING, zxid));
    let done = sent(A, packet(PacketType::SYNC, Zxid::ZERO));
    let mut leader = established();
    assert_eq!(ask_sync(&mut leader, A), [ping(START)], "who has been replaced must not answer");
    assert_eq!(feed(&mut leader, A, packet(PacketType::PING, START)), std::slice::from_ref(&done));

    let first = propose(&mut leader, 1);
    leader.durable(NOW, first);
    actions(&mut leader);
    ask_sync(&mut leader, A);
    leader.sync_request(None, first);
    assert_eq!(feed(&mut leader, A, packet(PacketType::PING, START)), [ping(first)], "a round for the second sync");
    assert_eq!(feed(&mut leader, A, packet(PacketType::PING, START)), []);
    let commit = sent(A, packet(PacketType::COMMIT, first));
    let committed = LeaderAction::Commit { through: first };
    assert_eq!(feed(&mut leader, A, ack(first)), [commit, committed, done, LeaderAction::SyncDone]);
}

#[test]
fn a_sync_of_a_learner_that_left_is_forgotten() {
    let mut leader = established();
    join(&mut leader, B, follower_info(3, 4), zxid(4, 7), &history());
    ask_sync(&mut leader, B);
    leader.link_closed(B);
    assert_eq!(feed(&mut leader, A, packet(PacketType::PING, START)), []);
    assert!(leader.syncs.is_empty());
}

#[test]
fn one_server_alone_is_a_quorum() {
    let text = "server.1=a:1:2\nserver.2=b:1:2:observer";
    let options = Options::new(ServerId(1), Arc::new(Membership::parse_text(text).unwrap()));
    let mut leader = Leader::new(options, NOW, Epoch(0), Epoch(0), Zxid::ZERO);
    assert_eq!(actions(&mut leader), [LeaderAction::SaveEpochs { accepted: Some(Epoch(1)), current: None }]);
    leader.epochs_saved(NOW, Epoch(1), Epoch(0));
    assert_eq!(actions(&mut leader), [LeaderAction::SaveEpochs { accepted: None, current: Some(Epoch(1)) }]);
    leader.epochs_saved(NOW, Epoch(1), Epoch(1));
    assert_eq!(actions(&mut leader), [LeaderAction::Established { epoch: Epoch(1) }]);
    leader.propose(NOW, zxid(1, 1), Bytes::new(), true);
    leader.sync_request(None, zxid(1, 1));
    assert_eq!(actions(&mut leader), []);
    leader.durable(NOW, zxid(1, 1));
    assert_eq!(actions(&mut leader), [LeaderAction::Commit { through: zxid(1, 1) }, LeaderAction::SyncDone]);
}

#[test]
fn links_and_proposals_are_bounded() {
    let mut leader = new();
    for link in 0..=u32::try_from(LINKS_MAX).unwrap() {
        leader.link_opened(NOW, LinkId(link));
    }
    assert!(is_closed(&actions(&mut leader), LinkId(u32::try_from(LINKS_MAX).unwrap()), "more than"));

    let mut leader = established();
    let big = Bytes::from(vec![0; OUTSTANDING_BYTES_MAX / 4]);
    for counter in 1..=8 {
        assert_eq!(leader.has_room(), counter <= 4);
        leader.propose(NOW, zxid(5, counter), big.clone(), true);
    }
    actions(&mut leader);
    leader.propose(NOW, zxid(5, 9), big, true);
    assert!(steps_down(&actions(&mut leader), "proposals wait"));
}

#[test]
fn a_learner_that_does_not_read_is_closed_before_its_queue_grows_too_long() {
    for observer in [false, true] {
        let kind = if observer { PacketType::OBSERVERINFO } else { PacketType::FOLLOWERINFO };
        let mut leader = established();
        join(&mut leader, B, info(kind, if observer { 4 } else { 3 }, 4), zxid(4, 7), &history());
        let big = Bytes::from(vec![0; 64 << 20]);
        let mut counter = 0;
        let closed = loop {
            counter += 1;
            let next = zxid(5, counter);
            leader.propose(NOW, next, big.clone(), true);
            leader.durable(NOW, next);
            feed(&mut leader, A, ack(next));
            leader.ping_all();
            feed(&mut leader, A, packet(PacketType::PING, next));
            leader.tick(NOW);
            let caused = actions(&mut leader);
            assert!(!is_closed(&caused, A, ""), "this one answers its pings");
            if is_closed(&caused, B, "bytes behind") {
                break counter;
            }
        };
        assert_eq!(closed, 17, "1 GiB in pieces of 64 MiB");
    }
}

#[test]
fn who_left_does_not_establish_the_leader() {
    let mut leader = synchronising();
    feed(&mut leader, A, ack(START));
    leader.link_closed(A);
    leader.epochs_saved(NOW, EPOCH, EPOCH);
    assert_eq!((actions(&mut leader), leader.phase()), (vec![], LeaderPhase::Synchronising));
    join(&mut leader, B, follower_info(2, 5), zxid(4, 7), &history());
    assert_eq!(leader.phase(), LeaderPhase::Established);
}

mod reconfig;
