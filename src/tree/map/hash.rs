//! The hash of keys: short, keyed and the same on every run for one seed.
//!
//! Clients choose paths, so a client that could predict collisions could grow one bucket without end. The hash is of
//! the multiply-and-fold family (wyhash, foldhash): 16 bytes a step, two words masked, multiplied to 128 bits, and the
//! halves folded. Its known weakness is a factor of zero, which makes the other factor vanish: an attacker who knows the
//! mask of one word sends that very word. foldhash with a *fixed* state masks one word of each pair with a public
//! constant; here both masks come from the secret seed, and the first also carries what was hashed so far.

/// Odd constants without structure (the first hexadecimal digits of the fraction of pi).
const PI: [u64; 4] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345, 0xa409_3822_299f_31d1, 0x082e_fa98_ec4e_6c89];

/// Hashes bytes under a seed; all 64 bits of the result are good.
///
/// The result depends on nothing but the arguments, so a replay walks its maps in the same order.
#[inline]
pub fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mask = fold(seed ^ PI[1], PI[0]);
    let mut state = fold(seed ^ PI[3], PI[2]);
    let mut rest = bytes;
    while rest.len() > 16 {
        let (head, tail) = rest.split_at(16);
        state = fold(word(&head[..8]) ^ state, word(&head[8..]) ^ mask);
        rest = tail;
    }
    let n = rest.len();
    let (a, b) = if n >= 8 {
        (word(&rest[..8]), word(&rest[n - 8..]))
    } else if n >= 4 {
        (half(&rest[..4]), half(&rest[n - 4..]))
    } else if n > 0 {
        (u64::from(rest[0]), u64::from(rest[n / 2]) << 8 | u64::from(rest[n - 1]))
    } else {
        (0, 0)
    };
    // The length keeps "a" and "aa" apart, whose words are equal.
    let length = bytes.len() as u64;
    state = fold(a ^ state, b ^ mask.rotate_left(32) ^ length);
    fold(state ^ mask, PI[1])
}

/// [`hash_bytes`] of a string.
#[inline]
pub fn hash_str(seed: u64, key: &str) -> u64 {
    hash_bytes(seed, key.as_bytes())
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let full = u128::from(a) * u128::from(b);
    (full as u64) ^ ((full >> 64) as u64)
}

#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("a word is eight bytes"))
}

#[inline(always)]
fn half(bytes: &[u8]) -> u64 {
    u64::from(u32::from_be_bytes(bytes.try_into().expect("half a word is four bytes")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_of_every_length_differ_and_seeds_matter() {
        let mut seen = BTreeSet::new();
        for seed in [0, 1, u64::MAX, 0x243f_6a88_85a3_08d3] {
            for n in 0..200 {
                assert!(seen.insert(hash_bytes(seed, &vec![0; n])), "zeros, length {n}, seed {seed}");
                assert!(seen.insert(hash_bytes(seed, &vec![b'a'; n + 1])), "letters, length {n}, seed {seed}");
            }
        }
    }

    /// Numbered names differ in a few low bits of a few bytes: the case that a weak hash spoils.
    #[test]
    fn every_bit_of_numbered_paths_is_balanced() {
        const N: u32 = 20_000;
        for prefix in ["/", "/a/", "/service/locks/lock-", "/a/rather/long/path/that/takes/several/steps/n-"] {
            let mut ones = [0u32; 64];
            for n in 0..N {
                let hash = hash_str(7, &format!("{prefix}{n:010}"));
                for (bit, count) in ones.iter_mut().enumerate() {
                    *count += (hash >> bit & 1) as u32;
                }
            }
            for (bit, &count) in ones.iter().enumerate() {
                // Six standard deviations: sqrt(20000) / 2 = 71.
                assert!(count.abs_diff(N / 2) < 430, "bit {bit} of {prefix}: {count} of {N}");
            }
        }
    }
}
