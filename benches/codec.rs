//! Reading requests and writing replies, and what members send each other.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use zkore::jute::data::{Acl, Stat};
use zkore::jute::proto::{CreateRequest, GetDataRequest, GetDataResponse, ReplyHeader};
use zkore::jute::quorum::kind;
use zkore::jute::txn::{CreateTxn, Txn, TxnHeader, decode_txn, encode_txn};
use zkore::jute::{Record, op};
use zkore::zab::{PacketReader, encode_packet};

const PATH: &str = "/services/region-17/instance-00000042";
const DATA: [u8; 100] = [7; 100];

/// Transactions that a busy leader sends in one write, and bytes of each: a set of 100 bytes.
const BURST: u64 = 100;
const PROPOSAL: [u8; 150] = [7; 150];

fn open_acl() -> Vec<Acl> {
    vec![Acl {
        perms: 31,
        scheme: "world".into(),
        id: "anyone".into(),
    }]
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(1));

    let path = PATH;
    let data = Some(&DATA[..]);
    let get = GetDataRequest { path, watch: true }.to_vec();
    group.bench_function("decode getData", |bencher| {
        bencher.iter(|| GetDataRequest::from_slice(black_box(&get)));
    });
    let create = CreateRequest {
        path,
        data,
        acl: open_acl(),
        flags: 0,
    }
    .to_vec();
    group.bench_function("decode create", |bencher| {
        bencher.iter(|| CreateRequest::from_slice(black_box(&create)));
    });

    let header = ReplyHeader {
        xid: 1,
        zxid: 2,
        err: 0,
    };
    let stat = Stat::default();
    let response = GetDataResponse { data, stat };
    let mut out = Vec::new();
    group.bench_function("encode a getData reply", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&header).encode(&mut out);
            black_box(&response).encode(&mut out);
            out.len()
        });
    });

    let txn = Txn::Create {
        txn: CreateTxn {
            path: path.into(),
            data,
            acl: open_acl(),
            ephemeral: false,
            parent_cversion: 1,
        },
        is_create2: false,
    };
    let header = TxnHeader {
        client_id: 1,
        cxid: 2,
        zxid: 3,
        time: 4,
        kind: op::CREATE,
    };
    group.bench_function("encode a create transaction", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode_txn(black_box(&header), black_box(&txn), None, &mut out);
            out.len()
        });
    });
    let mut encoded = Vec::new();
    encode_txn(&header, &txn, None, &mut encoded);
    group.bench_function("decode a create transaction", |bencher| {
        bencher.iter(|| decode_txn(black_box(&encoded)).is_ok());
    });
    group.finish();
}

/// Each proposal in a packet of its own, one write for all; an element is a proposal.
fn bursts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("quorum");
    group.throughput(Throughput::Elements(BURST));

    let encode = |out: &mut Vec<u8>| {
        for zxid in 1..=BURST as i64 {
            let data = black_box(&PROPOSAL[..]);
            encode_packet(kind::PROPOSAL, black_box(zxid), Some(data), out);
        }
    };
    let mut out = Vec::new();
    group.bench_function("encode a burst of PROPOSALs", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode(&mut out);
            out.len()
        });
    });
    let mut burst = Vec::new();
    encode(&mut burst);
    let mut reader = PacketReader::default();
    group.bench_function("decode a burst of PROPOSALs", |bencher| {
        bencher.iter(|| {
            reader.extend(black_box(&burst));
            let mut count = 0;
            while let Ok(Some((packet, length))) = reader.peek() {
                black_box(packet);
                reader.skip(length);
                count += 1;
            }
            assert_eq!(count, BURST);
        });
    });
    group.finish();
}

criterion_group!(codec, benches, bursts);
criterion_main!(codec);
