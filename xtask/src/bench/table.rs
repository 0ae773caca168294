//! Samples, and the table that shows them.

use std::{fs, time::Duration};

/// What was measured of one thing.
pub(super) struct Samples {
    pub(super) name: String,
    seconds: Vec<f64>,
    /// The largest resident set of all runs, if it was looked at.
    peak_kib: u64,
}

/// What is aimed at: so many times what the fastest of so many first rows takes.
#[derive(Clone, Copy)]
pub(super) struct Aim {
    pub(super) times: f64,
    pub(super) of: usize,
}

impl Samples {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), seconds: Vec::new(), peak_kib: 0 }
    }

    pub(super) fn add(&mut self, took: Duration) {
        self.seconds.push(took.as_secs_f64());
    }

    pub(super) fn note_peak(&mut self, kib: u64) {
        self.peak_kib = self.peak_kib.max(kib);
    }

    fn median(&self) -> f64 {
        median(self.seconds.clone())
    }

    fn min(&self) -> f64 {
        self.seconds.iter().copied().fold(f64::NAN, f64::min)
    }

    /// Of the medians and of the minima.
    fn ratio(&self, reference: &Self) -> (f64, f64) {
        (self.median() / reference.median(), self.min() / reference.min())
    }

    /// The median of the ratios of each turn: what the two took right after each other.
    fn ratio_of_turns(&self, reference: &Self) -> f64 {
        let turns = self.seconds.iter().zip(&reference.seconds);
        median(turns.map(|(ours, theirs)| ours / theirs).collect())
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    match (all.len() % 2, all.as_slice()) {
        (_, []) => f64::NAN,
        (0, all) => f64::midpoint(all[middle - 1], all[middle]),
        (_, all) => all[middle],
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
            let (median, min) = row.ratio(reference);
            print!("  {:>20}", format!("{median:.2} (min {min:.2})"));
        }
        println!();
    }
}

/// Prints all of them, which took turns, with their ratios to the first: of the turns, of the medians and of the minima.
pub(super) fn print_turns(title: &str, samples: &[Samples]) {
    let [reference, ..] = samples else { return };
    println!("\n{title}");
    println!("(load average {})", load());
    println!("{:<44} {:>5} {:>9} {:>9}  / {}", "", "turns", "median s", "min s", reference.name);
    for row in samples {
        let (median, min) = row.ratio(reference);
        print!("{:<44} {:>5} {:>9.3} {:>9.3}", row.name, row.seconds.len(), row.median(), row.min());
        println!("  {:.2} (of medians {median:.2}, of minima {min:.2})", row.ratio_of_turns(reference));
    }
}

/// Prints `ours` below `rows`, with peak memory, and its ratio to each; then whether it is as fast as is aimed at.
pub(super) fn print_with_aim(title: &str, rows: &[&Samples], ours: &Samples, aim: Aim) {
    println!("\n{title}");
    println!("(load average {})", load());
    println!(
        "{:<44} {:>5} {:>9} {:>9} {:>9}  {:>20}",
        "", "runs", "median s", "min s", "peak MiB", "bottle /"
    );
    for row in rows.iter().copied().chain([ours]) {
        let (runs, peak_mib) = (row.seconds.len(), row.peak_kib >> 10);
        print!("{:<44} {runs:>5} {:>9.3} {:>9.3} {peak_mib:>9}", row.name, row.median(), row.min());
        let (median, min) = ours.ratio(row);
        println!("  {:>20}", format!("{median:.2} (min {min:.2})"));
    }
    if let Some((median, reference, met)) = aim.judge(rows, ours) {
        let met = if met { "met" } else { "missed" };
        println!("aim: at most {:.2} times {reference}: {median:.2}, {met}", aim.times);
    }
}

impl Aim {
    /// The ratio of medians to the row with the least one, that row's name, and whether it is as aimed at.
    fn judge<'a>(self, rows: &[&'a Samples], ours: &Samples) -> Option<(f64, &'a str, bool)> {
        let fastest = rows.iter().take(self.of).min_by(|a, b| a.median().total_cmp(&b.median()))?;
        let (median, _) = ours.ratio(fastest);
        Some((median, fastest.name.as_str(), median <= self.times))
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

    #[test]
    fn turns_are_compared_with_those_beside_them() {
        let samples = |all: [u64; 3]| {
            let mut samples = Samples::new("x");
            all.into_iter().for_each(|seconds| samples.add(Duration::from_secs(seconds)));
            samples
        };
        // The machine was slow in the second turn, for both.
        assert!((samples([2, 40, 2]).ratio_of_turns(&samples([1, 20, 2])) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn the_aim_is_measured_by_the_fastest_of_the_first() {
        let samples = |name, seconds| {
            let mut samples = Samples::new(name);
            samples.add(Duration::from_secs(seconds));
            samples
        };
        let (slow, fast, other) = (samples("slow", 8), samples("fast", 4), samples("other", 1));
        let rows = [&slow, &fast, &other];
        let aim = Aim { times: 1.5, of: 2 };
        assert_eq!(aim.judge(&rows, &samples("ours", 6)), Some((1.5, "fast", true)));
        assert_eq!(aim.judge(&rows, &samples("ours", 7)), Some((1.75, "fast", false)));
    }
}
