//! Captured bytes of a real server, the tolerated versions, and bytes that nobody sends.

use super::*;

/// What Apache ZooKeeper 3.8.0 (Debian) sent on 127.0.0.1 as server 1 of three participants and an observer, to sockets that
/// spoke as the others.
mod captured {
    /// Its handshake when it dialled server 2.
    pub(super) const HELLO: &str = "ffffffffffff000000000000000000010000000f3132372e302e302e313a3435373830";
    /// The first 44 bytes of notifications; [`CONFIG`] follows them all.
    /// Looking, first round, own vote: to servers 2 and 3 and as the answer to the observer 4.
    pub(super) const LOOKING: &str =
        "00000000000000000000000100000000000000000000000000000001000000000000000000000002000000b2";
    /// It took over the better vote and the round 7 that server 2 had sent; the same again when 2 sent round 3.
    pub(super) const ROUND_7: &str =
        "00000000000000000000000200000000000000000000000000000007000000000000000000000002000000b2";
    /// Its answer to a looking server 2 after it had decided for 2 in round 20.
    pub(super) const FOLLOWING: &str =
        "00000001000000000000000200000000000000000000000000000014000000000000000000000002000000b2";
    /// It took over a vote that had come in 28 bytes: leader 2, zxid 0x500000000, round 11.
    pub(super) const AFTER_28_BYTES: &str =
        "0000000000000000000000020000000500000000000000000000000b000000000000000500000002000000b2";
    pub(super) const CONFIG: &str = "server.1=127.0.0.1:35805:45780:participant\n\
        server.2=127.0.0.1:24605:46909:participant\nserver.3=127.0.0.1:30018:41105:participant\n\
        server.4=127.0.0.1:23917:50967:observer\nversion=0";
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn notification(head: &str) -> Vec<u8> {
    let mut bytes = unhex(head);
    bytes.extend_from_slice(captured::CONFIG.as_bytes());
    bytes
}

#[test]
fn notifications_of_a_real_server() {
    use ServerState::{Following, Looking};
    for (head, state, leader, zxid, election_epoch, peer_epoch) in [
        (captured::LOOKING, Looking, 1, 0, 1, 0),
        (captured::ROUND_7, Looking, 2, 0, 7, 0),
        (captured::FOLLOWING, Following, 2, 0, 20, 0),
        (captured::AFTER_28_BYTES, Looking, 2, 0x5_0000_0000, 11, 5),
    ] {
        let bytes = notification(head);
        let decoded = Notification::decode(&bytes).unwrap();
        let expected = Notification {
            state,
            leader: ServerId(leader),
            zxid: Zxid(zxid),
            election_epoch,
            peer_epoch,
            version: 2,
            config: Some(captured::CONFIG.to_owned()),
        };
        assert_eq!(decoded, expected);
        let mut again = Vec::new();
        decoded.encode(&mut again);
        assert_eq!(again, bytes);
    }
}

#[test]
fn handshake_of_a_real_server() {
    let bytes = unhex(captured::HELLO);
    let hello = Hello { form: HelloForm::V1, server: ServerId(1), addresses: vec![("127.0.0.1".to_owned(), 45780)] };
    assert_eq!(Hello::read(&bytes), Ok(Some((hello.clone(), bytes.len()))));
    let mut again = Vec::new();
    hello.encode(&mut again);
    assert_eq!(again, bytes);
    for cut in 0..bytes.len() {
        assert_eq!(Hello::read(&bytes[..cut]), Ok(None), "{cut} bytes");
    }
    // What follows it stays for the next reader.
    let mut longer = bytes.clone();
    longer.extend_from_slice(&[0, 0, 0, 1, 7]);
    assert_eq!(Hello::read(&longer).unwrap().unwrap().1, bytes.len());
}

fn hello_bytes(version: i64, server: i64, text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_i64(version);
    bytes.put_i64(server);
    bytes.put_buffer(Some(text.as_bytes()));
    bytes
}

/// ZOOKEEPER-3720: V1 is what is sent unless several addresses are configured; all forms are understood.
#[test]
fn handshake_forms_3720() {
    let read = |bytes: &[u8]| Hello::read(bytes).unwrap().unwrap().0;
    let address = |host: &str, port| (host.to_owned(), port);
    assert_eq!(HELLO_V1, -65536);

    let mut bare = Vec::new();
    bare.put_i64(3);
    assert_eq!(read(&bare), Hello { form: HelloForm::BareId, server: ServerId(3), addresses: Vec::new() });

    let v2 = read(&hello_bytes(HELLO_V2, 2, "zk2:3888|[::1]:3889|0.0.0.0:1|[::]:2|[0:0:0:0:0:0:0:0]:3"));
    assert_eq!((v2.form, v2.server), (HelloForm::V2, ServerId(2)));
    assert_eq!(v2.addresses, [address("zk2", 3888), address("::1", 3889)]);
    let mut again = Vec::new();
    v2.encode(&mut again);
    assert_eq!(again, hello_bytes(HELLO_V2, 2, "zk2:3888|[::1]:3889"));
    again.clear();
    Hello { form: HelloForm::V1, ..v2 }.encode(&mut again);
    assert_eq!(again, hello_bytes(HELLO_V1, 2, "zk2:3888"));

    // Only a wildcard: the configuration has to know the address.
    assert!(read(&hello_bytes(HELLO_V1, 2, "0.0.0.0:3888")).addresses.is_empty());
    assert_eq!(read(&hello_bytes(HELLO_V1, i64::MAX, "a:1")).server, ANONYMOUS_OBSERVER);
}

#[test]
fn handshakes_that_are_none() {
    use ElectionDecodeError as E;
    let address = |text: &str| Err(E::Address(text.to_owned()));
    assert_eq!(Hello::read(&hello_bytes(-1, 1, "a:1")), Err(E::HelloVersion(-1)));
    assert_eq!(Hello::read(&hello_bytes(HELLO_V1, 1, "")), Err(E::AddressesLength(0)));
    assert_eq!(Hello::read(&hello_bytes(HELLO_V1, 1, &"x".repeat(2049))), Err(E::AddressesLength(2049)));
    for text in ["zk1", "zk1:", "zk1:x", "zk1:70000", ":3888", "[::1]3888", "::1:3888", "a:1||b:2"] {
        let word = if text == "a:1||b:2" { "" } else { text };
        assert_eq!(Hello::read(&hello_bytes(HELLO_V1, 1, text)), address(word), "{text}");
    }
    // A length that lies is refused before anything of that length has to arrive.
    let mut bytes = hello_bytes(HELLO_V1, 1, "a:1");
    bytes[16..20].copy_from_slice(&i32::MAX.to_be_bytes());
    assert_eq!(Hello::read(&bytes[..20]), Err(E::AddressesLength(i32::MAX)));
}

#[test]
fn frames() {
    let mut bytes = Vec::new();
    put_frame(b"vote", &mut bytes);
    put_frame(b"x", &mut bytes);
    assert_eq!(read_frame(&bytes), Ok(Some((&b"vote"[..], 8))));
    assert_eq!(read_frame(&bytes[8..]), Ok(Some((&b"x"[..], 5))));
    for cut in 0..8 {
        assert_eq!(read_frame(&bytes[..cut]), Ok(None));
    }
    for length in [0, -1, i32::MIN, FRAME_MAX as i32 + 1] {
        assert_eq!(read_frame(&length.to_be_bytes()), Err(ElectionDecodeError::FrameLength(length)));
    }
    assert_eq!(read_frame(&(FRAME_MAX as i32).to_be_bytes()), Ok(None));
}

/// The table of reference 2.2: what each generation sends, and what becomes of it.
#[test]
fn notifications_of_all_versions() {
    let full = notification(captured::AFTER_28_BYTES);
    let decode = Notification::decode;

    let oldest = decode(&full[..28]).unwrap();
    assert_eq!((oldest.version, oldest.peer_epoch, oldest.config), (0, 5, None));
    assert_eq!(decode(&full[..36]), Err(ElectionDecodeError::Short(36)));

    let mut v1 = full[..40].to_vec();
    v1[36..].copy_from_slice(&1_i32.to_be_bytes());
    let v1 = decode(&v1).unwrap();
    assert_eq!((v1.version, v1.peer_epoch, v1.election_epoch, v1.config), (0, 5, 11, None));

    // A version that says there is no configuration, and a later one, which is read as 2.
    let mut other = full.clone();
    other[36..40].copy_from_slice(&1_i32.to_be_bytes());
    assert_eq!(decode(&other).map(|it| (it.version, it.config)), Ok((1, None)));
    other[36..40].copy_from_slice(&3_i32.to_be_bytes());
    assert_eq!(decode(&other).unwrap().config.as_deref(), Some(captured::CONFIG));

    // Bytes behind the configuration are ignored.
    other.push(0);
    assert_eq!(decode(&other).unwrap().config.as_deref(), Some(captured::CONFIG));

    for (length, error) in [(-1, -1), (i32::MIN, i32::MIN), (179 + 1, 180), (i32::MAX, i32::MAX)] {
        let mut bytes = full.clone();
        bytes[40..44].copy_from_slice(&i32::to_be_bytes(length));
        assert_eq!(decode(&bytes), Err(ElectionDecodeError::ConfigLength(error)));
    }
    let mut bytes = full.clone();
    bytes[3] = 4;
    assert_eq!(decode(&bytes), Err(ElectionDecodeError::State(4)));
    for cut in (0..44).filter(|cut| ![28, 40].contains(cut)) {
        assert!(decode(&full[..cut]).is_err(), "{cut} bytes");
    }
}

/// ZOOKEEPER-4787: the configuration is UTF-8 whatever the platform says, and what is not UTF-8 does not break the vote.
#[test]
fn config_is_utf8_4787() {
    let text = "server.1=zk-\u{e4}\u{2603}:1:2\nversion=0";
    let looking = Notification {
        config: Some(text.to_owned()),
        ..Notification::decode(&notification(captured::LOOKING)).unwrap()
    };
    let mut bytes = Vec::new();
    looking.encode(&mut bytes);
    assert_eq!(Notification::decode(&bytes), Ok(looking));
    let at = bytes.len() - 5;
    bytes[at] = 0xff;
    assert!(Notification::decode(&bytes).unwrap().config.unwrap().contains('\u{fffd}'));
}

/// Any bytes give a value or an error: valid ones with some bytes changed, cut, or put in, from seeds.
#[test]
fn decoders_are_total() {
    let valid = [
        unhex(captured::HELLO),
        hello_bytes(HELLO_V2, 2, "zk2:3888|[::1]:3889|0.0.0.0:1"),
        notification(captured::LOOKING),
        notification(captured::FOLLOWING),
    ];
    let mut good = 0;
    for seed in 1..=20_000_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as usize % below.max(1)
        };
        let mut bytes = valid[next(valid.len())].clone();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            match next(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, next(256) as u8),
                2 if !bytes.is_empty() => bytes[at] ^= 1 << next(8),
                3 if !bytes.is_empty() => bytes[at] = [0, 0x7f, 0x80, 0xff][next(4)],
                _ => bytes.extend(std::iter::repeat_n(next(256) as u8, next(40))),
            }
        }
        if let Ok(Some((hello, used))) = Hello::read(&bytes) {
            assert!(used <= bytes.len() && hello.addresses.len() <= HELLO_ADDRESSES_MAX, "seed {seed}");
            good += 1;
        }
        if let Ok(Some((payload, used))) = read_frame(&bytes) {
            assert_eq!(used, payload.len() + 4, "seed {seed}");
        }
        if let Ok(vote) = Notification::decode(&bytes) {
            let mut again = Vec::new();
            vote.encode(&mut again);
            let again = Notification::decode(&again).unwrap();
            assert_eq!((again.leader, again.zxid, again.peer_epoch), (vote.leader, vote.zxid, vote.peer_epoch));
            good += 1;
        }
    }
    assert!(good > 1000, "only {good} of the changed bytes still meant something");
}
