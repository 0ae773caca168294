//! `bottle image`.

use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use bottle::image::{Source, Store, Stored};
use bottle::state;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::build::BuildArgs;
use super::check::CheckArgs;
use super::import::ImportFlags;
use super::progress::ProgressLine;
use super::report::CliError;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Imported images, and those of bottle's own.
#[derive(Debug, Subcommand)]
pub(super) enum ImageVerb {
    Import(ImportArgs),
    Build(BuildArgs),
    Ls(LsArgs),
    Inspect(InspectArgs),
    Check(CheckArgs),
    Rm(RmArgs),
    Prune(PruneArgs),
}

/// Import an image into the cache, and print its ID.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The image: docker-archive:PATH[:NAME], oci-archive:PATH[:NAME], oci:DIRECTORY[:NAME], docker-daemon:NAME,
    /// docker://[HOST[:PORT]/]NAME[:TAG][@DIGEST], a path, or a name in the local docker daemon or else in its registry.
    image: String,
    #[command(flatten)]
    flags: ImportFlags,
}

/// List the imported images, the one used last first.
#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// As JSON, with whole IDs, bytes and seconds since 1970.
    #[arg(long)]
    json: bool,
}

/// Show all that is known of imported images, as JSON.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// An ID, the beginning of one, or what the image was imported from.
    #[arg(required = true)]
    images: Vec<String>,
}

/// Remove imported images. They are imported anew when they are next needed.
#[derive(Debug, Args)]
pub(super) struct RmArgs {
    /// An ID, the beginning of one, or what the image was imported from.
    #[arg(required = true)]
    images: Vec<String>,
}

/// Remove the imported images that no bottle uses or keeps, and what dead imports left.
#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Only those that were not used for so many days.
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    unused_for: u16,
}

impl ImageVerb {
    pub(super) fn run(self, quiet: bool) -> Result<ExitCode, CliError> {
        let store = Store::open(&state::cache_root()?)?;
        let mut out = std::io::stdout().lock();
        let written = match self {
            Self::Import(args) => {
                let mut line = ProgressLine::new(quiet);
                let image =
                    store.import(&args.image.parse::<Source>()?, &args.flags.options(), &mut |progress| {
                        line.show(progress);
                        ControlFlow::Continue(())
                    });
                drop(line);
                writeln!(out, "{}", image?.id)
            }
            Self::Ls(args) if args.json => write_json(&mut out, &store.list()?),
            Self::Ls(_) => write_table(&mut out, &store.list()?),
            Self::Inspect(args) => {
                let found: Result<Vec<_>, _> = args.images.iter().map(|name| store.find(name)).collect();
                write_json(&mut out, &found?)
            }
            Self::Build(args) => return args.run(quiet),
            Self::Check(args) => return args.run(&store, &mut out),
            Self::Rm(args) => {
                for name in &args.images {
                    let image = store.find(name)?;
                    let freed = store.remove(image.key)?;
                    writeln!(out, "{} {}", image.key, size(freed)).map_err(unwritten)?;
                }
                Ok(())
            }
            Self::Prune(args) => {
                let removed = store.prune(DAY * u32::from(args.unused_for))?;
                removed.iter().try_for_each(|(key, freed)| writeln!(out, "{key} {}", size(*freed)))
            }
        };
        written.map_err(unwritten)?;
        Ok(ExitCode::SUCCESS)
    }
}

pub(super) fn unwritten(source: std::io::Error) -> CliError {
    CliError::Io { what: "cannot write to stdout", source }
}

/// What `--json` and `inspect` print of an image. The names are part of the command line's contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    id: String,
    fixed: bool,
    sources: &'a [String],
    imported: u64,
    last_used: u64,
    disk_bytes: u64,
    nominal_bytes: u64,
    in_use: bool,
    bottles: &'a [String],
    architecture: Option<&'a str>,
    user: Option<&'a str>,
    entrypoint: Option<&'a [String]>,
    cmd: Option<&'a [String]>,
    working_dir: Option<&'a str>,
    env: Option<Vec<String>>,
    layers: Option<Vec<String>>,
    fixups: &'a [String],
}

impl<'a> Listed<'a> {
    fn new(image: &'a Stored) -> Self {
        let config = image.config.as_ref();
        Self {
            id: format!("sha256:{}", image.key.id),
            fixed: image.key.fixups,
            sources: &image.sources,
            imported: since_1970(image.imported),
            last_used: since_1970(image.last_used),
            disk_bytes: image.disk_bytes,
            nominal_bytes: image.nominal_bytes,
            in_use: image.in_use,
            bottles: &image.bottles,
            architecture: config.map(|config| config.architecture.as_str()),
            user: config.and_then(|config| config.user.as_deref()),
            entrypoint: config.map(|config| config.entrypoint.as_slice()),
            cmd: config.map(|config| config.cmd.as_slice()),
            working_dir: config.and_then(|config| config.working_dir.as_deref()),
            env: config
                .map(|config| config.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            layers: config.map(|config| config.diff_ids.iter().map(|id| format!("sha256:{id}")).collect()),
            fixups: &image.fixups,
        }
    }
}

fn since_1970(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn write_json(out: &mut impl Write, images: &[Stored]) -> std::io::Result<()> {
    let listed: Vec<Listed<'_>> = images.iter().map(Listed::new).collect();
    serde_json::to_writer_pretty(&mut *out, &listed)?;
    writeln!(out)
}

fn write_table(out: &mut impl Write, images: &[Stored]) -> std::io::Result<()> {
    let mut rows = vec![["ID", "DISK", "IMPORTED", "LAST USED", "FROM"].map(str::to_owned)];
    rows.extend(images.iter().map(|image| {
        let mut id: String = image.key.id.to_string().chars().take(12).collect();
        if !image.key.fixups {
            id.push_str("-unfixed");
        }
        let from = image.sources.last().cloned().unwrap_or_else(|| "-".to_owned());
        let used = if image.in_use { "now".to_owned() } else { age(image.last_used) };
        [id, size(image.disk_bytes), age(image.imported), used, from]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    for [id, disk, imported, used, from] in &rows {
        let [a, b, c, d] = widths;
        writeln!(out, "{id:a$}  {disk:>b$}  {imported:c$}  {used:d$}  {from}")?;
    }
    Ok(())
}

/// In units of 1000, as docker's.
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB"] {
        if value < 1000.0 {
            return if value < 10.0 && unit != "B" {
                format!("{value:.1} {unit}")
            } else {
                format!("{value:.0} {unit}")
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} GB")
}

pub(super) fn age(time: SystemTime) -> String {
    let seconds = time.elapsed().unwrap_or_default().as_secs();
    let (count, unit) = match seconds {
        0..60 => return "just now".to_owned(),
        60..3600 => (seconds / 60, "minute"),
        3600..86400 => (seconds / 3600, "hour"),
        _ => (seconds / 86400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (4096, "4.1 kB"), (341_000_000, "341 MB"), (2_500_000_000, "2.5 GB")]
        {
            assert_eq!(size(bytes), text);
        }
        for (seconds, text) in
            [(5, "just now"), (61, "1 minute ago"), (7200, "2 hours ago"), (200_000, "2 days ago")]
        {
            assert_eq!(age(SystemTime::now() - Duration::from_secs(seconds)), text);
        }
    }
}
