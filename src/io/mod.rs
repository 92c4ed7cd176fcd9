//! Traits for disk and clock, so that logic runs on real and on simulated ones.
