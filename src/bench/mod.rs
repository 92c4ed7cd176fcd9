//! `zkore bench`: the load generator.
