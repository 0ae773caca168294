//! `bottle cp`.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use bottle::state;
use bottle::vm::agent::{Agent, Copied, CopyError, CopyOptions, CopyStop};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::report::CliError;

/// Copy files between a running bottle and this machine.
///
/// One of SRC and DST is SLUG:PATH, where a path that is not absolute is seen from the bottle's working directory. The other
/// is a path here (with a colon in its name: `./a:b`), or `-` for a tar stream on stdin or stdout.
///
/// As with `docker cp`, a directory that exists gets the source under its name, or the content of SRC when that ends in
/// `/.`; else DST is the new name. A file never replaces a directory, nor the other way round. Links are copied as links,
/// and none is followed. Modes and times are kept. In the bottle, files belong to its user (those of a tar stream to whom
/// it says), here to whoever runs this, without setuid and setgid. Pipes and devices leave a bottle in a tar stream only.
#[derive(Debug, Args)]
pub(super) struct CpArgs {
    /// Whose the files become in the bottle: names or numbers.
    #[arg(long, value_name = "USER[:GROUP]")]
    chown: Option<String>,
    /// If SRC itself is a symbolic link, copy what it leads to.
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// From where.
    #[arg(value_name = "SRC")]
    source: OsString,
    /// To where.
    #[arg(value_name = "DST")]
    destination: OsString,
}

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Side {
    Bottle { slug: String, path: PathBuf },
    Here(PathBuf),
    Stream,
}

impl CpArgs {
    pub(super) fn run(self, quiet: bool) -> Result<ExitCode, CliError> {
        let mut show = Show::new(quiet);
        let stop = CopyStop::default();
        let mut options = CopyOptions::default();
        options.follow = self.follow_link;
        options.owner = self.chown;
        options.stop = stop.clone();
        let mut progress = |copied: Copied| show.progress(copied);
        options.progress = Some(&mut progress);
        let sides = (side(&self.source), side(&self.destination));
        // What a stopped copy leaves in the bottle, the bottle removes; here, this process has to.
        let signals = Watch::start(stop, matches!(sides.1, Side::Here(_)))?;
        let copied = match sides {
            (Side::Bottle { .. }, Side::Bottle { .. }) => {
                return Err(CliError::Usage {
                    what: "files are not copied from one bottle to another",
                    hint: "pass a tar stream on: `bottle cp A:PATH - | bottle cp - B:PATH`",
                });
            }
            (Side::Bottle { slug, path }, Side::Here(to)) => agent(&slug)?.get(path, to, options),
            (Side::Bottle { slug, path }, Side::Stream) => {
                not_a_terminal(&std::io::stdout())?;
                agent(&slug)?.get_tar(path, std::io::stdout().lock(), options)
            }
            (Side::Here(from), Side::Bottle { slug, path }) => agent(&slug)?.put(from, path, options),
            (Side::Stream, Side::Bottle { slug, path }) => {
                not_a_terminal(&std::io::stdin())?;
                agent(&slug)?.put_tar(std::io::stdin().lock(), path, options)
            }
            _ => {
                return Err(CliError::Usage {
                    what: "neither SRC nor DST names a bottle",
                    hint: "write SLUG:PATH for a path in a bottle; `bottle ps` lists them",
                });
            }
        };
        match copied {
            Err(CopyError::Stopped) => Ok(signals.exit_code()),
            Err(error) => Err(error.into()),
            Ok(copied) => {
                if copied.sockets > 0 {
                    log::warn!("{} sockets were left out: they can't be copied", copied.sockets);
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// `SLUG:PATH` is one in a bottle, if it begins with what can be a bottle's name; `-` is a stream, all else is here.
fn side(argument: &OsStr) -> Side {
    let bytes = argument.as_bytes();
    if bytes == b"-" {
        return Side::Stream;
    }
    let colon = bytes.iter().position(|byte| *byte == b':');
    let parts = colon.map(|at| (&bytes[..at], &bytes[at + 1..]));
    match parts.and_then(|(slug, path)| Some((std::str::from_utf8(slug).ok()?, path))) {
        Some((slug, path)) if state::check_slug(slug).is_ok() => {
            Side::Bottle { slug: slug.to_owned(), path: OsStr::from_bytes(path).into() }
        }
        _ => Side::Here(argument.into()),
    }
}

fn agent(slug: &str) -> Result<Agent, CliError> {
    Ok(Agent::new(state::find_running(slug)?.agent_socket()))
}

fn not_a_terminal(stream: &impl IsTerminal) -> Result<(), CliError> {
    if stream.is_terminal() {
        return Err(CliError::Usage {
            what: "a tar stream does not go to or come from a terminal",
            hint: "redirect it: `bottle cp SLUG:PATH - > FILE`, `bottle cp - SLUG:PATH < FILE`",
        });
    }
    Ok(())
}

/// Signals, which stop the copy.
struct Watch {
    signal: Arc<AtomicI32>,
}

impl Watch {
    /// With `clean`, the copy has something to remove before this process may end; a second signal ends it nevertheless.
    fn start(stop: CopyStop, clean: bool) -> Result<Self, CliError> {
        let io = |source| CliError::Io { what: "cannot take signals", source };
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(io)?;
        let watch = Self { signal: Arc::default() };
        let seen = Arc::clone(&watch.signal);
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    // Noted first: the copy may stop at once, and asks what stopped it.
                    let again = seen.swap(signal, Ordering::SeqCst) != 0;
                    stop.stop();
                    if !clean || again {
                        std::process::exit(128 + signal);
                    }
                }
            })
            .map_err(io)?;
        Ok(watch)
    }

    fn exit_code(&self) -> ExitCode {
        let signal = self.signal.load(Ordering::SeqCst);
        ExitCode::from(128u8.saturating_add(u8::try_from(signal).unwrap_or(0)))
    }
}

/// Bytes and speed, on a terminal.
struct Show {
    bar: Option<ProgressBar>,
}

impl Show {
    fn new(quiet: bool) -> Self {
        let bar = (std::io::stderr().is_terminal() && !quiet).then(|| {
            let style = ProgressStyle::with_template("{bytes} {bytes_per_sec}");
            ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar }
    }

    fn progress(&mut self, copied: Copied) {
        if let Some(bar) = &self.bar {
            bar.set_position(copied.bytes);
        }
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bottles_side_begins_with_its_name() {
        let bottle = |slug: &str, path: &str| Side::Bottle { slug: slug.into(), path: path.into() };
        for (argument, expected) in [
            ("a:/x", bottle("a", "/x")),
            ("vm-7f3a:x:y", bottle("vm-7f3a", "x:y")),
            ("a:", bottle("a", "")),
            ("-", Side::Stream),
            ("./a:b", Side::Here("./a:b".into())),
            ("/a:b", Side::Here("/a:b".into())),
            ("a b:c", Side::Here("a b:c".into())),
            ("a", Side::Here("a".into())),
        ] {
            assert_eq!(side(OsStr::new(argument)), expected, "{argument}");
        }
    }
}
