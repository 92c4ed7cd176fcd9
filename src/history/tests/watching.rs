//! Watches that do not fire, fire late, or fire for nothing.

use super::*;

const MADE: &str = "1 create /a x ok 0 10 zxid=1";
const WATCH: &str = "2 read /a ok 20 21 version=0 mzxid=1 zxid=1 watch=true";
const SET: &str = "1 set /a y ok 30 40 zxid=2 version=1";
const EVENT: &str = "2 event /a ok 35 35 event=changed zxid=2";

#[test]
fn one_fires_before_its_session_sees_the_change() {
    let sees = "2 read /a ok 50 51 value=y version=1 mzxid=2";
    assert_sound(&[MADE, WATCH, SET, EVENT, sees]);
    let report = report_of(&[MADE, WATCH, SET, EVENT]);
    assert_eq!(report.events, 1);
    let missed = "was not told by its watch";
    assert_only(&[MADE, WATCH, SET, sees], missed);
    let late = "2 event /a ok 52 52 event=changed zxid=2";
    let said = violations(&[MADE, WATCH, SET, sees, late]);
    assert!(said[0].contains(missed), "{said:?}");
    // As long as it has seen nothing of it there is time.
    assert_sound(&[MADE, WATCH, SET]);
    // The state of another node may tell that it has, and so may a header.
    let elsewhere = "2 read /b NONODE 50 51 zxid=2";
    assert_only(&[MADE, WATCH, SET, elsewhere], missed);
    assert_sound(&[MADE, WATCH, SET, "2 read /b NONODE 50 51 zxid=1"]);
    // The watch is the session's.
    assert_sound(&[MADE, WATCH, SET, "3 read /b NONODE 50 51 zxid=2"]);
    // Its own change too comes after the event.
    let own = "2 set /a y ok 30 40 zxid=2 version=1";
    assert_sound(&[MADE, WATCH, own, EVENT]);
    assert_only(&[MADE, WATCH, own], missed);
}

#[test]
fn one_fires_at_the_first_change_and_once() {
    let again = "1 set /a z ok 42 44 zxid=3 version=2";
    let second = "2 event /a ok 45 45 event=changed zxid=3";
    assert_only(
        &[MADE, WATCH, SET, again, second],
        "was not told by its watch",
    );
    assert_only(
        &[MADE, WATCH, SET, EVENT, again, second],
        "no watch was set",
    );
    assert_sound(&[MADE, WATCH, SET, EVENT, again]);
    let anew = "2 read /a ok 41 42 version=1 mzxid=2 watch=true";
    assert_sound(&[MADE, WATCH, SET, EVENT, anew, again, second]);
}

#[test]
fn one_does_not_fire_for_nothing() {
    let nothing = "an event without a cause";
    assert_only(&[MADE, WATCH, EVENT], nothing);
    assert_only(&[MADE, EVENT], "no watch was set");
    let old = "2 event /a ok 35 35 event=created zxid=1";
    assert_only(&[MADE, WATCH, old], nothing);
    // Something without an answer may be the cause.
    assert_sound(&[MADE, WATCH, "1 set /a y unknown 30", EVENT]);
    let deleted = "2 event /a ok 35 35 event=deleted zxid=2";
    assert_only(&[MADE, WATCH, SET, deleted], "in two ways");
    // After a reconnect events have no zxid.
    let late = "2 event /a ok 35 35 event=changed";
    assert_only(&[MADE, WATCH, late], nothing);
    assert_sound(&[MADE, WATCH, SET, late]);
}

#[test]
fn one_of_an_absent_node_fires_when_it_comes() {
    let watch = "2 read /a NONODE 0 1 zxid=0 watch=true";
    let made = "1 create /a x ok 5 10 zxid=1";
    let event = "2 event /a ok 9 9 event=created zxid=1";
    let sees = "2 read /a ok 20 21 mzxid=1";
    assert_sound(&[watch, made, event, sees]);
    assert_only(&[watch, made, sees], "was not told by its watch");
}

#[test]
fn one_outlives_its_connection() {
    let connect = "2 connect - ok 50 55 zxid=2";
    let told = "2 event /a ok 54 54 event=changed";
    assert_sound(&[MADE, WATCH, SET, told, connect]);
    assert_only(&[MADE, WATCH, SET, connect], "was not told by its watch");
    // Set again, it fires later.
    let connect = "2 connect - ok 25 26 zxid=1";
    assert_sound(&[MADE, WATCH, connect, SET, EVENT]);
    assert_only(
        &[MADE, WATCH, connect, SET, "2 read /b NONODE 50 51 zxid=2"],
        "was not told by its watch",
    );
    // It ends with the session.
    assert_only(
        &[MADE, WATCH, "2 end - ok 25 26", SET, EVENT],
        "no watch was set",
    );
}

#[test]
fn that_a_node_came_and_went_between_two_connections_is_not_told() {
    let watch = "2 read /a NONODE 0 1 zxid=0 watch=true";
    let (made, gone) = (
        "1 create /a x ok 5 10 zxid=1",
        "1 delete /a ok 12 14 zxid=2",
    );
    assert_sound(&[watch, made, gone, "2 connect - ok 20 25 zxid=2"]);
    let missed = "was not told by its watch";
    assert_only(
        &[watch, made, gone, "2 read /b NONODE 20 25 zxid=2"],
        missed,
    );
    assert_only(&[watch, made, gone, "2 connect - ok 20 25 zxid=1"], missed);
    // The watch is still there.
    let again = [
        watch,
        made,
        gone,
        "2 connect - ok 20 25 zxid=2",
        "1 create /a y ok 30 34 zxid=3",
        "2 read /b NONODE 40 41 zxid=3",
    ];
    assert_only(&again, missed);
    // Of a node that was there its watch tells even that.
    let there = [
        MADE,
        WATCH,
        "1 delete /a ok 30 34 zxid=2",
        "2 connect - ok 40 45 zxid=2",
    ];
    assert_only(&there, missed);
}

#[test]
fn a_persistent_one_fires_at_every_change() {
    let watch = "2 watch /a ok 20 21 zxid=1";
    let again = "1 set /a z ok 42 44 zxid=3 version=2";
    let second = "2 event /a ok 45 45 event=changed zxid=3";
    let sees = "2 read /b NONODE 50 51 zxid=3";
    assert_sound(&[MADE, watch, SET, EVENT, again, second, sees]);
    let missed = "was not told by its watch";
    assert_only(&[MADE, watch, SET, EVENT, again, sees], missed);
    assert_only(&[MADE, watch, SET, again, second, sees], missed);
    let twice = "2 event /a ok 46 46 event=changed zxid=3";
    let all = [MADE, watch, SET, EVENT, again, second, twice, sees];
    assert_only(&all, "an event without a cause");
    // One event is that of both, and ends only the other one.
    assert_sound(&[MADE, watch, WATCH, SET, EVENT, again, second, sees]);
    // What happened between two connections it is not told, but what comes later.
    let connect = "2 connect - ok 40 41 zxid=2";
    assert_sound(&[MADE, watch, SET, connect, again, second, sees]);
    assert_only(&[MADE, watch, SET, connect, again, sees], missed);
    // The other one is told then, of a change that nobody else has seen.
    let (unseen, told) = ("1 set /a w unknown 30", "2 event /a ok 40 40 event=changed");
    let connect = "2 connect - ok 40 41 zxid=2";
    assert_sound(&[
        MADE, watch, WATCH, unseen, told, connect, again, second, sees,
    ]);
    assert_only(&[MADE, watch, SET, told], "no watch was set");
}
