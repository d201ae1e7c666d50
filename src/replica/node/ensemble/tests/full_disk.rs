//! A leader whose disk is full.

use super::*;
use crate::replica::node::Origin;

impl World {
    /// The disk of a server has room for what it has, and for a little of sessions.
    fn fill(&mut self, id: i64) {
        let room = self.logs[&id].0 + (64 << 10);
        self.room(id, room, true);
    }

    /// What a client of this server asks to create, without its answer.
    fn ask_for(&mut self, id: i64, session: SessionId, xid: i32, path: &str) {
        let (bodies, item) = creation(session, xid, path, b"data");
        let now = self.now();
        self.servers.get_mut(&id).unwrap().handle(now, Event::Shard(ShardBatch { bodies, items: vec![item] }));
        self.perform(id);
        self.run(100);
    }

    fn terms(&self) -> u32 {
        self.servers[&1].ensemble.as_deref().unwrap().epochs.current.0
    }
}

fn led() -> World {
    let mut world = World::new();
    world.run(2_000);
    assert_eq!(world.standings()[2], Standing::Leading);
    world
}

#[test]
fn a_leader_with_a_full_disk_makes_room_for_another_and_follows_it() {
    let mut world = led();
    let session = world.open_session(1);
    world.fill(3);
    world.ask_for(1, session, 1, "/waits");
    world.run(2_000);
    assert_eq!(world.standings()[2], Standing::Leading, "a disk may be full for a moment only");
    world.run(3_000);
    assert_eq!(
        world.standings(),
        [Standing::Following, Standing::Leading, Standing::Looking],
        "it is not in the election"
    );
    let session = world.open_session(1);
    world.create(1, session, 1, "/goes-on");
    world.run(4_000);
    assert_eq!(world.standings()[2], Standing::Following, "it knows that there is a leader");
    world.room(3, u64::MAX / 2, false);
    world.run(1_000);
    let session = world.open_session(3);
    world.create(3, session, 1, "/of-3");
    assert!(world.servers[&3].pipeline.view().znode("/goes-on").is_some());
    assert_eq!(world.terms(), 2, "one election was enough");
}

#[test]
fn room_that_comes_back_ends_the_abstention() {
    let mut world = led();
    world.fill(3);
    world.run(4_500);
    assert_eq!(world.standings()[1..], [Standing::Leading, Standing::Looking]);
    world.room(3, u64::MAX / 2, false);
    world.run(500);
    assert_eq!(world.standings()[1..], [Standing::Leading, Standing::Following]);
}

/// A log that is opened anew has room until it tries.
#[test]
fn a_member_that_a_leaders_state_did_not_fit_keeps_out_though_its_log_seems_to_have_room() {
    let mut world = led();
    world.fill(1);
    let now = world.now();
    let follower = world.servers.get_mut(&1).unwrap();
    follower.abstain(now);
    follower.stand_down(now, "there is no room on the disk for the leader's state");
    follower.note_full_disk(now, false);
    let full_disk = |world: &World| world.servers[&1].ensemble.as_deref().unwrap().full_disk;
    let until = full_disk(&world).abstains_until().expect("it keeps out all the same");
    world.servers.get_mut(&1).unwrap().note_full_disk(now, true);
    assert_eq!(full_disk(&world).abstains_until(), Some(until));
}

#[test]
fn a_leader_with_a_full_disk_stays_if_the_others_are_no_quorum() {
    let mut world = led();
    let session = world.open_session(3);
    world.up.remove(&1);
    world.fill(3);
    world.run(60_000);
    assert_eq!(world.standings()[2], Standing::Leading, "it serves reads at least");
    let (bodies, item) = creation(session, 1, "/refused", b"");
    let replies = world.ask(3, item, bodies);
    assert!(matches!(replies.as_slice(), [(ReplyKind::Answer(_), _)]), "{replies:?}");
    assert!(world.servers[&3].pipeline.view().znode("/refused").is_none());
}

#[test]
fn where_all_disks_are_full_leaders_change_ever_more_rarely() {
    let mut world = led();
    for id in 1..=3 {
        world.fill(id);
    }
    world.run(600_000);
    let first = world.terms();
    world.run(600_000);
    let second = world.terms() - first;
    assert!(first <= 16 && second <= 4, "{first} terms in ten minutes, {second} in the next ten");
    assert!(world.standings().contains(&Standing::Leading), "{:?}", world.standings());
}

/// Everything of the ensemble stood still behind one forwarded write.
#[test]
fn a_learners_client_that_waits_for_room_holds_up_its_own_server_only() {
    let mut world = led();
    let [first, second] = [1, 2].map(|id| world.open_session(id));
    let own = world.open_session(3);
    world.fill(3);
    world.ask_for(1, first, 1, "/waits");
    assert!(world.servers[&3].stalled.holds_up(Origin::Learner(world.links[&1].2)));
    let sync = |session| ShardItem::Write(Write::alone(CONNECTION, session, 7, OpCode::SYNC, b"\0\0\0\x01/"));
    for (id, session) in [(2, second), (3, own)] {
        let replies = world.ask(id, sync(session), b"\0\0\0\x01/".to_vec());
        assert!(matches!(replies.as_slice(), [(ReplyKind::Answer(_), _)]), "server {id}: {replies:?}");
        world.open_session(id);
    }
    let replies = world.ask(1, sync(first), b"\0\0\0\x01/".to_vec());
    assert!(replies.is_empty(), "an Apache learner would take no answer out of its order: {replies:?}");
    world.room(3, u64::MAX / 2, false);
    world.run(500);
    assert!(world.servers[&3].stalled.is_empty());
    assert_eq!(world.answers(1).len(), 2);
    assert!(world.servers[&1].pipeline.view().znode("/waits").is_some());
}

/// A session moves while what it asked for waits, is served where it has gone, and comes back.
#[test]
fn what_waits_for_room_is_refused_when_its_session_has_been_elsewhere_meanwhile() {
    let mut world = led();
    let session = world.open_session(1);
    let [(_, _, first), (_, _, second)] = [world.links[&1], world.links[&2]];
    world.fill(3);
    world.ask_for(1, session, 1, "/left-behind");
    let revalidate = {
        let mut packet = Vec::new();
        let data = crate::wire::quorum::revalidate_to_bytes(session, 30_000);
        let kind = crate::wire::quorum::PacketType::REVALIDATE;
        crate::wire::quorum::QuorumPacket::with_data(kind, Zxid(-1), data).encode(&mut packet);
        packet
    };
    let now = world.now();
    let leader = world.servers.get_mut(&3).unwrap();
    for link in [second, first] {
        leader.handle(now, Event::LinkBytes(link, revalidate.clone()));
    }
    world.room(3, u64::MAX / 2, false);
    world.run(500);
    assert!(world.servers[&3].stalled.is_empty());
    assert!(world.servers[&3].pipeline.view().znode("/left-behind").is_none());
}
