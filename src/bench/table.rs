//! The table for the terminal.

use std::fmt::Write as _;

use super::ceiling;
use super::report::{Entry, Process, Report, Slot};

/// A client that used more of its threads' time than this was likely the limit.
const CLIENT_BUSY_SHARE: f64 = 0.9;

/// Bars from the lowest to the highest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Bars in a line at most; of more slots each bar is the mean of several.
const BARS_MAX: usize = 60;

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
        self.write_timeline(out)?;
        write_process("client", &self.client, out)?;
        if let Some(server) = &self.server {
            write_process("server", server, out)?;
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

    /// How even the load was.
    fn write_timeline(&self, out: &mut String) -> std::fmt::Result {
        let slots = &self.timeline;
        let worst = |one: &&Slot, other: &&Slot| one.p99_us.total_cmp(&other.p99_us);
        let (Some(worst), 2..) = (slots.iter().max_by(worst), slots.len()) else {
            return Ok(());
        };
        let label = match self.timeline_slot_s {
            1 => "seconds".to_owned(),
            slot_s => format!("each {slot_s} s"),
        };
        let mut rates: Vec<f64> = slots.iter().map(|slot| slot.ops_s).collect();
        let bars = bars(&rates);
        rates.sort_by(f64::total_cmp);
        let last = rates.len() - 1;
        let median = f64::midpoint(rates[last / 2], rates[last.div_ceil(2)]);
        writeln!(
            out,
            "{label} {bars} {:.0} ops/s at least, {median:.0} in the median, {:.0} at most; \
             p99 at most {:.0} µs, {} s after the start",
            rates[0], rates[last], worst.p99_us, worst.at_s,
        )
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
            write!(out, "{}", ceiling::text(ceiling))?;
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

/// The values from left to right, as parts of the greatest.
fn bars(values: &[f64]) -> String {
    let together = values.len().div_ceil(BARS_MAX).max(1);
    let means = values
        .chunks(together)
        .map(|part| part.iter().sum::<f64>() / part.len() as f64);
    let means: Vec<f64> = means.collect();
    let most = means.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let bar = |mean: f64| BARS[(mean / most * (BARS.len() - 1) as f64).round() as usize];
    means.into_iter().map(bar).collect()
}

fn write_process(name: &str, process: &Process, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "{name}  {:.2} µs processor time an operation, {:.2} processors busy, {:.1} MiB resident",
        process.cpu_us_per_op,
        process.cpus_used,
        process.rss_bytes.unwrap_or(0) as f64 / 1_048_576.0,
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_few_and_in_proportion() {
        assert_eq!(bars(&[0.0, 7.0, 3.0, 1.0]), "▁█▄▂");
        assert_eq!(bars(&[0.0]), "▁");
        let many: Vec<f64> = (0..600).map(f64::from).collect();
        let many = bars(&many);
        assert_eq!(many.chars().count(), BARS_MAX);
        assert!(many.starts_with('▁') && many.ends_with('█'));
    }
}
