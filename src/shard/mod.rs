//! One core's clients: framing, request order, limits and local reads.
