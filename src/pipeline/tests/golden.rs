//! Byte for byte: what Apache's server logs and answers, and what we make of the same requests at the same time.
//!
//! `apache_log.txt` was taken from Debian's ZooKeeper 3.8.0: a script sent it requests of every kind, and wrote down for each what
//! was asked (the operation's number and the body), the payload of the log record, which is also the data of a PROPOSAL, and the
//! answer without its length. `session` is a client's begin, `container` what the container manager did.

use super::*;

struct Step<'a> {
    what: &'a str,
    body: Vec<u8>,
    record: Vec<u8>,
    answer: Vec<u8>,
}

fn steps() -> Vec<Step<'static>> {
    let hex = |text: &str| -> Vec<u8> {
        let digits = text.trim_start_matches('-').as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex digits");
        digits.map(byte).collect()
    };
    let step = |line: &'static str| {
        let mut words = line.split(' ');
        let mut next = || words.next().unwrap_or_default();
        Step { what: next(), body: hex(next()), record: hex(next()), answer: hex(next()) }
    };
    include_str!("apache_log.txt").lines().map(step).collect()
}

fn pipeline() -> Pipeline {
    let options = Options { extended_types: true, ..Options::default() };
    let tree = Tree::new(tree::Options { owners: options.owners(), ..tree::Options::default() });
    Pipeline::new(options, tree, Sessions::new(2000, SessionId(1)), Zxid::ZERO)
}

/// The order of a closeSession's paths is that of a hash set in Apache: none that could be relied on.
fn sorted(record: &[u8]) -> Vec<u8> {
    let mut record = TxnRecord::decode(record).expect("a record that decodes");
    if let Txn::CloseSession { paths: Some(paths) } = &mut record.txn {
        paths.sort_unstable();
    }
    let mut sorted = Vec::new();
    record.encode(&mut sorted);
    sorted
}

#[test]
fn what_apache_logs_and_answers() {
    let mut leader = pipeline();
    // A member of an ensemble writes what servers as old as this one can read (ZOOKEEPER-4026).
    leader.ensemble = Some(Ensemble::default());
    let mut follower = pipeline();
    follower.join(Ensemble::default());
    let mut opened = Vec::new();
    let mut seen = BTreeMap::new();
    for step in steps() {
        let apaches = TxnRecord::decode(&step.record).expect("a record that decodes");
        let mut again = Vec::new();
        apaches.encode(&mut again);
        assert_eq!(again, step.record, "our encoding of what we read");
        let header = apaches.header;
        let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
        let mut identities = vec![auth::ip_identity([127, 0, 0, 1].into())];
        if opened.get(1) == Some(&header.session) {
            let peer = [127, 0, 0, 1].into();
            let proved = auth::authenticate("digest", b"bob:secret", peer, &auth::Options::default()).expect("digest");
            proved.into_iter().for_each(|id| auth::add_identity(&mut identities, id));
        }
        let mut request = Request {
            session: header.session,
            xid: Xid(header.cxid),
            op: OpCode(step.what.parse().unwrap_or_default()),
            body: &step.body,
            identities: &identities,
            owner: ONE,
        };
        let timeout;
        let done = match step.what {
            "session" => {
                let Txn::CreateSession { timeout_ms } = apaches.txn else { panic!("{:?}", apaches.txn) };
                opened.push(header.session);
                timeout = timeout_ms.to_be_bytes();
                (request.op, request.body) = (OpCode::CREATE_SESSION, &timeout);
                leader.process_forwarded(header.time, Instant(0), &request, &mut sink)
            }
            "container" => {
                let Txn::Delete { path } = &apaches.txn else { panic!("{:?}", apaches.txn) };
                assert_eq!(leader.container_candidates(header.time), [Arc::from(&**path)]);
                leader.delete_container(header.time, path, &mut sink)
            }
            _ => {
                assert!(step.record.len() <= leader.record_len_bound(&request));
                leader.process(header.time, &request, &mut sink)
            }
        };
        assert!(done.logged);
        assert_eq!(log, sorted(&step.record), "{}: {:?}", request.op, apaches);
        assert_eq!(reply.get(4..).unwrap_or_default(), step.answer, "{}: the answer", request.op);
        *seen.entry((header.op, request.op)).or_insert(0) += 1;

        // And a follower of Apache's leader: its own record, and the answer from that.
        let followed = follower.follow(Instant(0), &step.record, &mut changes).expect("a record that can be followed");
        assert!(followed.digest_ok, "behind {}", header.zxid);
        if !step.answer.is_empty() {
            let awaiting = Awaiting { session: header.session, xid: Xid(header.cxid), refused: None };
            let mut answer = Vec::new();
            assert_eq!(answer_of(&followed, &awaiting, &mut answer).close, done.close);
            assert_eq!(answer[4..], step.answer, "{}: the follower's answer", request.op);
        }
    }
    assert_eq!(leader.view().digest(), follower.view().digest());
    assert_eq!(follower.digest_mismatches(), 0);
    for op in [
        OpCode::CREATE,
        OpCode::CREATE2,
        OpCode::CREATE_CONTAINER,
        OpCode::CREATE_TTL,
        OpCode::DELETE,
        OpCode::SET_DATA,
        OpCode::SET_ACL,
        OpCode::MULTI,
        OpCode::CREATE_SESSION,
        OpCode::CLOSE_SESSION,
    ] {
        assert!(seen.contains_key(&(op, op)), "no {op} is done");
    }
    assert!(seen.keys().any(|(op, _)| *op == OpCode::DELETE_CONTAINER), "no container was removed");
    for op in [OpCode::CREATE, OpCode::CREATE_TTL, OpCode::DELETE, OpCode::SET_DATA, OpCode::SET_ACL] {
        assert!(seen.contains_key(&(OpCode::ERROR, op)), "no {op} is refused");
    }
}
