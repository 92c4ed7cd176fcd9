use super::*;
use crate::exchange::ConnId;

const FIRST: Origin = origin(0, 1);
const SECOND: Origin = origin(1, 1);

const fn origin(shard: u16, conn: u64) -> Origin {
    Origin {
        shard: ShardId(shard),
        conn: ConnId(conn),
    }
}

fn table() -> SessionTable {
    let config = SessionConfig {
        tick_ms: 2000,
        server_id: 1,
        shards: 2,
    };
    SessionTable::new(config, 0x1_0000_0001)
}

fn both_heard(table: &mut SessionTable, as_of_ms: u64, sessions: &[SessionId]) {
    table.heard(ShardId(0), as_of_ms, sessions);
    table.heard(ShardId(1), as_of_ms, &[]);
}

#[test]
fn ids_begin_with_server_and_time() {
    assert_eq!(first_session_id(1, 0x1_0000_0001), 0x0101_0000_0001_0000);
    assert_eq!(first_session_id(0x80, 0), i64::MIN + 1);
    assert_eq!(first_session_id(0xfe, -1), 0xfeff_ffff_ffff_0000_u64 as i64);
    let mut table = table();
    let first = table.open(FIRST, 4000, 0);
    let second = table.open(FIRST, 4000, 0);
    assert_eq!(second.0, first.0 + 1);
}

#[test]
fn restored_ids_are_not_given_again() {
    let mut table = table();
    let taken = SessionId(0x0101_0000_0001_0000);
    table.restore([(taken, 4000)], 0);
    assert_eq!(table.open(FIRST, 4000, 0), SessionId(taken.0 + 1));
}

#[test]
fn timeouts_are_negotiated() {
    for (asked, expected) in [
        (0, 4000),
        (4000, 4000),
        (9000, 9000),
        (i32::MAX, 40_000),
        (-1, 4000),
    ] {
        assert_eq!(negotiate_timeout_ms(asked, 4000, 40_000), expected);
    }
    assert_eq!(negotiate_timeout_ms(1, 5000, 3000), 3000);
}

#[test]
fn sessions_expire_in_buckets_of_a_tick() {
    let mut table = table();
    let early = table.open(FIRST, 4000, 1999);
    let late = table.open(FIRST, 4000, 2000);
    assert_eq!(table.next_expiry_ms(), Some(6000));
    both_heard(&mut table, 5999, &[]);
    assert_eq!(table.expire(u64::MAX), []);
    both_heard(&mut table, 7999, &[]);
    assert_eq!(table.expire(u64::MAX), [early]);
    assert_eq!(
        table.check(early, Owner::Connection(FIRST)),
        Err(ErrorCode::SessionExpired)
    );
    assert_eq!(table.snapshot(), [(early, 4000), (late, 4000)]);
    table.remove(early);
    assert_eq!(table.snapshot(), [(late, 4000)]);
    assert_eq!(
        table.check(early, Owner::Connection(FIRST)),
        Err(ErrorCode::UnknownSession)
    );
    both_heard(&mut table, 8000, &[]);
    assert_eq!(table.expire(u64::MAX), [late]);
    assert_eq!(table.expire(u64::MAX), []);
}

#[test]
fn what_is_heard_keeps_sessions() {
    let mut table = table();
    let kept = table.open(FIRST, 4000, 0);
    let lost = table.open(FIRST, 4000, 0);
    both_heard(&mut table, 5000, &[kept]);
    both_heard(&mut table, 6000, &[]);
    assert_eq!(table.expire(u64::MAX), [lost]);
    assert!(!table.touch(lost, 6000));
    assert!(!table.touch(SessionId(77), 6000));
    both_heard(&mut table, 10_000, &[]);
    assert_eq!(table.expire(u64::MAX), [kept]);
}

#[test]
fn nobody_expires_before_every_shard_has_reported() {
    let mut table = table();
    let silent = table.open(FIRST, 4000, 0);
    table.heard(ShardId(0), 1_000_000, &[]);
    assert_eq!(table.expire(u64::MAX), []);
    table.heard(ShardId(1), 5000, &[silent]);
    assert_eq!(table.expire(u64::MAX), []);
    table.heard(ShardId(1), 1_000_000, &[]);
    assert_eq!(table.expire(u64::MAX), [silent]);
}

#[test]
fn reports_do_not_shorten() {
    let mut table = table();
    let session = table.open(FIRST, 4000, 10_000);
    assert!(table.touch(session, 1000));
    assert_eq!(table.next_expiry_ms(), Some(16_000));
}

#[test]
fn sessions_move_with_their_password() {
    let mut table = table();
    let session = table.open(FIRST, 4000, 0);
    let password = session_password(session);
    for (id, proof) in [
        (session, &[0; 16][..]),
        (session, &[]),
        (SessionId::NONE, &session_password(SessionId::NONE)),
        (SessionId(5), &session_password(SessionId(5))),
    ] {
        assert_eq!(
            table.reattach(id, proof, 4000, SECOND, 0),
            Err(SessionRefused)
        );
    }
    assert_eq!(
        table.reattach(session, &password, 30_000, SECOND, 1000),
        Ok(Some(FIRST))
    );
    assert_eq!(
        table.check(session, Owner::Connection(FIRST)),
        Err(ErrorCode::SessionMoved)
    );
    assert_eq!(table.check(session, Owner::Connection(SECOND)), Ok(()));
    assert_eq!(table.owner(session), Some(SECOND));
    assert_eq!(table.timeout_ms(session), Some(30_000));
    assert_eq!(table.next_expiry_ms(), Some(32_000));
    assert_eq!(table.snapshot(), [(session, 4000)]);
    assert_eq!(
        table.reattach(session, &password, 30_000, SECOND, 1000),
        Ok(None)
    );
}

#[test]
fn closing_sessions_are_over() {
    let mut table = table();
    let session = table.open(FIRST, 4000, 0);
    table.begin_close(session);
    table.begin_close(session);
    assert_eq!(
        table.check(session, Owner::Connection(FIRST)),
        Err(ErrorCode::SessionExpired)
    );
    assert_eq!(
        table.reattach(session, &session_password(session), 4000, SECOND, 0),
        Err(SessionRefused)
    );
    assert_eq!((table.len(), table.next_expiry_ms()), (1, None));
    both_heard(&mut table, 100_000, &[session]);
    assert_eq!(table.expire(u64::MAX), []);
    table.remove(session);
    table.remove(session);
    assert!(table.is_empty());
    assert!(table.is_empty());
}

#[test]
fn a_restart_gives_the_whole_timeout_anew() {
    let mut before = table();
    let session = before.open(FIRST, 4000, 0);
    let mut after = table();
    after.restore(before.snapshot(), 500_000);
    assert_eq!(after.next_expiry_ms(), Some(506_000));
    assert_eq!(after.owner(session), None);
    assert_eq!(after.check(session, Owner::Connection(SECOND)), Ok(()));
    assert_eq!(
        after.reattach(session, &session_password(session), 4000, SECOND, 500_000),
        Ok(None)
    );
    assert_eq!(after.by_expiry().count(), 1);
}

#[test]
fn sessions_of_a_shard_that_is_late_are_named() {
    let mut table = table();
    let first = table.open(FIRST, 4000, 0);
    let second = table.open(SECOND, 5000, 0);
    table.heard(ShardId(0), 3000, &[]);
    table.heard(ShardId(1), 4000, &[]);
    let unreported = |table: &SessionTable, now_ms| {
        let mut all: Vec<_> = table.unreported(now_ms).collect();
        all.sort();
        all
    };
    assert_eq!(unreported(&table, 4000), []);
    assert_eq!(unreported(&table, 4001), [(first, 4000)]);
    assert_eq!(unreported(&table, 5001), [(first, 4000), (second, 5000)]);
    table.heard(ShardId(0), 5001, &[]);
    assert_eq!(unreported(&table, 5001), [(second, 5000)]);
}
