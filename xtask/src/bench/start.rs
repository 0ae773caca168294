//! (b) From the start of the program to its end, and to the first output. `true` prints nothing: for it, and for the
//! reference, it is the end that is measured.

use std::{
    collections::BTreeMap,
    io::Read,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    RUNS, Setting,
    table::{self, Samples},
};
use crate::error::{Context, Error, Result};

pub(super) fn run(setting: &Setting) -> Result<()> {
    let mut plain = Samples::new("plain libkrun");
    let mut bottle = Samples::new("bottle vm run … -- true, to its end");
    let mut echo = Samples::new("bottle vm run … -- echo, to its first output");
    let mut steps: BTreeMap<usize, Samples> = BTreeMap::new();
    for run in 0..=RUNS {
        let plain_took = to_end(setting.plain.command("true"))?.0;
        let (bottle_took, timings) = to_end(setting.bottle(&["true"]))?;
        let echo_took = to_first_output(setting.bottle(&["echo", "x"]))?;
        // The first one warms the caches.
        if run == 0 {
            continue;
        }
        plain.add(plain_took);
        bottle.add(bottle_took);
        echo.add(echo_took);
        for (index, (name, took)) in parse(&timings).into_iter().enumerate() {
            steps.entry(index).or_insert_with(|| Samples::new(format!("  of it, {name}"))).add(took);
        }
    }
    let mut rows = vec![plain, bottle];
    rows.extend(steps.into_values());
    rows.push(echo);
    table::print("(b) A command in a new VM, the image imported before; aim: at most 1.15", &rows, 1);
    Ok(())
}

/// How long it takes until it ends, and its stderr.
fn to_end(mut command: Command) -> Result<(Duration, String)> {
    command.stdin(Stdio::null());
    let start = Instant::now();
    let output = command.output().doing("start the program to measure")?;
    let took = start.elapsed();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    // libkrun ends the process with the guest's exit code, which the reference's guest has none of.
    if !output.status.success() && command.get_args().any(|word| word == "--timings") {
        return Err(Error::Program { program: "bottle".into(), status: output.status, stderr });
    }
    Ok((took, stderr))
}

fn to_first_output(mut command: Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().doing("start bottle")?;
    let mut byte = [0];
    let read = child.stdout.as_mut().map(|stdout| stdout.read(&mut byte));
    let took = start.elapsed();
    child.wait().doing("wait for bottle")?;
    match read {
        Some(Ok(1)) => Ok(took),
        _ => Err(Error::other("bottle printed nothing")),
    }
}

/// The lines of `--timings`: seconds, the unit, a name.
pub(super) fn parse(timings: &str) -> Vec<(String, Duration)> {
    let step = |line: &str| {
        let (seconds, name) = line.trim_start().split_once(" s  ")?;
        Some((name.to_owned(), Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?))
    };
    timings.lines().filter_map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_are_read_as_bottle_prints_them() {
        let timings = "bottle: warn: x\n    0.250 s  disk\n   12.500 s  boot: VMM\n";
        let read = parse(timings);
        assert_eq!(
            read,
            [
                ("disk".to_owned(), Duration::from_millis(250)),
                ("boot: VMM".to_owned(), Duration::from_millis(12_500)),
            ]
        );
    }
}
