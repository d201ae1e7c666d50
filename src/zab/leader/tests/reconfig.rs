//! Reconfigurations from the leader's side.

use super::*;

/// As [`options`], with configurations that change.
fn changing(last_seen: Option<&str>) -> Options {
    let last_seen = last_seen.map(|text| Arc::new(Membership::parse_text(text).unwrap()));
    Options { reconfig_enabled: true, last_seen, ..options() }
}

fn membership(text: &str, version: Zxid) -> Arc<Membership> {
    Arc::new(Membership { version: version.0, ..Membership::parse_text(text).unwrap() })
}

/// Established with servers 2 on A, 3 on B and the observer 4 on C.
fn leading() -> Leader {
    let mut leader = Leader::new(changing(None), NOW, Epoch(4), Epoch(4), zxid(4, 7));
    leader.link_opened(NOW, A);
    feed(&mut leader, A, follower_info(2, 4));
    leader.epochs_saved(NOW, EPOCH, Epoch(4));
    feed(&mut leader, A, ack_epoch(4, zxid(4, 7)));
    leader.epochs_saved(NOW, EPOCH, EPOCH);
    feed(&mut leader, A, ack(START));
    assert_eq!(leader.phase(), LeaderPhase::Established);
    join(&mut leader, B, follower_info(3, 4), zxid(4, 7), &history());
    join(&mut leader, C, info(PacketType::OBSERVERINFO, 4, 4), zxid(4, 7), &history());
    leader
}

/// Proposes a reconfiguration with this counter.
fn reconfigure(leader: &mut Leader, text: &str, counter: u32) -> Arc<Membership> {
    let made = membership(text, zxid(5, counter));
    leader.reconfigure(zxid(5, counter), made.clone());
    propose(leader, counter);
    actions(leader);
    made
}

fn activate(membership: &Arc<Membership>, designated: i64) -> LeaderAction {
    LeaderAction::Activate { membership: membership.clone(), designated: ServerId(designated) }
}

fn committed(counter: u32) -> LeaderAction {
    LeaderAction::Commit { through: zxid(5, counter) }
}

fn all_acknowledge(leader: &mut Leader, links: &[LinkId], counter: u32) -> Vec<LeaderAction> {
    leader.durable(NOW, zxid(5, counter));
    for link in links {
        leader.packet(NOW, *link, ack(zxid(5, counter)), &history());
    }
    actions(leader)
}

#[test]
fn zk1783_the_first_configuration_gets_the_epochs_version_when_it_is_established() {
    let mut leader = Leader::new(changing(None), NOW, Epoch(4), Epoch(4), zxid(4, 7));
    leader.link_opened(NOW, A);
    feed(&mut leader, A, follower_info(2, 4));
    leader.epochs_saved(NOW, EPOCH, Epoch(4));
    let caused = feed(&mut leader, A, ack_epoch(4, zxid(4, 7)));
    let Some(LeaderAction::Send { packet: new_leader, .. }) = caused.last() else { panic!("{caused:?}") };
    assert!(new_leader.data.as_ref().unwrap().ends_with(b"\nversion=500000000"));
    leader.epochs_saved(NOW, EPOCH, EPOCH);
    let established = membership("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2:observer", START);
    assert_eq!(
        feed(&mut leader, A, ack(START)),
        [
            activate(&established, 1),
            LeaderAction::Established { epoch: EPOCH },
            sent(A, packet(PacketType::UPTODATE, Zxid(-1)))
        ]
    );
    assert_eq!(leader.membership(), &established);
}

#[test]
fn while_a_newer_configuration_is_pending_both_have_to_agree() {
    let text = "server.1=a:1:2\nserver.3=c:1:2\nserver.5=e:1:2\nversion=400000006";
    let mut leader = Leader::new(changing(Some(text)), NOW, Epoch(4), Epoch(4), zxid(4, 7));
    leader.link_opened(NOW, A);
    assert_eq!(feed(&mut leader, A, follower_info(2, 4)), [], "1 and 2 are no quorum of 1, 3, 5");
    leader.link_opened(NOW, B);
    assert_eq!(feed(&mut leader, B, follower_info(3, 4)).len(), 1);
}

#[test]
fn zk1324_a_new_leader_completes_what_its_predecessor_proposed() {
    let text = "server.1=a:1:2\nserver.2=b:1:2\nserver.5=e:1:2\nversion=400000006";
    let mut leader = Leader::new(changing(Some(text)), NOW, Epoch(4), Epoch(4), zxid(4, 7));
    leader.link_opened(NOW, A);
    feed(&mut leader, A, follower_info(2, 4));
    leader.epochs_saved(NOW, EPOCH, Epoch(4));
    let caused = feed(&mut leader, A, ack_epoch(4, zxid(4, 7)));
    let Some(LeaderAction::Send { packet: new_leader, .. }) = caused.last() else { panic!("{caused:?}") };
    assert!(new_leader.data.as_ref().unwrap().ends_with(b"\nversion=400000006"));
    leader.epochs_saved(NOW, EPOCH, EPOCH);
    let caused = feed(&mut leader, A, ack(START));
    assert_eq!(caused[0], activate(&Arc::new(Membership::parse_text(text).unwrap()), 1));
    assert_eq!(caused[1], LeaderAction::Established { epoch: EPOCH });
}

#[test]
fn a_new_leader_that_its_predecessor_removed_hands_over_at_once() {
    let text = "server.2=b:1:2\nserver.3=c:1:2\nversion=400000006";
    let mut leader = Leader::new(changing(Some(text)), NOW, Epoch(4), Epoch(4), zxid(4, 7));
    for (link, server) in [(A, 2), (B, 3)] {
        leader.link_opened(NOW, link);
        feed(&mut leader, link, follower_info(server, 4));
    }
    leader.epochs_saved(NOW, EPOCH, Epoch(4));
    for link in [A, B] {
        feed(&mut leader, link, ack_epoch(4, zxid(4, 7)));
    }
    leader.epochs_saved(NOW, EPOCH, EPOCH);
    assert_eq!(feed(&mut leader, A, ack(START)), [], "2 alone is no quorum of 2 and 3");
    let caused = feed(&mut leader, B, ack(START));
    assert_eq!(caused[0], activate(&Arc::new(Membership::parse_text(text).unwrap()), 2));
    let is_established = caused.iter().any(|action| matches!(action, LeaderAction::Established { .. }));
    assert!(!is_established, "it serves nobody: {caused:?}");
    assert_eq!(kinds(&caused, A), [PacketType::UPTODATE], "they hear what holds, and look for another leader");
    leader.link_closed(A);
    assert_eq!(actions(&mut leader), []);
    leader.link_closed(B);
    assert!(steps_down(&actions(&mut leader), "another server leads"));
}

#[test]
fn a_reconfiguration_needs_both_quorums_and_what_is_before_it_only_one() {
    let mut leader = leading();
    propose(&mut leader, 1);
    let made = reconfigure(&mut leader, "server.1=a:1:2\nserver.4=d:1:2\nserver.5=e:1:2", 2);
    propose(&mut leader, 3);
    actions(&mut leader);
    // 1, 2 and 3 are all of the old configuration, and 1 alone is no quorum of the new one.
    let caused = all_acknowledge(&mut leader, &[A, B], 3);
    assert_eq!(caused.last(), Some(&committed(1)));
    assert_eq!(kinds(&caused, A), [PacketType::COMMIT]);
    // 5 comes, follows without a vote in the old one, and has a vote in the new one.
    let d = LinkId(4);
    let mut history = history();
    history.epoch_started(EPOCH);
    history.push(zxid(5, 1), record((zxid(5, 1), 1)));
    join(&mut leader, d, follower_info(5, 4), zxid(4, 7), &history);
    let caused = all_acknowledge(&mut leader, &[d], 3);
    let to_1 = Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 1]);
    let activates = QuorumPacket::with_data(PacketType::COMMITANDACTIVATE, zxid(5, 2), to_1.clone());
    assert!(caused.contains(&sent(A, activates.clone())) && caused.contains(&sent(d, activates)));
    let data = Bytes::from([&to_1[..], &record((zxid(5, 2), 1))].concat());
    assert!(caused.contains(&sent(C, QuorumPacket::with_data(PacketType::INFORMANDACTIVATE, zxid(5, 2), data))));
    // The reconfiguration, then what comes behind it, with the new configuration's quorum.
    let order: Vec<_> = caused.iter().filter(|action| !matches!(action, LeaderAction::Send { .. })).cloned().collect();
    assert_eq!(order, [committed(2), activate(&made, 1), committed(3)]);
    assert_eq!(leader.membership(), &made);
    // From now on 2 and 3 decide nothing.
    propose(&mut leader, 4);
    actions(&mut leader);
    assert_eq!(all_acknowledge(&mut leader, &[A, B], 4), []);
    assert_eq!(all_acknowledge(&mut leader, &[d], 4).last(), Some(&committed(4)));
}

/// Seed 1319 of the simulator: who joined meanwhile took for valid what a quorum of the configuration before did not hold yet.
#[test]
fn who_joins_while_a_reconfiguration_waits_is_told_what_holds_and_then_what_is_proposed() {
    let mut leader = leading();
    propose(&mut leader, 1);
    reconfigure(&mut leader, "server.1=a:1:2\nserver.4=d:1:2\nserver.5=e:1:2", 2);
    propose(&mut leader, 3);
    actions(&mut leader);
    let mut history = history();
    history.epoch_started(EPOCH);
    let new_leader = |leader: &mut Leader, link: LinkId, greeting: QuorumPacket| {
        leader.link_opened(NOW, link);
        feed(leader, link, greeting);
        leader.packet(NOW, link, ack_epoch(4, zxid(4, 7)), &history);
        let caused = actions(leader);
        let text = caused.iter().find_map(|action| match action {
            LeaderAction::Send { packet, .. } if packet.kind == PacketType::NEWLEADER => packet.data.clone(),
            _ => None,
        });
        (kinds(&caused, link), text.expect("NEWLEADER is sent"))
    };
    let (order, text) = new_leader(&mut leader, LinkId(4), follower_info(5, 4));
    let proposal = PacketType::PROPOSAL;
    assert_eq!(order, [PacketType::DIFF, proposal, PacketType::NEWLEADER, proposal, proposal]);
    assert_eq!(text, leader.membership().to_text());
    let (order, text) = new_leader(&mut leader, LinkId(5), info(PacketType::OBSERVERINFO, 6, 4));
    assert_eq!(order, [PacketType::DIFF, PacketType::NEWLEADER]);
    assert_eq!(text, leader.membership().to_text());
}

#[test]
fn behind_a_reconfiguration_the_new_quorum_is_enough() {
    let mut leader = leading();
    reconfigure(&mut leader, "server.1=a:1:2\nserver.2=b:1:2", 1);
    all_acknowledge(&mut leader, &[A], 1);
    propose(&mut leader, 2);
    actions(&mut leader);
    assert_eq!(all_acknowledge(&mut leader, &[B], 2), [], "3 has no vote any more");
    assert_eq!(all_acknowledge(&mut leader, &[A], 2).last(), Some(&committed(2)));
}

#[test]
fn a_leader_that_is_removed_names_who_has_most_and_waits_until_all_have_gone() {
    let mut leader = leading();
    let made = reconfigure(&mut leader, "server.2=b:1:2\nserver.3=c:1:2", 1);
    propose(&mut leader, 2);
    actions(&mut leader);
    leader.packet(NOW, B, ack(zxid(5, 2)), &history());
    leader.durable(NOW, zxid(5, 2));
    leader.packet(NOW, A, ack(zxid(5, 1)), &history());
    let caused = actions(&mut leader);
    let others: Vec<_> = caused.iter().filter(|action| !matches!(action, LeaderAction::Send { .. })).cloned().collect();
    assert_eq!(others, [committed(1), activate(&made, 3)], "3 has acknowledged more than 2");
    // It commits nothing more, whoever acknowledges it.
    leader.packet(NOW, A, ack(zxid(5, 2)), &history());
    assert_eq!(actions(&mut leader), []);
    for link in [A, B] {
        leader.link_closed(link);
        assert_eq!(actions(&mut leader), []);
    }
    leader.link_closed(C);
    assert!(steps_down(&actions(&mut leader), "another server leads"));
}

#[test]
fn a_leader_that_is_removed_goes_even_if_not_all_do() {
    let mut leader = leading();
    reconfigure(&mut leader, "server.2=b:1:2\nserver.3=c:1:2", 1);
    all_acknowledge(&mut leader, &[A, B], 1);
    let mut now = NOW;
    for _ in 0..100 {
        now = leader.timer().map_or(now, |timer| now.max(timer));
        leader.tick(now);
        actions(&mut leader);
        if leader.phase() == LeaderPhase::Dead {
            break;
        }
    }
    assert_eq!(leader.phase(), LeaderPhase::Dead);
    let limit = Duration::from_millis(2000 * 7);
    assert!(now.since(NOW) <= limit, "soon behind syncLimit, not {:?}", now.since(NOW));
}

/// strimzi 8675: names are compared, which nobody has to resolve for that. A leader that took itself for another one would never
/// commit again.
#[test]
fn strimzi8675_a_leader_stays_where_it_votes_at_the_same_place() {
    for (text, designated) in [
        ("server.1=a:1:2\nserver.2=b:1:2", 1),
        // Where votes or clients are taken is not where learners connect.
        ("server.1=a:1:9;2181\nserver.2=b:1:2", 1),
        ("server.1=a:7:2\nserver.2=b:1:2", 2),
        ("server.1=a:1:2:observer\nserver.2=b:1:2\nserver.3=c:1:2", 2),
        // A server of weight 0 never leads.
        ("server.2=b:1:2\nserver.3=c:1:2\ngroup.1=2:3\nweight.2=0", 3),
        // Nobody else can: it leads at its new address.
        ("server.1=a:7:2", 1),
    ] {
        let mut leader = leading();
        let made = reconfigure(&mut leader, text, 1);
        let caused = all_acknowledge(&mut leader, &[A, B], 1);
        assert!(caused.contains(&activate(&made, designated)), "{text}: {caused:?}");
    }
}

#[test]
fn a_leader_without_a_quorum_of_both_steps_down() {
    let mut leader = leading();
    reconfigure(&mut leader, "server.1=a:1:2\nserver.4=d:1:2\nserver.5=e:1:2\nserver.6=f:1:2\nserver.7=g:1:2", 1);
    let mut now = NOW;
    let mut caused = Vec::new();
    for _ in 0..100 {
        now = leader.timer().map_or(now, |timer| now.max(timer));
        leader.tick(now);
        caused = actions(&mut leader);
        if leader.phase() == LeaderPhase::Dead {
            break;
        }
        for link in [A, B, C] {
            leader.packet(now, link, packet(PacketType::PING, START), &history());
        }
    }
    assert!(steps_down(&caused, "not enough followers"), "{caused:?}");
}

#[test]
fn who_is_synced_follows_with_a_vote_and_is_alive() {
    let mut leader = leading();
    let synced: BTreeSet<_> = leader.synced().collect();
    assert_eq!(synced, BTreeSet::from([1, 2, 3].map(ServerId)), "an observer acknowledges nothing");
    // One that follows without a vote would, if it had one.
    join(&mut leader, LinkId(4), follower_info(9, 4), zxid(4, 7), &history());
    assert!(leader.synced().any(|server| server == ServerId(9)));
    leader.link_closed(A);
    assert!(!leader.synced().any(|server| server == ServerId(2)));
}

#[test]
#[should_panic(expected = "while another is under way")]
fn one_at_a_time() {
    let mut leader = leading();
    reconfigure(&mut leader, "server.1=a:1:2\nserver.5=e:1:2", 1);
    reconfigure(&mut leader, "server.1=a:1:2", 2);
}
