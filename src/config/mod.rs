//! zoo.cfg, properties and overrides, parsed into one validated structure.
//!
//! [`Sources`] says where settings come from and which of them count, [`Config::load`] checks
//! them, [`keys::groups`] lists every key with what is done with it.

mod draft;
mod dynamic;
mod ensemble;
mod error;
pub mod keys;
mod load;
pub mod properties;
mod servers;
mod settings;
mod sources;
mod values;

#[cfg(test)]
mod ensemble_tests;
#[cfg(test)]
mod load_tests;
#[cfg(test)]
mod readme_tests;

pub use ensemble::EnsembleConfig;
pub use error::{ConfigError, Origin, Severity, Warning};
pub use settings::{
    CLIENT_PORT_DEFAULT, Config, LogFormat, PURGE_INTERVAL_UNIT_MS, Placement, Runtime,
    SNAP_RETAIN_COUNT_MIN, TICK_TIME_MS_DEFAULT,
};
pub use sources::{ConfigFile, Sources};
