//! The tests that the tools in `tools/measure` have of their own, and that the README shows what was
//! measured.

use std::path::Path;
use std::process::Command;

#[test]
fn the_tools_pass_their_own_tests() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new("python3");
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python.args(["-m", "unittest", "discover", "-s"]);
    let Ok(done) = python.arg(top.join("tools/measure")).output() else {
        let is_required = std::env::var_os("ZKORE_REQUIRE_INTEROP").is_some();
        assert!(!is_required, "python3 is not installed");
        println!("skipped: python3 is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert!(said.contains("\nOK"), "{said}");
}
