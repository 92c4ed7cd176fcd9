//! What the hot paths cost, by counts that do not depend on the machine's mood: instructions under
//! callgrind against a stored baseline, and allocations, of which a read has none.
//!
//! `perf/cost.txt` and `perf/allocations.txt` are the baseline. `ZKORE_WRITE_COST=1 cargo test --test cost`
//! writes them anew, for a change that costs what it must; the commit's message says why. That a read
//! allocates nothing is no matter of a baseline.
//!
//! The toolchain is not pinned, and another one counts otherwise: the baseline names the compiler that it
//! was counted with, and more is let pass with another one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "../benches/cost/cases.rs"]
mod cases;
#[path = "interop/support.rs"]
#[allow(
    dead_code,
    reason = "shared with the interop tests, which use other parts"
)]
#[allow(clippy::disallowed_methods, reason = "waits for other processes")]
mod support;

use cases::CASES;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending allocates too, and is not looked at.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: the system's allocator does the work; counting does not touch what it returns.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Rounds that are counted.
const ROUNDS: u64 = 1_000;

/// Rounds before them, which fill buffers and caches that stay.
const WARMUP: u64 = 200;

/// How much more than the baseline is let pass: another caller elsewhere may end the inlining of a
/// function, which was seen to move a case by 2.3 %.
const TOLERANCE: f64 = 0.03;

/// The same where another compiler made the baseline.
const TOLERANCE_OF_COMPILERS: f64 = 0.15;

/// How many allocations a request more than the baseline are let pass: what grows now and then counts a
/// little more or less.
const ALLOCATIONS_TOLERANCE: f64 = 0.05;

/// A file of `perf/` that says how much of something a request costs, by case.
struct Baseline {
    name: &'static str,
    head: &'static str,
    decimals: usize,
}

const INSTRUCTIONS: Baseline = Baseline {
    name: "cost.txt",
    head: "Instructions a request, counted by callgrind: tests/cost.rs.",
    decimals: 0,
};

const ALLOCATED: Baseline = Baseline {
    name: "allocations.txt",
    head: "Allocations a request, the case's own among them: tests/cost.rs.",
    decimals: 2,
};

#[test]
fn reads_allocate_nothing_and_writes_no_more_than_the_baseline() {
    let mut measured = BTreeMap::new();
    for case in CASES {
        let mut run = (case.make)();
        for _ in 0..WARMUP {
            run();
        }
        let before = ALLOCATIONS.get();
        for _ in 0..ROUNDS {
            run();
        }
        let count = ALLOCATIONS.get() - before;
        assert!(!case.is_read || count == 0, "{}: {count}", case.name);
        measured.insert(case.name, count as f64 / (ROUNDS * case.requests) as f64);
    }
    ALLOCATED.compare(&measured, |before, _| before + ALLOCATIONS_TOLERANCE);
}

#[test]
fn instructions_stay_within_the_baseline() {
    if !support::ready("instructions", &["valgrind"]) {
        return;
    }
    let program = build(Path::new(env!("CARGO_MANIFEST_DIR")));
    let measured: BTreeMap<&str, f64> = CASES
        .iter()
        .map(|case| (case.name, instructions(&program, case) as f64))
        .collect();
    INSTRUCTIONS.compare(&measured, |before, is_same_compiler| {
        let tolerance = if is_same_compiler {
            TOLERANCE
        } else {
            TOLERANCE_OF_COMPILERS
        };
        before * (1.0 + tolerance)
    });
}

impl Baseline {
    /// Fails where more was measured than `most` allows, which is told what the baseline says and whether
    /// this compiler made it. Writes the baseline anew where that is asked for.
    fn compare(&self, measured: &BTreeMap<&str, f64>, most: impl Fn(f64, bool) -> f64) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("perf")
            .join(self.name);
        let compiler = output(Command::new("rustc").arg("--version"));
        if std::env::var_os("ZKORE_WRITE_COST").is_some() {
            fs::write(&file, self.text(compiler.trim(), measured)).expect("perf/ is writable");
            return;
        }
        let text = fs::read_to_string(&file).expect("the baseline is there");
        let (made_by, baseline) = read_baseline(&text);
        let is_same_compiler = made_by == compiler.trim();
        if !is_same_compiler {
            eprintln!("{} was made by {made_by}, this is {compiler}", self.name);
        }
        let mut offences = String::new();
        for (name, &now) in measured {
            let before = *baseline.get(name).unwrap_or_else(|| {
                panic!("{name} is not in perf/{}: ZKORE_WRITE_COST=1", self.name)
            });
            println!("{name}: {before} in perf/{}, {now:.2} now", self.name);
            let most = most(before, is_same_compiler);
            if now > most {
                let _ = writeln!(offences, "{name}: {before} before, {now:.2} now");
            } else if before - now > most - before {
                println!("  cheaper than the baseline: ZKORE_WRITE_COST=1 keeps that");
            }
        }
        assert!(
            offences.is_empty(),
            "a request costs more than perf/{} says:\n{offences}",
            self.name
        );
    }

    fn text(&self, compiler: &str, measured: &BTreeMap<&str, f64>) -> String {
        let mut text = format!("# {}\n# {compiler}\n", self.head);
        for (name, count) in measured {
            let _ = writeln!(text, "{name} {count:.*}", self.decimals);
        }
        text
    }
}

/// Builds the optimised program that runs the cases.
fn build(top: &Path) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(top)
        .args(["build", "--profile=cost", "--example=cost", "--locked"])
        .args(["--message-format=json", "--quiet"]);
    let messages = output(&mut command);
    let program = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "cost")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.expect("cargo names the program that it built")
}

/// Instructions a request, as callgrind counts them in the function `measured`.
fn instructions(program: &Path, case: &cases::Case) -> u64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("callgrind.out");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg("--toggle-collect=*cost::measured*")
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args([case.name, &ROUNDS.to_string()])
        // Where libraries lie in memory must not matter.
        .env_clear()
        .output()
        .expect("valgrind is there");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}: {said}", case.name);
    let text = fs::read_to_string(&file).expect("callgrind writes its file");
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .and_then(|total| total.trim().parse::<u64>().ok());
    let total = total.unwrap_or_else(|| panic!("{}: no total in {text}", case.name));
    assert!(total > 0, "{}: nothing was measured: {said}", case.name);
    total / (ROUNDS * case.requests)
}

fn output(command: &mut Command) -> String {
    let done = command.output().expect("the program is there");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}");
    String::from_utf8(done.stdout).expect("its output is UTF-8")
}

/// The compiler and the counts.
fn read_baseline(text: &str) -> (&str, BTreeMap<&str, f64>) {
    let mut comments = text.lines().filter_map(|line| line.strip_prefix("# "));
    let compiler = comments.next_back().unwrap_or_default();
    let counts = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, count)| (name, count.parse().expect("a number")))
        .collect();
    (compiler, counts)
}
