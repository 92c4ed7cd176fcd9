//! What a comparison yields: each figure of both targets, and their ratio round by round.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::super::ceiling;
use super::super::figures::Figure;
use super::super::report::Report;
use super::{Compare, Target};

/// The JSON document of a comparison.
#[derive(Debug, Serialize)]
pub struct Outcome {
    tool: String,
    /// In the order of the command line.
    pub targets: Vec<Target>,
    load: Vec<String>,
    /// Requests a second that this tool made in the same way against a trivial responder.
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling_ops_s: Option<f64>,
    /// Every figure that either has.
    pub figures: Vec<Row>,
    /// All rounds' reports, by target.
    pub reports: BTreeMap<String, Vec<Report>>,
}

/// One figure of both.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name, with the unit at the end.
    pub name: String,
    /// Of the first target.
    pub first: Option<Rounds>,
    /// Of the second.
    pub second: Option<Rounds>,
    /// First to second, within each round.
    pub ratio: Option<Rounds>,
}

/// A figure of each round, and how far they are apart.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Rounds {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// In the order in which they were measured.
    pub rounds: Vec<f64>,
}

impl Rounds {
    /// `None` if there are none.
    fn new(rounds: Vec<f64>) -> Option<Rounds> {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Rounds {
            median,
            min,
            max,
            rounds,
        })
    }
}

impl Outcome {
    /// Compares the rounds' `reports` of the two targets.
    pub fn new(asked: &Compare, ceiling_ops_s: Option<f64>, reports: [Vec<Report>; 2]) -> Outcome {
        let [first, second] = &reports;
        let [first, second] = [by_name(first), by_name(second)];
        let mut names: Vec<&String> = first.iter().map(|(name, _)| name).collect();
        names.extend(
            second
                .iter()
                .map(|(name, _)| name)
                .filter(|name| !has(&first, name)),
        );
        let figures = names
            .into_iter()
            .map(|name| Row::new(name, values(&first, name), values(&second, name)))
            .collect();
        let names = asked.target.iter().map(|target| target.name.clone());
        Outcome {
            tool: format!("zkore bench {}", env!("CARGO_PKG_VERSION")),
            targets: asked.target.clone(),
            load: asked.load.clone(),
            ceiling_ops_s,
            figures,
            reports: names.zip(reports).collect(),
        }
    }

    /// Whether every round of both measured something and no reply was wrong.
    pub fn is_sound(&self) -> bool {
        self.reports.values().flatten().all(Report::is_sound)
    }

    /// The figure of this name.
    #[cfg(test)]
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.figures.iter().find(|row| row.name == name)
    }

    /// The table for the terminal.
    pub fn table(&self) -> String {
        let mut text = String::new();
        self.write_table(&mut text)
            .expect("writing to a string cannot fail");
        text
    }

    fn write_table(&self, out: &mut String) -> std::fmt::Result {
        let [first, second] = [&self.targets[0].name, &self.targets[1].name];
        let ratio = format!("{first}/{second}");
        writeln!(
            out,
            "{:<30}{first:>14}{second:>14}  {ratio:>16}   least   most",
            "median of the rounds"
        )?;
        for row in &self.figures {
            let value = |rounds: &Option<Rounds>| {
                let median = rounds.as_ref().map(|rounds| rounds.median);
                median.map_or_else(|| "–".to_owned(), number)
            };
            write!(
                out,
                "{:<30}{:>14}{:>14}",
                row.name,
                value(&row.first),
                value(&row.second)
            )?;
            if let Some(ratio) = &row.ratio {
                write!(
                    out,
                    "  {:>16.3}{:>8.3}{:>7.3}",
                    ratio.median, ratio.min, ratio.max
                )?;
            }
            writeln!(out)?;
        }
        let report = self.reports.values().flatten().next();
        let Some(report) = report else { return Ok(()) };
        if let Some(ops_s) = self.ceiling_ops_s {
            writeln!(out, "{}", ceiling::text(ops_s))?;
        }
        writeln!(out, "load    {}", self.load.join(" "))?;
        writeln!(out, "machine {}", report.context)
    }
}

impl Row {
    fn new(name: &str, first: Vec<f64>, second: Vec<f64>) -> Row {
        let ratios = first
            .iter()
            .zip(&second)
            .map(|(first, second)| first / second);
        let ratios: Vec<f64> = ratios.filter(|ratio| ratio.is_finite()).collect();
        Row {
            name: name.to_owned(),
            ratio: Rounds::new(ratios),
            first: Rounds::new(first),
            second: Rounds::new(second),
        }
    }
}

/// Each figure with its value of each round, in the order of the reports.
type Named = Vec<(String, Vec<f64>)>;

fn by_name(reports: &[Report]) -> Named {
    let mut named: Named = Vec::new();
    for Figure { name, value } in reports.iter().flat_map(Report::figures) {
        match named.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => named.push((name, vec![value])),
        }
    }
    named
}

fn has(named: &Named, name: &str) -> bool {
    named.iter().any(|(known, _)| known == name)
}

fn values(named: &Named, name: &str) -> Vec<f64> {
    let found = named.iter().find(|(known, _)| known == name);
    found.map_or_else(Vec::new, |(_, values)| values.clone())
}

/// As many digits as matter.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        1.0.. => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_rounds() {
        let row = Row::new("ops_s", vec![30.0, 10.0, 20.0], vec![10.0, 10.0, 5.0]);
        let ratio = row.ratio.expect("both have rounds");
        assert_eq!(ratio.rounds, [3.0, 1.0, 4.0]);
        assert_eq!((ratio.median, ratio.min, ratio.max), (3.0, 1.0, 4.0));
        assert_eq!(row.first.expect("rounds").median, 20.0);
        // What is not measured, or zero, has no ratio.
        assert!(Row::new("x", vec![1.0], vec![]).ratio.is_none());
        assert!(Row::new("x", vec![1.0], vec![0.0]).ratio.is_none());
    }

    #[test]
    fn medians_of_even_counts_lie_between() {
        let rounds = Rounds::new(vec![4.0, 1.0, 2.0, 3.0]).expect("rounds");
        assert_eq!(rounds.median, 2.5);
    }
}
