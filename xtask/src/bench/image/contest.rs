//! The programs, run in turns, and what came out.

use std::{ffi::OsString, fs, path::Path, process::Command};

use super::{
    super::{
        child::{self, Cost},
        table::{self, Aim, Samples},
    },
    forms::{Forms, TAG},
};
use crate::{
    command,
    error::{Context, Result},
};

/// After one that warms the caches.
const RUNS: usize = 5;
/// Of those that take ten seconds and more, and are far off.
const SLOW_RUNS: usize = 3;

/// Each reads its file by itself and writes to stdout. All use one thread: what `pigz` is told here, the others are.
const GUNZIPS: [&[&str]; 4] =
    [&["gzip", "-dc"], &["pigz", "-p1", "-dc"], &["libdeflate-gunzip", "-c"], &["igzip", "-dc"]];

/// What an import from a docker-archive, from an oci-archive with gzip layers, and from a docker daemon may take: so many
/// times what the best of the first rows does.
const PLAIN_AIM: f64 = 1.5;
const GZIP_AIM: f64 = 1.1;
const DAEMON_AIM: f64 = 1.1;

/// Runs a program in a directory of its own.
type Run<'a> = Box<dyn Fn(&Path) -> Result<Cost> + 'a>;

/// A program, or several that do the work together.
struct Entrant<'a> {
    samples: Samples,
    run: Run<'a>,
}

impl<'a> Entrant<'a> {
    fn new(name: impl Into<String>, run: impl Fn(&Path) -> Result<Cost> + 'a) -> Self {
        Self { samples: Samples::new(name), run: Box::new(run) }
    }
}

pub(super) fn run(name: &str, forms: &Forms, bottle: &Path, work: &Path) -> Result<()> {
    let size = |path: &Path| fs::metadata(path).file("examine", path).map(|found| found.len() >> 20);
    let (plain_mib, gzip_mib) = (size(&forms.docker_archive)?, size(&forms.oci_archive)?);
    let mut gunzips: Vec<_> = GUNZIPS.iter().map(|words| gunzip(words, forms)).collect();
    let [mut cp, mut load, mut save] = [copy(forms), docker_load(forms), docker_save(forms)];
    let [mut untar, mut umoci, mut sha256] = [untar(forms), umoci(forms), sha256(forms)];
    let from = |kind: &str, what: &dyn AsRef<std::ffi::OsStr>| {
        let mut image = OsString::from(format!("{kind}:"));
        image.push(what);
        import(kind, bottle, image, forms.docker.address())
    };
    let mut plain = from("docker-archive", &forms.docker_archive);
    let mut gzip = from("oci-archive", &forms.oci_archive);
    let mut daemon = from("docker-daemon", &forms.reference);
    for round in 0..=RUNS {
        let slow =
            [&mut untar, &mut umoci, &mut load].into_iter().take(if round > SLOW_RUNS { 0 } else { 3 });
        let others = [&mut cp, &mut sha256, &mut save, &mut plain, &mut gzip, &mut daemon];
        for entrant in slow.chain(gunzips.iter_mut()).chain(others) {
            warm_memory(work, &forms.docker_archive)?;
            let cost = in_fresh(work, &entrant.run)?;
            // The first one warms the caches.
            if round > 0 {
                entrant.samples.add(cost.took);
                entrant.samples.note_peak(cost.peak_kib);
            }
        }
    }
    let layers = forms.plain_layers.len();
    println!("\n{name}: {plain_mib} MiB, with gzip {gzip_mib} MiB, {layers} layer(s)");
    table::print_with_aim(
        "docker-archive, plain layers",
        &[&cp.samples, &sha256.samples, &untar.samples, &umoci.samples, &load.samples],
        &plain.samples,
        Aim { times: PLAIN_AIM, of: 1 },
    );
    let mut references: Vec<_> = gunzips.iter().map(|entrant| &entrant.samples).collect();
    references.extend([&untar.samples, &umoci.samples]);
    table::print_with_aim(
        "oci-archive, gzip layers",
        &references,
        &gzip.samples,
        Aim { times: GZIP_AIM, of: GUNZIPS.len() },
    );
    table::print_with_aim(
        "docker daemon (docker's memory is its command line's, not the daemon's)",
        &[&save.samples],
        &daemon.samples,
        Aim { times: DAEMON_AIM, of: 1 },
    );
    Ok(())
}

/// Has the system's free memory be such as was just in use, for everyone: on a virtual machine, the first use of memory
/// after a while may take several times as long as all else, and would be paid by who comes first.
fn warm_memory(work: &Path, archive: &Path) -> Result<()> {
    let (one, other) = (work.join("warm-1"), work.join("warm-2"));
    for path in [&one, &other] {
        fs::copy(archive, path).file("write", path)?;
    }
    for path in [&one, &other] {
        fs::remove_file(path).file("remove", path)?;
    }
    Ok(())
}

/// Runs it in a new directory, which is gone afterwards. What others have written does not wait to be written then.
fn in_fresh(work: &Path, run: &dyn Fn(&Path) -> Result<Cost>) -> Result<Cost> {
    let dir = tempfile::tempdir_in(work).file("make a directory in", work)?;
    let open = fs::File::open(dir.path()).file("open", dir.path())?;
    rustix::fs::syncfs(&open).file("write out", dir.path())?;
    run(dir.path())
}

fn copy(forms: &Forms) -> Entrant<'_> {
    Entrant::new("cp of the archive", |dir| {
        child::run(Command::new("cp").arg(&forms.docker_archive).arg(dir.join("copy")))
    })
}

/// What every import has to do, on one thread for each layer, before it may trust what it unpacked.
fn sha256(forms: &Forms) -> Entrant<'_> {
    Entrant::new("openssl sha256 of the layers", |_| {
        let layers = forms.plain_layers.iter();
        layers.map(|layer| child::run(Command::new("openssl").args(["dgst", "-sha256"]).arg(layer))).sum()
    })
}

fn untar(forms: &Forms) -> Entrant<'_> {
    Entrant::new("tar -x of the layers", |dir| {
        let layers = forms.plain_layers.iter();
        layers.map(|layer| child::run(Command::new("tar").arg("-xf").arg(layer).arg("-C").arg(dir))).sum()
    })
}

fn umoci(forms: &Forms) -> Entrant<'_> {
    Entrant::new("umoci unpack of the gzip layers", |dir| {
        let image = format!("{}:{TAG}", forms.oci_layout.display());
        child::run(Command::new("umoci").args(["unpack", "--image", &image]).arg(dir.join("bundle")))
    })
}

fn docker_load(forms: &Forms) -> Entrant<'_> {
    Entrant::new("docker load", |_| {
        let docker = || forms.docker.docker();
        command::output(docker().args(["image", "rm", "--force", &forms.reference]))?;
        child::run(docker().args(["load", "--quiet", "--input"]).arg(&forms.docker_archive))
    })
}

fn docker_save(forms: &Forms) -> Entrant<'_> {
    Entrant::new("docker save > /dev/null", |_| {
        child::run(forms.docker.docker().args(["save", &forms.reference]))
    })
}

fn gunzip<'a>(words: &'static [&'static str], forms: &'a Forms) -> Entrant<'a> {
    Entrant::new(format!("{} > /dev/null", words.join(" ")), |_| {
        let layers = forms.gzip_layers.iter();
        layers.map(|layer| child::run(Command::new(words[0]).args(&words[1..]).arg(layer))).sum()
    })
}

fn import<'a>(kind: &str, bottle: &'a Path, image: OsString, docker: String) -> Entrant<'a> {
    Entrant::new(format!("bottle image import {kind}:…"), move |dir| {
        let mut import = Command::new(bottle);
        import.args(["image", "import"]).arg(&image);
        child::run(import.env("BOTTLE_CACHE_DIR", dir).env("DOCKER_HOST", &docker))
    })
}
