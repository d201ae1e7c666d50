//! Who may do what: the check of every operation (Apache's `ZooKeeperServer.checkACL`) and what becomes of the list that a
//! request brings (`PrepRequestProcessor.fixupACL`).

use super::auth::{Options, Scheme};
use crate::tree::AclEntry;
use crate::wire::acl::{Acl, AclList, Id, Perms};
use crate::wire::error_code::ErrorCode;

/// Whether a client of these identities has any of the permissions `wanted` by this list.
///
/// # Errors
/// NO_AUTH.
pub fn check(entry: &AclEntry, wanted: Perms, identities: &[Id<'_>], options: &Options) -> Result<(), ErrorCode> {
    if entry.anyone.intersects(wanted) || options.skip_acl {
        return Ok(());
    }
    check_slow(entry, wanted, identities, options)
}

#[cold]
fn check_slow(entry: &AclEntry, wanted: Perms, identities: &[Id<'_>], options: &Options) -> Result<(), ErrorCode> {
    let is_super = || identities.iter().any(|id| id.scheme == "super");
    let is_named = |acl: &Acl<'_>| {
        acl.perms.intersects(wanted)
            && Scheme::named(&acl.id.scheme, options).is_some_and(|scheme| {
                identities.iter().any(|id| id.scheme == acl.id.scheme && scheme.matches(&id.id, &acl.id.id, options))
            })
    };
    // A list without entries forbids nothing.
    if entry.entries.is_empty() || is_super() || entry.entries.iter().any(is_named) {
        Ok(())
    } else {
        Err(ErrorCode::NO_AUTH)
    }
}

/// The list that is to be stored for the one that a request brings: without repetitions, every entry well formed, and `auth`
/// replaced by the identities that the client has proved.
///
/// # Errors
/// INVALID_ACL.
pub fn fixup<'a>(list: &AclList<'a>, identities: &[Id<'_>], options: &Options) -> Result<AclList<'a>, ErrorCode> {
    if *list == AclList::OPEN {
        return Ok(list.clone());
    }
    let brought: Vec<Acl<'_>> = list.iter().collect();
    let mut stored: Vec<Acl<'_>> = Vec::with_capacity(brought.len());
    let mut is_changed = false;
    for (at, acl) in brought.iter().enumerate() {
        if brought[..at].contains(acl) {
            is_changed = true;
            continue;
        }
        match &*acl.id.scheme {
            "world" if acl.id.id == "anyone" => stored.push(acl.clone()),
            "auth" => {
                let proved = |id: &&Id<'_>| Scheme::named(&id.scheme, options).is_some_and(Scheme::is_authenticated);
                let before = stored.len();
                stored.extend(identities.iter().filter(proved).map(|id| Acl { perms: acl.perms, id: id.clone() }));
                if stored.len() == before {
                    return Err(ErrorCode::INVALID_ACL);
                }
                is_changed = true;
            }
            scheme => {
                if !Scheme::named(scheme, options).is_some_and(|scheme| scheme.is_valid(&acl.id.id)) {
                    return Err(ErrorCode::INVALID_ACL);
                }
                stored.push(acl.clone());
            }
        }
    }
    match (stored.is_empty(), is_changed) {
        (true, _) => Err(ErrorCode::INVALID_ACL),
        (false, false) => Ok(list.clone()),
        (false, true) => Ok(AclList::from_entries(stored.iter())),
    }
}

/// A list as somebody may see it who may read the znode but not administer it: without the hashes of digests, which could be
/// tried for their passwords (CVE-2019-0201).
pub(super) fn masked(entry: &AclEntry) -> AclList<'static> {
    let entries: Vec<Acl<'_>> = entry
        .entries
        .iter()
        .map(|acl| match acl.id.id.split_once(':') {
            Some((user, _)) if acl.id.scheme == "digest" => {
                Acl { perms: acl.perms, id: Id::new("digest", format!("{user}:x")) }
            }
            _ => acl.clone(),
        })
        .collect();
    AclList::from_entries(entries.iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(i32, &'static str, &'static str)]) -> AclList<'static> {
        let entries: Vec<Acl<'_>> =
            entries.iter().map(|(perms, scheme, id)| Acl { perms: Perms(*perms), id: Id::new(*scheme, *id) }).collect();
        AclList::from_entries(entries.iter())
    }

    fn ids() -> Vec<Id<'static>> {
        vec![Id::new("ip", "10.0.0.1"), Id::new("digest", "bob:h"), Id::new("digest", "eve:h")]
    }

    fn may(entries: &[(i32, &'static str, &'static str)], wanted: Perms, ids: &[Id<'_>]) -> bool {
        check(&AclEntry::new(list(entries)), wanted, ids, &Options::default()).is_ok()
    }

    #[test]
    fn check_acl() {
        assert!(may(&[(31, "world", "anyone")], Perms::ADMIN, &[]));
        assert!(!may(&[(1, "world", "anyone")], Perms::WRITE, &ids()));
        assert!(may(&[(1, "world", "anyone")], Perms(Perms::READ.0 | Perms::ADMIN.0), &ids()), "any of them will do");
        assert!(may(&[(2, "digest", "bob:h")], Perms::WRITE, &ids()));
        assert!(!may(&[(2, "digest", "bob:x")], Perms::WRITE, &ids()));
        assert!(!may(&[(1, "digest", "bob:h")], Perms::WRITE, &ids()));
        assert!(may(&[(2, "ip", "10.0.0.0/24")], Perms::WRITE, &ids()));
        assert!(!may(&[(2, "ip", "10.0.1.0/24")], Perms::WRITE, &ids()));
        assert!(!may(&[(31, "sasl", "bob")], Perms::WRITE, &[Id::new("sasl", "bob")]), "no such provider");
        assert!(may(&[(31, "digest", "x:y")], Perms::WRITE, &[Id::new("super", "")]), "super may");
        assert!(may(&[], Perms::WRITE, &[]), "a list without entries forbids nothing");
        let entry = AclEntry::new(list(&[(1, "digest", "x:y")]));
        assert_eq!(check(&entry, Perms::READ, &[], &Options { skip_acl: true, ..Options::default() }), Ok(()));
        assert_eq!(check(&entry, Perms::READ, &[], &Options::default()), Err(ErrorCode::NO_AUTH));
        let no_digest = Options { digest_enabled: false, ..Options::default() };
        assert_eq!(check(&entry, Perms::READ, &[Id::new("digest", "x:y")], &no_digest), Err(ErrorCode::NO_AUTH));
    }

    fn fixed(entries: &[(i32, &'static str, &'static str)]) -> Result<AclList<'static>, ErrorCode> {
        fixup(&list(entries), &ids(), &Options::default())
    }

    #[test]
    fn fixup_acl() {
        let invalid = Err(ErrorCode::INVALID_ACL);
        assert_eq!(fixed(&[]), invalid);
        assert_eq!(fixed(&[(31, "world", "anyone")]), Ok(AclList::OPEN));
        assert_eq!(fixed(&[(31, "world", "someone")]), invalid);
        assert_eq!(
            fixed(&[(0, "digest", "a:b"), (1, "ip", "::1/64")]),
            Ok(list(&[(0, "digest", "a:b"), (1, "ip", "::1/64")]))
        );
        assert_eq!(fixed(&[(1, "digest", "a")]), invalid);
        assert_eq!(fixed(&[(1, "ip", "1.2.3")]), invalid);
        for scheme in ["sasl", "x509", "super", "", "nobody"] {
            assert_eq!(fixed(&[(1, "world", "anyone"), (1, scheme, "a:b")]), invalid, "{scheme}");
        }
    }

    #[test]
    fn zookeeper_1877_lists_are_checked_whole_and_without_repetitions() {
        let twice = [(1, "world", "anyone"), (2, "digest", "a:b"), (1, "world", "anyone")];
        assert_eq!(fixed(&twice), Ok(list(&twice[..2])));
        assert_eq!(fixed(&[(1, "world", "anyone"), (2, "world", "anyone")]).map(|list| list.iter().count()), Ok(2));
    }

    #[test]
    fn auth_stands_for_what_the_client_has_proved() {
        assert_eq!(fixed(&[(5, "auth", "ignored")]), Ok(list(&[(5, "digest", "bob:h"), (5, "digest", "eve:h")])));
        let ip_only = [Id::new("ip", "10.0.0.1")];
        assert_eq!(fixup(&list(&[(5, "auth", "")]), &ip_only, &Options::default()), Err(ErrorCode::INVALID_ACL));
        let with_super = [Id::new("super", "")];
        assert_eq!(fixup(&list(&[(5, "auth", "")]), &with_super, &Options::default()), Err(ErrorCode::INVALID_ACL));
    }

    #[test]
    fn cve_2019_0201_hashes_are_masked() {
        let entry = AclEntry::new(list(&[(1, "digest", "bob:h:x"), (1, "ip", "::1"), (1, "world", "anyone")]));
        assert_eq!(masked(&entry), list(&[(1, "digest", "bob:x"), (1, "ip", "::1"), (1, "world", "anyone")]));
    }
}
