//! A session's password, which any server of an ensemble can derive from the session's id (Apache's
//! `ZooKeeperServer.generatePasswd`): the first bytes of `java.util.Random` seeded with the id and a constant.

use crate::ids::SessionId;
use crate::wire::connect::{PASSWORD_LEN, Password};

/// Apache's `superSecret`.
const SECRET: i64 = 0xB341_5C00;
/// The constants of Java's linear congruential generator (`java.util.Random`).
const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;

/// The password of a session.
pub fn password(session: SessionId) -> Password {
    let mut state = ((session.0 ^ SECRET).cast_unsigned() ^ MULTIPLIER) & MASK;
    let mut password = [0; PASSWORD_LEN];
    for word in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
        // Java hands out the upper 32 of the 48 bits, lowest byte first: so the word read backwards.
        let mut bytes = u32::try_from(state >> 16).expect("48 bits without the lower 16 are 32").to_be_bytes();
        bytes.reverse();
        word.copy_from_slice(&bytes);
    }
    password
}

/// Whether `given` is the password of `session`; takes the same time for every wrong one of the right length.
pub fn check_password(session: SessionId, given: &[u8]) -> bool {
    let right = password(session);
    session != SessionId::NONE
        && given.len() == right.len()
        && given.iter().zip(right).fold(0, |differs, (given, right)| differs | (given ^ right)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zookeeper_server_generate_passwd() {
        // From `new java.util.Random(id ^ 0xB3415C00L).nextBytes(new byte[16])` under OpenJDK 17.
        let cases = [
            (1, "054cc74a37327db215e702e20c73f005"),
            (0x0100_00ab_cdef_0000, "6392a56db477dd0a797bc8b31d917902"),
            (-2, "0dd532b5c441e3927c04b55e50fd9421"),
            (i64::MAX, "20f62cb5648dc2d771471c8a2486a9ee"),
        ];
        for (id, hex) in cases {
            let bytes: String = password(SessionId(id)).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(bytes, hex, "session 0x{id:x}");
        }
    }

    #[test]
    fn only_the_right_password_is_right() {
        let id = SessionId(0x0100_0123_4567_0000);
        let mut given = password(id);
        assert!(check_password(id, &given));
        assert!(!check_password(SessionId(id.0 + 1), &given));
        assert!(!check_password(id, &given[..15]));
        assert!(!check_password(id, &[]));
        given[15] ^= 1;
        assert!(!check_password(id, &given));
        assert!(!check_password(SessionId::NONE, &password(SessionId::NONE)), "no session has no password");
    }
}
