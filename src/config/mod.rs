//! zoo.cfg, properties and overrides, parsed into one validated structure.

mod settings;

pub use settings::{
    CLIENT_PORT_DEFAULT, Config, DigestAlgorithm, LogFormat, PURGE_INTERVAL_UNIT_MS,
    SNAP_RETAIN_COUNT_MIN, TICK_TIME_MS_DEFAULT,
};
