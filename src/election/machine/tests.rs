//! Each rule of the election by itself: one server, and what the others say put into its ear.

use super::*;

const MS: u64 = 1000;

fn at(ms: u64) -> Instant {
    Instant(ms * MS)
}

fn members(text: &str) -> Arc<Membership> {
    Arc::new(Membership::parse_text(text).unwrap())
}

/// `voters` participants from 1 on, and observers behind them.
fn plain(voters: i64, observers: i64) -> Arc<Membership> {
    let line = |id: i64| {
        let role = if id > voters { "observer" } else { "participant" };
        format!("server.{id}=h{id}:2888:3888:{role}\n")
    };
    members(&(1..=voters + observers).map(line).collect::<String>())
}

fn options(my_id: i64, membership: Arc<Membership>) -> Options {
    Options { decide_early: false, ..Options::new(ServerId(my_id), membership) }
}

/// What server `my_id` of three voters says after it began to look, with zxid 5 of epoch 1.
fn looking(my_id: i64) -> Election {
    started(options(my_id, plain(3, 1)))
}

fn started(options: Options) -> Election {
    let mut election = Election::new(options);
    election.start(at(0), Zxid::new(Epoch(1), 5), Epoch(1));
    election
}

/// A notification of a server in `round`: candidate with its counter in epoch 1.
fn says(state: ServerState, leader: i64, counter: u32, round: i64) -> Notification {
    Notification {
        state,
        leader: ServerId(leader),
        zxid: Zxid::new(Epoch(1), counter),
        election_epoch: round,
        peer_epoch: 1,
        version: 2,
        config: None,
    }
}

fn actions(election: &mut Election) -> Vec<ElectionAction> {
    std::iter::from_fn(|| election.poll()).collect()
}

/// What was sent, as (to, state, leader, round).
fn sent(election: &mut Election) -> Vec<(i64, ServerState, i64, i64)> {
    actions(election)
        .into_iter()
        .filter_map(|action| match action {
            ElectionAction::Send { to, notification: it } => Some((to.0, it.state, it.leader.0, it.election_epoch)),
            _ => None,
        })
        .collect()
}

fn outcome(election: &mut Election) -> Option<(i64, ServerState)> {
    election.turn_ended();
    actions(election).into_iter().find_map(|action| match action {
        ElectionAction::Elected(outcome) => Some((outcome.leader.0, outcome.role)),
        _ => None,
    })
}

use ServerState::{Following, Leading, Looking, Observing};

#[test]
fn it_begins_with_its_own_vote_told_to_all_voters() {
    let mut election = Election::new(options(1, plain(3, 1)));
    assert_eq!((election.timer(), election.poll()), (None, None));
    election.handle(at(0), ServerId(2), &says(Looking, 2, 5, 1));
    assert_eq!(election.poll(), None, "before its start it has nothing to say");

    election.start(at(0), Zxid::new(Epoch(1), 5), Epoch(1));
    let told = actions(&mut election);
    let expected = |to| ElectionAction::Send {
        to: ServerId(to),
        notification: Notification { config: Some(plain(3, 1).to_text()), ..says(Looking, 1, 5, 1) },
    };
    assert_eq!(told, [expected(2), expected(3)]);
    assert_eq!(election.timer(), Some(at(200)));
}

#[test]
fn a_better_vote_is_taken_over_and_told_and_a_worse_one_is_not() {
    let mut election = looking(2);
    sent(&mut election);
    election.handle(at(1), ServerId(1), &says(Looking, 1, 5, 1));
    assert_eq!(sent(&mut election), [(1, Looking, 2, 1)], "it may have been deaf when the vote was told");
    election.handle(at(1), ServerId(1), &says(Looking, 1, 5, 1));
    assert_eq!(sent(&mut election), [], "but not twice");
    election.handle(at(1), ServerId(3), &says(Looking, 3, 5, 1));
    assert_eq!(sent(&mut election), [(1, Looking, 3, 1), (3, Looking, 3, 1)]);
    election.handle(at(2), ServerId(1), &says(Looking, 1, 6, 1));
    assert_eq!(sent(&mut election), [(1, Looking, 1, 1), (3, Looking, 1, 1)]);
}

#[test]
fn a_quorum_decides_after_the_wait() {
    let mut election = looking(2);
    election.handle(at(10), ServerId(1), &says(Looking, 2, 5, 1));
    assert_eq!(election.timer(), Some(at(210)));
    election.tick(at(209));
    assert_eq!(outcome(&mut election), None);
    election.tick(at(210));
    assert_eq!(outcome(&mut election), Some((2, Leading)));
    assert_eq!((election.state(), election.timer()), (Leading, None));
}

/// The drain of `finalizeWait`: a better vote in the wait takes the quorum apart again.
#[test]
fn a_better_vote_during_the_wait_counts() {
    let mut election = looking(2);
    election.handle(at(10), ServerId(1), &says(Looking, 2, 5, 1));
    election.handle(at(209), ServerId(3), &says(Looking, 3, 5, 1));
    election.tick(at(210));
    assert_eq!(outcome(&mut election), None, "3 as a candidate needs a wait of its own");
    assert_eq!(election.timer(), Some(at(409)));
    election.tick(at(409));
    assert_eq!(outcome(&mut election), Some((3, Following)));
}

#[test]
fn a_later_round_in_the_wait_that_brings_nothing_better_is_answered_after_it() {
    let mut election = looking(2);
    election.handle(at(10), ServerId(1), &says(Looking, 2, 5, 1));
    sent(&mut election);
    election.handle(at(100), ServerId(3), &says(Looking, 3, 4, 2));
    assert_eq!((election.round(), sent(&mut election)), (1, vec![]));
    election.tick(at(210));
    assert_eq!(sent(&mut election), [(3, Leading, 2, 1)]);
}

#[test]
fn with_every_reachable_voter_heard_there_is_no_wait() {
    let early = || started(Options::new(ServerId(2), plain(3, 0)));
    // Nobody said that 3 cannot be reached.
    let mut election = early();
    election.handle(at(10), ServerId(1), &says(Looking, 2, 5, 1));
    assert_eq!(outcome(&mut election), None);
    election.disconnected(at(11), ServerId(3));
    assert_eq!(outcome(&mut election), Some((2, Leading)));

    let mut election = early();
    election.disconnected(at(0), ServerId(3));
    election.connected(at(1), ServerId(3));
    election.handle(at(10), ServerId(1), &says(Looking, 2, 5, 1));
    assert_eq!(outcome(&mut election), None, "3 is back");
    election.handle(at(11), ServerId(3), &says(Looking, 2, 5, 1));
    assert_eq!(outcome(&mut election), Some((2, Leading)));

    let mut election = early();
    election.handle(at(10), ServerId(1), &says(Looking, 2, 5, 1));
    election.disconnected(at(11), ServerId(3));
    election.connected(at(11), ServerId(3));
    assert_eq!(outcome(&mut election), None, "3 was away for a moment only");

    // Votes of several rounds come at once: all of them are heard first.
    let mut election = early();
    election.disconnected(at(0), ServerId(3));
    election.handle(at(10), ServerId(1), &says(Looking, 2, 5, 1));
    election.handle(at(10), ServerId(1), &says(Looking, 1, 6, 2));
    assert_eq!(outcome(&mut election), Some((1, Following)), "in the second round");

    // A candidate that cannot be reached itself gets the whole wait.
    let mut election = early();
    election.handle(at(10), ServerId(3), &says(Looking, 3, 5, 1));
    election.disconnected(at(11), ServerId(3));
    election.handle(at(12), ServerId(1), &says(Looking, 3, 5, 1));
    assert_eq!((outcome(&mut election), election.timer()), (None, Some(at(210))));
}

#[test]
fn a_larger_round_is_joined_and_the_own_vote_weighed_again() {
    let mut election = started(options(2, plain(5, 0)));
    election.handle(at(1), ServerId(3), &says(Looking, 3, 5, 1));
    sent(&mut election);
    // In round 7 the proposal 3 of round 1 is forgotten; 1's vote is worse than our own.
    election.handle(at(2), ServerId(1), &says(Looking, 1, 5, 7));
    assert_eq!(election.round(), 7);
    assert_eq!(sent(&mut election), [1, 3, 4, 5].map(|to| (to, Looking, 2, 7)));
    assert_eq!(election.votes().keys().map(|id| id.0).collect::<Vec<_>>(), [1, 2]);
    election.handle(at(3), ServerId(1), &says(Looking, 3, 9, 8));
    assert_eq!(sent(&mut election), [1, 3, 4, 5].map(|to| (to, Looking, 3, 8)));
}

/// A voter that decides for another leader in the wait takes its vote with it.
#[test]
fn a_quorum_that_falls_apart_in_the_wait_decides_nothing() {
    let mut election = started(options(3, plain(5, 0)));
    for from in [1, 2] {
        election.handle(at(1), ServerId(from), &says(Looking, 3, 5, 1));
    }
    assert_eq!(election.timer(), Some(at(201)));
    election.handle(at(2), ServerId(1), &says(Following, 4, 5, 1));
    assert_eq!(election.timer(), Some(at(200)), "only the next telling is left");
    election.tick(at(201));
    assert_eq!(outcome(&mut election), None);
}

#[test]
fn a_laggard_is_told_and_does_not_count() {
    let mut election = looking(2);
    election.handle(at(1), ServerId(1), &says(Looking, 1, 5, 7));
    sent(&mut election);
    election.handle(at(2), ServerId(3), &says(Looking, 3, 9, 6));
    assert_eq!(sent(&mut election), [(3, Looking, 2, 7)]);
    assert!(!election.votes().contains_key(&ServerId(3)));
}

#[test]
fn a_server_that_lost_its_data_believes_nobody_and_is_not_believed_2325() {
    let mut election = Election::new(options(2, plain(3, 0)));
    election.start(at(0), Zxid(-1), Epoch(0));
    for from in [1, 3] {
        election.handle(at(1), ServerId(from), &says(Looking, 3, 5, 1));
    }
    assert!(election.votes().is_empty());
    assert_eq!(election.timer(), Some(at(200)), "no quorum, so it waits only to tell again");
    // It may join a leader that the others have.
    election.handle(at(2), ServerId(1), &says(Following, 3, 5, 1));
    election.handle(at(2), ServerId(3), &says(Leading, 3, 5, 1));
    assert_eq!(outcome(&mut election), Some((3, Following)));

    let mut election = looking(2);
    let lost = Notification { zxid: Zxid(-1), peer_epoch: 9, ..says(Looking, 3, 0, 5) };
    election.handle(at(1), ServerId(3), &lost);
    assert_eq!((election.round(), election.vote().leader), (1, ServerId(2)));
}

#[test]
fn a_candidate_or_sender_that_may_not_vote_does_not_count() {
    let mut election = looking(2);
    sent(&mut election);
    // 4 is an observer, 9 unknown: both are told the vote.
    for from in [4, 9] {
        let observer = Notification { leader: ServerId(i64::MIN), zxid: Zxid(i64::MIN), ..says(Looking, 0, 0, 50) };
        election.handle(at(1), ServerId(from), &observer);
        assert_eq!(sent(&mut election), [(from, Looking, 2, 1)]);
        election.handle(at(1), ServerId(from), &says(Leading, 4, 5, 1));
        assert_eq!(sent(&mut election), [], "only who looks is answered");
    }
    election.handle(at(1), ServerId(3), &says(Looking, 4, 900, 50));
    assert_eq!((election.round(), election.vote().leader), (1, ServerId(2)));
    election.handle(at(1), ServerId(2), &says(Looking, 3, 900, 50));
    assert_eq!(election.round(), 1, "it does not listen to itself");
    election.handle(at(1), ServerId(3), &says(Observing, 3, 900, 50));
    assert_eq!(election.round(), 1);
}

#[test]
fn weight_0_cannot_be_elected() {
    let text = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\ngroup.1=1:2:3\nweight.3=0";
    let mut election = started(options(2, members(text)));
    election.handle(at(1), ServerId(3), &says(Looking, 3, 900, 1));
    assert_eq!(election.vote().leader, ServerId(2));
    // Its vote has no weight either: 2 and 3 are half of the weight, 1 and 2 all of it.
    election.handle(at(1), ServerId(3), &says(Looking, 2, 5, 1));
    assert_eq!(election.timer(), Some(at(200)));
    election.handle(at(1), ServerId(1), &says(Looking, 2, 5, 1));
    assert_eq!(election.timer(), Some(at(201)));
    election.tick(at(201));
    assert_eq!(outcome(&mut election), Some((2, Leading)));
}

#[test]
fn an_observer_votes_for_nobody_and_follows_the_quorum() {
    let mut election = looking(4);
    let first = actions(&mut election);
    let ElectionAction::Send { notification, .. } = &first[0] else { panic!("{first:?}") };
    assert_eq!(first.len(), 3);
    assert_eq!((notification.leader.0, notification.zxid.0, notification.peer_epoch), (i64::MIN, i64::MIN, i64::MIN));
    election.handle(at(1), ServerId(1), &says(Following, 3, 5, 6));
    election.handle(at(1), ServerId(3), &says(Leading, 3, 5, 6));
    assert_eq!(outcome(&mut election), Some((3, Observing)));
    assert_eq!((election.state(), election.round()), (Observing, 6));
    // Votes of servers that still look do as well, and its own is not among them.
    let mut election = looking(4);
    for (from, ms) in [(1, 1), (2, 2)] {
        election.handle(at(ms), ServerId(from), &says(Looking, 2, 5, 1));
    }
    election.tick(at(202));
    assert_eq!(outcome(&mut election), Some((2, Observing)));
}

#[test]
fn who_is_not_looking_answers_those_who_are() {
    for (my_id, role) in [(3, Leading), (2, Following), (4, Observing)] {
        let mut election = looking(my_id);
        for from in [1, 2, 3].into_iter().filter(|id| *id != my_id) {
            election.handle(at(1), ServerId(from), &says(Looking, 3, 5, 1));
        }
        election.tick(at(300));
        assert_eq!(outcome(&mut election), Some((3, role)));
        election.handle(at(400), ServerId(1), &says(Looking, 1, 900, 44));
        assert_eq!(sent(&mut election), [(1, role, 3, 1)]);
        election.handle(at(400), ServerId(9), &says(Looking, 1, 900, 44));
        assert_eq!(sent(&mut election), [(9, role, 3, 1)]);
        election.handle(at(401), ServerId(1), &says(Following, 1, 900, 44));
        assert_eq!((sent(&mut election), election.round()), (vec![], 1));
    }
}

/// ZOOKEEPER-3109: a leader hears at once that a voter has left it, and can bound how long it waits for a quorum.
#[test]
fn a_leader_hears_of_voters_that_look_3109() {
    let mut election = looking(3);
    election.handle(at(1), ServerId(1), &says(Looking, 3, 5, 1));
    election.tick(at(201));
    actions(&mut election);
    election.handle(at(300), ServerId(1), &says(Looking, 1, 5, 2));
    election.handle(at(300), ServerId(1), &says(Looking, 1, 5, 2));
    election.handle(at(300), ServerId(4), &says(Looking, 1, 5, 2));
    let reported: Vec<_> =
        actions(&mut election).into_iter().filter(|it| matches!(it, ElectionAction::VoterLooking(_))).collect();
    assert_eq!(reported, [ElectionAction::VoterLooking(ServerId(1))]);
}

#[test]
fn joining_needs_a_quorum_and_the_leaders_own_word() {
    // 5 voters; we are 1, in round 1; the others are established in round 9.
    let mut election = started(options(1, plain(5, 0)));
    for from in [2, 3, 4] {
        election.handle(at(1), ServerId(from), &says(Following, 5, 9, 9));
        assert_eq!(outcome(&mut election), None, "5 itself has not said that it leads");
    }
    election.handle(at(1), ServerId(5), &says(Following, 5, 9, 9));
    assert_eq!(outcome(&mut election), None, "5 follows");
    election.handle(at(1), ServerId(5), &says(Leading, 5, 9, 9));
    assert_eq!(outcome(&mut election), Some((5, Following)));
    assert_eq!(election.round(), 9);

    // The leader's word without a quorum is not enough.
    let mut election = started(options(1, plain(5, 0)));
    election.handle(at(1), ServerId(5), &says(Leading, 5, 9, 9));
    election.handle(at(1), ServerId(4), &says(Following, 5, 9, 9));
    assert_eq!(outcome(&mut election), None);
}

/// Votes of the same round count together whether their senders still look or not.
#[test]
fn votes_of_the_same_round_count_with_those_that_decided() {
    let mut election = started(options(1, plain(5, 0)));
    election.handle(at(1), ServerId(2), &says(Looking, 5, 9, 1));
    election.handle(at(1), ServerId(5), &says(Leading, 5, 9, 1));
    // We took over 5's candidate from 2, so 1, 2 and 5 are a quorum, and 5 leads.
    assert_eq!(outcome(&mut election), Some((5, Following)));
}

/// ZOOKEEPER-1732, 1805, 1818: servers of one leader that came to it in different rounds, with different zxids, are one
/// quorum for a latecomer, because all of them report the established epoch.
#[test]
fn a_latecomer_joins_followers_of_different_rounds_1732_1805_1818() {
    let established = |state, zxid, round| Notification { peer_epoch: 7, ..says(state, 3, zxid, round) };
    let mut election = looking(1);
    election.handle(at(1), ServerId(3), &established(Leading, 9, 4));
    election.handle(at(1), ServerId(2), &established(Following, 5, 6));
    assert_eq!(outcome(&mut election), Some((3, Following)));

    // One that has not updated its vote keeps its old epoch, and is no help.
    let mut election = looking(1);
    election.handle(at(1), ServerId(3), &established(Leading, 9, 4));
    election.handle(at(1), ServerId(2), &says(Following, 3, 5, 6));
    assert_eq!(outcome(&mut election), None);

    // From an old server without a version the epoch does not count.
    let old = Notification { version: 0, ..says(Following, 3, 5, 6) };
    election.handle(at(2), ServerId(2), &old);
    assert_eq!(outcome(&mut election), Some((3, Following)));
}

/// ZOOKEEPER-1732: after the leader is established its servers report its epoch.
#[test]
fn the_established_epoch_is_reported_1732() {
    let mut election = looking(3);
    election.established(at(0), Epoch(2));
    election.handle(at(1), ServerId(1), &says(Looking, 3, 5, 1));
    election.tick(at(201));
    assert_eq!(election.vote().peer_epoch, 1);
    election.established(at(300), Epoch(2));
    assert_eq!(election.vote().peer_epoch, 2);
    actions(&mut election);
    election.handle(at(400), ServerId(2), &says(Looking, 2, 5, 3));
    let told = actions(&mut election);
    assert!(
        told.iter().any(|it| matches!(it, ElectionAction::Send { notification, .. } if notification.peer_epoch == 2)),
        "{told:?}"
    );
    // A new election begins with what is on disk, in a new round.
    election.start(at(500), Zxid::new(Epoch(2), 1), Epoch(2));
    assert_eq!((election.round(), election.vote().peer_epoch, election.state()), (2, 2, Looking));
}

#[test]
fn if_all_say_that_this_server_leads_it_does_in_their_round() {
    let mut election = looking(3);
    for from in [1, 2] {
        election.handle(at(1), ServerId(from), &says(Following, 3, 5, 9));
    }
    assert_eq!(outcome(&mut election), None, "they follow what it was in another round");
    for from in [1, 2] {
        election.handle(at(1), ServerId(from), &says(Following, 3, 5, 1));
    }
    assert_eq!(outcome(&mut election), Some((3, Leading)));
}

#[test]
fn a_vote_is_told_again_less_and_less_often() {
    let mut election = looking(2);
    sent(&mut election);
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..11 {
        let Some(next) = election.timer() else { panic!("it still looks") };
        waits.push(next.as_millis() - now);
        now = next.as_millis();
        election.tick(next);
        assert_eq!(sent(&mut election).len(), 2);
    }
    assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
    // A new election is quick again.
    election.start(at(now), Zxid(5), Epoch(1));
    assert_eq!(election.timer(), Some(at(now + 200)));
}

/// An observer that began to look long before there was a leader would ask again only a minute later (a mixed ensemble's test).
#[test]
fn who_hears_of_a_leader_asks_again_soon() {
    let mut election = looking(1);
    while election.timer() < Some(at(100_000)) {
        let due = election.timer().unwrap();
        election.tick(due);
    }
    let now = at(52_000);
    election.handle(now, ServerId(2), &says(Following, 3, 5, 7));
    assert_eq!(outcome(&mut election), None, "one is no quorum");
    assert_eq!(election.timer(), Some(at(53_000)));
}

#[test]
fn the_newest_message_to_a_peer_takes_the_place_of_the_older() {
    let mut election = looking(1);
    election.handle(at(1), ServerId(2), &says(Looking, 2, 5, 1));
    election.handle(at(1), ServerId(3), &says(Looking, 3, 5, 1));
    assert_eq!(sent(&mut election), [(2, Looking, 3, 1), (3, Looking, 3, 1)]);
    for stranger in 0..2 * SENDS_MAX as i64 {
        election.handle(at(2), ServerId(1000 + stranger), &says(Looking, 3, 5, 1));
    }
    assert_eq!(sent(&mut election).len(), SENDS_MAX);
}

#[test]
fn a_connection_that_comes_back_brings_the_vote() {
    let mut election = looking(1);
    sent(&mut election);
    election.connected(at(1), ServerId(3));
    assert_eq!(sent(&mut election), [(3, Looking, 1, 1)]);
    election.connected(at(1), ServerId(4));
    assert_eq!(sent(&mut election), []);
}

#[test]
fn a_single_voter_elects_itself() {
    let mut election = started(options(1, plain(1, 0)));
    assert_eq!(election.timer(), Some(at(200)));
    election.tick(at(200));
    assert_eq!(outcome(&mut election), Some((1, Leading)));
    let mut election = started(Options::new(ServerId(1), plain(1, 0)));
    assert_eq!(outcome(&mut election), Some((1, Leading)));
}

#[test]
fn zk3829_zk2212_a_newer_configuration_is_taken_over_only_while_looking_and_only_with_reconfig() {
    let newer = |text: &str| Notification { config: Some(text.to_owned()), ..says(Looking, 3, 9, 4) };
    let four = "server.1=h1:2888:3888\nserver.2=h2:2888:3888\nserver.3=h3:2888:3888\nserver.5=h5:2888:3888\nversion=9";
    let seen = |election: &mut Election| {
        actions(election).into_iter().any(|it| matches!(it, ElectionAction::MembershipSeen(_)))
    };

    // ZOOKEEPER-3829: never with reconfig off; the vote itself counts.
    let mut election = looking(1);
    election.handle(at(1), ServerId(3), &newer(four));
    assert!(!seen(&mut election));
    assert_eq!((election.round(), election.membership().version), (4, 0));

    let with_reconfig = || started(Options { reconfig_enabled: true, ..options(1, plain(3, 1)) });
    let mut election = with_reconfig();
    sent(&mut election);
    election.handle(at(1), ServerId(3), &newer(four));
    let told = actions(&mut election);
    assert_eq!(told[0], ElectionAction::MembershipSeen(members(four)));
    // A new round among the new members; the vote that came with it is left out.
    assert_eq!((told.len(), election.round(), election.membership().version), (4, 2, 9));
    election.handle(at(2), ServerId(5), &says(Looking, 5, 9, 2));
    assert_eq!(election.vote().leader, ServerId(5));

    // The same members under a newer version: no new round, and the vote counts.
    let mut election = with_reconfig();
    let same = Membership { version: 9, ..(*plain(3, 1)).clone() };
    election.handle(at(1), ServerId(3), &newer(&same.to_text()));
    assert!(seen(&mut election));
    assert_eq!((election.round(), election.membership().version), (4, 9));

    // An older one, and what is none, change nothing.
    let mut election = with_reconfig();
    for text in [four.replace("version=9", "version=0"), "x".to_owned(), four.replace(":2888:", ":x:")] {
        election.handle(at(1), ServerId(3), &newer(&text));
        assert_eq!((seen(&mut election), election.round(), election.membership().version), (false, 4, 0));
    }

    let mut election = with_reconfig();
    election.handle(at(1), ServerId(2), &says(Looking, 1, 5, 1));
    election.tick(at(201));
    actions(&mut election);
    election.handle(at(300), ServerId(3), &newer(four));
    assert!(!seen(&mut election), "who has a leader gets configurations from it");
}

#[test]
fn with_a_proposed_configuration_both_have_to_agree() {
    let next = members("server.1=h1:2888:3888\nserver.4=h4:2888:3888\nserver.5=h5:2888:3888\nversion=9");
    let mut election = started(options(1, plain(3, 0)));
    election.set_membership(at(0), plain(3, 0), Some(Arc::clone(&next)));
    assert_eq!(election.round(), 1, "the members that count are the same");
    election.handle(at(1), ServerId(2), &says(Looking, 1, 5, 1));
    assert_eq!(election.timer(), Some(at(200)), "no quorum of the next configuration");
    election.handle(at(2), ServerId(4), &says(Looking, 1, 5, 1));
    assert_eq!(election.timer(), Some(at(202)));
    election.tick(at(202));
    assert_eq!(outcome(&mut election), Some((1, Leading)));

    // Committed: the old members count no more.
    let mut election = started(options(1, plain(3, 0)));
    election.set_membership(at(1), next, None);
    assert_eq!(election.round(), 2);
    election.handle(at(2), ServerId(2), &says(Looking, 1, 5, 2));
    assert!(!election.votes().contains_key(&ServerId(2)));
}

#[test]
fn no_round_number_is_too_large() {
    let mut election = looking(1);
    election.handle(at(1), ServerId(3), &says(Looking, 3, 5, i64::MAX));
    assert_eq!(election.round(), i64::MAX);
    election.start(at(2), Zxid(1), Epoch(1));
    election.handle(at(3), ServerId(3), &says(Looking, 3, 5, i64::MAX));
    assert_eq!(election.round(), i64::MAX);
}

#[test]
fn who_is_designated_is_followed_without_an_election_and_may_fail() {
    for (my_id, leader, role) in [(1, 3, Following), (3, 3, Leading), (4, 3, Observing)] {
        let mut election = looking(my_id);
        election.poll();
        actions(&mut election);
        election.designate(ServerId(leader), Zxid::new(Epoch(1), 9), Epoch(1));
        let outcome = actions(&mut election).into_iter().find_map(|action| match action {
            ElectionAction::Elected(outcome) => Some(outcome),
            _ => None,
        });
        let outcome = outcome.expect("it is decided");
        assert_eq!((outcome.leader, outcome.role, outcome.vote.zxid), (ServerId(leader), role, Zxid::new(Epoch(1), 9)));
        // Who looks is told so, and what is told agrees with what the leader's other servers tell of its epoch.
        election.established(at(0), Epoch(2));
        let other = if my_id == 1 { 2 } else { 1 };
        election.handle(at(0), ServerId(other), &says(Looking, other, 5, 1));
        assert_eq!(sent(&mut election), [(other, role, leader, 1)]);
        assert_eq!(election.vote().peer_epoch, 2);
        // If it comes to nothing, an election begins as always.
        election.start(at(0), Zxid::new(Epoch(1), 9), Epoch(1));
        assert_eq!((election.state(), election.round()), (Looking, 2));
    }
}

#[test]
fn both_configurations_decide_while_one_is_proposed() {
    let mut election = looking(1);
    let next = members("server.1=h1:2888:3888\nserver.4=h4:2888:3888\nserver.5=h5:2888:3888\nversion=100000005");
    election.set_membership(at(0), plain(3, 1), Some(next));
    actions(&mut election);
    // 3 and 1 are a quorum of the first, not of the second.
    election.handle(at(1), ServerId(3), &says(Looking, 3, 5, 1));
    let is_decided =
        |election: &mut Election| actions(election).iter().any(|one| matches!(one, ElectionAction::Elected(_)));
    election.tick(at(300));
    assert!(!is_decided(&mut election));
    election.handle(at(301), ServerId(4), &says(Looking, 3, 5, 1));
    election.tick(at(301));
    election.tick(at(600));
    assert!(is_decided(&mut election));
}
