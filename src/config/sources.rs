//! Where settings come from, gathered into one list in order of precedence.
//!
//! The last one counts: `SERVER_JVMFLAGS`, `JVMFLAGS` (zkServer.sh puts them on Java's command
//! line in this order), the arguments of the standalone form, zoo.cfg, and zkore's own `-D`. That
//! zoo.cfg outweighs the variables is Apache's order too: `QuorumPeerConfig.parseProperties` sets
//! a system property from each key that it does not know itself. A key that Apache reads from
//! zoo.cfg only has no system property, so that the variables cannot set it.

use std::path::{Path, PathBuf};

use super::error::{ConfigError, Origin};
use super::properties;

/// What a server was given at start.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The zoo.cfg.
    pub file: Option<ConfigFile>,
    /// The standalone form of Apache's `ZooKeeperServerMain`: port, data directory and, if given,
    /// tick time and connections per client. As with Apache, without the last there is no limit.
    pub standalone_args: Vec<String>,
    /// `key=value` of each `-D`; a key alone has the value `true`.
    pub overrides: Vec<String>,
    /// The value of the environment variable `SERVER_JVMFLAGS`.
    pub server_jvm_flags: Option<String>,
    /// The value of the environment variable `JVMFLAGS`.
    pub jvm_flags: Option<String>,
}

/// A zoo.cfg that was read.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Its path, as messages name it.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// A key with its value and where both were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

impl Sources {
    /// Nothing but the environment variables.
    pub fn from_environment() -> Sources {
        let variable = |name| {
            std::env::var_os(name)
                .map(|value: std::ffi::OsString| value.to_string_lossy().into_owned())
        };
        Sources {
            server_jvm_flags: variable("SERVER_JVMFLAGS"),
            jvm_flags: variable("JVMFLAGS"),
            ..Sources::default()
        }
    }

    /// Reads a zoo.cfg.
    pub fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        self.file = Some(ConfigFile::read(path)?);
        Ok(())
    }

    /// All settings, the weightier later.
    pub(super) fn settings(&self) -> Result<Vec<Setting>, ConfigError> {
        let mut settings = Vec::new();
        for (variable, flags) in [
            ("SERVER_JVMFLAGS", &self.server_jvm_flags),
            ("JVMFLAGS", &self.jvm_flags),
        ] {
            let flags = flags.as_deref().unwrap_or_default();
            settings.extend(from_jvm_flags(flags, variable));
        }
        settings.extend(self.standalone_settings()?);
        if let Some(file) = &self.file {
            settings.extend(file.settings()?);
        }
        for given in &self.overrides {
            let (key, value) = given.split_once('=').unwrap_or((given, "true"));
            settings.push(Setting {
                key: key.trim().to_string(),
                value: value.trim().to_string(),
                origin: Origin::CommandLine,
            });
        }
        Ok(settings)
    }

    fn standalone_settings(&self) -> Result<Vec<Setting>, ConfigError> {
        let keys = ["clientPort", "dataDir", "tickTime", "maxClientCnxns"];
        let given = self.standalone_args.len();
        if given == 0 {
            return Ok(Vec::new());
        }
        if !(2..=keys.len()).contains(&given) {
            return Err(ConfigError::Invalid {
                whence: Origin::CommandLine.to_string(),
                reason: format!("expected a zoo.cfg, or 2 to 4 of: {}", keys.join(" ")),
            });
        }
        let mut values = self.standalone_args.clone();
        let without_limit = given < keys.len();
        values.extend(without_limit.then(|| "0".to_string()));
        let last = keys[keys.len() - 1];
        let named = keys[..given].iter().copied().chain([last]);
        Ok(named
            .zip(values)
            .map(|(key, value)| Setting {
                key: key.to_string(),
                value,
                origin: Origin::CommandLine,
            })
            .collect())
    }
}

impl ConfigFile {
    /// Reads a file of settings.
    pub(super) fn read(path: &Path) -> Result<ConfigFile, ConfigError> {
        let bytes = std::fs::read(path).map_err(|source| ConfigError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        Ok(ConfigFile {
            path: path.to_path_buf(),
            bytes,
        })
    }

    /// What it says, in its order.
    pub(super) fn settings(&self) -> Result<Vec<Setting>, ConfigError> {
        let origin = |line| Origin::File {
            path: self.path.clone(),
            line,
        };
        let properties = properties::parse(&self.bytes).map_err(|bad| ConfigError::Syntax {
            origin: origin(bad.line),
            reason: bad.to_string(),
        })?;
        Ok(properties
            .into_iter()
            .map(|property| Setting {
                key: property.key,
                value: property.value,
                origin: origin(property.line),
            })
            .collect())
    }
}

/// The `-D` among flags of the Java virtual machine. Like zkServer.sh, which leaves the variable
/// unquoted, it parts them at spaces and knows no quotes.
fn from_jvm_flags(flags: &str, variable: &'static str) -> Vec<Setting> {
    flags
        .split_ascii_whitespace()
        .filter_map(|flag| flag.strip_prefix("-D"))
        .map(|property| {
            let (key, value) = property.split_once('=').unwrap_or((property, ""));
            Setting {
                key: key.to_string(),
                value: value.to_string(),
                origin: Origin::Environment(variable),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weightier_sources_come_later() {
        let sources = Sources {
            file: Some(ConfigFile {
                path: "zoo.cfg".into(),
                bytes: b"a=3\n".to_vec(),
            }),
            standalone_args: Vec::new(),
            overrides: vec!["a=4".to_string(), "b".to_string()],
            server_jvm_flags: Some("-Xmx1000m -Da=1".to_string()),
            jvm_flags: Some(" -Da=2  -Dc -verbose:gc".to_string()),
        };
        let given: Vec<String> = sources
            .settings()
            .expect("well formed")
            .iter()
            .map(|s| format!("{} {}={}", s.origin, s.key, s.value))
            .collect();
        assert_eq!(
            given,
            [
                "SERVER_JVMFLAGS a=1",
                "JVMFLAGS a=2",
                "JVMFLAGS c=",
                "zoo.cfg:1 a=3",
                "command line a=4",
                "command line b=true",
            ]
        );
    }

    #[test]
    fn the_standalone_form_names_its_keys() {
        let keys = |args: &[&str]| {
            let sources = Sources {
                standalone_args: args.iter().map(|arg| arg.to_string()).collect(),
                ..Sources::default()
            };
            sources.settings().map(|settings| {
                let pairs: Vec<String> = settings
                    .iter()
                    .map(|s| format!("{}={}", s.key, s.value))
                    .collect();
                pairs.join(" ")
            })
        };
        let accepted = |args| keys(args).expect("2 to 4 arguments");
        assert_eq!(
            accepted(&["1", "d"]),
            "clientPort=1 dataDir=d maxClientCnxns=0"
        );
        assert_eq!(
            accepted(&["1", "d", "2000"]),
            "clientPort=1 dataDir=d tickTime=2000 maxClientCnxns=0"
        );
        assert_eq!(
            accepted(&["1", "d", "2000", "7"]),
            "clientPort=1 dataDir=d tickTime=2000 maxClientCnxns=7"
        );
        assert!(keys(&["1"]).is_err() && keys(&["1", "2", "3", "4", "5"]).is_err());
    }
}
