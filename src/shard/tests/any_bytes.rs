//! Whatever a client sends: nothing panics, nobody else notices, and what is answered is whole
//! frames in order.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// The body of a request of any kind, rarely a sensible one.
fn any_request() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![0..25i32, 100..108i32, any::<i32>()];
    let record = prop_oneof![
        vec(any::<u8>(), 0..40),
        (Just("/a"), any::<bool>()).prop_map(|(path, watch)| {
            let record = GetDataRequest { path, watch };
            record.to_vec()
        }),
        ("/[a-c]", any::<i32>()).prop_map(|(path, number)| {
            let mut bytes = path.as_str().to_vec();
            number.encode(&mut bytes);
            bytes
        }),
    ];
    (any::<i32>(), kind, record).prop_map(|(xid, kind, record)| {
        let mut body = RequestHeader { xid, kind }.to_vec();
        body.extend(record);
        body
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn requests_of_any_kind(bodies in vec(any_request(), 1..20), cut in 1..50usize) {
        let mut rig = Rig::new();
        let (conn, bystander) = (rig.client(), rig.client());
        let stream: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
        for chunk in stream.chunks(cut) {
            rig.send(conn, chunk);
        }
        // The sequencer refuses everything.
        loop {
            let refused: Vec<Item> = rig
                .forwarded()
                .into_iter()
                .map(|xid| rig.outcome(conn, xid, Outcome::Failed(ErrorCode::BadVersion)))
                .collect();
            if refused.is_empty() {
                break;
            }
            rig.publish(refused);
        }
        let replies = rig.replies(conn);
        prop_assert!(replies.len() <= bodies.len());
        prop_assert_eq!(rig.shared.outstanding(), 0);
        rig.get(bystander, 1, "/a", false);
        prop_assert_eq!(rig.reply(bystander).xid, 1);
    }

    #[test]
    fn first_bytes_of_any_kind(bytes in vec(any::<u8>(), 0..60), cut in 1..10usize) {
        let mut rig = Rig::new();
        let conn = rig.open();
        for chunk in bytes.chunks(cut) {
            rig.send(conn, chunk);
        }
        rig.shard.end_of_input(conn, rig.now);
        rig.shard.closed(conn);
        prop_assert_eq!(rig.shard.connections(), 0);
    }
}
