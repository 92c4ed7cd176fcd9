//! The table of keys in the README is the one in the code.
//!
//! With the environment variable `ZKORE_REWRITE` set, the README is rewritten instead of compared.

use std::fmt::Write;
use std::path::Path;

use super::keys::{self, Status};

const BEGIN: &str = "<!-- keys: made from src/config/keys, see src/config/readme_tests.rs -->\n";
const END: &str = "<!-- end of keys -->\n";

#[test]
fn the_readme_lists_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).expect("README.md is in the package");
    let (before, rest) = readme
        .split_once(BEGIN)
        .expect("the table's begin is marked");
    let (table, after) = rest.split_once(END).expect("the table's end is marked");
    let expected = table_text();
    if std::env::var_os("ZKORE_REWRITE").is_some() {
        let rewritten = format!("{before}{BEGIN}{expected}{END}{after}");
        std::fs::write(&path, rewritten).expect("README.md can be written");
        return;
    }
    assert!(
        table == expected,
        "README.md does not list the keys as they are; run this test with ZKORE_REWRITE=1"
    );
}

fn table_text() -> String {
    let mut table =
        String::from("| Key | System property | Status | Meaning |\n|---|---|---|---|\n");
    for group in keys::groups() {
        writeln!(table, "| **{}** | | | |", group.title).expect("strings take everything");
        for spec in group.keys {
            let property = spec
                .system_property
                .map(|name| format!("`{name}`"))
                .unwrap_or_default();
            let status = match spec.status {
                Status::Works(_) => "works".to_string(),
                Status::Ignored { reason } => format!("ignored: {reason}"),
                Status::Refused { unless, reason } => refused(unless, reason),
            };
            writeln!(
                table,
                "| `{}` | {property} | {status} | {} |",
                spec.name, spec.doc
            )
            .expect("strings take everything");
        }
    }
    table
}

fn refused(unless: &[&str], reason: &str) -> String {
    let harmless: Vec<String> = unless
        .iter()
        .filter(|value| !value.is_empty())
        .map(|value| format!("`{}`", value.rsplit('.').next().unwrap_or(value)))
        .collect();
    if harmless.is_empty() {
        return format!("refused: {reason}");
    }
    format!("refused unless {}: {reason}", harmless.join(", "))
}
