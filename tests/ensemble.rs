//! Ensembles of real processes, some of them Apache ZooKeeper's: the scripts in `tests/ensemble` say
//! what each must stand. kazoo is the client, where it is not one that hides less.

#[path = "interop/support.rs"]
#[allow(
    dead_code,
    reason = "shared with the interop tests, which use other parts"
)]
#[allow(clippy::disallowed_methods, reason = "waits for other processes")]
mod support;

use std::time::Duration;

/// Longer than any scenario's own limits, which say where it hangs.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs a scenario with members of these kinds: `z` is zkore, `a` Apache ZooKeeper; numbered from 1,
/// and the one with the largest number is elected where all are equal.
fn scenario(name: &str, kinds: &str) {
    run("scenarios.py", name, kinds);
}

fn run(file: &str, name: &str, kinds: &str) {
    let parts: &[&str] = if kinds.contains('a') || name == "read_only" {
        &["venv", "jars", "logger"]
    } else {
        &["venv"]
    };
    support::scenario(&format!("ensemble/{file}"), name, kinds, parts, LIMIT);
}

#[test]
fn servers_started_one_by_one_elect_as_the_tutorial_says() {
    scenario("stepwise", "zzzzz");
}

#[test]
fn all_members_show_the_same_and_go_on_without_their_leader() {
    scenario("replication", "zzz");
}

#[test]
fn members_come_back_behind_empty_and_ahead() {
    scenario("synchronisation", "zzz");
}

#[test]
fn sessions_outlive_members_and_move() {
    scenario("sessions", "zzz");
}

#[test]
fn a_member_without_a_quorum_serves_who_only_reads() {
    for kinds in ["zzz", "aaa"] {
        run("modes.py", "read_only", kinds);
    }
}

#[test]
fn weights_decide_and_a_leader_may_serve_nobody() {
    run("modes.py", "weighted", "zzzzz");
}

#[test]
fn sessions_of_one_member_cost_no_transaction() {
    for kinds in ["zzzz", "zaza", "azaz", "aaaa"] {
        run("modes.py", "local_sessions", kinds);
    }
}

#[test]
fn sessions_of_one_member_become_global_with_an_ephemeral() {
    for kinds in ["zzzz", "zaza", "azaz", "aaaa"] {
        run("modes.py", "upgraded_sessions", kinds);
    }
}

#[test]
fn a_failed_request_costs_a_zxid_only_where_apache_takes_part() {
    for kinds in ["zzzz", "zaza", "azaz", "zzaa"] {
        run("modes.py", "rejections", kinds);
    }
}

#[test]
fn a_stopped_leader_is_replaced_and_knows_it() {
    scenario("paused", "zzz");
}

#[test]
fn a_damaged_member_is_mended() {
    scenario("damaged", "zzz");
}

#[test]
fn observers_see_all_and_do_not_vote() {
    for kinds in ["zzzz", "zaza", "azaz"] {
        scenario("observers", kinds);
    }
}

#[test]
fn members_that_were_told_wrongly_are_named_and_do_no_harm() {
    for name in [
        "same_id",
        "shared_folder",
        "other_config",
        "late_names",
        "unreachable",
    ] {
        run("intruders.py", name, "zzz");
    }
}

#[test]
fn strangers_do_no_harm() {
    scenario("strangers", "zzz");
}

#[test]
fn every_mixture_with_apache_replicates() {
    for kinds in ["zza", "zaz", "azz", "zaa", "aza", "aaz"] {
        scenario("replication", kinds);
    }
}

#[test]
fn every_mixture_with_apache_synchronises() {
    for kinds in ["zza", "zaz", "azz", "zaa", "aza", "aaz"] {
        scenario("synchronisation", kinds);
    }
}

#[test]
fn sessions_move_between_apache_and_us() {
    for kinds in ["zaz", "aza"] {
        scenario("sessions", kinds);
    }
}

#[test]
fn an_ensemble_moves_from_apache_and_back_under_load() {
    for kinds in ["aaa", "zzz"] {
        run("migration.py", "move", kinds);
    }
}
