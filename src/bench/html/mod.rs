//! The report as one HTML file with charts, which needs nothing else to be read.

mod chart;

use std::fmt::Write as _;

use super::compare::{Outcome, Row};
use super::report::{Entry, Report, Slot};

use chart::{Chart, Line, Range};

const STYLE: &str = include_str!("style.css");

/// Quantiles on the latency chart's axis.
const QUANTILES: [(f64, &str); 6] = [
    (0.0, "0"),
    (0.5, "50 %"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
];

/// Beyond this the curve of latencies is drawn here: 1 would be infinitely far away.
const QUANTILE_MAX: f64 = 0.99999;

/// A report among those that are drawn together.
struct Drawn<'a> {
    /// What the table calls it.
    name: String,
    /// What the legend calls it; empty where another of the same colour bears the name.
    legend: &'a str,
    colour: usize,
    report: &'a Report,
}

/// The report of one run.
pub fn of_report(report: &Report) -> String {
    let config = &report.config;
    let pace = match config.rate {
        Some(rate) => format!("open loop of {rate} requests a second"),
        None => format!("closed loop, pipeline {}", config.pipeline),
    };
    let mut out = head(&format!("zkore bench, {}", config.servers.join(", ")));
    let _ = write!(
        out,
        "<p>{} connections, {pace}, mix {}, values of {} bytes, {} znodes, {:.1} s measured.<br>{}</p>",
        config.connections,
        escaped(&config.mix),
        config.value_size,
        config.keys,
        report.measured_s,
        escaped(&report.context.to_string()),
    );
    let drawn = [Drawn {
        name: String::new(),
        legend: "",
        colour: 0,
        report,
    }];
    write_operations(&drawn, &mut out);
    let operations = report.operations.iter().enumerate();
    let lines = operations.map(|(colour, (name, entry))| latency_line(name, colour, entry));
    write_latency(lines, &mut out);
    write_timelines(&drawn, &mut out);
    let _ = write!(out, "<h2>The whole report</h2>{}", pre(&report.table()));
    out + "</main></body></html>\n"
}

/// The report of a comparison: medians, and charts of all rounds.
pub fn of_outcome(outcome: &Outcome) -> String {
    let names: Vec<&str> = outcome
        .targets
        .iter()
        .map(|target| &target.name[..])
        .collect();
    let title = names.join(" and ");
    let mut out = head(&format!("zkore bench, {title}"));
    let _ = write!(out, "<h2>Ratios, {}</h2>", escaped(&names.join(" / ")));
    out.push_str("<p>Of the figures within each round: median and spread.</p>");
    let range = |row: &Row| {
        let ratio = row.ratio.as_ref().filter(|ratio| ratio.min > 0.0)?;
        Some(Range {
            name: row.name.clone(),
            median: ratio.median,
            ends: (ratio.min, ratio.max),
        })
    };
    let ranges: Vec<Range> = outcome.figures.iter().filter_map(range).collect();
    out.push_str(&chart::ranges(&ranges));
    let mut rounds = Vec::new();
    for (colour, &target) in names.iter().enumerate() {
        let reports = outcome.reports.get(target).into_iter().flatten();
        rounds.extend(reports.enumerate().map(|(round, report)| Drawn {
            name: format!("{target}, round {}:", round + 1),
            legend: if round == 0 { target } else { "" },
            colour,
            report,
        }));
    }
    out.push_str("<h2>The rounds</h2><p>In the charts each round is a line.</p>");
    write_operations(&rounds, &mut out);
    let totals = rounds.iter();
    let lines = totals.map(|one| latency_line(one.legend, one.colour, &one.report.total));
    write_latency(lines, &mut out);
    write_timelines(&rounds, &mut out);
    let _ = write!(out, "<h2>All figures</h2>{}", pre(&outcome.table()));
    out + "</main></body></html>\n"
}

fn head(title: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><main><h1>{title}</h1>\n"
    )
}

/// A table of all operations of one or several reports.
fn write_operations(reports: &[Drawn<'_>], out: &mut String) {
    out.push_str(
        "<table><tr><th></th><th>count</th><th>ops/s</th><th>p50 µs</th><th>p90</th><th>p99</th>\
         <th>p99.9</th><th>p99.99</th><th>max</th><th>errors</th></tr>",
    );
    for Drawn { name, report, .. } in reports {
        let entries = report.operations.iter().map(|(&name, entry)| (name, entry));
        let all = (report.operations.len() > 1).then_some(("all", &report.total));
        for (operation, entry) in entries.chain(all) {
            let latency = &entry.latency_us;
            let title = format!("{name} {operation}");
            let _ = write!(out, "<tr><th>{}</th>", escaped(title.trim()));
            let count = entry.count as f64;
            for value in [
                count,
                entry.throughput_ops_s,
                latency.p50,
                latency.p90,
                latency.p99,
                latency.p99_9,
                latency.p99_99,
                latency.max,
                (entry.errors + entry.wrong) as f64,
            ] {
                let _ = write!(out, "<td>{value:.0}</td>");
            }
            out.push_str("</tr>");
        }
    }
    out.push_str("</table>\n");
}

/// Where a quantile is on the latency chart's axis.
fn place(quantile: f64) -> f64 {
    -(1.0 - quantile.min(QUANTILE_MAX)).log10()
}

fn latency_line(name: &str, colour: usize, entry: &Entry) -> Line {
    let known = entry.latency_curve.iter().filter(|(_, us)| *us > 0.0);
    Line {
        name: name.to_owned(),
        colour,
        points: known.map(|&(quantile, us)| (place(quantile), us)).collect(),
    }
}

fn write_latency(lines: impl Iterator<Item = Line>, out: &mut String) {
    let chart = Chart {
        x_label: "",
        y_label: "latency up to this quantile, µs",
        x_ticks: QUANTILES
            .map(|(quantile, text)| (place(quantile), text))
            .into(),
        is_logarithmic: true,
        lines: lines.filter(|line| !line.points.is_empty()).collect(),
    };
    let _ = write!(out, "<h2>Latency</h2>{}", chart.svg());
}

fn write_timelines(reports: &[Drawn<'_>], out: &mut String) {
    let write_chart =
        |title: &str, y_label, value: &dyn Fn(&Slot) -> Option<f64>, out: &mut String| {
            let lines: Vec<Line> = reports
                .iter()
                .map(|one| Line {
                    name: one.legend.to_owned(),
                    colour: one.colour,
                    points: one
                        .report
                        .timeline
                        .iter()
                        .filter_map(|slot| Some((slot.at_s as f64, value(slot)?)))
                        .collect(),
                })
                .filter(|line| !line.points.is_empty())
                .collect();
            if lines.is_empty() {
                return;
            }
            let chart = Chart {
                x_label: if reports.len() > 1 { "" } else { "seconds" },
                y_label,
                x_ticks: Vec::new(),
                is_logarithmic: false,
                lines,
            };
            let _ = write!(out, "<h2>{title}</h2>{}", chart.svg());
        };
    write_chart(
        "Throughput",
        "requests a second",
        &|slot| Some(slot.ops_s),
        out,
    );
    write_chart("99th percentile", "µs", &|slot| Some(slot.p99_us), out);
    write_chart("Longest", "µs", &|slot| Some(slot.max_us), out);
    let has_errors = reports.iter().any(|one| one.report.total.errors > 0);
    if has_errors {
        write_chart("Errors", "requests", &|slot| Some(slot.errors as f64), out);
    }
    write_chart(
        "The server's processors",
        "busy",
        &|slot| slot.server_cpus,
        out,
    );
    let memory = |slot: &Slot| {
        slot.server_rss_bytes
            .map(|bytes| bytes as f64 / 1_048_576.0)
    };
    write_chart("The server's memory", "MiB", &memory, out);
}

fn pre(text: &str) -> String {
    format!("<pre>{}</pre>", escaped(text))
}

/// Text that is no markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
