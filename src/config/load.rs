//! From settings to a validated [`Config`], with what is worth saying about them.

use std::collections::HashMap;

use super::draft::Draft;
use super::dynamic;
use super::error::{ConfigError, Origin, Severity, Warning};
use super::keys::{self, KeySpec, Status};
use super::settings::Config;
use super::sources::{Setting, Sources};

impl Config {
    /// Reads and checks all settings, with the dynamic configuration file that they name and the
    /// server's `myid`. Looks up the host name on which clients are served, and no other.
    pub fn load(sources: &Sources) -> Result<(Config, Vec<Warning>), ConfigError> {
        let mut warnings = Vec::new();
        let settings = dynamic::extend(sources.settings()?)?;
        let known = recognise(settings, &mut warnings);
        let mut draft = Draft::default();
        for (spec, setting) in weightiest(known, &mut warnings) {
            apply(&mut draft, spec, setting, &mut warnings)?;
        }
        let file = sources.file.as_ref().map(|file| file.path.clone());
        let mut config = draft
            .finish(file.is_some(), &mut warnings)
            .map_err(|reason| ConfigError::Invalid {
                whence: file
                    .as_ref()
                    .map_or(Origin::CommandLine.to_string(), |path| {
                        path.display().to_string()
                    }),
                reason,
            })?;
        if let Some(file) = &file {
            warnings.extend(dynamic::warn_of_next(file));
        }
        config.config_file = file;
        Ok((config, warnings))
    }
}

/// Parts the settings with a known key from the others, which become warnings.
fn recognise(
    settings: Vec<Setting>,
    warnings: &mut Vec<Warning>,
) -> Vec<(&'static KeySpec, Setting)> {
    let mut known = Vec::new();
    for setting in settings {
        match (keys::find(&setting.key), &setting.origin) {
            (Some(spec), Origin::Environment(_)) if !spec.is_system_property(&setting.key) => {
                if setting.key.starts_with("zookeeper.") {
                    let message = format!(
                        "{} is no system property of Apache ZooKeeper; ignored",
                        setting.key
                    );
                    warnings.push(warning(setting, message));
                }
            }
            (Some(spec), _) => known.push((spec, setting)),
            // The flags of a Java virtual machine hold much that was never meant for a server.
            (None, Origin::Environment(_)) if !setting.key.starts_with("zookeeper.") => {}
            (None, _) => {
                let meant = keys::nearest(&setting.key)
                    .map(|name| format!("; did you mean {name}?"))
                    .unwrap_or_default();
                let message = format!("unknown key {}, ignored{meant}", setting.key);
                warnings.push(warning(setting, message));
            }
        }
    }
    known
}

/// Leaves the last setting of each key, in the order in which they were given.
fn weightiest(
    known: Vec<(&'static KeySpec, Setting)>,
    warnings: &mut Vec<Warning>,
) -> Vec<(&'static KeySpec, Setting)> {
    let identity = |spec: &KeySpec, setting: &Setting| match spec.name.ends_with('*') {
        true => keys::bare(&setting.key).to_string(),
        false => spec.name.to_string(),
    };
    let last: HashMap<String, usize> = known
        .iter()
        .enumerate()
        .map(|(index, (spec, setting))| (identity(spec, setting), index))
        .collect();
    let origin_of: Vec<Origin> = known
        .iter()
        .map(|(_, setting)| setting.origin.clone())
        .collect();
    let mut left = Vec::new();
    for (index, (spec, setting)) in known.into_iter().enumerate() {
        let counts = last[&identity(spec, &setting)];
        if counts == index {
            left.push((spec, setting));
            continue;
        }
        if let (Origin::File { .. }, Origin::File { line, .. }) =
            (&setting.origin, &origin_of[counts])
        {
            let message = format!(
                "{} is given again on line {line}, which counts",
                setting.key
            );
            warnings.push(warning(setting, message));
        }
    }
    left
}

fn apply(
    draft: &mut Draft,
    spec: &'static KeySpec,
    setting: Setting,
    warnings: &mut Vec<Warning>,
) -> Result<(), ConfigError> {
    match spec.status {
        Status::Works(put) => {
            put.put(draft, &setting.key, &setting.value)
                .map_err(|expected| ConfigError::BadValue {
                    origin: setting.origin.clone(),
                    key: setting.key.clone(),
                    value: setting.value.clone(),
                    allowed: expected.0,
                })?;
            if keys::is_membership(spec) {
                draft.ensemble.origin = Some(setting.origin.clone());
            }
            if let Some(message) = draft.adjustment.take() {
                warnings.push(warning(setting, message));
            }
        }
        Status::Ignored { reason } => warnings.push(Warning {
            origin: setting.origin,
            severity: Severity::Notice,
            message: format!("{} is ignored: {reason}", setting.key),
        }),
        Status::Refused { unless, reason } => {
            let asks_for_nothing = unless
                .iter()
                .any(|harmless| harmless.eq_ignore_ascii_case(&setting.value));
            if !asks_for_nothing {
                return Err(refusal(setting, reason));
            }
        }
    }
    Ok(())
}

fn refusal(setting: Setting, reason: &str) -> ConfigError {
    ConfigError::Refused {
        origin: setting.origin,
        key: setting.key,
        value: setting.value,
        reason: reason.to_string(),
    }
}

fn warning(setting: Setting, message: String) -> Warning {
    Warning {
        origin: setting.origin,
        severity: Severity::Warning,
        message,
    }
}
