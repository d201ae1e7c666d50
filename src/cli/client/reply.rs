//! The bodies of answers, as a client reads them.

use crate::wire::acl::{Acl, AclList};
use crate::wire::error_code::ErrorCode;
use crate::wire::jute::{DecodeError, Reader};
use crate::wire::multi::MultiHeader;
use crate::wire::op::OpCode;
use crate::wire::stat::Stat;

/// What became of one operation of a multi or multiRead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MultiOutcome {
    /// `create`: the path, with the number of a sequential znode. The stat comes with all but the plain `create`.
    Created(String, Option<Stat>),
    /// `delete`.
    Deleted,
    /// `setData`.
    Set(Stat),
    /// `check`.
    Checked,
    /// `getData`.
    Data(Option<Vec<u8>>, Stat),
    /// `getChildren`.
    Children(Vec<String>),
    /// It failed, or a neighbour did ([`ErrorCode::RUNTIME_INCONSISTENCY`] and [`ErrorCode::OK`], which was undone).
    Failed(ErrorCode),
}

/// Reads the results of a multi or multiRead.
pub(super) fn multi(reader: &mut Reader<'_>) -> Result<Vec<MultiOutcome>, DecodeError> {
    let mut outcomes = Vec::new();
    loop {
        let header = MultiHeader::decode(reader)?;
        if header.done {
            return Ok(outcomes);
        }
        outcomes.push(match header.op {
            OpCode::CREATE => MultiOutcome::Created(reader.ustring()?.into_owned(), None),
            OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
                MultiOutcome::Created(reader.ustring()?.into_owned(), Some(Stat::decode(reader)?))
            }
            OpCode::DELETE => MultiOutcome::Deleted,
            OpCode::SET_DATA => MultiOutcome::Set(Stat::decode(reader)?),
            OpCode::CHECK => MultiOutcome::Checked,
            OpCode::GET_DATA => MultiOutcome::Data(reader.buffer()?.map(<[u8]>::to_vec), Stat::decode(reader)?),
            OpCode::GET_CHILDREN => MultiOutcome::Children(strings(reader)?),
            OpCode::ERROR => MultiOutcome::Failed(ErrorCode(reader.i32()?)),
            OpCode(other) => return Err(DecodeError::BadType(other)),
        });
    }
}

/// A vector of strings.
pub(super) fn strings(reader: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    Ok(reader.ustrings()?.into_iter().map(std::borrow::Cow::into_owned).collect())
}

/// Data and stat.
pub(super) fn data_and_stat(reader: &mut Reader<'_>) -> Result<(Option<Vec<u8>>, Stat), DecodeError> {
    Ok((reader.buffer()?.map(<[u8]>::to_vec), Stat::decode(reader)?))
}

/// An access control list and the stat behind it.
pub(super) fn acl_and_stat(reader: &mut Reader<'_>) -> Result<(Vec<Acl<'static>>, Stat), DecodeError> {
    let list = AclList::decode(reader)?;
    let entries = list.iter().map(|entry| Acl { perms: entry.perms, id: entry.id.into_owned() }).collect();
    Ok((entries, Stat::decode(reader)?))
}

/// The identities of a session: scheme and user.
pub(super) fn who_am_i(reader: &mut Reader<'_>) -> Result<Vec<(String, String)>, DecodeError> {
    let mut identities = Vec::new();
    for _ in 0..reader.count()?.unwrap_or(0) {
        identities.push((reader.ustring()?.into_owned(), reader.ustring()?.into_owned()));
    }
    Ok(identities)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::multi::MultiResult;

    #[test]
    fn results_of_a_multi_come_back() {
        let stat = Stat { version: 3, ..Stat::default() };
        let mut out = Vec::new();
        for result in [
            MultiResult::Create { path: "/a" },
            MultiResult::Create2 { path: "/b", stat },
            MultiResult::Delete,
            MultiResult::SetData { stat },
            MultiResult::Check,
            MultiResult::Error(ErrorCode::NO_NODE),
        ] {
            result.encode(&mut out);
        }
        MultiHeader::END.encode(&mut out);
        let outcomes = multi(&mut Reader::new(&out)).expect("well formed");
        assert_eq!(
            outcomes,
            [
                MultiOutcome::Created("/a".to_owned(), None),
                MultiOutcome::Created("/b".to_owned(), Some(stat)),
                MultiOutcome::Deleted,
                MultiOutcome::Set(stat),
                MultiOutcome::Checked,
                MultiOutcome::Failed(ErrorCode::NO_NODE),
            ]
        );
        assert!(multi(&mut Reader::new(&out[..out.len() - 1])).is_err());
    }
}
