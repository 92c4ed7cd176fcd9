//! Firing watches while 100,000 are registered.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

use zkore::exchange::ConnId;
use zkore::tree::{AclList, ChangeKind, Changed, open_acl};
use zkore::watch::{AddWatchMode, Watches};

const WATCHES: usize = 100_000;
const CONNECTIONS: usize = 1_000;

fn path(number: usize) -> String {
    format!("/services/region-{}/instance-{number:08}", number % 100)
}

/// One watch a path, spread over the connections.
fn registered() -> Watches {
    let mut watches = Watches::new();
    for number in 0..WATCHES {
        watches.add_data(&path(number), ConnId((number % CONNECTIONS) as u64));
    }
    watches
}

fn fire(watches: &mut Watches, path: &str, kind: ChangeKind, acl: &AclList) {
    let change = Changed {
        path,
        kind,
        acl,
        parent_acl: (kind != ChangeKind::DataChanged).then_some(acl),
    };
    watches.changed(&change, &mut |conn, event, path, _| {
        black_box((conn, event, path));
    });
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("100,000 watches");
    group.sample_size(10);

    let acl: AclList = [open_acl()].into();
    let mut watches = registered();
    group.bench_function("change nobody watches", |bencher| {
        bencher.iter(|| fire(&mut watches, "/elsewhere", ChangeKind::DataChanged, &acl));
    });
    let mut number = 0;
    group.bench_function("fire one and set it again", |bencher| {
        bencher.iter(|| {
            number = (number + 7919) % WATCHES;
            let path = path(number);
            let conn = ConnId((number % CONNECTIONS) as u64);
            fire(&mut watches, &path, ChangeKind::DataChanged, &acl);
            watches.add_data(&path, conn);
        });
    });
    watches.add("/", ConnId(7), AddWatchMode::PersistentRecursive);
    let deep = path(1) + "/a/b/c/d";
    group.bench_function("change below a recursive watch", |bencher| {
        bencher.iter(|| fire(&mut watches, &deep, ChangeKind::Created, &acl));
    });
    group.bench_function("register all", |bencher| bencher.iter(registered));
    group.bench_function("fire all on one path", |bencher| {
        let everybody = || {
            let mut watches = Watches::new();
            for conn in 0..WATCHES {
                watches.add_data("/config", ConnId(conn as u64));
            }
            watches
        };
        bencher.iter_batched_ref(
            everybody,
            |watches| fire(watches, "/config", ChangeKind::DataChanged, &acl),
            BatchSize::LargeInput,
        );
    });
    group.bench_function("close a connection with all", |bencher| {
        let one = || {
            let mut watches = Watches::new();
            for number in 0..WATCHES {
                watches.add_data(&path(number), ConnId(1));
            }
            watches
        };
        bencher.iter_batched_ref(
            one,
            |watches| watches.remove_connection(ConnId(1)),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(watch, benches);
criterion_main!(watch);
