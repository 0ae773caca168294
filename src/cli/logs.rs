//! `bottle logs`.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use bottle::launch::Follower;
use bottle::logs::{
    Entry, LogReader, Stream, daemon_log, daemons, denials, output_log, vm_logs, without_controls,
};
use bottle::state::{self, Found};
use clap::Args;

use super::report::CliError;

/// Print what the command of a bottle in the background printed: its stdout to stdout, its stderr to stderr.
///
/// The last 16 to 32 MiB are kept.
#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// Go on printing until the bottle ends.
    #[arg(short, long)]
    follow: bool,
    /// Instead, what libkrun, the guest's kernel and its init printed.
    #[arg(long, conflicts_with_all = ["follow", "timestamps"])]
    vm: bool,
    /// Instead, what the guest tried to reach and was refused: when, how and where. Of very many attempts in a second, some are
    /// only counted.
    #[arg(long, conflicts_with_all = ["follow", "timestamps", "vm"])]
    denials: bool,
    /// Instead, what this daemon of the bottle's bundle printed: pipelock (its audit log), egress, git-gate or supervise.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["follow", "timestamps", "vm", "denials"])]
    daemon: Option<String>,
    /// The denials as JSON.
    #[arg(long, requires = "denials")]
    json: bool,
    /// Only this many lines from the end.
    #[arg(long, value_name = "N")]
    tail: Option<usize>,
    /// Put the time before each line.
    #[arg(short, long)]
    timestamps: bool,
    /// The bottle.
    #[arg(value_name = "SLUG")]
    slug: String,
}

impl LogsArgs {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let bottle = state::find(&self.slug)?;
        if let Some(daemon) = &self.daemon {
            return self.print_daemon(&bottle, daemon);
        }
        let printed = match self {
            Self { vm: true, .. } => self.print_vm(&bottle),
            Self { denials: true, .. } => self.print_denials(&bottle),
            _ => self.print_output(&bottle),
        };
        match printed {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(CliError::NoLog { slug: self.slug }),
            Err(source) => Err(CliError::Io { what: "cannot print the log", source }),
        }
    }

    fn print_output(&self, bottle: &Found) -> io::Result<()> {
        // Before the first look, so that nothing falls between the two.
        let follower = if self.follow { Follower::connect(bottle)? } else { None };
        let mut log = LogReader::open(&output_log(&bottle.dir))?;
        let mut printer = Printer::new(self.timestamps);
        if let Some(most) = self.tail {
            let mut last = Tail::new(most);
            log.read(|entry| {
                last.push(entry);
                Ok(())
            })?;
            last.entries.into_iter().try_for_each(|entry| printer.print(entry))?;
        }
        log.read(|entry| printer.print(entry))?;
        printer.flush()?;
        if let Some(mut follower) = follower {
            while follower.wait()? {
                log.read(|entry| printer.print(entry))?;
                printer.flush()?;
            }
            log.read(|entry| printer.print(entry))?;
            printer.flush()?;
        }
        Ok(())
    }

    fn print_vm(&self, bottle: &Found) -> io::Result<()> {
        let mut lines = Vec::new();
        for log in vm_logs(&bottle.dir) {
            let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
            lines.extend(text.lines().map(without_controls));
        }
        self.print_lines(&lines)
    }

    fn print_daemon(&self, bottle: &Found, daemon: &str) -> Result<ExitCode, CliError> {
        let failed = |source| CliError::Io { what: "cannot print the log", source };
        let text = match daemon_log(&bottle.dir, daemon) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let (slug, daemon) = (self.slug.clone(), daemon.to_owned());
                let known = daemons(&bottle.dir).map_err(failed)?;
                return Err(CliError::NoDaemonLog { slug, daemon, known });
            }
            text => text.map_err(failed)?,
        };
        let lines: Vec<String> = text.lines().map(without_controls).collect();
        self.print_lines(&lines).map_err(failed)?;
        Ok(ExitCode::SUCCESS)
    }

    fn print_lines(&self, lines: &[String]) -> io::Result<()> {
        let skipped = self.tail.map_or(0, |most| lines.len().saturating_sub(most));
        let mut out = io::stdout().lock();
        lines[skipped..].iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    fn print_denials(&self, bottle: &Found) -> io::Result<()> {
        let denials = denials(&bottle.dir)?;
        let skipped = self.tail.map_or(0, |most| denials.len().saturating_sub(most));
        let denials = &denials[skipped..];
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, denials)?;
            return writeln!(out);
        }
        denials.iter().try_for_each(|denial| writeln!(out, "{denial}"))
    }
}

/// The entries of the last lines.
struct Tail {
    most: usize,
    entries: VecDeque<Entry>,
    ends: usize,
}

impl Tail {
    fn new(most: usize) -> Self {
        Self { most, entries: VecDeque::new(), ends: 0 }
    }

    fn push(&mut self, entry: Entry) {
        self.ends += usize::from(entry.ends);
        self.entries.push_back(entry);
        // A line whose end is not there yet is one too.
        let open = usize::from(self.entries.back().is_some_and(|last| !last.ends));
        while self.ends + open > self.most {
            match self.entries.pop_front() {
                Some(first) => self.ends -= usize::from(first.ends),
                None => return,
            }
            if self.entries.is_empty() {
                return;
            }
        }
    }
}

/// Writes entries as what they once were.
struct Printer {
    out: io::BufWriter<io::Stdout>,
    err: io::BufWriter<io::Stderr>,
    timestamps: bool,
    /// The streams, stdout first, that are within a line.
    open: [bool; 2],
}

impl Printer {
    fn new(timestamps: bool) -> Self {
        let (out, err) = (io::BufWriter::new(io::stdout()), io::BufWriter::new(io::stderr()));
        Self { out, err, timestamps, open: [false; 2] }
    }

    fn print(&mut self, entry: Entry) -> io::Result<()> {
        // What was printed in this order is seen in this order, where both go to the same place.
        let (to, other, open): (&mut dyn Write, &mut dyn Write, _) = match entry.stream {
            Stream::Stdout => (&mut self.out, &mut self.err, &mut self.open[0]),
            Stream::Stderr => (&mut self.err, &mut self.out, &mut self.open[1]),
        };
        other.flush()?;
        if self.timestamps && !*open {
            write!(to, "{} ", entry.time)?;
        }
        to.write_all(&entry.content)?;
        *open = !entry.ends;
        if entry.ends { to.write_all(b"\n") } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.err.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_has_whole_lines_and_the_one_that_is_not_over() {
        let tail = |most: usize, pieces: &[&str]| {
            let mut tail = Tail::new(most);
            for piece in pieces {
                let (content, ends) =
                    piece.strip_suffix('|').map_or((*piece, false), |content| (content, true));
                tail.push(Entry {
                    time: String::new(),
                    stream: Stream::Stdout,
                    ends,
                    content: content.as_bytes().to_vec(),
                });
            }
            let text = |entry: Entry| String::from_utf8(entry.content).unwrap();
            tail.entries.into_iter().map(text).collect::<Vec<_>>()
        };
        let pieces = ["a|", "b1", "b2|", "c|", "d"];
        assert_eq!(tail(9, &pieces), ["a", "b1", "b2", "c", "d"]);
        assert_eq!(tail(3, &pieces), ["b1", "b2", "c", "d"]);
        assert_eq!(tail(1, &pieces), ["d"]);
        assert!(tail(0, &pieces[..4]).is_empty());
        assert_eq!(tail(1, &pieces[..4]), ["c"]);
    }
}
