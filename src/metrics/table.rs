//! Groups of cells gathered under their names.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use super::cell::bucket_value;
use super::{Counter, Distribution, Sizes, Summary};

/// A value as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Shown without a point.
    Integer(i64),
    /// Shown with one, as Java does.
    Float(f64),
    /// Shown as it is.
    Text(String),
}

#[derive(Clone, Debug, Default)]
struct Parts {
    count: u64,
    sum: u64,
    min: Option<u64>,
    max: u64,
    /// Empty in a summary without percentiles.
    buckets: Vec<u64>,
}

impl Parts {
    fn add(&mut self, summary: &Summary) {
        let min = summary.min.load(Relaxed);
        self.count += summary.count.value();
        self.sum = self.sum.wrapping_add(summary.sum.value());
        if min != u64::MAX {
            self.min = Some(self.min.map_or(min, |known| known.min(min)));
        }
        self.max = self.max.max(summary.max.load(Relaxed));
    }

    /// Rounded to four digits, as Apache rounds it.
    fn average(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        (self.sum as f64 / self.count as f64 * 10_000.0).round() / 10_000.0
    }

    fn percentile(&self, of_1000: u64) -> u64 {
        let total: u64 = self.buckets.iter().sum();
        let mut left = (total * of_1000).div_ceil(1000);
        for (index, &count) in self.buckets.iter().enumerate() {
            if count > 0 && left <= count {
                return bucket_value(index).clamp(self.min.unwrap_or(0), self.max);
            }
            left -= count;
        }
        0
    }
}

/// Sums of cells by name. Cells added under the same name are summed.
#[derive(Clone, Debug, Default)]
pub struct Table {
    counters: BTreeMap<&'static str, u64>,
    ranges: BTreeMap<&'static str, Parts>,
    summaries: BTreeMap<&'static str, Parts>,
    /// Last, least and greatest.
    sizes: BTreeMap<&'static str, [Option<u64>; 3]>,
}

impl Table {
    /// Adds a counter.
    pub fn counter(&mut self, name: &'static str, counter: &Counter) {
        *self.counters.entry(name).or_default() += counter.value();
    }

    /// Adds a number, shown as a counter is.
    pub fn gauge(&mut self, name: &'static str, value: u64) {
        *self.counters.entry(name).or_default() += value;
    }

    /// Adds a summary, shown with count and sum.
    pub fn summary(&mut self, name: &'static str, summary: &Summary) {
        self.summaries.entry(name).or_default().add(summary);
    }

    /// Adds a summary of which only average, least and greatest are shown, with the name after
    /// these words (Apache's gauges `avg_latency`, `min_latency`, `max_latency`).
    pub fn range(&mut self, name: &'static str, summary: &Summary) {
        self.ranges.entry(name).or_default().add(summary);
    }

    /// Adds a summary with percentiles.
    pub fn distribution(&mut self, name: &'static str, distribution: &Distribution) {
        let parts = self.summaries.entry(name).or_default();
        parts.add(&distribution.summary);
        parts.buckets.resize(distribution.buckets.len(), 0);
        for (sum, counter) in parts.buckets.iter_mut().zip(&distribution.buckets) {
            *sum += counter.value();
        }
    }

    /// Adds sizes.
    pub fn sizes(&mut self, name: &'static str, sizes: &Sizes) {
        let read = |cell: &std::sync::atomic::AtomicU64| {
            let value = cell.load(Relaxed);
            (value != u64::MAX).then_some(value)
        };
        let [last, min, max] = self.sizes.entry(name).or_default();
        *last = read(&sizes.last).or(*last);
        *min = [*min, read(&sizes.min)].into_iter().flatten().min();
        *max = [*max, read(&sizes.max)].into_iter().flatten().max();
    }

    /// The sum of a counter, 0 where there is none of that name.
    pub fn count(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// Least, average and greatest of a range, 0 where there is no value.
    pub fn min_avg_max(&self, name: &str) -> (u64, f64, u64) {
        self.ranges.get(name).map_or((0, 0.0, 0), |parts| {
            (parts.min.unwrap_or(0), parts.average(), parts.max)
        })
    }

    /// Every value with its name, as `mntr` lists them, without its prefix.
    pub fn values(&self) -> Vec<(String, Value)> {
        let integer = |value: u64| Value::Integer(i64::try_from(value).unwrap_or(i64::MAX));
        let mut all = Vec::new();
        for (name, parts) in &self.ranges {
            all.push((format!("avg_{name}"), Value::Float(parts.average())));
            all.push((format!("max_{name}"), integer(parts.max)));
            all.push((format!("min_{name}"), integer(parts.min.unwrap_or(0))));
        }
        for (name, &count) in &self.counters {
            all.push(((*name).to_owned(), integer(count)));
        }
        for (name, sizes) in &self.sizes {
            for (word, size) in ["last", "min", "max"].iter().zip(sizes) {
                let size = size.map_or(Value::Integer(-1), integer);
                all.push((format!("{word}_{name}"), size));
            }
        }
        for (name, parts) in &self.summaries {
            all.push((format!("avg_{name}"), Value::Float(parts.average())));
            all.push((format!("min_{name}"), integer(parts.min.unwrap_or(0))));
            all.push((format!("max_{name}"), integer(parts.max)));
            all.push((format!("cnt_{name}"), integer(parts.count)));
            all.push((format!("sum_{name}"), integer(parts.sum)));
            if !parts.buckets.is_empty() {
                for (word, of_1000) in [("p50", 500), ("p95", 950), ("p99", 990), ("p999", 999)] {
                    let value = integer(parts.percentile(of_1000));
                    all.push((format!("{word}_{name}"), value));
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(table: &Table, name: &str) -> Value {
        let values = table.values();
        let found = values.into_iter().find(|(known, _)| known == name);
        found.expect("the name is in the table").1
    }

    #[test]
    fn groups_add_up() {
        let (one, two) = (Distribution::default(), Distribution::default());
        for number in 1..=50 {
            one.record(number);
            two.record(number + 50);
        }
        let mut table = Table::default();
        table.distribution("x", &one);
        table.distribution("x", &two);
        assert_eq!(value(&table, "cnt_x"), Value::Integer(100));
        assert_eq!(value(&table, "sum_x"), Value::Integer(5050));
        assert_eq!(value(&table, "avg_x"), Value::Float(50.5));
        assert_eq!(value(&table, "min_x"), Value::Integer(1));
        assert_eq!(value(&table, "max_x"), Value::Integer(100));
        let Value::Integer(median) = value(&table, "p50_x") else {
            panic!("percentiles are integers");
        };
        assert!((47..=53).contains(&median), "{median}");
        assert_eq!(value(&table, "p999_x"), Value::Integer(100));
    }

    #[test]
    fn nothing_counted_shows_as_apache_shows_it() {
        let mut table = Table::default();
        table.range("latency", &Summary::default());
        table.sizes("client_response_size", &Sizes::default());
        table.distribution("readlatency", &Distribution::default());
        assert_eq!(value(&table, "avg_latency"), Value::Float(0.0));
        assert_eq!(value(&table, "min_latency"), Value::Integer(0));
        assert_eq!(
            value(&table, "last_client_response_size"),
            Value::Integer(-1)
        );
        assert_eq!(value(&table, "p99_readlatency"), Value::Integer(0));
        assert_eq!(value(&table, "min_readlatency"), Value::Integer(0));
    }
}
