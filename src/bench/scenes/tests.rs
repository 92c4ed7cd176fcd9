//! Scenarios against a real server are in `tests/bench.rs`; here is what needs none.

use clap::Parser;

use super::*;

#[test]
fn parents_come_before_their_children() {
    for scenario in Scenario::value_variants() {
        let words = ["bench", "--connections=25", "--keys=250", "--base=/b"];
        let options = Options::try_parse_from(words).expect("valid words");
        let Some(scene) = scenario.scene(&options) else {
            continue;
        };
        let mut known = vec!["/b".to_owned()];
        for (path, _) in scene.znodes() {
            let (parent, _) = path.rsplit_once('/').expect("absolute");
            assert!(known.iter().any(|one| one == parent), "{path}");
            assert!(!known.contains(&path), "{path} comes twice");
            known.push(path);
        }
        assert!(known.len() > 1, "{scenario:?}");
        for number in 0..25 {
            scene.actor(number);
        }
    }
}
