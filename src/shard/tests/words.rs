//! Four-letter words, from the socket to the answer.

use crate::admin::{self, Status};

use super::*;

fn with_words(words: &[&str]) -> Rig {
    Rig::with(ShardConfig {
        four_letter_whitelist: words.iter().map(|&word| word.to_owned()).collect(),
        ..ShardConfig::default()
    })
}

fn text(rig: &mut Rig, conn: ConnId) -> String {
    String::from_utf8(rig.output(conn)).expect("text")
}

#[test]
fn words_outside_the_whitelist_are_refused() {
    for (words, word, is_allowed) in [
        (&["srvr"][..], "stat", false),
        (&["srvr"], "srvr", true),
        (&[], "srvr", true),
        (&["*"], "wchp", true),
        (&["ruok"], "isro", false),
    ] {
        let mut rig = with_words(words);
        let conn = rig.open();
        rig.send(conn, word.as_bytes());
        assert!(!rig.shard.status(conn).has_output || !is_allowed);
        if is_allowed {
            let query = rig.shard.take_admin_query().expect("a query");
            assert_eq!((query.word.name(), query.conn), (word, conn));
            // The peer may already have sent its FIN: the answer still goes out.
            rig.shard.end_of_input(conn, rig.now);
            assert_eq!(rig.close_of(conn), Close::No);
            rig.shard.admin_answer(conn, "text");
            assert_eq!(text(&mut rig, conn), "text");
        } else {
            assert_eq!(
                text(&mut rig, conn),
                format!("{word} is not executed because it is not in the whitelist.\n")
            );
        }
        assert_eq!(rig.close_of(conn), Close::AfterFlush);
    }
}

#[test]
fn words_that_a_shard_answers_alone() {
    let mut rig = with_words(&["*"]);
    let mut ask = |bytes: &[u8]| {
        let conn = rig.open();
        for byte in bytes {
            rig.send(conn, &[*byte]);
        }
        let answer = text(&mut rig, conn);
        assert_eq!(rig.close_of(conn), Close::AfterFlush);
        rig.shard.closed(conn);
        answer
    };
    assert_eq!(ask(b"ruok"), "imok");
    assert_eq!(ask(b"gtmk"), "306");
    assert_eq!(ask(b"stmk\0\0\0\0\0\0\x01\0"), "256");
    assert_eq!(ask(b"gtmk"), "256");
}

#[test]
fn telnet_that_closes_is_refused_like_a_word() {
    let mut rig = with_words(&["srvr"]);
    let conn = rig.open();
    rig.send(conn, &[0xff, 0xf4, 0xff, 0xfd, 6]);
    assert_eq!(
        text(&mut rig, conn),
        "telnet close is not executed because it is not in the whitelist.\n"
    );
}

#[test]
fn reports_hold_what_a_word_needs() {
    let mut rig = with_words(&["*"]);
    let conn = rig.client();
    rig.get(conn, 1, "/a", true);
    rig.get(conn, 2, "/a/b", true);
    rig.set(conn, 3, "/a", b"x");
    let asking = rig.open();
    rig.send(asking, b"cons");
    let now = rig.now;
    let ask = |rig: &mut Rig, word: Word| {
        let status = Status {
            is_serving: true,
            mode: "standalone",
            shards: vec![rig.shard.report(word, now)],
            ..Status::default()
        };
        admin::answer(word, &status)
    };
    let zxid = rig.tree.tip_zxid();
    assert_eq!(
        ask(&mut rig, Word::Cons),
        format!(
            " /10.1.2.3:4567[5](queued=1,recved=4,sent=3,sid=0x1001,lop=GETD,est=1700000000000,\
             to=10000,lcxid=0x2,lzxid={zxid},lresp=1000,llat=0,minlat=0,avglat=0,maxlat=0)\n \
             /10.1.2.3:4567[0](queued=0,recved=1,sent=0)\n\n"
        )
    );
    assert_eq!(
        ask(&mut rig, Word::Wchs),
        "1 connections watching 2 paths\nTotal watches:2\n"
    );
    assert_eq!(ask(&mut rig, Word::Wchc), "0x1001\n\t/a\n\t/a/b\n\n");
    assert_eq!(
        ask(&mut rig, Word::Wchp),
        "/a\n\t0x1001\n/a/b\n\t0x1001\n\n"
    );
    let mntr = ask(&mut rig, Word::Mntr);
    for line in [
        "zk_server_state\tstandalone\n",
        "zk_watch_count\t2\n",
        "zk_packets_received\t5\n",
        "zk_cnt_readlatency\t2\n",
        "zk_avg_latency\t0.0\n",
    ] {
        assert!(mntr.contains(line), "{line:?} is missing from\n{mntr}");
    }
    assert_eq!(ask(&mut rig, Word::Srst), "Server stats reset.\n");
    assert!(ask(&mut rig, Word::Mntr).contains("zk_packets_received\t0\n"));
    assert_eq!(ask(&mut rig, Word::Crst), "Connection stats reset.\n");
    assert!(ask(&mut rig, Word::Stat).contains("(queued=1,recved=0,sent=0)\n"));
}
