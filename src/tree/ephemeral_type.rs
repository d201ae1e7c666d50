//! What the 64 bits of a znode's persisted `ephemeralOwner` mean (Apache's `EphemeralType`).
//!
//! ```text
//! 0                        none: a persistent znode
//! 0x8000000000000000       container
//! 0xff0000 | 40 bits       TTL in milliseconds, where extended types are switched on
//! anything else            the session that an ephemeral znode lives and dies with
//! ```

/// The owner that marks a container.
pub const CONTAINER_OWNER: i64 = i64::MIN;
/// The longest TTL, in milliseconds (about 34 years).
pub const TTL_MAX_MS: i64 = 0xff_ffff_ffff;

/// The top byte of an extended owner.
const EXTENDED_MASK: i64 = 0xff << 56;
/// Which extended feature it is, of which TTL is number zero.
const FEATURE_MASK: i64 = 0xffff << 40;

/// How owners are read; a server's configuration decides, so all servers of an ensemble must agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OwnerOptions {
    /// `extendedTypesEnabled`: whether there are TTL znodes. Where it is off, a TTL's owner reads as a session.
    pub extended_types: bool,
    /// `emulate353TTLNodes`: with extended types, read every negative owner but the container's as a TTL.
    pub emulate_353: bool,
}

/// What a znode is by its owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum OwnerKind {
    /// Persistent (Apache: `VOID`).
    Persistent,
    /// Ephemeral (Apache: `NORMAL`).
    Ephemeral,
    /// A container.
    Container,
    /// Has a TTL.
    Ttl,
}

impl OwnerKind {
    /// Reads an owner (`EphemeralType.get`). An extended feature that nobody has defined, which Apache stumbles over, reads
    /// as a session.
    pub const fn of(owner: i64, options: OwnerOptions) -> Self {
        if owner == 0 {
            Self::Persistent
        } else if owner == CONTAINER_OWNER {
            Self::Container
        } else if options.extended_types
            && ((options.emulate_353 && owner < 0) || owner & (EXTENDED_MASK | FEATURE_MASK) == EXTENDED_MASK)
        {
            Self::Ttl
        } else {
            Self::Ephemeral
        }
    }
}

/// The owner that stands for a TTL; none if the TTL is not in `1..=TTL_MAX_MS`.
pub const fn owner_of_ttl(ttl_ms: i64) -> Option<i64> {
    if 0 < ttl_ms && ttl_ms <= TTL_MAX_MS { Some(EXTENDED_MASK | ttl_ms) } else { None }
}

/// The TTL in milliseconds that an owner of kind [`OwnerKind::Ttl`] stands for.
pub const fn ttl_of_owner(owner: i64) -> i64 {
    owner & TTL_MAX_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: OwnerOptions = OwnerOptions { extended_types: false, emulate_353: false };
    const EXTENDED: OwnerOptions = OwnerOptions { extended_types: true, emulate_353: false };
    const OLD: OwnerOptions = OwnerOptions { extended_types: true, emulate_353: true };

    #[test]
    fn owners_read_as_apache_reads_them() {
        for options in [PLAIN, EXTENDED, OLD] {
            assert_eq!(OwnerKind::of(0, options), OwnerKind::Persistent);
            assert_eq!(OwnerKind::of(i64::MIN, options), OwnerKind::Container);
            assert_eq!(OwnerKind::of(0x0100_0000_0000_0001, options), OwnerKind::Ephemeral);
        }
        let ttl = owner_of_ttl(1).expect("a TTL");
        assert_eq!(ttl.cast_unsigned(), 0xff00_0000_0000_0001);
        assert_eq!(OwnerKind::of(ttl, PLAIN), OwnerKind::Ephemeral);
        assert_eq!(OwnerKind::of(ttl, EXTENDED), OwnerKind::Ttl);
        assert_eq!(OwnerKind::of(i64::MIN | 5, EXTENDED), OwnerKind::Ephemeral);
        assert_eq!(OwnerKind::of(i64::MIN | 5, OLD), OwnerKind::Ttl);
        let undefined = 0xff00_0100_0000_0001_u64.cast_signed();
        assert_eq!(OwnerKind::of(undefined, EXTENDED), OwnerKind::Ephemeral);
    }

    #[test]
    fn a_ttl_has_forty_bits() {
        assert_eq!(owner_of_ttl(0), None);
        assert_eq!(owner_of_ttl(-1), None);
        assert_eq!(owner_of_ttl(TTL_MAX_MS + 1), None);
        for ttl in [1, 1000, TTL_MAX_MS] {
            assert_eq!(owner_of_ttl(ttl).map(ttl_of_owner), Some(ttl));
        }
    }
}
