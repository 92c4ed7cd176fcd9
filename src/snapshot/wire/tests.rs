use super::*;
use crate::jute::data::Acl;
use crate::tree::open_acl;

/// Made by Apache ZooKeeper 3.9.5; see `tests/data/README.md`.
const GOLDEN: &[u8] = include_bytes!("../../../tests/data/apache-3.9.5-snap.bin");

/// The digest of the tree in it, as Apache computed it.
const GOLDEN_DIGEST: u64 = 0x5_28d3_7480;

const FIELD_MAX: usize = 1 << 20;

type Sessions = Vec<(SessionId, i32)>;

fn decoder() -> WireDecoder {
    let config = TreeConfig {
        extended_types: true,
        digest_enabled: true,
    };
    WireDecoder::new(config, FIELD_MAX)
}

/// Feeds the bytes in pieces of this size; returns what does not belong to the tree, too.
fn decode_in(bytes: &[u8], piece: usize) -> Result<(Tree, Sessions, usize), WireError> {
    let mut decoder = decoder();
    let mut used = 0;
    for piece in bytes.chunks(piece) {
        used += decoder.feed(piece)?;
        if decoder.is_done() {
            break;
        }
    }
    let (tree, sessions) = decoder.finish(Zxid(12))?;
    Ok((tree, sessions, bytes.len() - used))
}

fn encoded(tree: &Tree, sessions: &[(SessionId, i32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut sink = |chunk: &[u8]| {
        assert!(chunk.len() < CHUNK_BYTES + 4096);
        bytes.extend_from_slice(chunk);
        Ok(())
    };
    encode(&tree.view(tree.tip_zxid()), sessions, &mut sink).expect("the sink takes all");
    bytes
}

fn assert_golden(tree: &Tree, sessions: &Sessions) {
    assert_eq!(tree.digest(), GOLDEN_DIGEST);
    let expected = [(0x1_0000_0001, 4000), (0x2_0000_0002, 30000)];
    assert_eq!(*sessions, expected.map(|(id, ms)| (SessionId(id), ms)));
    let node = |path| tree.node(path).expect("it is there");
    assert_eq!(node("/app").data(), Some(&b"changed"[..]));
    assert_eq!(node("/app").stat().cversion, 4);
    assert_eq!(node("/app/nulls").data(), None);
    let acl = |perms, scheme: &str, id: &str| Acl {
        perms,
        scheme: scheme.to_owned(),
        id: id.to_owned(),
    };
    let digest = [acl(1, "digest", "bob:xyz="), acl(31, "ip", "10.0.0.0/8")];
    for path in ["/app/nulls", "/ttl", "/containers/n\u{e4}me"] {
        assert_eq!(**node(path).acl(), digest);
    }
    assert_eq!(**node("/zookeeper").acl(), [open_acl()]);
    assert_eq!(tree.ephemerals(sessions[0].0), ["/app/e-1"]);
    assert_eq!(tree.quota_prefix("/app/x").as_deref(), Some("/app"));
}

#[test]
fn a_tree_of_apache_is_read_whatever_the_cuts() {
    let mut bytes = GOLDEN.to_vec();
    bytes.extend_from_slice(b"\0\0\0\x0aBenWasHere");
    for piece in 1..bytes.len() {
        let (tree, sessions, left) = decode_in(&bytes, piece).expect("sound");
        assert_golden(&tree, &sessions);
        assert_eq!(left, 14);
    }
}

#[test]
fn what_is_encoded_is_decoded() {
    let (tree, sessions, _) = decode_in(GOLDEN, GOLDEN.len()).expect("sound");
    let bytes = encoded(&tree, &sessions);
    for piece in [1, 7, 4096] {
        let (tree, sessions, left) = decode_in(&bytes, piece).expect("sound");
        assert_golden(&tree, &sessions);
        assert_eq!(left, 0);
    }
}

#[test]
fn a_tree_of_many_chunks_comes_back() {
    let mut loader = TreeLoader::new(TreeConfig {
        extended_types: true,
        digest_enabled: true,
    });
    let stat = StatPersisted::default();
    loader
        .add("/", &stat, Some(&[]), &[open_acl()])
        .expect("the root");
    for at in 0..5000 {
        let data = vec![at as u8; at % 100];
        let acl = Acl {
            id: format!("id-{}", at % 50),
            ..open_acl()
        };
        let added = loader.add(&format!("/n{at}"), &stat, Some(&data), &[acl]);
        added.expect("parents come first");
    }
    let tree = loader.finish(Zxid(12), None).expect("sound");
    let sessions: Sessions = (1..9000).map(|id| (SessionId(id), 5)).collect();
    let bytes = encoded(&tree, &sessions);
    let (found, found_sessions, _) = decode_in(&bytes, 1000).expect("sound");
    assert_eq!(found.digest(), tree.digest());
    assert_eq!(found_sessions, sessions);

    let mut calls = 0;
    let mut sink = |_: &[u8]| {
        calls += 1;
        Err(io::Error::other("the learner is gone"))
    };
    let view = tree.view(tree.tip_zxid());
    assert!(encode(&view, &sessions, &mut sink).is_err());
    assert_eq!(calls, 1);
}

/// Broken bytes give an error, a tree or a wait for more, and never a panic.
#[test]
fn broken_bytes_are_refused() {
    for length in 0..GOLDEN.len() {
        let refused = decode_in(&GOLDEN[..length], 64).err().expect("refused");
        assert!(matches!(refused, WireError::Incomplete), "{refused}");
    }
    for at in 0..GOLDEN.len() {
        for flip in [1, 0x40, 0x80, 0xff] {
            let mut bytes = GOLDEN.to_vec();
            bytes[at] ^= flip;
            let _ = decode_in(&bytes, 64);
        }
    }
}

#[test]
fn a_claimed_length_is_refused_before_its_bytes_come() {
    let mut bytes = Vec::new();
    for count in [0, 0, i32::MAX] {
        count.encode(&mut bytes);
    }
    let refused = decode_in(&bytes, 1).err().expect("refused");
    assert!(matches!(refused, WireError::TooLarge { .. }), "{refused}");
    let refused = decode_in(&(-5).to_vec(), 4).err().expect("refused");
    assert!(matches!(refused, WireError::Count { .. }), "{refused}");
}

/// A node that was changed while Apache wrote it may name an ACL that is not in the list.
#[test]
fn an_unknown_acl_lets_nobody_in() {
    let mut bytes = Vec::new();
    0.encode(&mut bytes);
    0.encode(&mut bytes);
    "".encode(&mut bytes);
    Some(&b""[..]).encode(&mut bytes);
    7i64.encode(&mut bytes);
    StatPersisted::default().encode(&mut bytes);
    END_PATH.encode(&mut bytes);
    let (tree, _, _) = decode_in(&bytes, 3).expect("sound");
    let root = tree.node("/").expect("it is there");
    assert_eq!(root.acl()[0].perms, 0);
}
