//! Every crate that is linked in has a licence that deny.toml allows, and none has a known flaw.
//! Advisories need cargo-deny and its database, which `cargo deny fetch` brings; where they are
//! missing, that test is skipped and says so.

use std::path::PathBuf;
use std::process::Command;

/// The licences that deny.toml allows.
fn allowed() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml");
    let text = std::fs::read_to_string(path).expect("deny.toml is there");
    let list = text
        .split_once("allow = [")
        .and_then(|(_, rest)| rest.split_once(']'));
    let (list, _) = list.expect("deny.toml lists licences");
    list.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Whether an SPDX expression can be satisfied: one alternative whose every part is allowed.
/// Crates write `/` for `OR`, parentheses only around alternatives, and `+` for "or later".
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let plain = expression.replace('/', " OR ").replace(['(', ')'], " ");
    let is_known = |licence: &str| {
        let licence = licence.trim().trim_end_matches('+');
        allowed.iter().any(|known| known == licence)
    };
    let mut parts = plain.split(" AND ");
    parts.all(|part| part.split(" OR ").any(is_known))
}

#[test]
fn licences_are_allowed() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--manifest-path",
        ])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo runs this test");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"]
        .as_array()
        .expect("metadata lists packages");
    assert!(packages.len() > 50, "the list is whole");
    let allowed = allowed();
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !is_allowed(package["license"].as_str().unwrap_or(""), &allowed))
        .map(|package| {
            format!(
                "{} {}: {}",
                package["name"], package["version"], package["license"]
            )
        })
        .collect();
    assert!(
        refused.is_empty(),
        "not in deny.toml:\n{}",
        refused.join("\n")
    );
}

#[test]
fn expressions_are_read() {
    let allowed = [
        "MIT".to_owned(),
        "ISC".to_owned(),
        "Apache-2.0 WITH LLVM-exception".to_owned(),
    ];
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("MIT/Apache-2.0", true),
        ("ISC+", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND ISC", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }
}

/// Where cargo keeps what it downloads.
fn cargo_home() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
}

/// What is missing for a look at the advisories.
fn missing_for_advisories() -> Option<&'static str> {
    let version = Command::new(env!("CARGO"))
        .args(["deny", "--version"])
        .output();
    if !version.is_ok_and(|output| output.status.success()) {
        return Some("cargo-deny is not installed (cargo install cargo-deny)");
    }
    let databases = cargo_home().map(|home| home.join("advisory-dbs"));
    let has_one = databases
        .and_then(|folder| std::fs::read_dir(folder).ok())
        .is_some_and(|mut entries| {
            entries.any(|entry| entry.is_ok_and(|entry| entry.path().is_dir()))
        });
    (!has_one).then_some("there is no database of advisories (cargo deny fetch db)")
}

#[test]
fn no_crate_has_a_known_flaw() {
    if let Some(reason) = missing_for_advisories() {
        println!("skipped: {reason}");
        return;
    }
    let output = Command::new(env!("CARGO"))
        .args(["deny", "--offline", "check", "advisories"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("it was found above");
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("is stale") {
        println!("skipped: the database of advisories is too old (cargo deny fetch db)");
        return;
    }
    assert!(output.status.success(), "{text}");
}
