//! A message there and one back over loopback, with what shards run on at the other end: what no
//! request can go below. Client and server are pinned to processors of their own, where there are
//! two.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use zkore::rt::cpu;
use zkore::rt::mailbox::RingBell;
use zkore::rt::net::{self, Event, SocketId, Sockets};

/// Bytes of a getData, and of its reply with 100 bytes of data.
const REQUEST_BYTES: usize = 44;
const REPLY_BYTES: usize = 192;

/// How soon a server that is to end does so.
const PATIENCE: Duration = Duration::from_millis(20);

#[derive(Clone, Copy)]
enum Driver {
    Ring { spin: Duration },
    Glommio,
}

/// Answers every request with a reply.
async fn answer(mut sockets: impl Sockets, is_over: Arc<AtomicBool>) -> io::Result<()> {
    let mut asked: Vec<(SocketId, usize)> = Vec::new();
    let mut reply = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let take = |event: Event<'_>| {
            if let Event::Received { socket, bytes } = event {
                asked.push((socket, bytes.len()));
            }
        };
        sockets.wait(PATIENCE, || true, take).await?;
        for (socket, bytes) in asked.drain(..) {
            reply.resize(bytes / REQUEST_BYTES * REPLY_BYTES, 7);
            sockets.send(socket, &mut reply)?;
        }
    }
    Ok(())
}

fn serve(
    driver: Driver,
    cpu: usize,
    is_over: Arc<AtomicBool>,
) -> (SocketAddr, JoinHandle<io::Result<()>>) {
    let mut listeners = net::listen(([127, 0, 0, 1], 0).into(), 8, false, 1).expect("a free port");
    let listener = listeners.remove(0);
    let address = listener.local_addr().expect("bound");
    let server = thread::spawn(move || {
        cpu::pin(cpu)?;
        match driver {
            Driver::Ring { spin } => net::ring::run(listener, RingBell::new()?, spin, |sockets| {
                answer(sockets, is_over)
            }),
            Driver::Glommio => {
                let bell = RingBell::for_executor()?;
                net::executor::run("bench", listener, bell, Duration::ZERO, |sockets| {
                    answer(sockets, is_over)
                })
            }
        }
    });
    (address, server)
}

fn round_trip(criterion: &mut Criterion) {
    let cpus = cpu::allowed();
    cpu::pin(cpus[1 % cpus.len()]).expect("it is allowed");
    let mut group = criterion.benchmark_group("sockets/round trip");
    let spin = Duration::from_micros(50);
    for (name, driver) in [
        (
            "ring",
            Driver::Ring {
                spin: Duration::ZERO,
            },
        ),
        ("ring, spinning", Driver::Ring { spin }),
        ("glommio", Driver::Glommio),
    ] {
        let is_over = Arc::new(AtomicBool::new(false));
        let (address, server) = serve(driver, cpus[0], Arc::clone(&is_over));
        let mut client = TcpStream::connect(address).expect("it listens");
        client.set_nodelay(true).expect("a setting");
        let mut reply = [0; REPLY_BYTES];
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                client.write_all(&[7; REQUEST_BYTES]).expect("it is read");
                client.read_exact(&mut reply).expect("it is answered");
            });
        });
        is_over.store(true, Ordering::Relaxed);
        let ended = server.join().expect("it does not panic");
        ended.expect("it ends well");
    }
    group.finish();
}

criterion_group!(benches, round_trip);
criterion_main!(benches);
