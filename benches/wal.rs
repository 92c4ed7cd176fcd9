//! Appending to the log on a real file, by records a batch, one write after the other.

use std::hint::black_box;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use zkore::rt::disk::StdDisk;
use zkore::types::Zxid;
use zkore::wal::{Wal, WalOptions};

const PAYLOAD: [u8; 200] = [7; 200];

fn open(dir: &Path) -> Wal {
    let options = WalOptions {
        segment_bytes: 16 << 20,
        ..WalOptions::default()
    };
    let recovered = Wal::recover(&StdDisk, dir, options, Zxid::ZERO, &mut |_, _| {});
    recovered.expect("an empty directory").0
}

/// Appends a batch and writes it.
fn commit(wal: &mut Wal, records: u64) {
    for _ in 0..records {
        let zxid = Zxid(wal.appended_zxid().0 + 1);
        wal.append(zxid, black_box(&PAYLOAD)).expect("room");
    }
    while let Some(write) = wal.poll_write(0) {
        let written = write.file.write_at(write.offset, &write.buffer);
        written.expect("a disk that works");
        let bytes = write.buffer.len();
        let completion = wal.complete(write.id, write.buffer, Ok(bytes), 0);
        completion.expect("complete");
    }
    while let Some(task) = wal.poll_segment_task() {
        wal.segment_done(task.run(&StdDisk)).expect("room");
    }
}

/// Group commit on the device: O_DIRECT and O_DSYNC where the file system has them.
fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wal/commit");
    for records in [1, 16, 256, 1024] {
        let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let mut wal = open(place.path());
        group.throughput(Throughput::Elements(records));
        group.bench_function(BenchmarkId::from_parameter(records), |bencher| {
            bencher.iter(|| commit(&mut wal, records));
        });
    }
    group.finish();
}

/// The processor's part alone: records in, checksums, batches out, nothing written.
fn collect(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wal/collect");
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let mut wal = open(place.path());
    group.throughput(Throughput::Elements(1024));
    group.bench_function("1024", |bencher| {
        bencher.iter(|| {
            for _ in 0..1024 {
                let zxid = Zxid(wal.appended_zxid().0 + 1);
                wal.append(zxid, black_box(&PAYLOAD)).expect("room");
            }
            while let Some(write) = wal.poll_write(0) {
                let bytes = write.buffer.len();
                let completion = wal.complete(write.id, write.buffer, Ok(bytes), 0);
                completion.expect("complete");
            }
        });
    });
    group.finish();
}

criterion_group!(benches, append, collect);
criterion_main!(benches);
