//! The dynamic configuration file: the members, apart from what each of them keeps for itself
//! (Apache's `QuorumPeerConfig.parse`).

use std::path::Path;

use super::error::{ConfigError, Origin, Severity, Warning};
use super::keys;
use super::sources::{ConfigFile, Setting};

const KEY: &str = "dynamicConfigFile";
/// Names the version in the settings; the file itself must not.
const VERSION: &str = "version";

/// Adds what the file says that `dynamicConfigFile` names; a relative path is one from the
/// working directory. Nothing else may then name members, and the file nothing else.
pub(super) fn extend(mut settings: Vec<Setting>) -> Result<Vec<Setting>, ConfigError> {
    let is_key = |setting: &&Setting| keys::bare(&setting.key) == KEY;
    let Some(pointer) = settings.iter().rev().find(is_key).cloned() else {
        return Ok(settings);
    };
    let is_member = |setting: &&Setting| keys::find(&setting.key).is_some_and(keys::is_membership);
    if let Some(misplaced) = settings.iter().find(is_member) {
        let reason = format!("with {KEY} it must be in that file");
        return Err(refusal(misplaced.clone(), reason));
    }
    let file = ConfigFile::read(Path::new(&pointer.value))?;
    for setting in file.settings()? {
        if setting.key == VERSION {
            let reason = "a dynamic file has its version in its name, as in zoo.cfg.dynamic.100";
            return Err(refusal(setting, reason.to_string()));
        }
        if !is_member(&&setting) {
            let reason = "a dynamic file holds server, group and weight lines only";
            return Err(refusal(setting, reason.to_string()));
        }
        settings.push(setting);
    }
    if let Some(version) = version_in_name(&pointer.value) {
        settings.push(Setting {
            key: VERSION.to_string(),
            value: version.to_string(),
            origin: pointer.origin,
        });
    }
    Ok(settings)
}

/// What follows the last dot of the path where that is a hexadecimal number.
fn version_in_name(path: &str) -> Option<&str> {
    let (_, version) = path.rsplit_once('.')?;
    i64::from_str_radix(version, 16).ok().map(|_| version)
}

/// Says so where a reconfiguration of Apache's is left half done beside this zoo.cfg.
pub(super) fn warn_of_next(config_file: &Path) -> Option<Warning> {
    let mut next = config_file.as_os_str().to_owned();
    next.push(".dynamic.next");
    let next = Path::new(&next);
    next.exists().then(|| Warning {
        origin: Origin::File {
            path: next.to_path_buf(),
            line: 1,
        },
        severity: Severity::Warning,
        message: "left by an unfinished reconfiguration; ignored, since this server cannot finish \
                  one"
        .to_string(),
    })
}

fn refusal(setting: Setting, reason: String) -> ConfigError {
    ConfigError::Refused {
        origin: setting.origin,
        key: setting.key,
        value: setting.value,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_name() {
        for (path, version) in [
            ("zoo.cfg.dynamic.100000003", Some("100000003")),
            ("/etc/zoo.cfg.dynamic.0", Some("0")),
            ("zoo.cfg.dynamic", None),
            ("dynamic", None),
            ("zoo.cfg.dynamic.", None),
        ] {
            assert_eq!(version_in_name(path), version, "{path}");
        }
    }
}
