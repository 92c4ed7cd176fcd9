//! zoo.cfg, properties and overrides, parsed into one validated structure.
