//! Readers on other threads while the writer goes on.
//!
//! Each transaction is a multi that keeps sums: every "account" is changed together with the total,
//! and nodes come and go in pairs. A reader that sees half of one, or freed memory, notices.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::*;
use crate::tree::View;
use crate::types::{SessionId, Zxid};

const ACCOUNTS: i64 = 8;
const PAIRS: i64 = if cfg!(miri) { 8 } else { 200 };
const TXNS: i64 = if cfg!(miri) { 60 } else { 20_000 };

fn value(view: &View, path: &str, zxid: Zxid) -> i64 {
    let node = view.node_at(path, zxid).expect(path);
    let data = node.data().expect("not null");
    i64::from_be_bytes(data[..8].try_into().expect("eight bytes lead"))
}

fn check(view: &View, zxid: Zxid) {
    let sum: i64 = (0..ACCOUNTS)
        .map(|account| value(view, &format!("/accounts/{account}"), zxid))
        .sum();
    assert_eq!(sum, value(view, "/total", zxid));

    let left = names(view, "/left", zxid);
    assert_eq!(left, names(view, "/right", zxid));
    let ephemerals = view.ephemerals_at(SessionId(1), zxid);
    let expected: Vec<_> = left.iter().map(|name| format!("/right/{name}")).collect();
    assert_eq!(ephemerals, expected);
}

fn names(view: &View, path: &str, zxid: Zxid) -> Vec<String> {
    let node = view.node_at(path, zxid).expect(path);
    let mut names = Vec::new();
    node.for_each_child(&mut |name| names.push(name.to_owned()));
    names.sort_unstable();
    assert_eq!(names.len() as i32, node.num_children());
    for name in &names {
        let child = view.node_at(&format!("{path}/{name}"), zxid).expect(name);
        assert!(child.stat().czxid <= zxid.0);
    }
    names
}

fn read_until_done(mut view: View, published: &AtomicI64, is_done: &AtomicBool, reader: usize) {
    loop {
        let is_last = is_done.load(Ordering::Acquire);
        let newest = Zxid(published.load(Ordering::Acquire));
        check(&view, view.zxid());
        check(&view, newest);
        // Some lag behind, some keep up.
        if reader.is_multiple_of(2) || is_last {
            view.advance(newest);
        } else {
            view.advance(Zxid((view.zxid().0 + newest.0) / 2));
        }
        check(&view, view.zxid());
        if is_last {
            return;
        }
    }
}

fn transact(driver: &mut Driver, at: i64, has_pair: &mut [bool], totals: &mut [i64]) {
    let account = at.wrapping_mul(0x5851_f42d_4c95_7f2d).rotate_left(20) % ACCOUNTS;
    let account = account.unsigned_abs() as usize;
    totals[account] += at;
    let total: i64 = totals.iter().sum();
    let padding = vec![at as u8; (at % 100) as usize];
    let one = [&totals[account].to_be_bytes()[..], &padding].concat();
    let all = [&total.to_be_bytes()[..], &padding].concat();
    let account = format!("/accounts/{account}");

    let pair = (at.wrapping_mul(0x9e37_79b9) % PAIRS) as usize;
    let (left, right) = (format!("/left/p{pair}"), format!("/right/p{pair}"));
    let mut txns = vec![set_data(&account, &one, 1), set_data("/total", &all, 1)];
    has_pair[pair] = !has_pair[pair];
    if !has_pair[pair] {
        txns.extend([delete(&right), delete(&left)]);
    } else {
        txns.extend([
            create_with(&left, &padding, false, -1),
            create_with(&right, &padding, true, -1),
        ]);
    }
    driver.apply(1, &Txn::Multi(txns));
}

#[test]
fn readers_never_see_half_a_transaction() {
    let mut driver = Driver::new(config());
    for path in ["/accounts", "/left", "/right", "/total"] {
        driver.apply(1, &create(path, &[0; 8]));
    }
    for account in 0..ACCOUNTS {
        driver.apply(1, &create(&format!("/accounts/{account}"), &[0; 8]));
    }
    let (published, is_done) = (AtomicI64::new(driver.zxid), AtomicBool::new(false));
    let mut has_pair = vec![false; PAIRS as usize];
    let mut totals = vec![0; ACCOUNTS as usize];
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let view = driver.tree.view(Zxid(driver.zxid));
            let (published, is_done) = (&published, &is_done);
            scope.spawn(move || read_until_done(view, published, is_done, reader));
        }
        for at in 1..=TXNS {
            transact(&mut driver, at, &mut has_pair, &mut totals);
            published.store(driver.zxid, Ordering::Release);
            driver.tree.reclaim(usize::MAX);
            if at % 16 == 0 {
                std::thread::yield_now();
            }
        }
        is_done.store(true, Ordering::Release);
    });
    // Nothing but the newest state is left to be freed: one round unlinks, the next frees.
    driver.tree.reclaim(usize::MAX);
    assert_eq!(driver.tree.reclaim(usize::MAX), 0);
}

#[test]
fn the_index_grows_and_shrinks_under_a_view() {
    let mut driver = Driver::new(config());
    let count = if cfg!(miri) { 1_500 } else { 30_000 };
    driver.apply(1, &create("/dir", b""));
    let paths: Vec<_> = (0..count).map(|at| format!("/dir/node-{at}")).collect();
    let empty = driver.tree.view(Zxid(driver.zxid));
    for path in &paths {
        driver.apply(1, &create(path, path.as_bytes()));
    }
    let full = driver.tree.view(Zxid(driver.zxid));
    driver.tree.reclaim(usize::MAX);
    for path in &paths {
        driver.apply(1, &delete(path));
    }
    driver.tree.reclaim(usize::MAX);
    assert_eq!(empty.descendants_at("/dir", empty.zxid()), 0);
    assert_eq!(full.descendants_at("/dir", full.zxid()), count);
    assert_eq!(full.descendants_at("/dir", driver.tree.tip_zxid()), 0);
    for path in &paths {
        assert!(empty.node(path).is_none());
        let node = full.node(path).expect(path);
        assert_eq!(node.data(), Some(path.as_bytes()));
    }
    drop((empty, full));
    while driver.tree.reclaim(1000) > 0 {}
    for path in &paths {
        assert!(driver.tree.node(path).is_none());
        driver.apply(1, &create(path, b"again"));
    }
    assert_eq!(
        driver.tree.node("/dir").expect("there").num_children(),
        count as i32
    );
}

#[test]
fn views_keep_to_what_is_applied() {
    let panics = |work: &mut dyn FnMut()| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err()
    };
    let mut driver = Driver::new(config());
    driver.apply(1, &create("/a", b""));
    driver.apply(1, &create("/b", b""));
    let mut view = driver.tree.view(Zxid(1));
    assert!(panics(&mut || drop(driver.tree.view(Zxid(3)))));
    assert!(panics(&mut || _ = view.node_at("/a", Zxid(0))));
    assert!(panics(&mut || _ = view.node_at("/a", Zxid(3))));
    assert!(panics(&mut || view.advance(Zxid(3))));
    view.advance(Zxid(2));
    assert!(panics(&mut || view.advance(Zxid(1))));
    assert!(view.node("/b").is_some());
    assert!(panics(&mut || {
        driver.tree.apply(&header(1, 2, &error(-1)), &error(-1));
    }));
}

/// A change may be looked at as long as the view is behind it, whatever the writer frees meanwhile.
#[test]
fn changes_are_shown_to_views_that_are_behind_them() {
    let mut driver = Driver::new(config());
    driver.apply(1, &create("/a", b"x"));
    let mut view = driver.tree.view(driver.tree.tip_zxid());
    let mut changes = Vec::new();
    for _ in 0..100 {
        for txn in [
            create("/a/b", b""),
            set_data("/a/b", b"y", 1),
            delete("/a/b"),
            delete("/a"),
            create("/a", b"x"),
        ] {
            changes.extend(driver.apply(1, &txn).changes);
            driver.tree.reclaim(usize::MAX);
        }
    }
    let reader = std::thread::spawn(move || {
        for (at, change) in changes.iter().enumerate() {
            let change = view.changed(change);
            assert_eq!(change.path, ["/a/b", "/a/b", "/a/b", "/a", "/a"][at % 5]);
            assert_eq!(change.acl[..], [open_acl()]);
            assert_eq!(change.parent_acl.is_none(), at % 5 == 1);
            view.advance(Zxid(2 + at as i64));
        }
        (view, changes)
    });
    while !reader.is_finished() {
        driver.tree.reclaim(1);
    }
    let (view, changes) = reader.join().expect("all changes were shown");
    let panics =
        |work: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err();
    assert!(panics(&|| _ = view.changed(&changes[0])));
    let other = Driver::new(config()).tree;
    assert!(panics(&|| _ = other.view(Zxid(0)).changed(&changes[0])));
}
