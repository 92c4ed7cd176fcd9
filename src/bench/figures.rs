//! The single figures of a report, by name, as comparisons and charts take them.

use super::report::{Entry, Report};

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Such as `p99_us`, or for one operation of several `get.p99_us`.
    pub name: String,
    /// In the unit that the name ends in.
    pub value: f64,
}

impl Report {
    /// All figures that runs can be compared by.
    pub fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        let mut add = |prefix: &str, name: &str, value| {
            figures.push(Figure {
                name: format!("{prefix}{name}"),
                value,
            });
        };
        add_entry(&self.total, |name, value| add("", name, value));
        if let Some(server) = &self.server {
            add("", "server_cpu_us_per_op", server.cpu_us_per_op);
            add("", "server_cpus", server.cpus_used);
            if let Some(rss_bytes) = server.rss_bytes {
                add("", "server_rss_bytes", rss_bytes as f64);
            }
            if let Some(per_session) = server.rss_bytes_per_session {
                add("", "server_rss_bytes_per_session", per_session);
            }
        }
        add("", "client_cpu_us_per_op", self.client.cpu_us_per_op);
        if let Some(rss_bytes) = self.client.rss_bytes {
            add("", "client_rss_bytes", rss_bytes as f64);
        }
        add("", "errors", self.total.errors as f64);
        if self.operations.len() > 1 {
            for (operation, entry) in &self.operations {
                let prefix = format!("{operation}.");
                add_entry(entry, |name, value| add(&prefix, name, value));
            }
        }
        figures
    }
}

fn add_entry(entry: &Entry, mut add: impl FnMut(&str, f64)) {
    let latency = &entry.latency_us;
    add("ops_s", entry.throughput_ops_s);
    add("p50_us", latency.p50);
    add("p90_us", latency.p90);
    add("p99_us", latency.p99);
    add("p99_9_us", latency.p99_9);
    add("p99_99_us", latency.p99_99);
    add("max_us", latency.max);
}
