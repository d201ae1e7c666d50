//! Scripts of real requests: what fuzzing of clients begins from.

use zoo_server::ids::{ServerId, SessionId, Zxid};
use zoo_server::session::{first_id, password};
use zoo_server::time::WallTime;
use zoo_server::wire::acl::{Acl, AclList, Id, Perms};
use zoo_server::wire::connect::ConnectRequest;
use zoo_server::wire::header::{RequestHeader, Xid};
use zoo_server::wire::jute::Put;
use zoo_server::wire::multi::{MultiOp, encode_multi};
use zoo_server::wire::op::OpCode;
use zoo_server::wire::request::{
    AuthRequest, CreateRequest, PathKindRequest, PathVersionRequest, PathWatchRequest, SetAclRequest, SetDataRequest,
    SetWatchesRequest,
};

use super::clients::{CUT, EMULATE_353, ENFORCE_QUOTA, EXTENDED_TYPES, LOST, RECONFIG, SKIP_ACL, TIME};

/// Writes a script.
struct Script {
    bytes: Vec<u8>,
    xid: i32,
}

impl Script {
    fn new(options: u8) -> Self {
        Self { bytes: vec![options], xid: 0 }
    }

    fn frame(&mut self, connection: u8, fill: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let mut frame = Vec::new();
        fill(&mut frame);
        self.bytes.push(connection);
        let len = u16::try_from(frame.len()).expect("seeds are small");
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(&frame);
        self
    }

    fn send(&mut self, connection: u8, op: OpCode, fill: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        self.xid += 1;
        let xid = Xid(self.xid);
        self.frame(connection, |out| {
            RequestHeader { xid, op }.encode(out);
            fill(out);
        })
    }

    fn step(&mut self, step: u8) -> &mut Self {
        self.bytes.push(step);
        self
    }

    fn create(&mut self, connection: u8, op: OpCode, path: &str, flags: i32) -> &mut Self {
        let ttl_ms = if op == OpCode::CREATE_TTL { 1000 } else { -1 };
        self.create_with(connection, op, path, flags, ttl_ms, AclList::OPEN)
    }

    fn create_with(
        &mut self,
        connection: u8,
        op: OpCode,
        path: &str,
        flags: i32,
        ttl_ms: i64,
        acl: AclList<'_>,
    ) -> &mut Self {
        let request = CreateRequest { path: path.into(), data: Some(b"data"), acl, flags, ttl_ms };
        self.send(connection, op, |out| request.encode(op, out))
    }

    fn set(&mut self, connection: u8, path: &str, data: &[u8]) -> &mut Self {
        let request = SetDataRequest { path: path.into(), data: Some(data), version: -1 };
        self.send(connection, OpCode::SET_DATA, |out| request.encode(out))
    }

    fn delete(&mut self, connection: u8, path: &str) -> &mut Self {
        let request = PathVersionRequest { path: path.into(), version: -1 };
        self.send(connection, OpCode::DELETE, |out| request.encode(out))
    }

    fn watch(&mut self, connection: u8, op: OpCode, path: &str) -> &mut Self {
        self.send(connection, op, |out| PathWatchRequest { path: path.into(), watch: true }.encode(out))
    }

    fn kind(&mut self, connection: u8, op: OpCode, path: &str, kind: i32) -> &mut Self {
        self.send(connection, op, |out| PathKindRequest { path: path.into(), kind }.encode(out))
    }

    fn path(&mut self, connection: u8, op: OpCode, path: &str) -> &mut Self {
        self.send(connection, op, |out| out.put_ustring(path))
    }

    fn bare(&mut self, connection: u8, op: OpCode) -> &mut Self {
        self.send(connection, op, |_| {})
    }

    fn multi(&mut self, connection: u8, ops: &[MultiOp<'_>]) -> &mut Self {
        let op = if ops.first().is_some_and(MultiOp::is_read) { OpCode::MULTI_READ } else { OpCode::MULTI };
        self.send(connection, op, |out| encode_multi(ops, out))
    }

    fn auth(&mut self, connection: u8, scheme: &str, auth: &[u8]) -> &mut Self {
        let request = AuthRequest { kind: 0, scheme: scheme.into(), auth: Some(auth) };
        self.send(connection, OpCode::AUTH, |out| request.encode(out))
    }

    fn connect(&mut self, connection: u8, session: SessionId, read_only: Option<bool>) -> &mut Self {
        let password = if session == SessionId::NONE { [0; 16] } else { password(session) };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 5000,
            session,
            password: &password,
            read_only,
        };
        self.frame(connection, |out| request.encode(out))
    }
}

fn list(entries: &[(Perms, &'static str, &'static str)]) -> AclList<'static> {
    let entries: Vec<Acl<'_>> =
        entries.iter().map(|&(perms, scheme, id)| Acl { perms, id: Id::new(scheme, id) }).collect();
    AclList::from_entries(entries.iter())
}

/// The session of the first connection.
fn first_session() -> SessionId {
    first_id(ServerId(1), WallTime(1_700_000_000_000))
}

/// Names and scripts, all small.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut add = |name: &str, options: u8, write: &dyn Fn(&mut Script)| {
        let mut script = Script::new(options);
        write(&mut script);
        seeds.push((name.to_owned(), script.bytes));
    };
    add("nodes", 0, &|script| {
        script.create(0, OpCode::CREATE, "/a", 0).create(1, OpCode::CREATE2, "/a/b", 1);
        script.create(0, OpCode::CREATE, "/a/q-", 2).create(0, OpCode::CREATE, "/a/q-", 3);
        script.set(0, "/a", b"new").delete(1, "/a/b").delete(1, "/a").delete(0, "/none");
        script.path(0, OpCode::SYNC, "/a").bare(0, OpCode::PING).bare(1, OpCode::CLOSE_SESSION);
    });
    add("reads", 0, &|script| {
        script.create(0, OpCode::CREATE, "/a", 0).create(0, OpCode::CREATE, "/a/b", 1);
        for op in [OpCode::GET_DATA, OpCode::EXISTS, OpCode::GET_CHILDREN, OpCode::GET_CHILDREN2] {
            script.watch(1, op, "/a").watch(1, op, "/b");
        }
        for op in [OpCode::GET_ACL, OpCode::GET_EPHEMERALS, OpCode::GET_ALL_CHILDREN_NUMBER] {
            script.path(0, op, "/a").path(0, op, "");
        }
        script.bare(0, OpCode::WHO_AM_I).set(0, "/a", b"x").delete(0, "/a/b").create(0, OpCode::CREATE, "/b", 0);
    });
    add("watches", 0, &|script| {
        for mode in [0, 1] {
            script.kind(0, OpCode::ADD_WATCH, "/a", mode).kind(1, OpCode::ADD_WATCH, "/", mode);
        }
        script.create(0, OpCode::CREATE, "/a", 0).create(0, OpCode::CREATE, "/a/b", 0).set(1, "/a/b", b"x");
        script.kind(0, OpCode::CHECK_WATCHES, "/a", 5).kind(0, OpCode::REMOVE_WATCHES, "/a", 3);
        script.kind(1, OpCode::REMOVE_WATCHES, "/", 4).delete(1, "/a/b");
        let paths = || vec!["/a".into(), "/none".into()];
        let back = SetWatchesRequest {
            relative_zxid: Zxid(3),
            data: paths(),
            exist: paths(),
            child: paths(),
            persistent: paths(),
            persistent_recursive: paths(),
        };
        script
            .send(0, OpCode::SET_WATCHES2, |out| back.encode(out))
            .send(1, OpCode::SET_WATCHES, |out| back.encode(out));
        script.delete(0, "/a").step(LOST).create(1, OpCode::CREATE, "/none", 0);
    });
    add("multi", EXTENDED_TYPES, &|script| {
        let create = |op, path: &'static str, flags| {
            let ttl_ms = if op == OpCode::CREATE_TTL { 500 } else { -1 };
            MultiOp::Create(op, CreateRequest { path: path.into(), data: None, acl: AclList::OPEN, flags, ttl_ms })
        };
        let at = |path: &'static str, version| PathVersionRequest { path: path.into(), version };
        script.multi(
            0,
            &[
                create(OpCode::CREATE, "/a", 0),
                create(OpCode::CREATE2, "/a/e", 1),
                create(OpCode::CREATE_CONTAINER, "/a/c", 4),
                create(OpCode::CREATE_TTL, "/a/t", 5),
                MultiOp::SetData(SetDataRequest { path: "/a".into(), data: Some(b"x"), version: 0 }),
                MultiOp::Check(at("/a", 1)),
                MultiOp::Delete(at("/a/c", -1)),
            ],
        );
        script.multi(
            1,
            &[create(OpCode::CREATE, "/a/x", 3), MultiOp::Check(at("/a", 9)), MultiOp::Delete(at("/a/t", 0))],
        );
        let get = |path: &'static str| PathWatchRequest { path: path.into(), watch: true };
        script.multi(0, &[MultiOp::GetData(get("/a")), MultiOp::GetChildren(get("/a")), MultiOp::GetData(get("/no"))]);
        script.multi(0, &[]);
    });
    add("lists", 0, &|script| {
        script.auth(0, "digest", b"bob:secret").auth(1, "ip", b"").auth(1, "digest", b"super:super");
        script.create_with(0, OpCode::CREATE, "/a", 0, -1, list(&[(Perms::ALL, "auth", "")]));
        script.create_with(0, OpCode::CREATE, "/b", 0, -1, list(&[(Perms(27), "ip", "127.0.0.0/8")]));
        let acl = list(&[(Perms::READ, "world", "anyone"), (Perms::ALL, "digest", "bob:x")]);
        let request = SetAclRequest { path: "/b".into(), acl, version: 0 };
        script.send(1, OpCode::SET_ACL, |out| request.encode(out));
        script.path(0, OpCode::GET_ACL, "/b").path(1, OpCode::GET_ACL, "/a").bare(1, OpCode::WHO_AM_I);
        script.create_with(0, OpCode::CREATE, "/c", 0, -1, list(&[])).auth(0, "none", b"x");
    });
    add("skipped_lists", SKIP_ACL | RECONFIG, &|script| {
        script.create_with(0, OpCode::CREATE, "/a", 0, -1, list(&[(Perms::READ, "digest", "a:b")])).set(1, "/a", b"x");
        script.send(0, OpCode::RECONFIG, |out| {
            ["", "", ""].iter().for_each(|part| out.put_ustring(part));
            out.put_i64(-1);
        });
    });
    for (name, options) in [("ttl", EXTENDED_TYPES), ("ttl_353", EXTENDED_TYPES | EMULATE_353)] {
        add(name, options, &|script| {
            script.create(0, OpCode::CREATE_CONTAINER, "/c", 4).create(0, OpCode::CREATE, "/c/x", 0).delete(0, "/c/x");
            script.create(0, OpCode::CREATE_TTL, "/t", 5).create(1, OpCode::CREATE_TTL, "/t-", 6);
            script.step(TIME).step(CUT).step(TIME).step(TIME).path(0, OpCode::GET_ALL_CHILDREN_NUMBER, "/");
        });
    }
    add("quota", ENFORCE_QUOTA, &|script| {
        for path in
            ["/a", "/zookeeper/quota/a", "/zookeeper/quota/a/zookeeper_limits", "/zookeeper/quota/a/zookeeper_stats"]
        {
            script.create(0, OpCode::CREATE, path, 0);
        }
        script.set(0, "/zookeeper/quota/a/zookeeper_limits", b"count=3,bytes=-1=;byteHardLimit=20;countHardLimit=5");
        for path in ["/a/1", "/a/2", "/a/3", "/a/4", "/a/5"] {
            script.create(1, OpCode::CREATE, path, 0).set(1, path, b"more and more");
        }
        script.delete(0, "/zookeeper/quota/a/zookeeper_limits");
    });
    add("sessions", 0, &|script| {
        script.create(0, OpCode::CREATE, "/e", 1).connect(2, SessionId::NONE, None);
        script.connect(3, first_session(), Some(true)).set(0, "/e", b"moved").set(3, "/e", b"mine");
        script.step(LOST | 3).connect(3, first_session(), Some(false)).create(3, OpCode::CREATE, "/f", 1);
        script.step(TIME).step(TIME).step(TIME).connect(3, first_session(), None);
        for _ in 0..10 {
            script.step(TIME);
        }
        script
            .connect(0, SessionId::NONE, Some(false))
            .create(0, OpCode::CREATE, "/e", 1)
            .bare(0, OpCode::CLOSE_SESSION);
    });
    add("odd", 0, &|script| {
        for op in [OpCode::CHECK, OpCode::CREATE_SESSION, OpCode::DELETE_CONTAINER, OpCode(99), OpCode::ERROR] {
            script.path(0, op, "/a").connect(0, SessionId::NONE, None);
        }
        script.send(1, OpCode::SASL, |out| out.put_buffer(Some(b"token")));
        script.send(1, OpCode::CREATE, |out| out.put_i32(-1)).send(1, OpCode::GET_DATA, |out| out.put_i32(-1));
        script.create(1, OpCode::CREATE, "//", 0).create(1, OpCode::CREATE, "/a/../b", 0).create(
            1,
            OpCode::CREATE,
            "/\0",
            0,
        );
    });
    seeds
}
