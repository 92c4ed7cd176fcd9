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
    fn of(summary: &Summary) -> Parts {
        let min = summary.min.load(Relaxed);
        Parts {
            count: summary.count.value(),
            sum: summary.sum.value(),
            min: (min != u64::MAX).then_some(min),
            max: summary.max.load(Relaxed),
            buckets: Vec::new(),
        }
    }

    fn merge(&mut self, other: &Parts) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
        self.min = [self.min, other.min].into_iter().flatten().min();
        self.max = self.max.max(other.max);
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (sum, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += count;
        }
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

fn merge_sizes(into: &mut [Option<u64>; 3], from: [Option<u64>; 3]) {
    let [last, min, max] = into;
    *last = from[0].or(*last);
    *min = [*min, from[1]].into_iter().flatten().min();
    *max = (*max).max(from[2]);
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
        let parts = Parts::of(summary);
        self.summaries.entry(name).or_default().merge(&parts);
    }

    /// Adds a summary of which only average, least and greatest are shown, with the name after
    /// these words (Apache's gauges `avg_latency`, `min_latency`, `max_latency`).
    pub fn range(&mut self, name: &'static str, summary: &Summary) {
        let parts = Parts::of(summary);
        self.ranges.entry(name).or_default().merge(&parts);
    }

    /// Adds a summary with percentiles.
    pub fn distribution(&mut self, name: &'static str, distribution: &Distribution) {
        let mut parts = Parts::of(&distribution.summary);
        parts.buckets = distribution.buckets.iter().map(Counter::value).collect();
        self.summaries.entry(name).or_default().merge(&parts);
    }

    /// Adds sizes.
    pub fn sizes(&mut self, name: &'static str, sizes: &Sizes) {
        let read = |cell: &std::sync::atomic::AtomicU64| {
            let value = cell.load(Relaxed);
            (value != u64::MAX).then_some(value)
        };
        let sizes = [&sizes.last, &sizes.min, &sizes.max].map(read);
        merge_sizes(self.sizes.entry(name).or_default(), sizes);
    }

    /// Adds all that is in another table.
    pub fn merge(&mut self, other: &Table) {
        for (name, count) in &other.counters {
            *self.counters.entry(name).or_default() += count;
        }
        for (name, parts) in &other.ranges {
            self.ranges.entry(name).or_default().merge(parts);
        }
        for (name, parts) in &other.summaries {
            self.summaries.entry(name).or_default().merge(parts);
        }
        for (name, &sizes) in &other.sizes {
            merge_sizes(self.sizes.entry(name).or_default(), sizes);
        }
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
