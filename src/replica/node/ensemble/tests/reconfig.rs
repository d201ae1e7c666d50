//! Reconfigurations of three whole servers.

use super::*;
use crate::wire::request::ReconfigRequest;

impl World {
    /// Asks a server for a reconfiguration; the error, and the configuration that is the answer.
    fn reconfig(&mut self, id: i64, xid: i32, joining: Option<&str>, leaving: Option<&str>) -> (i32, String) {
        let session = self.open_session(id);
        let mut body = Vec::new();
        let request = ReconfigRequest {
            joining: joining.map(Into::into),
            leaving: leaving.map(Into::into),
            members: None,
            from_version: -1,
        };
        request.encode(&mut body);
        let write = Write {
            identities: vec![crate::wire::acl::Id::new("super", "")].into(),
            ..Write::alone(CONNECTION, session, xid, OpCode::RECONFIG, &body)
        };
        let replies = self.ask(id, ShardItem::Write(write), body);
        let [(ReplyKind::Answer(frame), frames)] = replies.as_slice() else { panic!("no answer: {replies:?}") };
        let mut reader = crate::wire::jute::Reader::new(&frames[frame.clone()][16..]);
        let err = reader.i32().unwrap();
        let text = if err == 0 { reader.buffer().unwrap().unwrap_or_default().to_vec() } else { Vec::new() };
        (err, String::from_utf8(text).unwrap())
    }

    fn membership(&self, id: i64) -> Arc<Membership> {
        self.servers[&id].ensemble.as_deref().unwrap().options.membership.clone()
    }

    fn last_seen(&self, id: i64) -> Option<i64> {
        Some(self.servers[&id].ensemble.as_deref().unwrap().options.last_seen.as_ref()?.version)
    }

    fn shown(&self, id: i64) -> String {
        let version = self.servers[&id].published_version();
        String::from_utf8(version.znode("/zookeeper/config").unwrap().data().unwrap().to_vec()).unwrap()
    }

    fn leader(&self) -> i64 {
        let leading = self.servers.iter().filter(|(_, replica)| replica.standing() == Standing::Leading);
        let leading: Vec<_> = leading.map(|(id, _)| *id).collect();
        assert_eq!(leading.len(), 1, "{:?}", self.standings());
        leading[0]
    }
}

fn led() -> World {
    let mut world = World::new();
    world.run(2_000);
    assert_eq!(world.leader(), 3);
    world
}

#[test]
fn zk1783_the_first_leader_gives_the_configuration_its_version() {
    let world = led();
    for id in 1..=3 {
        assert_eq!(world.membership(id).version, 0x1_0000_0000);
        assert_eq!(world.last_seen(id), None);
        assert!(world.shown(id).ends_with("version=100000000"), "{}", world.shown(id));
    }
}

#[test]
fn whoever_is_asked_all_take_it_over_and_the_answer_is_the_configuration() {
    let mut world = led();
    for (through, xid) in [(3, 1), (1, 2)] {
        let joining = format!("server.9=h{xid}:1:2:observer;3");
        let (err, text) = world.reconfig(through, xid, Some(&joining), None);
        assert_eq!(err, 0);
        assert!(text.contains(&format!("server.9=h{xid}:1:2:observer;0.0.0.0:3\n")), "{text}");
        world.run(500);
        for id in 1..=3 {
            assert_eq!(world.membership(id).to_text(), text, "server {id}");
            assert_eq!((world.shown(id), world.last_seen(id)), (text.clone(), None), "server {id}");
        }
        assert_eq!(world.leader(), 3, "nobody changes place for that");
    }
}

#[test]
fn a_leader_that_is_removed_is_followed_by_the_one_that_it_names_and_follows_it() {
    let mut world = led();
    let elections = |world: &World| world.servers[&1].ensemble.as_deref().unwrap().elections;
    let before = elections(&world);
    let (err, text) = world.reconfig(3, 1, None, Some("3"));
    assert_eq!(err, 0);
    world.run(1_500);
    assert_eq!(world.leader(), 1, "of two that have the same the first");
    assert_eq!(world.standings(), [Standing::Leading, Standing::Following, Standing::Following]);
    assert_eq!(elections(&world), before + 1);
    for id in 1..=3 {
        assert_eq!(world.membership(id).to_text(), text, "server {id}");
    }
    // Two decide, without the third.
    world.up.remove(&3);
    world.run(500);
    let session = world.open_session(2);
    world.create(2, session, 1, "/a");
}

/// Its clients have to hear of it: the others will end their sessions, and give what they held to others.
#[test]
fn a_leader_that_is_removed_and_alone_serves_nobody() {
    let mut world = led();
    // Whom it turns to hangs up on it.
    world.refused.insert(3, 0);
    let (err, _) = world.reconfig(3, 1, None, Some("3"));
    assert_eq!(err, 0);
    world.up = BTreeSet::from([3]);
    world.run(500);
    assert_eq!((world.servers[&3].standing(), world.stood[&3]), (Standing::Looking, Standing::Looking));
}

#[test]
fn a_follower_observes_and_votes_again() {
    let mut world = led();
    let (err, _) = world.reconfig(2, 1, Some("server.1=a:1:2:observer;3"), None);
    assert_eq!(err, 0);
    world.run(1_500);
    assert_eq!(world.standings(), [Standing::Observing, Standing::Following, Standing::Leading]);
    let (err, _) = world.reconfig(1, 2, Some("server.1=a:1:2:participant;3"), None);
    assert_eq!(err, 0);
    world.run(1_500);
    assert_eq!(world.standings(), [Standing::Following, Standing::Following, Standing::Leading]);
    // It counts: the leader and it are a quorum of three.
    world.up.remove(&2);
    world.run(500);
    let session = world.open_session(1);
    world.create(1, session, 1, "/a");
}

#[test]
fn without_reconfig_enabled_everybody_keeps_his_own() {
    let mut world = World::with("participant", pipeline::Options::default());
    world.run(2_000);
    assert!((1..=3).all(|id| world.membership(id).version == 0 && world.shown(id).ends_with("version=0")));
}
