//! (d) Requests to a VM that runs, and (e) copies of files into and out of it.
//!
//! The first reference is the least that the guest agent's port does, a connection on which eight bytes go there and back; the
//! second is docker's command line with a container of the same image. The library's samples come from
//! `examples/round_trips.rs`, which has a VM of its own.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Setting, start, table, table::Samples};
use crate::{
    command,
    error::{Context, Error, Result},
};

/// These are short.
const ROUNDS: u32 = 30;

/// What goes through a daemon leaves it work to do afterwards, which the next sample must not pay for: samples of one kind
/// come in so many blocks, and the first of a block does not count.
const BLOCKS: u32 = 3;

/// Copies are not short; large ones are so long that one is enough.
const COPIES: u64 = 3;
const LARGE_MIB: u64 = 256;

/// The bottle, and the container.
const NAME: &str = "bench";

/// What the container is made of: the image of the guest, as `cargo xtask images` calls it.
const DOCKER_IMAGE: &str = "bottle-test/debian:latest";

/// Runs with an end that is not waited for.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(super) fn run(setting: &Setting, copy_mib: u64) -> Result<()> {
    let mut library = in_library(setting)?;
    let _bottle = start_bottle(setting)?;
    docker(&["run", "-d", "--name", NAME, DOCKER_IMAGE, "sleep", "100000"])?;
    let mut by_docker = Samples::new("docker exec true");
    let mut by_bottle = Samples::new("bottle exec true");
    let mut docker_exec = Command::new("docker");
    docker_exec.args(["exec", NAME, "true"]);
    let mut bottle_exec = setting.verb(&["exec", NAME, "--", "true"]);
    bottle_exec.stdin(Stdio::null());
    for _ in 0..BLOCKS {
        add_block(&mut by_docker, &mut docker_exec)?;
        add_block(&mut by_bottle, &mut bottle_exec)?;
    }
    docker(&["rm", "-f", NAME])?;
    library.insert(library.len().min(1), by_docker);
    library.push(by_bottle);
    table::print("(d) Requests to a VM that runs; aim: exec at most 0.1 of docker's", &library, 2);
    if copy_mib == 0 { Ok(()) } else { copies(setting, copy_mib) }
}

fn add_block(samples: &mut Samples, command: &mut Command) -> Result<()> {
    timed(command)?;
    for _ in 0..ROUNDS / BLOCKS {
        samples.add(timed(command)?);
    }
    Ok(())
}

/// What the library's example measures, each thing's samples together, in its order.
fn in_library(setting: &Setting) -> Result<Vec<Samples>> {
    let mut example = Command::new(setting.programs.join("examples/round_trips"));
    example.arg(setting.image()).arg(ROUNDS.to_string());
    let printed = command::text(setting.with_directories(&mut example))?;
    let mut order: Vec<Samples> = Vec::new();
    let mut places = BTreeMap::new();
    for (name, took) in start::parse(&printed) {
        let place = *places.entry(name.clone()).or_insert(order.len());
        if place == order.len() {
            order.push(Samples::new(name));
        }
        if let Some(samples) = order.get_mut(place) {
            samples.add(took);
        }
    }
    Ok(order)
}

/// A bottle that does nothing.
fn start_bottle(setting: &Setting) -> Result<Running> {
    let script = ["sh", "-c", "echo up; exec sleep 100000"];
    let mut bottle = setting.bottle_named(NAME, &script);
    let spawned = bottle.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut bottle = Running(spawned.doing("start bottle")?);
    let up = bottle.0.stdout.as_mut().map(|stdout| stdout.read_exact(&mut [0]));
    match up {
        Some(Ok(())) => Ok(bottle),
        _ => Err(Error::other("bottle did not start a guest that idles")),
    }
}

/// A file there and back, by `bottle cp` and by `cat`.
fn copies(setting: &Setting, mib: u64) -> Result<()> {
    let (file, back) = (setting.work.join("file"), setting.work.join("back"));
    write_noise(&file, mib)?;
    let there = format!("{NAME}:/root/file");
    let mut samples =
        ["cat > FILE, by exec", "bottle cp to the guest", "cat FILE, by exec", "bottle cp to the host"]
            .map(Samples::new);
    for _ in 0..if mib > LARGE_MIB { 1 } else { COPIES } {
        let from = File::open(&file).file("open", &file)?;
        let cat_in =
            timed(setting.verb(&["exec", "-i", NAME, "--", "sh", "-c", "cat > /root/cat"]).stdin(from))?;
        let cp_in = timed(setting.verb(&["cp"]).arg(&file).arg(&there))?;
        let to = File::create(&back).file("create", &back)?;
        let cat_out = timed(setting.verb(&["exec", NAME, "--", "cat", "/root/cat"]).stdout(to))?;
        let cp_out = timed(setting.verb(&["cp", &there]).arg(&back))?;
        for (samples, took) in samples.iter_mut().zip([cat_in, cp_in, cat_out, cp_out]) {
            samples.add(took);
        }
    }
    command::run(Command::new("cmp").arg(&file).arg(&back))?;
    let [cat_in, cp_in, cat_out, cp_out] = samples;
    let title = format!("(e) A file of {mib} MiB into a guest; aim: at most 1.0 of cat");
    table::print(&title, &[cat_in, cp_in], 1);
    let title = format!("(e) A file of {mib} MiB out of a guest; aim: at most 1.0 of cat");
    table::print(&title, &[cat_out, cp_out], 1);
    Ok(())
}

/// Nothing that a disk could leave out.
fn write_noise(path: &Path, mib: u64) -> Result<()> {
    let random = Path::new("/dev/urandom");
    let mut from = File::open(random).file("open", random)?.take(mib << 20);
    let mut to = File::create(path).file("create", path)?;
    std::io::copy(&mut from, &mut to).file("write", path).map(drop)
}

/// From its start to its end, which must be a success.
fn timed(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    let status = command.stderr(Stdio::inherit()).status().doing("start the program to measure")?;
    let took = start.elapsed();
    if status.success() {
        return Ok(took);
    }
    let program = command.get_program().to_string_lossy().into_owned();
    Err(Error::Program { program, status, stderr: String::new() })
}

fn docker(words: &[&str]) -> Result<()> {
    command::output(Command::new("docker").args(words)).map(drop)
}
