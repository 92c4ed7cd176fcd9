//! Loads that mimic real users, each a name for words of the command line.

use clap::error::ErrorKind;

/// A name, what it is, and its words; words after them outweigh them.
pub struct Preset {
    /// As in `--preset NAME`.
    pub name: &'static str,
    /// For the help.
    pub about: &'static str,
    words: &'static str,
}

/// All presets.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "idle-sessions",
        about: "10,000 sessions that only ping, every 10 s each",
        words: "--mix=ping --connections=10000 --rate=1000 --keys=1 --duration=30s \
                --session-timeout=30s",
    },
    Preset {
        name: "reconnect-storm",
        about: "1,000 sessions, all cut and taken up again at once, every 2 s",
        words: "--mix=reconnect --connections=1000 --rate=500 --in-step --keys=1 --duration=20s",
    },
    Preset {
        name: "ephemeral-churn",
        about: "sessions that make ten ephemeral znodes, end, and begin anew",
        words: "--mix=createEphemeral=10,renew=1 --connections=100 --pipeline=10 --keys=1",
    },
    Preset {
        name: "watch-fanout",
        about: "one session writes, 1,000 watch",
        words: "--scenario=watch-fanout --connections=1001",
    },
    Preset {
        name: "service-discovery",
        about: "100 services whose instances come and go, each watched by nine sessions",
        words: "--scenario=service-discovery --connections=1000",
    },
    Preset {
        name: "locks",
        about: "100 sessions contend for ten locks",
        words: "--scenario=locks --connections=100 --keys=10",
    },
    Preset {
        name: "kafka-controller",
        about: "a Kafka controller starts, with 100,000 partitions",
        words: "--scenario=kafka-controller --connections=1 --pipeline=10 --keys=100000 \
                --value-size=80 --warmup=0 --duration=60s",
    },
    Preset {
        name: "hbase-assignment",
        about: "20 region servers of HBase 1 open 1,000 regions each, again and again",
        words: "--scenario=hbase-assignment --connections=20 --pipeline=50 --keys=1000 \
                --value-size=120",
    },
    Preset {
        name: "clickhouse-inserts",
        about: "32 replicated tables of ClickHouse take inserts",
        words: "--scenario=clickhouse-inserts --connections=32 --value-size=200",
    },
];

/// The words of the command line with those of the preset that they name before them.
pub fn expand<'a>(words: impl Iterator<Item = &'a str>) -> Result<Vec<String>, clap::Error> {
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    let mut named = None;
    for (place, word) in words.iter().enumerate() {
        match word.strip_prefix("--preset") {
            Some("") => named = words.get(place + 1).cloned(),
            Some(rest) => named = rest.strip_prefix('=').map(str::to_owned),
            None => {}
        }
    }
    let Some(name) = named else { return Ok(words) };
    let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) else {
        let known: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        let text = format!("`{name}` is not one of the presets {}\n", known.join(", "));
        return Err(clap::Error::raw(ErrorKind::InvalidValue, text));
    };
    let after_program = 1.min(words.len());
    let more = preset.words.split_whitespace().map(str::to_owned);
    words.splice(after_program..after_program, more);
    Ok(words)
}

/// What the help says of the presets and the other commands.
pub fn help() -> String {
    use std::fmt::Write as _;
    let mut text = "Presets:\n".to_owned();
    for Preset { name, about, words } in PRESETS {
        let _ = writeln!(text, "  {name:<20} {about}:\n{:23}{}", "", words);
    }
    text.push_str(
        "\nOther commands:\n  zkore bench compare     two targets in turns: ratios and their spread\n  \
         zkore bench responder   a server that only answers, to measure the client by\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::Options;
    use super::*;

    #[test]
    fn every_preset_is_a_valid_command_line() {
        for preset in PRESETS {
            for words in [
                vec!["bench", "--preset", preset.name, "--connections", "7"],
                vec![
                    "bench",
                    "--connections=7",
                    &format!("--preset={}", preset.name),
                ],
            ] {
                let words = expand(words.into_iter()).expect("a preset");
                let options = Options::try_parse_from(words).expect("valid words");
                assert_eq!(options.connections, 7, "{}", preset.name);
                assert_eq!(options.preset.as_deref(), Some(preset.name));
            }
            assert!(help().contains(preset.about));
        }
        let wrong = expand(["bench", "--preset", "kafka"].into_iter());
        assert!(
            wrong
                .expect_err("unknown")
                .to_string()
                .contains("idle-sessions")
        );
    }
}
