//! The learner's rules, one by one, as the leader's packets bring them out. Names begin with the ZooKeeper issue they are about.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::quorum::Membership;
use crate::wire::op::OpCode;
use crate::zab::tests::record;

const NOW: Instant = Instant(1_000_000);
const EPOCH: Epoch = Epoch(5);
const START: Zxid = Zxid::new(EPOCH, 0);

const fn zxid(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(Epoch(epoch), counter)
}

fn options() -> Options {
    let text = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2:observer";
    Options::new(ServerId(2), Arc::new(Membership::parse_text(text).unwrap()))
}

fn packet(kind: PacketType, zxid: Zxid) -> QuorumPacket {
    QuorumPacket::new(kind, zxid)
}

fn with_record(kind: PacketType, zxid: Zxid) -> QuorumPacket {
    QuorumPacket::with_data(kind, zxid, record((zxid, 1)))
}

fn proposal(zxid: Zxid) -> QuorumPacket {
    with_record(PacketType::PROPOSAL, zxid)
}

fn commit(zxid: Zxid) -> QuorumPacket {
    packet(PacketType::COMMIT, zxid)
}

fn leader_info(zxid: Zxid) -> QuorumPacket {
    QuorumPacket::with_data(PacketType::LEADERINFO, zxid, Bytes::from_static(&[0, 1, 0, 0]))
}

fn actions(learner: &mut Learner) -> Vec<LearnerAction> {
    std::iter::from_fn(|| learner.poll()).collect()
}

fn append(zxid: Zxid) -> LearnerAction {
    LearnerAction::Append(zxid, record((zxid, 1)))
}

const fn ack(zxid: Zxid) -> LearnerAction {
    LearnerAction::Send(QuorumPacket::new(PacketType::ACK, zxid))
}

const SAVE_CURRENT: LearnerAction = LearnerAction::SaveEpochs { accepted: None, current: Some(EPOCH) };

/// Feeds packets and gives back what they cause.
fn feed(learner: &mut Learner, packets: impl IntoIterator<Item = QuorumPacket>) -> Vec<LearnerAction> {
    for packet in packets {
        learner.packet(NOW, packet);
    }
    actions(learner)
}

fn is_abandoned(actions: &[LearnerAction], words: &str) -> bool {
    matches!(actions.last(), Some(LearnerAction::Abandon { why, .. }) if why.contains(words))
}

/// A server with log up to (4,7) in epoch 4, its epoch accepted by the leader of epoch 5.
fn registered(observer: bool) -> Learner {
    let mut learner = Learner::new(options(), NOW, observer, ServerId(1), Epoch(4), Epoch(4), zxid(4, 7));
    learner.connected(NOW);
    learner.packet(NOW, leader_info(START));
    learner.epochs_saved(NOW, EPOCH, Epoch(4));
    actions(&mut learner);
    learner
}

fn in_diff(observer: bool) -> Learner {
    let mut learner = registered(observer);
    assert_eq!(
        feed(&mut learner, [packet(PacketType::DIFF, zxid(4, 9))]),
        [LearnerAction::Commit(zxid(4, 7))],
        "what the log holds is the leader's"
    );
    learner
}

fn new_leader() -> QuorumPacket {
    packet(PacketType::NEWLEADER, START)
}

fn up_to_date() -> QuorumPacket {
    packet(PacketType::UPTODATE, Zxid(-1))
}

fn following(observer: bool) -> Learner {
    let mut learner = in_diff(observer);
    learner.packet(NOW, new_leader());
    learner.epochs_saved(NOW, EPOCH, EPOCH);
    learner.packet(NOW, up_to_date());
    assert_eq!(learner.phase(), LearnerPhase::Following);
    actions(&mut learner);
    learner
}

#[test]
fn registration_says_who_and_which_epoch() {
    for (observer, kind) in [(false, PacketType::FOLLOWERINFO), (true, PacketType::OBSERVERINFO)] {
        let mut learner = Learner::new(options(), NOW, observer, ServerId(1), Epoch(4), Epoch(3), zxid(3, 9));
        learner.connected(NOW);
        let info = QuorumPacket::with_data(
            kind,
            zxid(4, 0),
            Bytes::from_static(b"\0\0\0\0\0\0\0\x02\0\x01\0\0\0\0\0\0\0\0\0\0"),
        );
        assert_eq!(actions(&mut learner), [LearnerAction::Send(info)]);
    }
}

#[test]
fn zk1319_the_accepted_epoch_is_saved_before_it_is_acknowledged() {
    let mut learner = Learner::new(options(), NOW, false, ServerId(1), Epoch(4), Epoch(3), zxid(3, 9));
    learner.connected(NOW);
    actions(&mut learner);
    let save = LearnerAction::SaveEpochs { accepted: Some(EPOCH), current: None };
    assert_eq!(feed(&mut learner, [leader_info(START)]), [save]);
    // A report about what was saved before does not count.
    learner.epochs_saved(NOW, Epoch(4), Epoch(3));
    assert_eq!(actions(&mut learner), []);
    learner.epochs_saved(NOW, EPOCH, Epoch(3));
    let reply = QuorumPacket::with_data(PacketType::ACKEPOCH, zxid(3, 9), Bytes::from_static(&[0, 0, 0, 3]));
    assert_eq!(actions(&mut learner), [LearnerAction::Send(reply)]);
}

#[test]
fn an_epoch_that_was_accepted_before_is_not_counted_and_an_older_one_is_refused() {
    let mut learner = Learner::new(options(), NOW, false, ServerId(1), EPOCH, Epoch(3), zxid(3, 9));
    learner.connected(NOW);
    actions(&mut learner);
    let reply = QuorumPacket::with_data(PacketType::ACKEPOCH, zxid(3, 9), Bytes::from_static(&[0xff; 4]));
    assert_eq!(feed(&mut learner, [leader_info(START)]), [LearnerAction::Send(reply)]);

    let mut learner = Learner::new(options(), NOW, false, ServerId(1), Epoch(6), Epoch(3), zxid(3, 9));
    learner.connected(NOW);
    assert!(is_abandoned(&feed(&mut learner, [leader_info(START)]), "below the accepted"));
}

#[test]
fn a_leader_before_zab_1_0_is_refused_clearly() {
    let mut learner = Learner::new(options(), NOW, false, ServerId(1), Epoch(4), Epoch(3), zxid(3, 9));
    learner.connected(NOW);
    assert!(is_abandoned(&feed(&mut learner, [new_leader()]), "before ZAB 1.0"));
}

#[test]
fn zk4646_zk3911_zk3023_new_leader_is_acknowledged_after_the_history_is_durable() {
    let mut learner = in_diff(false);
    let records = [proposal(zxid(4, 8)), commit(zxid(4, 8)), proposal(zxid(4, 9)), commit(zxid(4, 9)), new_leader()];
    let commits = |counter| LearnerAction::Commit(zxid(4, counter));
    assert_eq!(
        feed(&mut learner, records),
        [append(zxid(4, 8)), commits(8), append(zxid(4, 9)), commits(9)],
        "queued to the log is not durable"
    );
    learner.durable(NOW, zxid(4, 8));
    assert_eq!(actions(&mut learner), [], "half of it is not enough");
    learner.durable(NOW, zxid(4, 9));
    assert_eq!(actions(&mut learner), [SAVE_CURRENT]);
    learner.epochs_saved(NOW, EPOCH, EPOCH);
    assert_eq!(actions(&mut learner), [ack(START)]);
}

/// 1282: at NEWLEADER, not at UPTODATE.
#[test]
fn zk4643_zk4785_zk1282_current_epoch_is_saved_after_the_history_and_before_the_ack() {
    let mut learner = in_diff(false);
    feed(&mut learner, [proposal(zxid(4, 8)), commit(zxid(4, 8)), new_leader()]);
    // Not even a stray report lets it go on.
    learner.epochs_saved(NOW, EPOCH, EPOCH);
    assert_eq!(actions(&mut learner), []);
    learner.durable(NOW, zxid(4, 8));
    assert_eq!(actions(&mut learner), [SAVE_CURRENT]);
    learner.epochs_saved(NOW, EPOCH, Epoch(4));
    assert_eq!(actions(&mut learner), [], "what was saved is not yet the new epoch");
    learner.epochs_saved(NOW, EPOCH, EPOCH);
    assert_eq!(actions(&mut learner), [ack(START)]);
}

#[test]
fn zk4685_no_proposal_is_acknowledged_before_new_leader() {
    let mut learner = in_diff(false);
    feed(&mut learner, [proposal(zxid(4, 8)), commit(zxid(4, 8)), proposal(zxid(5, 1)), new_leader()]);
    learner.durable(NOW, zxid(4, 8));
    learner.epochs_saved(NOW, EPOCH, EPOCH);
    assert_eq!(actions(&mut learner), [SAVE_CURRENT, ack(START)]);
    // The second ACK of the synchronisation also goes before them.
    let serving = LearnerAction::Serving { epoch: EPOCH };
    assert_eq!(feed(&mut learner, [up_to_date()]), [ack(START), append(zxid(5, 1)), serving]);
    learner.durable(NOW, zxid(5, 1));
    assert_eq!(actions(&mut learner), [ack(zxid(5, 1))], "records of the history are not acknowledged one by one");
}

#[test]
fn zk4394_uncommitted_proposals_wait_and_commits_between_new_leader_and_up_to_date_find_them() {
    let mut learner = in_diff(false);
    let caused = feed(&mut learner, [proposal(zxid(5, 1)), proposal(zxid(5, 2)), new_leader()]);
    assert_eq!(caused, [SAVE_CURRENT], "nothing that is not committed goes to the log");
    learner.epochs_saved(NOW, EPOCH, EPOCH);
    actions(&mut learner);
    assert_eq!(feed(&mut learner, [commit(zxid(5, 1)), proposal(zxid(5, 3))]), []);
    assert_eq!(
        feed(&mut learner, [up_to_date()]),
        [
            ack(START),
            append(zxid(5, 1)),
            LearnerAction::Commit(zxid(5, 1)),
            append(zxid(5, 2)),
            append(zxid(5, 3)),
            LearnerAction::Serving { epoch: EPOCH },
        ]
    );
    assert_eq!(feed(&mut learner, [commit(zxid(5, 2))]), [LearnerAction::Commit(zxid(5, 2))]);
    learner.durable(NOW, zxid(5, 3));
    assert_eq!(actions(&mut learner), [ack(zxid(5, 1)), ack(zxid(5, 2)), ack(zxid(5, 3))]);
}

#[test]
fn packets_wait_while_the_disk_works() {
    let mut learner = in_diff(false);
    feed(&mut learner, [proposal(zxid(4, 8)), commit(zxid(4, 8)), new_leader()]);
    assert_eq!(feed(&mut learner, [proposal(zxid(5, 1)), commit(zxid(5, 1)), proposal(zxid(5, 2))]), []);
    learner.durable(NOW, zxid(4, 8));
    learner.epochs_saved(NOW, EPOCH, EPOCH);
    assert_eq!(actions(&mut learner), [SAVE_CURRENT, ack(START)]);
    let caused = feed(&mut learner, [up_to_date()]);
    assert_eq!(caused[1..4], [append(zxid(5, 1)), LearnerAction::Commit(zxid(5, 1)), append(zxid(5, 2))]);
}

#[test]
fn zk4925_a_gap_in_a_synchronisation_is_refused_and_asks_for_a_snapshot() {
    for (packets, why) in [
        (vec![proposal(zxid(4, 9))], "the first after the log"),
        (vec![proposal(zxid(4, 8)), proposal(zxid(4, 10))], "a later one"),
        (vec![proposal(zxid(4, 8)), proposal(zxid(5, 2))], "a new epoch that does not begin with 1"),
        (vec![proposal(zxid(5, 1)), proposal(zxid(4, 8))], "an older epoch"),
    ] {
        let mut learner = in_diff(false);
        let caused = feed(&mut learner, packets);
        assert!(matches!(caused.last(), Some(LearnerAction::Abandon { want_snapshot: true, .. })), "{why}: {caused:?}");
    }
    let mut learner = in_diff(false);
    let caused = feed(&mut learner, [proposal(zxid(4, 8)), proposal(zxid(5, 1))]);
    assert_eq!(caused, [], "a higher epoch may begin");
}

#[test]
fn zk4925_a_learner_that_wants_a_snapshot_hides_its_history_and_does_not_count() {
    let options = Options { want_snapshot: true, ..options() };
    let mut learner = Learner::new(options, NOW, false, ServerId(1), Epoch(4), Epoch(4), zxid(4, 7));
    learner.connected(NOW);
    learner.packet(NOW, leader_info(START));
    actions(&mut learner);
    learner.epochs_saved(NOW, EPOCH, Epoch(4));
    let reply = QuorumPacket::with_data(PacketType::ACKEPOCH, Zxid(-1), Bytes::from_static(&[0xff; 4]));
    assert_eq!(actions(&mut learner), [LearnerAction::Send(reply)]);
    let caused = feed(&mut learner, [packet(PacketType::DIFF, zxid(4, 9))]);
    assert!(is_abandoned(&caused, "no history was told"), "{caused:?}");
}

#[test]
fn zk1208_a_gap_while_following_reconnects() {
    let mut learner = following(false);
    assert_eq!(feed(&mut learner, [proposal(zxid(5, 1))]), [append(zxid(5, 1))]);
    let caused = feed(&mut learner, [proposal(zxid(5, 3))]);
    assert!(matches!(caused[..], [LearnerAction::Abandon { want_snapshot: false, .. }]), "{caused:?}");
}

#[test]
fn a_commit_out_of_order_is_refused() {
    let mut learner = following(false);
    feed(&mut learner, [proposal(zxid(5, 1)), proposal(zxid(5, 2))]);
    assert!(is_abandoned(&feed(&mut learner, [commit(zxid(5, 2))]), "COMMIT of 0x500000002"));

    let mut learner = following(false);
    assert!(is_abandoned(&feed(&mut learner, [commit(zxid(5, 1))]), "COMMIT of 0x500000001"), "never proposed");

    let mut learner = following(false);
    let caused = feed(&mut learner, [proposal(zxid(5, 1)), commit(zxid(5, 1)), commit(zxid(5, 1))]);
    assert_eq!(caused, [append(zxid(5, 1)), LearnerAction::Commit(zxid(5, 1))], "told twice");

    let mut learner = in_diff(false);
    assert!(is_abandoned(&feed(&mut learner, [proposal(zxid(4, 8)), commit(zxid(4, 9))]), "COMMIT of 0x400000009"));
}

#[test]
fn a_record_has_to_be_of_the_packets_zxid() {
    let mut learner = in_diff(false);
    let lie = QuorumPacket::with_data(PacketType::PROPOSAL, zxid(4, 8), record((zxid(4, 9), 1)));
    assert!(is_abandoned(&feed(&mut learner, [lie]), "came as"));
    let mut learner = in_diff(false);
    assert!(is_abandoned(&feed(&mut learner, [packet(PacketType::PROPOSAL, zxid(4, 8))]), "no transaction"));
}

#[test]
fn zk5094_a_truncation_is_durable_before_anything_follows() {
    let mut learner = registered(false);
    let cut = LearnerAction::Truncate { to: zxid(4, 5) };
    assert_eq!(feed(&mut learner, [packet(PacketType::TRUNC, zxid(4, 5))]), [cut]);
    let more = [proposal(zxid(5, 1)), commit(zxid(5, 1)), new_leader()];
    assert_eq!(feed(&mut learner, more), [], "it waits for the disk");
    assert_eq!(learner.timer(), None, "it is not the leader who is slow");
    learner.truncated(NOW, zxid(4, 5));
    let expected = [LearnerAction::Commit(zxid(4, 5)), append(zxid(5, 1)), LearnerAction::Commit(zxid(5, 1))];
    assert_eq!(actions(&mut learner), expected);
    learner.durable(NOW, zxid(5, 1));
    assert_eq!(actions(&mut learner), [SAVE_CURRENT]);
}

#[test]
fn zk1154_zk3701_a_truncation_that_missed_its_place_is_no_base() {
    for last in [zxid(4, 4), zxid(4, 6), zxid(4, 7)] {
        let mut learner = registered(false);
        feed(&mut learner, [packet(PacketType::TRUNC, zxid(4, 5))]);
        learner.truncated(NOW, last);
        let caused = actions(&mut learner);
        assert!(matches!(caused[..], [LearnerAction::Abandon { want_snapshot: true, .. }]), "{last}: {caused:?}");
    }
    // The start of an epoch is no record: the log ends before it.
    let mut learner = registered(false);
    feed(&mut learner, [packet(PacketType::TRUNC, zxid(4, 0))]);
    learner.truncated(NOW, zxid(3, 9));
    assert_eq!(feed(&mut learner, [proposal(zxid(5, 1))]), [LearnerAction::Commit(zxid(4, 0))]);
    // What the log does not reach cannot be cut.
    let mut learner = registered(false);
    assert!(is_abandoned(&feed(&mut learner, [packet(PacketType::TRUNC, zxid(4, 8))]), "while the log ends"));
}

#[test]
fn zk3642_zk2872_a_snapshot_is_installed_before_anything_follows_and_a_part_of_one_never() {
    let mut learner = registered(false);
    let caused = feed(&mut learner, [packet(PacketType::SNAP, zxid(4, 20))]);
    assert_eq!(caused, [LearnerAction::ReceiveSnapshot { zxid: zxid(4, 20) }]);
    // It breaks off: nothing was asked of the disk.
    learner.closed();
    assert!(is_abandoned(&actions(&mut learner), "closed"));

    let mut learner = registered(false);
    feed(&mut learner, [packet(PacketType::SNAP, zxid(4, 20))]);
    learner.snapshot_received(NOW);
    assert_eq!(actions(&mut learner), [LearnerAction::InstallSnapshot { zxid: zxid(4, 20) }]);
    // Behind an Apache leader's snapshot may come what is in it already.
    let more = [proposal(zxid(4, 20)), commit(zxid(4, 20)), proposal(zxid(4, 21)), commit(zxid(4, 21)), new_leader()];
    assert_eq!(feed(&mut learner, more), []);
    learner.snapshot_installed(NOW, zxid(4, 20));
    assert_eq!(actions(&mut learner), [append(zxid(4, 21)), LearnerAction::Commit(zxid(4, 21))]);
    learner.durable(NOW, zxid(4, 21));
    assert_eq!(actions(&mut learner), [SAVE_CURRENT]);
}

#[test]
#[should_panic(expected = "within a snapshot")]
fn a_snapshots_bytes_are_not_packets() {
    let mut learner = registered(false);
    feed(&mut learner, [packet(PacketType::SNAP, zxid(4, 20)), new_leader()]);
}

#[test]
fn new_leader_has_to_be_of_this_epoch_and_brings_the_configuration() {
    let mut learner = in_diff(false);
    let caused = feed(&mut learner, [packet(PacketType::NEWLEADER, zxid(6, 0))]);
    assert!(is_abandoned(&caused, "NEWLEADER of 0x600000000"));
    let mut learner = in_diff(false);
    let text = Bytes::from_static(b"version=500000000");
    let caused = feed(&mut learner, [QuorumPacket::with_data(PacketType::NEWLEADER, START, text.clone())]);
    // Saved, too, before NEWLEADER is acknowledged: both configurations decide from then on.
    assert_eq!(caused, [LearnerAction::ConfigurationSeen { text, is_awaited: true }]);
    learner.configuration_saved(NOW);
    assert_eq!(actions(&mut learner), [SAVE_CURRENT]);
}

#[test]
fn a_learner_that_comes_back_to_its_leader_saves_nothing_anew() {
    let mut learner = Learner::new(options(), NOW, false, ServerId(1), EPOCH, EPOCH, zxid(5, 3));
    learner.connected(NOW);
    feed(&mut learner, [leader_info(START), packet(PacketType::DIFF, zxid(5, 3))]);
    assert_eq!(feed(&mut learner, [new_leader()]), [ack(START)]);
}

#[test]
fn records_prove_their_epoch() {
    // Interrupted after records of epoch 5 were durable and before currentEpoch was.
    let mut learner = Learner::new(options(), NOW, false, ServerId(1), EPOCH, Epoch(3), zxid(5, 2));
    learner.connected(NOW);
    actions(&mut learner);
    learner.packet(NOW, leader_info(zxid(6, 0)));
    learner.epochs_saved(NOW, Epoch(6), Epoch(3));
    let reply = QuorumPacket::with_data(PacketType::ACKEPOCH, zxid(5, 2), Bytes::from_static(&[0, 0, 0, 5]));
    assert_eq!(actions(&mut learner).last(), Some(&LearnerAction::Send(reply)));
}

#[test]
fn an_observer_takes_informs_and_acknowledges_no_proposal() {
    let mut learner = in_diff(true);
    // An old leader may send what is not committed; what it informs of counts.
    let caused = feed(
        &mut learner,
        [proposal(zxid(5, 1)), proposal(zxid(5, 2)), with_record(PacketType::INFORM, zxid(5, 1)), new_leader()],
    );
    assert_eq!(caused, [append(zxid(5, 1)), LearnerAction::Commit(zxid(5, 1))]);
    learner.durable(NOW, zxid(5, 1));
    learner.epochs_saved(NOW, EPOCH, EPOCH);
    assert_eq!(actions(&mut learner), [SAVE_CURRENT, ack(START)]);
    let serving = LearnerAction::Serving { epoch: EPOCH };
    assert_eq!(feed(&mut learner, [up_to_date()]), [ack(START), serving]);
    let caused =
        feed(&mut learner, [with_record(PacketType::INFORM, zxid(5, 2)), proposal(zxid(5, 3)), commit(zxid(5, 3))]);
    assert_eq!(caused, [append(zxid(5, 2)), LearnerAction::Commit(zxid(5, 2))]);
    learner.durable(NOW, zxid(5, 2));
    assert_eq!(actions(&mut learner), []);
}

#[test]
fn pings_are_answered_with_the_touched_sessions_in_order() {
    let mut learner = following(false);
    let pings = [packet(PacketType::PING, zxid(5, 0)), packet(PacketType::PING, zxid(5, 1))];
    assert_eq!(feed(&mut learner, pings), [LearnerAction::TouchesWanted, LearnerAction::TouchesWanted]);
    learner.touches(&[(SessionId(9), 4000)]);
    learner.touches(&[]);
    let data = Bytes::from_static(b"\0\0\0\0\0\0\0\x09\0\0\x0f\xa0");
    assert_eq!(
        actions(&mut learner),
        [
            LearnerAction::Send(QuorumPacket::with_data(PacketType::PING, zxid(5, 0), data)),
            LearnerAction::Send(QuorumPacket::with_data(PacketType::PING, zxid(5, 1), Bytes::new())),
        ]
    );
}

#[test]
fn syncs_requests_and_revalidations() {
    let mut learner = following(false);
    assert_eq!(feed(&mut learner, [packet(PacketType::SYNC, Zxid::ZERO)]), [], "nobody asked");
    learner.request(SessionId(9), 4, OpCode::SYNC, Bytes::from_static(b"/"), Vec::new());
    learner.revalidate(SessionId(9), 4000);
    let sent = actions(&mut learner);
    let [LearnerAction::Send(request), LearnerAction::Send(revalidate)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((request.kind, request.zxid, &request.authinfo), (PacketType::REQUEST, Zxid(-1), &Some(Vec::new())));
    assert_eq!(request.data.as_deref(), Some(&b"\0\0\0\0\0\0\0\x09\0\0\0\x04\0\0\0\x09/"[..]));
    assert_eq!((revalidate.kind, revalidate.zxid), (PacketType::REVALIDATE, Zxid(-1)));
    let answer =
        QuorumPacket::with_data(PacketType::REVALIDATE, Zxid(-1), Bytes::from_static(b"\0\0\0\0\0\0\0\x09\x01"));
    assert_eq!(
        feed(&mut learner, [packet(PacketType::SYNC, Zxid::ZERO), answer]),
        [LearnerAction::SyncDone, LearnerAction::Revalidated { session: SessionId(9), valid: true }]
    );
}

#[test]
fn a_silent_leader_is_left_after_init_limit_and_later_after_sync_limit() {
    let (init, sync) = (Duration::from_secs(20), Duration::from_secs(10));
    let mut learner = registered(false);
    assert_eq!(learner.timer(), Some(NOW + init));
    learner.tick(NOW + init - Duration::from_millis(1));
    assert_eq!(actions(&mut learner), []);
    learner.tick(NOW + init);
    assert!(is_abandoned(&actions(&mut learner), "silent too long"));

    let mut learner = following(false);
    assert_eq!(learner.timer(), Some(NOW + sync));
    learner.packet(NOW + sync, packet(PacketType::PING, zxid(5, 0)));
    learner.tick(NOW + sync);
    assert_eq!(actions(&mut learner), [LearnerAction::TouchesWanted]);
    learner.tick(NOW + sync + sync);
    assert!(is_abandoned(&actions(&mut learner), "silent too long"));
    learner.packet(NOW, packet(PacketType::PING, zxid(5, 0)));
    assert_eq!((actions(&mut learner), learner.timer()), (vec![], None), "nothing follows");
}

#[test]
fn packets_out_of_turn_are_refused() {
    for kind in [PacketType::SNAP, PacketType::DIFF, PacketType::TRUNC, PacketType::NEWLEADER] {
        let mut learner = following(false);
        assert!(is_abandoned(&feed(&mut learner, [packet(kind, START)]), "while following"), "{kind:?}");
    }
    let mut learner = in_diff(false);
    assert!(is_abandoned(&feed(&mut learner, [up_to_date()]), "UPTODATE came out of turn"));
    let mut learner = registered(false);
    assert!(is_abandoned(&feed(&mut learner, [proposal(zxid(4, 8))]), "instead of DIFF, TRUNC or SNAP"));
    // What follows SNAP is no packet, so it cannot wait until the disk is ready.
    let mut learner = in_diff(false);
    feed(&mut learner, [proposal(zxid(4, 8)), commit(zxid(4, 8)), new_leader()]);
    assert!(is_abandoned(&feed(&mut learner, [packet(PacketType::SNAP, START)]), "SNAP came out of turn"));
    let mut learner = following(false);
    assert_eq!(feed(&mut learner, [packet(PacketType(77), START)]), [], "unknown ones are ignored, as by Apache's");
}

#[test]
fn what_waits_is_bounded() {
    let mut learner = in_diff(false);
    for counter in 8..=11 {
        let record = record((zxid(4, counter), 1));
        let mut data = vec![0; WAITING_BYTES_MAX / 3];
        data[..record.len()].copy_from_slice(&record);
        learner.packet(NOW, QuorumPacket::with_data(PacketType::PROPOSAL, zxid(4, counter), data.into()));
        assert!(learner.is_full() || counter == 11);
    }
    assert!(is_abandoned(&actions(&mut learner), "bytes wait"));
}

/// What is in the log has to be readable at the next start: a server that has logged a record which nobody can apply starts no more.
#[test]
fn a_record_that_cannot_be_read_is_not_logged() {
    let unreadable = |zxid: Zxid| {
        let mut bytes = record((zxid, 1)).to_vec();
        // An operation that there is not.
        bytes[28..32].copy_from_slice(&9999_i32.to_be_bytes());
        QuorumPacket::with_data(PacketType::PROPOSAL, zxid, bytes.into())
    };
    let short = |zxid: Zxid| {
        let record = record((zxid, 1));
        QuorumPacket::with_data(PacketType::PROPOSAL, zxid, record.slice(..record.len() - 1))
    };
    for broken in [unreadable, short] {
        let mut learner = following(false);
        let caused = feed(&mut learner, [broken(zxid(5, 1))]);
        assert!(is_abandoned(&caused, "no transaction") && caused.len() == 1, "{caused:?}");
        let mut learner = in_diff(false);
        let caused = feed(&mut learner, [broken(zxid(4, 8)), commit(zxid(4, 8))]);
        assert!(is_abandoned(&caused, "no transaction") && caused.len() == 1, "{caused:?}");
    }
}

/// The epochs are kept for ever: one that has no next would keep this server from ever following or leading again.
#[test]
fn an_epoch_that_has_no_next_is_refused() {
    for (epoch, is_good) in [(crate::zab::EPOCH_MAX, true), (Epoch(crate::zab::EPOCH_MAX.0 + 1), false)] {
        let mut learner = Learner::new(options(), NOW, false, ServerId(1), Epoch(4), Epoch(4), zxid(4, 7));
        learner.connected(NOW);
        actions(&mut learner);
        let caused = feed(&mut learner, [leader_info(Zxid::new(epoch, 0))]);
        let save = LearnerAction::SaveEpochs { accepted: Some(epoch), current: None };
        assert_eq!(caused == [save], is_good, "{caused:?}");
        assert_eq!(is_abandoned(&caused, "epoch"), !is_good, "{caused:?}");
    }
}

#[test]
fn a_proposal_of_another_epoch_than_the_leaders_is_refused() {
    let mut learner = following(false);
    assert!(is_abandoned(&feed(&mut learner, [proposal(zxid(4, 8))]), "epoch"), "an earlier leader's");
    let mut learner = following(false);
    assert!(is_abandoned(&feed(&mut learner, [proposal(zxid(6, 1))]), "epoch"), "a later leader's");
    let mut learner = following(true);
    assert!(is_abandoned(&feed(&mut learner, [with_record(PacketType::INFORM, zxid(6, 1))]), "epoch"));
    let mut learner = in_diff(false);
    let caused = feed(&mut learner, [proposal(zxid(4, 8)), commit(zxid(4, 8)), proposal(zxid(6, 1))]);
    assert!(is_abandoned(&caused, "epoch"), "no history of epoch 5 has records of epoch 6: {caused:?}");
}

mod reconfig;
