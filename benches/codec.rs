//! What a shard does with bytes: requests decoded, answers encoded, and a whole `getData` between the two system calls.
//!
//! ```sh
//! cargo bench --bench codec
//! ```

mod parts;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use zoo_server::ids::Zxid;
use zoo_server::wire::acl::AclList;
use zoo_server::wire::error_code::ErrorCode;
use zoo_server::wire::header::{RequestHeader, Xid};
use zoo_server::wire::jute::{Put, Reader};
use zoo_server::wire::multi::{MultiOp, decode_multi, encode_multi};
use zoo_server::wire::op::OpCode;
use zoo_server::wire::request::{CreateRequest, PathWatchRequest, SetDataRequest};
use zoo_server::wire::response::{put_header_reply, put_reply};
use zoo_server::wire::stat::Stat;

use parts::reads::Reads;
use parts::{DATA_LEN, path};

/// Requests of a multi.
const MULTI_LEN: usize = 8;

fn frame(op: OpCode, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    RequestHeader { xid: Xid(7), op }.encode(&mut out);
    body(&mut out);
    out
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec/decode");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
    group.throughput(Throughput::Elements(1));
    let path = path(123_456);
    let data = [7; DATA_LEN];

    let bytes =
        frame(OpCode::GET_DATA, |out| PathWatchRequest { path: path.as_str().into(), watch: false }.encode(out));
    group.bench_function("getData", |bencher| {
        bencher.iter(|| {
            let mut reader = Reader::new(black_box(&bytes));
            let header = RequestHeader::decode(&mut reader).expect("a header");
            let request = PathWatchRequest::decode(&mut reader).expect("a request");
            black_box((header.xid, request.path.len(), request.watch))
        });
    });

    let set = SetDataRequest { path: path.as_str().into(), data: Some(&data), version: -1 };
    let bytes = frame(OpCode::SET_DATA, |out| set.encode(out));
    group.bench_function("setData", |bencher| {
        bencher.iter(|| {
            let mut reader = Reader::new(black_box(&bytes));
            let header = RequestHeader::decode(&mut reader).expect("a header");
            let request = SetDataRequest::decode(&mut reader).expect("a request");
            black_box((header.xid, request.path.len(), request.data.map(<[u8]>::len)))
        });
    });

    let create =
        CreateRequest { path: path.as_str().into(), data: Some(&data), acl: AclList::OPEN, flags: 0, ttl_ms: 0 };
    let bytes = frame(OpCode::CREATE, |out| create.encode(OpCode::CREATE, out));
    group.bench_function("create", |bencher| {
        bencher.iter(|| {
            let mut reader = Reader::new(black_box(&bytes));
            let header = RequestHeader::decode(&mut reader).expect("a header");
            let request = CreateRequest::decode(header.op, &mut reader).expect("a request");
            black_box((header.xid, request.path.len(), request.flags))
        });
    });

    let ops = vec![MultiOp::SetData(set); MULTI_LEN];
    let bytes = frame(OpCode::MULTI, |out| encode_multi(&ops, out));
    group.throughput(Throughput::Elements(MULTI_LEN as u64));
    group.bench_function("multi of 8 setData", |bencher| {
        bencher.iter(|| {
            let mut reader = Reader::new(black_box(&bytes));
            let header = RequestHeader::decode(&mut reader).expect("a header");
            let ops = decode_multi(&mut reader).expect("a multi");
            black_box((header.xid, ops.len()))
        });
    });
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec/encode");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
    group.throughput(Throughput::Elements(1));
    let data = [7; DATA_LEN];
    let stat = Stat::default();
    let mut out = Vec::with_capacity(1 << 16);
    group.bench_function("getData", |bencher| {
        bencher.iter(|| {
            out.clear();
            put_reply(&mut out, Xid(7), Zxid(9), |out| {
                out.put_buffer(Some(black_box(&data)));
                black_box(&stat).encode(out);
            });
            black_box(out.len())
        });
    });
    group.bench_function("setData", |bencher| {
        bencher.iter(|| {
            out.clear();
            put_reply(&mut out, Xid(7), Zxid(9), |out| black_box(&stat).encode(out));
            black_box(out.len())
        });
    });
    group.bench_function("error", |bencher| {
        bencher.iter(|| {
            out.clear();
            put_header_reply(&mut out, Xid(7), Zxid(9), black_box(ErrorCode::NO_NODE));
            black_box(out.len())
        });
    });
    group.finish();
}

fn whole(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec/answer");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
    group.throughput(Throughput::Elements(1));
    for znodes in [1_000, 100_000] {
        for (op, name) in [(OpCode::GET_DATA, "getData"), (OpCode::EXISTS, "exists")] {
            let mut reads = Reads::new(op, znodes, 10_000);
            group.bench_function(format!("{name} of {znodes}"), |bencher| bencher.iter(|| reads.answer_one()));
        }
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decode(&mut criterion);
    encode(&mut criterion);
    whole(&mut criterion);
    criterion.final_summary();
}
