//! `reconfig`: who may, what comes of it, and in which order it is refused.

use super::*;
use crate::quorum::ChangeRules;
use crate::wire::request::ReconfigRequest;

const MEMBERS: &str = "server.1=a:1:2;3\nserver.2=b:1:2;3\nserver.3=c:1:2;3\nversion=100000000";
const JOINING: &str = "server.4=d:1:2:observer;3";

fn enabled() -> Options {
    Options { reconfig_enabled: true, ..Options::default() }
}

/// A leader whose client is a super user.
fn led(options: Options) -> Bench {
    let mut bench = Bench::with(options);
    bench.pipeline.join(Ensemble { server_id: ServerId(1), ..Ensemble::default() });
    bench.pipeline.set_config(NOW, MEMBERS, 0x1_0000_0000, &mut Vec::new());
    bench.pipeline.begin_epoch(Epoch(1), Instant(0));
    bench.identities.push(Id::new("super", ""));
    bench
}

fn view(synced: &[i64]) -> QuorumView {
    QuorumView {
        newest: Arc::new(Membership::parse_text(MEMBERS).expect("a configuration")),
        is_pending: false,
        synced: synced.iter().copied().map(ServerId).collect(),
        rules: ChangeRules { standalone_enabled: true, multi_address: false },
    }
}

fn ask(bench: &mut Bench, request: &ReconfigRequest<'_>, view: QuorumView) -> Outcome {
    bench.pipeline.set_quorum(view);
    bench.send(OpCode::RECONFIG, |out| request.encode(out))
}

fn joining(text: &str) -> ReconfigRequest<'_> {
    ReconfigRequest { joining: Some(text.into()), leaving: None, members: None, from_version: -1 }
}

#[test]
fn it_becomes_a_transaction_whose_zxid_is_the_version() {
    let mut bench = led(enabled());
    let outcome = ask(&mut bench, &joining(JOINING), view(&[1, 2, 3]));
    let text = "server.1=a:1:2:participant;0.0.0.0:3\nserver.2=b:1:2:participant;0.0.0.0:3\n\
                server.3=c:1:2:participant;0.0.0.0:3\nserver.4=d:1:2:observer;0.0.0.0:3\nversion=100000001";
    let record = outcome.record();
    assert_eq!((record.header.op, record.header.zxid), (OpCode::RECONFIG, Zxid(0x1_0000_0001)));
    let txn = Txn::SetData { path: CONFIG_PATH.into(), data: Some(text.as_bytes()), version: -1 };
    assert_eq!(record.txn, txn);
    // The answer is the configuration, and the znode's stat.
    let mut body = outcome.body();
    assert_eq!(body.buffer(), Ok(Some(text.as_bytes())));
    let stat = Stat::decode(&mut body).expect("a stat");
    assert_eq!((stat.version, stat.mzxid, stat.mtime), (-1, record.header.zxid, NOW));
    assert_eq!(bench.pipeline.take_reconfigured().expect("it was").to_text(), text);
    assert_eq!(bench.pipeline.take_reconfigured(), None);
    // Nothing of it counts in the digest, and a follower makes the same answer of it.
    assert_eq!(record.digest.map(|digest| digest.tree), Some(bench.pipeline.view().digest()));
    let mut follower = Bench::with(enabled());
    follower.pipeline.join(Ensemble { server_id: ServerId(2), ..Ensemble::default() });
    follower.pipeline.set_config(NOW, MEMBERS, 0x1_0000_0000, &mut Vec::new());
    let followed = follower.pipeline.follow(Instant(0), &outcome.log, &mut Vec::new()).expect("a record");
    let awaiting = Awaiting { session: bench.session, xid: Xid(bench.xid), refused: None };
    let mut answer = Vec::new();
    answer_of(&followed, &awaiting, &mut answer);
    assert_eq!(last_frame(&answer).1, outcome.reply.as_ref().expect("an answer").1);
}

#[test]
fn the_watch_on_the_configuration_fires() {
    let mut bench = led(enabled());
    let outcome = ask(&mut bench, &joining(JOINING), view(&[1, 2]));
    let paths: Vec<_> = outcome.changes.iter().map(|change| &*change.path).collect();
    assert_eq!(paths, [CONFIG_PATH]);
}

#[test]
fn of_several_errors_the_first_is_told() {
    let none: &[i64] = &[];
    let good = joining(JOINING);
    let stale = ReconfigRequest { from_version: 7, ..joining("some thing") };
    let bad = joining("some thing");
    for (options, request, view, is_super, err) in [
        // Switched off, whatever is asked for by whomever.
        (Options::default(), &bad, view(none), false, ErrorCode::RECONFIG_DISABLED),
        (enabled(), &stale, QuorumView { is_pending: true, ..view(none) }, false, ErrorCode::RECONFIG_IN_PROGRESS),
        (enabled(), &stale, view(none), false, ErrorCode::BAD_VERSION),
        (enabled(), &bad, view(none), false, ErrorCode::BAD_ARGUMENTS),
        (enabled(), &joining("server.x=d:1:2;3"), view(none), false, ErrorCode::MARSHALLING_ERROR),
        (enabled(), &good, view(&[1, 4]), false, ErrorCode::NEW_CONFIG_NO_QUORUM),
        // Who may change the znode comes last of all.
        (enabled(), &good, view(&[1, 2]), false, ErrorCode::NO_AUTH),
        (enabled(), &good, view(&[1, 2]), true, ErrorCode::OK),
        (
            enabled(),
            &ReconfigRequest { from_version: 0x1_0000_0000, ..good.clone() },
            view(&[1, 2]),
            true,
            ErrorCode::OK,
        ),
    ] {
        let mut bench = led(options);
        if !is_super {
            bench.identities.pop();
        }
        let before = bench.pipeline.view().znode(CONFIG_PATH).expect("it is shown").data().map(<[u8]>::to_vec);
        let outcome = ask(&mut bench, request, view);
        assert_eq!(outcome.err(), err, "{request:?}");
        assert!(outcome.done.logged, "a refusal is a transaction, too");
        if err != ErrorCode::OK {
            assert_eq!(outcome.record().txn, Txn::Error { err });
            let shown = bench.pipeline.view().znode(CONFIG_PATH).expect("it is shown").data().map(<[u8]>::to_vec);
            assert_eq!((shown, bench.pipeline.take_reconfigured()), (before, None));
        }
    }
}

#[test]
fn the_log_is_asked_for_enough_room() {
    for text in [
        "server.4=d:1:2:observer;3",
        "server.4=::1:1:2;3",
        "server.4=[::1]:1:2;[::1]:3;[::1]:4",
        "server.4=d:1:2;3,server.5=e:1:2;3,server.6=f:1:2;3,server.7=g:1:2;3,server.8=h:1:2;3,server.9=i:1:2;3",
    ] {
        let mut bench = led(enabled());
        let mut body = Vec::new();
        joining(text).encode(&mut body);
        let request = Request {
            session: bench.session,
            xid: Xid(1),
            op: OpCode::RECONFIG,
            body: &body,
            identities: &[],
            owner: ONE,
        };
        let bound = bench.pipeline.record_len_bound(&request);
        let outcome = ask(&mut bench, &joining(text), view(&[1, 2, 3, 4, 5, 6, 7, 8, 9]));
        assert!(outcome.log.len() <= bound, "{text}: {} bytes, {bound} asked for", outcome.log.len());
    }
}

#[test]
fn all_members_can_be_named_anew() {
    let mut bench = led(enabled());
    let members = "server.1=a:1:2,server.2=b:1:2\nserver.9=x:1:2:observer";
    let request =
        ReconfigRequest { joining: Some("x".into()), leaving: None, members: Some(members.into()), from_version: -1 };
    let outcome = ask(&mut bench, &request, view(&[1, 2]));
    assert_eq!(outcome.err(), ErrorCode::OK);
    let made = bench.pipeline.take_reconfigured().expect("it was");
    assert_eq!((made.participants().count(), made.observers().count()), (2, 1));
}

#[test]
fn a_server_that_stands_alone_has_nothing_to_reconfigure() {
    let mut bench = Bench::with(enabled());
    let outcome = bench.send(OpCode::RECONFIG, |out| joining(JOINING).encode(out));
    assert_eq!(outcome.err(), ErrorCode::UNIMPLEMENTED);
}
