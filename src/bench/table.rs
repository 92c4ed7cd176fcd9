//! The table for the terminal.

use std::fmt::Write as _;

use super::report::{Entry, Report};

/// A client that used more of its threads' time than this was likely the limit.
const CLIENT_BUSY_SHARE: f64 = 0.9;

impl Report {
    /// The table for the terminal.
    pub fn table(&self) -> String {
        let mut text = String::new();
        self.write_table(&mut text)
            .expect("writing to a string cannot fail");
        text
    }

    fn write_table(&self, out: &mut String) -> std::fmt::Result {
        let config = &self.config;
        let pace = match config.rate {
            Some(rate) => format!("{rate} requests/s"),
            None => format!("pipeline {}", config.pipeline),
        };
        writeln!(
            out,
            "{}: {} connections, {pace}, values of {} bytes, {} keys, {:.3} s measured",
            config.servers.join(","),
            config.connections,
            config.value_size,
            config.keys,
            self.measured_s,
        )?;
        writeln!(
            out,
            "{:<16}{:>11}{:>11}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>8}",
            "operation",
            "count",
            "ops/s",
            "p50 µs",
            "p90",
            "p99",
            "p99.9",
            "p99.99",
            "max",
            "errors"
        )?;
        for (name, entry) in &self.operations {
            write_row(name, entry, out)?;
        }
        if self.operations.len() > 1 {
            write_row("all", &self.total, out)?;
        }
        let client = &self.client;
        writeln!(
            out,
            "client  {:.2} µs processor time an operation, {:.2} processors busy",
            client.cpu_us_per_op, client.cpus_used
        )?;
        if let Some(server) = &self.server {
            writeln!(
                out,
                "server  {:.2} µs processor time an operation, {:.2} processors busy, {:.1} MiB resident",
                server.cpu_us_per_op,
                server.cpus_used,
                server.rss_bytes.unwrap_or(0) as f64 / 1_048_576.0,
            )?;
        }
        if let Some(per_session) = self
            .server
            .as_ref()
            .and_then(|one| one.rss_bytes_per_session)
        {
            let sessions = config.connections;
            writeln!(
                out,
                "memory  {per_session:.0} bytes more for each of {sessions} sessions"
            )?;
        }
        if let Some(open_loop) = &self.open_loop {
            let lag = &open_loop.lag_us;
            writeln!(
                out,
                "sent    {} requests more than 1 ms late; lag p50 {:.0} µs, p99 {:.0} µs, max {:.0} µs",
                open_loop.late, lag.p50, lag.p99, lag.max
            )?;
        }
        self.write_warnings(out)?;
        writeln!(out, "machine {}", self.context)
    }

    fn write_warnings(&self, out: &mut String) -> std::fmt::Result {
        for (name, count) in &self.errors {
            writeln!(out, "errors  {name}: {count}")?;
        }
        let wrong = self.wrong();
        if wrong > 0 {
            writeln!(
                out,
                "WRONG   {wrong} replies or events were not what they must be"
            )?;
        }
        if self.reconnects > 0 {
            let why = self.last_break.as_deref().unwrap_or("unknown");
            writeln!(
                out,
                "broken  {} connections were lost and opened again; the last: {why}",
                self.reconnects
            )?;
        }
        let threads = f64::from(self.config.threads);
        if let Some(ceiling) = self.client.ceiling_ops_s {
            let share = self.total.throughput_ops_s / ceiling * 100.0;
            write!(
                out,
                "ceiling {ceiling:.0} ops/s against a responder that only answers"
            )?;
            match self.config.rate {
                Some(_) => writeln!(out)?,
                None => writeln!(out, "; this is {share:.0} % of it")?,
            }
        }
        if self.client.cpus_used > CLIENT_BUSY_SHARE * threads {
            writeln!(
                out,
                "note    this tool's threads were busy all the time and may be the limit: \
                 try --threads {}",
                self.config.threads + 1
            )?;
        }
        Ok(())
    }
}

fn write_row(name: &str, entry: &Entry, out: &mut String) -> std::fmt::Result {
    let latency = &entry.latency_us;
    writeln!(
        out,
        "{:<16}{:>11}{:>11.0}{:>10.0}{:>10.0}{:>10.0}{:>10.0}{:>10.0}{:>10.0}{:>8}",
        name,
        entry.count,
        entry.throughput_ops_s,
        latency.p50,
        latency.p90,
        latency.p99,
        latency.p99_9,
        latency.p99_99,
        latency.max,
        entry.errors,
    )
}
