//! A histogram of latencies: fixed memory however many there are, each percentile right to within 2 %.

use std::time::Duration;

/// Each power of two is parted into so many buckets.
const PARTS: u64 = 64;
const PARTS_LOG2: u32 = PARTS.trailing_zeros();

/// Counts latencies in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    /// Counts `latency`.
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket_of(micros);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
        self.count += 1;
        self.max = self.max.max(micros);
    }

    /// Counts all of `other`'s too.
    pub fn add(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (ours, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *ours += theirs;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max)
    }

    /// The latency that `share` (0 to 1) of all do not exceed; zero where there is none.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn percentile(&self, share: f64) -> Duration {
        let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(highest_of(bucket).min(self.max));
            }
        }
        Duration::ZERO
    }
}

/// Small values have a bucket each; above, the highest bits of a value choose one.
fn bucket_of(micros: u64) -> usize {
    let shift = (u64::BITS - micros.leading_zeros()).saturating_sub(PARTS_LOG2 + 1);
    let bucket = u64::from(shift) * PARTS + (micros >> shift);
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

/// The highest value of a bucket.
fn highest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / PARTS).saturating_sub(1);
    let top = bucket - shift * PARTS;
    ((top + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_to_within_two_percent() {
        for micros in (0..5_000).chain([10_000, 123_456, 1 << 30, (1 << 40) - 1, 1 << 40]) {
            let highest = highest_of(bucket_of(micros));
            assert!(highest >= micros && (highest - micros) * 50 <= micros, "{micros} {highest}");
            assert_eq!(bucket_of(highest), bucket_of(micros));
            assert_eq!(bucket_of(highest + 1), bucket_of(micros) + 1);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), Duration::ZERO);
        for micros in 1..=100 {
            histogram.record(Duration::from_micros(micros));
        }
        assert_eq!(histogram.percentile(0.5), Duration::from_micros(50));
        assert_eq!(histogram.percentile(0.99), Duration::from_micros(99));
        assert_eq!(histogram.percentile(1.0), Duration::from_micros(100));
        assert_eq!(histogram.max(), Duration::from_micros(100));
    }
}
