//! Transactions, lists and stats in words and in JSON.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::admin::iso_time;
use crate::tree::StatPersisted;
use crate::wire::acl::{AclList, Perms};
use crate::wire::txn::{CreateKind, SubTxn, Txn, TxnRecord};

/// Whether data is shown, or its length only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Length,
    Whole,
}

/// One line: when, who, what.
pub(super) fn record_text(record: &TxnRecord<'_>, data: Data) -> String {
    let header = &record.header;
    let mut text = format!(
        "{}  {}  session {}  cxid {}  {}",
        header.zxid,
        iso_time(header.time),
        header.session,
        header.cxid,
        header.op
    );
    txn_text(&mut text, &record.txn, data);
    if let Some(digest) = record.digest {
        put(&mut text, format_args!("  digest {:x}", digest.tree));
    }
    text
}

fn put(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words).expect("a String takes everything");
}

fn txn_text(text: &mut String, txn: &Txn<'_>, data: Data) {
    match txn {
        Txn::CreateSession { timeout_ms } => put(text, format_args!("  timeout {timeout_ms} ms")),
        Txn::CloseSession { paths: None } => {}
        Txn::CloseSession { paths: Some(paths) } => {
            put(text, format_args!("  {} ephemerals", paths.len()));
            paths.iter().for_each(|path| put(text, format_args!(" {path:?}")));
        }
        Txn::Create(create) => {
            put(text, format_args!("  {:?}", create.path));
            match create.kind {
                CreateKind::Persistent => {}
                CreateKind::Ephemeral => text.push_str(" ephemeral"),
                CreateKind::Container => text.push_str(" container"),
                CreateKind::Ttl(ttl) => put(text, format_args!(" ttl {ttl} ms")),
            }
            put(text, format_args!(" {} acl {}", data_text(create.data, data), acl_text(&create.acl)));
            put(text, format_args!(" parent cversion {}", create.parent_cversion));
        }
        Txn::Delete { path } => put(text, format_args!("  {path:?}")),
        Txn::SetData { path, data: bytes, version } => {
            put(text, format_args!("  {path:?} {} version {version}", data_text(*bytes, data)));
        }
        Txn::SetAcl { path, acl, version } => {
            put(text, format_args!("  {path:?} acl {} aversion {version}", acl_text(acl)));
        }
        Txn::Check { path, version } => put(text, format_args!("  {path:?} version {version}")),
        Txn::Error { err } => put(text, format_args!("  {err}")),
        Txn::Multi(parts) => {
            for SubTxn { op, txn } in parts {
                put(text, format_args!("\n    {op}"));
                txn_text(text, txn, data);
            }
        }
    }
}

/// Data, or its length.
pub(super) fn data_text(bytes: Option<&[u8]>, data: Data) -> String {
    match (bytes, data) {
        (None, _) => "null".to_owned(),
        (Some(bytes), Data::Length) => format!("{} bytes", bytes.len()),
        (Some(bytes), Data::Whole) => format!("{} bytes \"{}\"", bytes.len(), bytes.escape_ascii()),
    }
}

/// As zkCli writes it: `scheme:id:perms`, commas between.
pub(super) fn acl_text(list: &AclList<'_>) -> String {
    if list.is_empty() {
        return "none".to_owned();
    }
    let entries: Vec<_> =
        list.iter().map(|acl| format!("{}:{}:{}", acl.id.scheme, acl.id.id, perms_text(acl.perms))).collect();
    entries.join(",")
}

fn perms_text(perms: Perms) -> String {
    [(Perms::CREATE, 'c'), (Perms::DELETE, 'd'), (Perms::READ, 'r'), (Perms::WRITE, 'w'), (Perms::ADMIN, 'a')]
        .into_iter()
        .filter(|(perm, _)| perms.intersects(*perm))
        .map(|(_, letter)| letter)
        .collect()
}

/// A record as JSON: ids are hexadecimal strings, times milliseconds, data base64.
pub(super) fn record_json(record: &TxnRecord<'_>, data: Data) -> Value {
    let header = &record.header;
    let mut value = json!({
        "zxid": header.zxid.to_string(),
        "time_ms": header.time.0,
        "session": header.session.to_string(),
        "cxid": header.cxid,
        "op": header.op.to_string(),
        "txn": txn_json(&record.txn, data),
    });
    if let Some(digest) = record.digest {
        value["digest"] = json!(format!("{:x}", digest.tree));
        value["digest_version"] = json!(digest.version);
    }
    value
}

fn txn_json(txn: &Txn<'_>, data: Data) -> Value {
    match txn {
        Txn::CreateSession { timeout_ms } => json!({ "timeout_ms": timeout_ms }),
        Txn::CloseSession { paths } => json!({ "paths": paths }),
        Txn::Create(create) => {
            let mut value = json!({
                "path": create.path,
                "acl": acl_json(&create.acl),
                "parent_cversion": create.parent_cversion,
            });
            match create.kind {
                CreateKind::Persistent => value["kind"] = json!("persistent"),
                CreateKind::Ephemeral => value["kind"] = json!("ephemeral"),
                CreateKind::Container => value["kind"] = json!("container"),
                CreateKind::Ttl(ttl) => {
                    value["kind"] = json!("ttl");
                    value["ttl_ms"] = json!(ttl);
                }
            }
            put_data(&mut value, create.data, data);
            value
        }
        Txn::Delete { path } => json!({ "path": path }),
        Txn::SetData { path, data: bytes, version } => {
            let mut value = json!({ "path": path, "version": version });
            put_data(&mut value, *bytes, data);
            value
        }
        Txn::SetAcl { path, acl, version } => json!({ "path": path, "acl": acl_json(acl), "aversion": version }),
        Txn::Check { path, version } => json!({ "path": path, "version": version }),
        Txn::Error { err } => json!({ "error": err.0, "name": err.to_string() }),
        Txn::Multi(parts) => {
            let parts: Vec<_> = parts
                .iter()
                .map(|part| json!({ "op": part.op.to_string(), "txn": txn_json(&part.txn, data) }))
                .collect();
            json!({ "parts": parts })
        }
    }
}

/// Adds the length of data, null for null data, and data itself if it is wanted.
pub(super) fn put_data(value: &mut Value, bytes: Option<&[u8]>, data: Data) {
    value["data_len"] = json!(bytes.map(<[u8]>::len));
    if data == Data::Whole {
        value["data"] = json!(bytes.map(|bytes| STANDARD.encode(bytes)));
    }
}

/// A list as JSON.
pub(super) fn acl_json(list: &AclList<'_>) -> Value {
    let entries = list
        .iter()
        .map(|acl| json!({ "scheme": acl.id.scheme, "id": acl.id.id, "perms": perms_text(acl.perms) }))
        .collect::<Vec<_>>();
    json!(entries)
}

/// A znode's numbers in one line.
pub(super) fn stat_text(stat: &StatPersisted) -> String {
    format!(
        "czxid {} mzxid {} pzxid {} ctime {} mtime {} version {} cversion {} aversion {} owner 0x{:x}",
        stat.czxid,
        stat.mzxid,
        stat.pzxid,
        iso_time(stat.ctime),
        iso_time(stat.mtime),
        stat.version,
        stat.cversion,
        stat.aversion,
        stat.ephemeral_owner
    )
}

/// A znode's numbers as JSON.
pub(super) fn stat_json(stat: &StatPersisted) -> Value {
    json!({
        "czxid": stat.czxid.to_string(),
        "mzxid": stat.mzxid.to_string(),
        "pzxid": stat.pzxid.to_string(),
        "ctime_ms": stat.ctime.0,
        "mtime_ms": stat.mtime.0,
        "version": stat.version,
        "cversion": stat.cversion,
        "aversion": stat.aversion,
        "ephemeral_owner": format!("0x{:x}", stat.ephemeral_owner),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{SessionId, Zxid};
    use crate::time::WallTime;
    use crate::wire::error_code::ErrorCode;
    use crate::wire::op::OpCode;
    use crate::wire::txn::{CreateTxn, TxnDigest, TxnHeader};

    fn record(op: OpCode, txn: Txn<'static>) -> TxnRecord<'static> {
        let header =
            TxnHeader { session: SessionId(0x1f), cxid: 2, zxid: Zxid(3), time: WallTime(1_795_358_808_123), op };
        TxnRecord { header, txn, digest: Some(TxnDigest { version: 2, tree: 0xabc }) }
    }

    fn create(kind: CreateKind) -> Txn<'static> {
        let (data, acl) = (Some(b"hi\n".as_slice()), AclList::OPEN);
        Txn::Create(CreateTxn { path: "/a b".into(), data, acl, kind, parent_cversion: 1 })
    }

    #[test]
    fn words() {
        let head = "0x3  2026-11-22T14:46:48.123Z  session 0x1f  cxid 2";
        assert_eq!(
            record_text(&record(OpCode::CREATE, create(CreateKind::Ephemeral)), Data::Whole),
            format!(
                "{head}  create  \"/a b\" ephemeral 3 bytes \"hi\\n\" acl world:anyone:cdrwa parent cversion 1  digest abc"
            )
        );
        let multi = Txn::Multi(vec![
            SubTxn { op: OpCode::CREATE, txn: create(CreateKind::Ttl(5)) },
            SubTxn { op: OpCode::ERROR, txn: Txn::Error { err: ErrorCode(-101) } },
        ]);
        let text = record_text(&record(OpCode::MULTI, multi), Data::Length);
        assert!(text.contains("multi\n    create  \"/a b\" ttl 5 ms 3 bytes acl"), "{text}");
        assert!(text.contains("\n    error  "), "{text}");
    }

    #[test]
    fn json() {
        let value = record_json(&record(OpCode::CREATE, create(CreateKind::Ttl(5))), Data::Whole);
        assert_eq!(
            value,
            json!({
                "zxid": "0x3", "time_ms": 1_795_358_808_123_i64, "session": "0x1f", "cxid": 2, "op": "create",
                "digest": "abc", "digest_version": 2,
                "txn": {
                    "path": "/a b", "acl": [{ "scheme": "world", "id": "anyone", "perms": "cdrwa" }],
                    "parent_cversion": 1, "kind": "ttl", "ttl_ms": 5, "data_len": 3, "data": "aGkK",
                },
            })
        );
        let null = Txn::SetData { path: "/a".into(), data: None, version: 4 };
        let value = record_json(&record(OpCode::SET_DATA, null), Data::Length);
        assert_eq!(value["txn"], json!({ "path": "/a", "version": 4, "data_len": null }));
    }
}
