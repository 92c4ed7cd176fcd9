//! Links between real sockets on the loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::*;
use crate::types::{Member, MemberAddress, Role};

const WAIT: Duration = Duration::from_secs(10);

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

fn ensemble(voters: i64) -> Arc<Ensemble> {
    let member = |id| {
        let address = MemberAddress {
            host: "127.0.0.1".into(),
            quorum_port: free_port(),
            election_port: free_port(),
        };
        let member = Member {
            addresses: vec![address],
            role: Role::Participant,
            client: None,
        };
        (ServerId(id), member)
    };
    Arc::new(Ensemble {
        members: (1..=voters).map(member).collect(),
        ..Ensemble::default()
    })
}

fn start(config: PeerConfig) -> (Peers, Receiver<PeerEvent>) {
    let (sender, receiver) = mpsc::channel();
    let peers = Peers::start(config, move |event| {
        let _ = sender.send(event);
    });
    (peers.expect("the ports are free"), receiver)
}

fn member(id: i64, ensemble: &Arc<Ensemble>) -> (Peers, Receiver<PeerEvent>) {
    start(PeerConfig::new(ServerId(id), Arc::clone(ensemble)))
}

/// Waits for an event that `pick` wants.
fn wait<T>(events: &Receiver<PeerEvent>, mut pick: impl FnMut(PeerEvent) -> Option<T>) -> T {
    loop {
        let event = events.recv_timeout(WAIT).expect("the event comes");
        if let Some(picked) = pick(event) {
            return picked;
        }
    }
}

fn message(events: &Receiver<PeerEvent>) -> (i64, Vec<u8>) {
    wait(events, |event| match event {
        PeerEvent::ElectionMessage { from, bytes } => Some((from.0, bytes)),
        _ => None,
    })
}

fn connect(ensemble: &Ensemble, id: i64) -> TcpStream {
    let address = &ensemble.members[&ServerId(id)].addresses[0];
    let stream = TcpStream::connect(("127.0.0.1", address.election_port)).expect("listening");
    stream.set_read_timeout(Some(WAIT)).expect("a socket");
    stream
}

#[test]
fn two_members_talk_and_find_each_other_again() {
    let ensemble = ensemble(2);
    let (one, one_events) = member(1, &ensemble);
    one.send(ServerId(2), b"stale".to_vec());
    one.send(ServerId(2), b"early".to_vec());
    let (two, two_events) = member(2, &ensemble);
    assert_eq!(message(&two_events), (1, b"early".to_vec()));
    two.send(ServerId(1), b"answer".to_vec());
    assert_eq!(message(&one_events), (2, b"answer".to_vec()));
    two.stop();
    wait(&one_events, |event| {
        matches!(event, PeerEvent::Unreachable(ServerId(2))).then_some(())
    });
    // The last message is sent again to the one that has come back.
    let (two, two_events) = member(2, &ensemble);
    assert_eq!(message(&two_events), (1, b"early".to_vec()));
    wait(&one_events, |event| {
        matches!(event, PeerEvent::Reachable(ServerId(2))).then_some(())
    });
    drop((one, two));
}

#[test]
fn the_larger_id_keeps_its_connection_and_the_smaller_is_called_back() {
    let ensemble = ensemble(3);
    let (_two, events) = member(2, &ensemble);
    // Server 3 connects, in the version with several addresses, and is kept.
    let mut three = connect(&ensemble, 2);
    three
        .write_all(&greeting::write(ServerId(3), &ensemble, true))
        .expect("room");
    three.write_all(b"\0\0\0\x02hi").expect("room");
    assert_eq!(message(&events), (3, b"hi".to_vec()));

    // Server 1 connects, is closed, and called back.
    let port = ensemble.members[&ServerId(1)].addresses[0].election_port;
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("free");
    let mut one = connect(&ensemble, 2);
    one.write_all(&greeting::write(ServerId(1), &ensemble, false))
        .expect("room");
    assert_eq!(one.read(&mut [0; 1]).expect("closed in order"), 0);
    let (mut back, _) = listener.accept().expect("called back");
    let hello = greeting::write(ServerId(2), &ensemble, false);
    let mut read = vec![0; hello.len()];
    back.read_exact(&mut read).expect("the greeting");
    assert_eq!(read, hello);
}

#[test]
fn garbage_and_impostors_are_closed_and_others_served() {
    let ensemble = ensemble(2);
    let (_one, events) = member(1, &ensemble);
    let valid = greeting::write(ServerId(2), &ensemble, false);
    let cases: [Vec<u8>; 4] = [
        b"GET / HTTP/1.0\r\n\r\n".to_vec().repeat(100),
        vec![0xff; 100],
        greeting::write(ServerId(1), &ensemble, false),
        [&valid[..], &[0x7f, 0xff, 0xff, 0xff]].concat(),
    ];
    for (number, bytes) in cases.iter().enumerate().skip(1) {
        let mut stream = connect(&ensemble, 1);
        stream.write_all(bytes).expect("room");
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "case {number}");
    }
    // Text reads as the id of an old server, and then as a message that is too long.
    let mut text = connect(&ensemble, 1);
    let _ = text.write_all(&cases[0]);
    let _ = text.read_to_end(&mut Vec::new());

    let mut two = connect(&ensemble, 1);
    two.write_all(&valid).expect("room");
    two.write_all(b"\0\0\0\x01x").expect("room");
    assert_eq!(message(&events), (2, b"x".to_vec()));
}

#[test]
fn a_name_that_resolves_later_is_found() {
    let ensemble = ensemble(2);
    let mut config = PeerConfig::new(ServerId(2), Arc::clone(&ensemble));
    let is_known = Arc::new(AtomicBool::new(true));
    let known = Arc::clone(&is_known);
    config.resolve = Arc::new(move |host, port| {
        if known.load(Ordering::Relaxed) {
            system_resolve()(host, port)
        } else {
            Err(io::Error::other("no such name"))
        }
    });
    let (two, events) = start(config);
    is_known.store(false, Ordering::Relaxed);
    two.dial(ServerId(1), 300);
    let failed = wait(&events, |event| match event {
        PeerEvent::Dialed { result, .. } => Some(result.is_err()),
        _ => None,
    });
    assert!(failed);
    is_known.store(true, Ordering::Relaxed);
    let (_one, _events) = member(1, &ensemble);
    wait(&events, |event| {
        matches!(event, PeerEvent::Reachable(ServerId(1))).then_some(())
    });
}

#[test]
fn learners_connect_to_the_quorum_port() {
    let ensemble = ensemble(2);
    let (one, one_events) = member(1, &ensemble);
    one.dial(ServerId(2), 5000);
    let (_two, two_events) = member(2, &ensemble);
    let mut ours = wait(&one_events, |event| match event {
        PeerEvent::Dialed { leader, result } => {
            assert_eq!(leader, ServerId(2));
            Some(result.expect("it listens by the last attempt"))
        }
        _ => None,
    });
    let mut theirs = wait(&two_events, |event| match event {
        PeerEvent::LearnerAccepted { stream, .. } => Some(stream),
        _ => None,
    });
    ours.write_all(b"abc").expect("room");
    let mut read = [0; 3];
    theirs.read_exact(&mut read).expect("in blocking mode");
    assert_eq!(&read, b"abc");
}

#[test]
fn a_port_in_use_is_named() {
    let ensemble = ensemble(2);
    let (_one, _events) = member(1, &ensemble);
    let mut config = PeerConfig::new(ServerId(1), Arc::clone(&ensemble));
    config.bind_attempts_max = 1;
    let error = Peers::start(config, |_| {}).err().expect("in use");
    let port = ensemble.members[&ServerId(1)].addresses[0].election_port;
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")));
    let stranger = PeerConfig::new(ServerId(9), ensemble);
    let error = Peers::start(stranger, |_| {}).err().expect("not a member");
    assert!(matches!(error, PeerError::NotAMember(ServerId(9))));
}
