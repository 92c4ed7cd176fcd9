//! Properties of the codec: every record reads and writes what the schema says, and no bytes make
//! a decoder panic, nor what reads the election and quorum ports.

mod peers;
mod records;
mod script;

use proptest::collection::vec;
use proptest::prelude::*;

use records::{RECORDS, decode_as_everything};

/// The encoding of some value with this layout.
fn encoded(layout: &str) -> BoxedStrategy<Vec<u8>> {
    let mut fields: Vec<BoxedStrategy<Vec<u8>>> = Vec::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        let mut length = 1;
        fields.push(match first {
            'i' => any::<i32>().prop_map(|n| n.to_be_bytes().to_vec()).boxed(),
            'l' => any::<i64>().prop_map(|n| n.to_be_bytes().to_vec()).boxed(),
            'z' => any::<bool>().prop_map(|is| vec![u8::from(is)]).boxed(),
            's' => ".{0,20}"
                .prop_map(|text| with_length(text.as_bytes()))
                .boxed(),
            'b' => prop_oneof![
                Just(vec![0xff; 4]),
                vec(any::<u8>(), 0..20).prop_map(|bytes| with_length(&bytes)),
            ]
            .boxed(),
            '[' => {
                let end = rest.find(']').expect("brackets come in pairs");
                length = end + 1;
                vec(encoded(&rest[1..end]), 0..4)
                    .prop_map(|elements| {
                        let count = elements.len() as i32;
                        [&count.to_be_bytes()[..], &elements.concat()].concat()
                    })
                    .boxed()
            }
            other => panic!("{other} is no field"),
        });
        rest = &rest[length..];
    }
    fields.prop_map(|parts| parts.concat()).boxed()
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as i32).to_be_bytes()[..], bytes].concat()
}

/// A record and the encoding of one of its values.
fn any_record() -> impl Strategy<Value = (usize, Vec<u8>)> {
    (0..RECORDS.len())
        .prop_flat_map(|index| encoded(RECORDS[index].layout).prop_map(move |bytes| (index, bytes)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_record_has_the_layout_of_the_schema((index, bytes) in any_record()) {
        let record = &RECORDS[index];
        let again = (record.again)(&bytes);
        prop_assert_eq!(again, Ok(bytes), "{}", record.name);
    }

    #[test]
    fn records_cut_short_are_refused((index, bytes) in any_record(), cut in any::<prop::sample::Index>()) {
        let record = &RECORDS[index];
        let end = cut.index(bytes.len());
        prop_assert!((record.again)(&bytes[..end]).is_err(), "{}", record.name);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..200)) {
        decode_as_everything(&bytes);
    }

    #[test]
    fn nor_do_records_with_a_byte_changed(
        (_, mut bytes) in any_record(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let at = at.index(bytes.len());
        bytes[at] = byte;
        decode_as_everything(&bytes);
    }
}

/// Packets of any kind whose data may be what such a packet has, and then anything.
fn any_packets() -> impl Strategy<Value = Vec<u8>> {
    let data = prop_oneof![
        Just(None),
        vec(any::<u8>(), 0..40).prop_map(Some),
        // Introductions, acknowledged epochs, requests.
        (1_i64..5, any::<i32>()).prop_map(|(id, rest)| {
            let version = 0x10000_i32.to_be_bytes();
            let parts: [&[u8]; 4] = [&id.to_be_bytes(), &version, &[0; 8], &rest.to_be_bytes()];
            Some(parts.concat())
        }),
    ];
    let epoch = prop_oneof![0_i64..4, any::<i32>().prop_map(i64::from)];
    let zxid = (epoch, 0_i64..8).prop_map(|(epoch, counter)| epoch << 32 | counter);
    let packet = (-1..22_i32, zxid, data).prop_map(|(kind, zxid, data)| {
        let mut bytes = Vec::new();
        zkore::zab::encode_packet(kind, zxid, data.as_deref(), &mut bytes);
        bytes
    });
    (vec(packet, 0..12), vec(any::<u8>(), 0..60)).prop_map(|(packets, rest)| {
        let mut bytes = packets.concat();
        bytes.extend(rest);
        bytes
    })
}

/// Notifications, whole or cut, with anything between.
fn any_notifications() -> impl Strategy<Value = Vec<u8>> {
    let field = || prop_oneof![(-1_i64..4).boxed(), any::<i64>().boxed()];
    let notification = (0..5_i32, [field(), field(), field(), field()], 0..46_usize).prop_map(
        |(state, fields, length)| {
            let mut bytes = state.to_be_bytes().to_vec();
            fields
                .iter()
                .for_each(|field| bytes.extend(field.to_be_bytes()));
            bytes.extend([0, 0, 0, 2, 0, 0, 0, 1, b'x']);
            bytes.truncate(length);
            bytes
        },
    );
    vec(notification, 0..12).prop_map(|all| all.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bytes_on_the_election_port_do_harm(
        messages in any_notifications(),
        bytes in vec(any::<u8>(), 0..200),
    ) {
        peers::election_port(&messages);
        peers::election_port(&bytes);
        let from_a_member = [&3_i64.to_be_bytes()[..], &messages].concat();
        peers::election_port(&from_a_member);
    }

    #[test]
    fn no_bytes_on_the_quorum_port_do_harm(
        packets in any_packets(),
        bytes in vec(any::<u8>(), 0..200),
        piece in 1..64_usize,
    ) {
        peers::quorum_port(&packets, piece);
        peers::quorum_port(&bytes, piece);
    }

    #[test]
    fn nor_do_well_formed_messages_of_any_content(
        script in vec(any::<u8>(), 0..200),
        piece in 1..64_usize,
    ) {
        peers::election_port(&script::notifications(&script));
        peers::quorum_port(&script::packets(&script), piece);
    }
}

/// What the fuzzer found, each with what went wrong.
#[test]
fn what_was_found_on_the_quorum_port_stays_mended() {
    // A tree that ends before the learner's log, and a transaction after it.
    let script = b"\x60\xbf\x2c\x92\x00\x26\xfe\x03\xff\x2f\xff\xff\x01";
    peers::quorum_port(&script::packets(script), 244);
}
