//! Checks of the code's own rules that no lint knows: layers, file lengths, who may import what.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A module and those that it may use, from the vocabulary upwards. A name that is missing from a
/// module's list is a layer that it must not know.
const LAYERS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("mutation", &[]),
    ("jute", &["types"]),
    ("config", &["types"]),
    ("metrics", &["types"]),
    ("io", &["types"]),
    ("auth", &["types", "jute"]),
    ("tree", &["types", "jute"]),
    ("exchange", &["types", "jute", "auth", "tree"]),
    ("session", &["types", "jute", "exchange"]),
    ("watch", &["types", "jute", "auth", "tree", "exchange"]),
    (
        "prep",
        &[
            "types", "mutation", "jute", "auth", "tree", "exchange", "session",
        ],
    ),
    ("admin", &["types", "jute", "metrics", "auth", "exchange"]),
    ("zab", &["types", "mutation", "jute", "auth"]),
    (
        "sequencer",
        &[
            "types", "mutation", "jute", "metrics", "auth", "tree", "exchange", "session", "prep",
            "zab",
        ],
    ),
    (
        "shard",
        &[
            "types", "mutation", "jute", "metrics", "auth", "tree", "exchange", "session", "watch",
            "admin",
        ],
    ),
    ("history", &["types"]),
    ("wal", &["types", "jute", "io"]),
    ("snapshot", &["types", "jute", "io", "tree"]),
    (
        "storage",
        &["types", "mutation", "jute", "io", "tree", "wal", "snapshot"],
    ),
    (
        "replica",
        &[
            "types",
            "mutation",
            "jute",
            "metrics",
            "io",
            "tree",
            "exchange",
            "session",
            "prep",
            "zab",
            "sequencer",
            "wal",
            "snapshot",
            "storage",
        ],
    ),
    ("rt", &["types", "io", "wal"]),
    ("peer", &["types", "jute", "zab", "rt"]),
    (
        "sim",
        &[
            "types",
            "mutation",
            "jute",
            "metrics",
            "io",
            "tree",
            "exchange",
            "session",
            "watch",
            "prep",
            "zab",
            "sequencer",
            "shard",
            "wal",
            "snapshot",
            "storage",
            "replica",
        ],
    ),
    ("client", &["types", "jute"]),
    ("cli", &["types", "jute", "config", "client"]),
    ("bench", &["types", "jute", "client"]),
    ("launch", &["types", "config", "rt", "client"]),
];

/// Crates that one module alone may name.
const ONLY_IN: &[(&str, &str)] = &[("glommio", "rt"), ("io_uring", "rt")];

/// The longest file, in lines.
const FILE_LINES_MAX: usize = 1000;

#[test]
fn modules_use_only_lower_layers() {
    let allowed: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut offences = Vec::new();
    for (module, path, text) in module_files() {
        let Some(allowed) = allowed.get(module.as_str()) else {
            assert_eq!(
                module,
                "server",
                "{}: say in LAYERS what {module} uses",
                path.display()
            );
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for used in crate_paths(code) {
                if used != module && !allowed.contains(&used) {
                    offences.push(format!("{}:{}: uses {used}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(
        offences.is_empty(),
        "a layer is crossed:\n{}",
        offences.join("\n")
    );
}

#[test]
fn layers_stand_in_order_and_so_does_their_table() {
    let order: Vec<&str> = LAYERS.iter().map(|(module, _)| *module).collect();
    for (at, (module, allowed)) in LAYERS.iter().enumerate() {
        for used in *allowed {
            let is_above = order[..at].contains(used);
            assert!(is_above, "{module} uses {used}, which must stand before it");
        }
    }
    let architecture = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let text = fs::read_to_string(architecture).expect("it is there");
    let rows = text
        .lines()
        .skip_while(|line| *line != "## Layers")
        .skip_while(|line| !line.starts_with("| `"))
        .take_while(|line| line.starts_with("| `"));
    let names = rows.filter_map(|row| row.split('|').nth(1));
    let told: Vec<&str> = names
        .flat_map(|names| names.split(','))
        .map(|name| name.trim().trim_matches('`'))
        .collect();
    let expected: Vec<&str> = order.into_iter().chain(["server"]).collect();
    assert_eq!(told, expected, "the table of layers in ARCHITECTURE.md");
}

#[test]
fn the_runtime_alone_knows_its_crates() {
    let mut offences = Vec::new();
    for (module, path, text) in module_files() {
        for (name, owner) in ONLY_IN {
            let named = text.lines().any(|line| {
                let code = line.split("//").next().unwrap_or_default();
                code.contains(&format!("{name}::"))
            });
            if named && module != *owner {
                offences.push(format!("{}: names {name}", path.display()));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn files_stay_short_and_finished() {
    let mut offences = Vec::new();
    for (_, path, text) in module_files() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            offences.push(format!("{}: {lines} lines", path.display()));
        }
        for (number, line) in text.lines().enumerate() {
            if line.contains("todo!(") || line.contains("unimplemented!(") {
                offences.push(format!("{}:{}: unfinished", path.display(), number + 1));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

/// Every source file below a module's folder: module name, path, text.
fn module_files() -> Vec<(String, PathBuf, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for folder in fs::read_dir(&source)
        .expect("src is there")
        .map(|entry| entry.expect("readable"))
    {
        if folder.path().is_dir() {
            let module = folder
                .file_name()
                .into_string()
                .expect("module names are ASCII");
            collect(&module, &folder.path(), &mut files);
        }
    }
    assert!(files.len() > 20, "the walk found the modules");
    files
}

fn collect(module: &str, folder: &Path, files: &mut Vec<(String, PathBuf, String)>) {
    for entry in fs::read_dir(folder)
        .expect("readable")
        .map(|entry| entry.expect("readable"))
    {
        let path = entry.path();
        if path.is_dir() {
            collect(module, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            files.push((module.to_owned(), path, text));
        }
    }
}

/// The modules that a line names as `crate::module`.
fn crate_paths(code: &str) -> Vec<&str> {
    code.match_indices("crate::")
        .filter(|(at, _)| !code[..*at].ends_with('$'))
        .map(|(at, name)| {
            let rest = &code[at + name.len()..];
            let end = rest
                .find(|c: char| !c.is_ascii_lowercase() && c != '_')
                .unwrap_or(rest.len());
            &rest[..end]
        })
        .filter(|name| !name.is_empty())
        .collect()
}
