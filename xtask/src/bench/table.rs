//! Samples, and the table that shows them.

use std::{fs, time::Duration};

/// What was measured of one thing.
pub(super) struct Samples {
    pub(super) name: String,
    seconds: Vec<f64>,
}

impl Samples {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), seconds: Vec::new() }
    }

    pub(super) fn add(&mut self, took: Duration) {
        self.seconds.push(took.as_secs_f64());
    }

    fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match (sorted.len() % 2, sorted.as_slice()) {
            (_, []) => f64::NAN,
            (0, all) => f64::midpoint(all[middle - 1], all[middle]),
            (_, all) => all[middle],
        }
    }

    fn min(&self) -> f64 {
        self.seconds.iter().copied().fold(f64::NAN, f64::min)
    }
}

/// Prints all of them, with their ratios to each of the first `references`.
pub(super) fn print(title: &str, samples: &[Samples], references: usize) {
    println!("\n{title}");
    println!("(load average {})", load());
    print!("{:<44} {:>5} {:>9} {:>9}", "", "runs", "median s", "min s");
    let references = &samples[..references.min(samples.len())];
    for reference in references {
        print!("  {:>20}", format!("/ {}", reference.name));
    }
    println!();
    for row in samples {
        print!("{:<44} {:>5} {:>9.3} {:>9.3}", row.name, row.seconds.len(), row.median(), row.min());
        for reference in references {
            let (median, min) = (row.median() / reference.median(), row.min() / reference.min());
            print!("  {:>20}", format!("{median:.2} (min {min:.2})"));
        }
        println!();
    }
}

/// The load of the last minute, five and fifteen: what the figures are to be trusted.
pub(super) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let mut samples = Samples::new("x");
        for seconds in [5, 1, 9] {
            samples.add(Duration::from_secs(seconds));
        }
        assert!((samples.median() - 5.0).abs() < 1e-9);
        samples.add(Duration::from_secs(2));
        assert!((samples.median() - 3.5).abs() < 1e-9);
        assert!((samples.min() - 1.0).abs() < 1e-9);
    }
}
