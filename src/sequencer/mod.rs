//! Orders writes: prepares, assigns zxids, pipelines the log, publishes what is durable.
