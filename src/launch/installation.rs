//! Where the server of a zoo.cfg keeps its things.
//!
//! The file is read leniently here: a server must be stopped even if its configuration has
//! become one that would no longer start.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Environment, LaunchError, Request};
use crate::config::properties::{self, Property};
use crate::config::{Config, Sources};

/// A server's configuration and the files that follow from it.
pub(super) struct Installation {
    /// Everything that a server reads at start.
    pub sources: Sources,
    /// What zoo.cfg says, line by line; empty without one.
    pub properties: Vec<Property>,
    pub data_dir: PathBuf,
    pub data_log_dir: Option<PathBuf>,
    pub pid_file: PathBuf,
}

impl Installation {
    /// Finds the configuration.
    pub(super) fn find(
        environment: &Environment,
        request: &Request,
    ) -> Result<Installation, LaunchError> {
        let mut sources = Sources::from_environment();
        if let Some(path) = environment.config_path(request.config.as_deref()) {
            sources.read_file(&path)?;
        }
        if environment.autocreate_disabled {
            let property = "zookeeper.datadir.autocreate=false".to_string();
            sources.overrides.push(property);
        }
        sources.overrides.extend(request.overrides.iter().cloned());
        let bytes = sources.file.as_ref().map_or(&[][..], |file| &file.bytes);
        // Starting the server reports the malformed line; stopping it needs no more than a path.
        let properties = properties::parse(bytes).unwrap_or_default();
        let directory = |key: &str| {
            let overridden = request.overrides.iter().rev().find_map(|given| {
                let (given_key, value) = given.split_once('=')?;
                let bare = given_key.strip_prefix("zookeeper.").unwrap_or(given_key);
                (bare == key).then_some(value)
            });
            overridden
                .or_else(|| last_value(&properties, key))
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let data_dir = directory("dataDir").unwrap_or_else(|| Config::default().data_dir);
        let data_log_dir = directory("dataLogDir");
        Ok(Installation {
            pid_file: environment.pid_file(&data_dir),
            sources,
            properties,
            data_dir,
            data_log_dir,
        })
    }

    /// Finds the configuration and says which it is.
    pub(super) fn announced(
        environment: &Environment,
        request: &Request,
    ) -> Result<Installation, LaunchError> {
        let path = environment.config_path(request.config.as_deref());
        match &path {
            Some(path) => eprintln!("Using config: {}", path.display()),
            None => eprintln!("Using config: none, the defaults"),
        }
        Installation::find(environment, request)
    }

    /// Checks or makes the directories that a process id is written to.
    pub(super) fn prepare_pid_file(&self, environment: &Environment) -> Result<(), LaunchError> {
        if environment.autocreate_disabled {
            require("data", Some(&self.data_dir))?;
            require("txnlog", self.data_log_dir.as_deref())?;
        }
        match self.pid_file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => {
                fs::create_dir_all(parent).map_err(LaunchError::file("create", parent))
            }
            _ => Ok(()),
        }
    }

    /// Arguments with which the binary runs this server in the foreground.
    pub(super) fn server_arguments(&self) -> Vec<String> {
        let mut arguments = vec!["server".to_string()];
        for property in &self.sources.overrides {
            arguments.push(format!("-D{property}"));
        }
        if let Some(file) = &self.sources.file {
            arguments.push(file.path.display().to_string());
        }
        arguments
    }

    /// The last value of this key of zoo.cfg.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        last_value(&self.properties, key)
    }
}

fn last_value<'a>(properties: &'a [Property], key: &str) -> Option<&'a str> {
    properties
        .iter()
        .rev()
        .find(|property| property.key == key)
        .map(|property| property.value.as_str())
}

fn require(kind: &'static str, directory: Option<&Path>) -> Result<(), LaunchError> {
    match directory {
        Some(path) if !path.is_dir() => Err(LaunchError::MissingDirectory {
            kind,
            path: path.display().to_string(),
        }),
        _ => Ok(()),
    }
}
