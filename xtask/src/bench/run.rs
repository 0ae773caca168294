//! (i) `bottle run` of an agent to its first byte, the image imported before, against `docker run` of the same image beside the same
//! bundle, in turns; and what ours spends its time on.
//!
//! The reference comes from `examples/docker_agent.rs`, which starts the bundle as `bottle` does. Its agent has neither a machine of its
//! own nor a trust store with the bundle's CA in it.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    RUNS, bundle, start,
    table::{self, Samples},
};
use crate::{
    error::{Context, Error, Result},
    images, kvm, paths,
};

/// What is run in the agent's image: a program that writes at once, and a real one.
const AGENTS: [Agent; 2] = [
    Agent { name: "echo", command: &["echo", "x"], turns: RUNS },
    // Ten seconds more of each run in the emulated host.
    Agent { name: "claude", command: &["claude", "--version"], turns: 3 },
];

struct Agent {
    name: &'static str,
    command: &'static [&'static str],
    turns: usize,
}

/// The agent's image twice, in docker and as a disk, in memory both.
const HOST_MEMORY_MIB: u32 = 10 << 10;

/// Half a minute or so each in the emulated host, and a minute with the real program; some times that on a busy machine.
const LIMIT_SECONDS: u64 = 2 * 3600;

/// All up to there.
const WHOLE: &str = "first output since the start of all";

/// Steps that others wait for, in their order: what is not among them runs beside them, or is part of one.
const PATH: [&str; 10] = [
    "bundle",
    "disk",
    "boot: VMM process",
    "boot: machine",
    "boot: kernel",
    "boot: root disk",
    "boot: agent ready",
    "provision: CA",
    "bundle: waited for",
    "command: first output",
];

/// Steps of the one before them.
const PARTS: [&str; 2] = ["bundle: network", "bundle: container"];

/// Steps behind the first byte.
const LATER: [&str; 3] = ["command", "end of the VM", "end of the bundle"];

/// Measures with this archive of a bundle's image, or with the image that is made here.
pub(super) fn run(bundle_image: Option<&Path>) -> Result<u8> {
    let (bundle, bundle_archive) = bundle::image(bundle_image)?;
    let (agent, agent_archive) = images::agent::ensure()?;
    let mut command = vec![paths::this_program()?.into(), "bench".into(), "--inside-run".into()];
    command.extend([bundle.into(), agent.into(), agent_archive.clone().into()]);
    kvm::run(kvm::Request {
        docker: true,
        images: vec![bundle_archive, agent_archive],
        timeout_seconds: LIMIT_SECONDS,
        memory_mib: HOST_MEMORY_MIB,
        cpus: kvm::CPUS,
        place: kvm::Place::WhereKvmWorks,
        verbose: false,
        command,
    })
}

/// Measures where KVM works and docker has both images: the bundle's, and that of the agent, which is also in this archive.
pub(super) fn run_inside(programs: PathBuf, bundle: &str, agent: &str, archive: &Path) -> Result<()> {
    let work = tempfile::tempdir().doing("make a temporary directory")?;
    let setting = Setting { programs, bundle, agent, work: work.path() };
    let manifest = work.path().join("bottle.toml");
    fs::write(&manifest, manifest_of(archive)).file("write", &manifest)?;
    AGENTS.iter().try_for_each(|agent| setting.measure(agent))
}

fn manifest_of(archive: &Path) -> String {
    let image = format!("docker-archive:{}", archive.display());
    let agents = AGENTS.map(|Agent { name, command, .. }| {
        format!("[agent.{name}]\nbottle = \"bench\"\nimage = {image:?}\ncommand = {command:?}\n")
    });
    let bottle = "[bottle.bench]\ncpus = 1\nmemory = 2048\nsupervise = true\n[[bottle.bench.routes]]\n\
                  host = \"api.test.example\"\ntoken = { command = [\"echo\", \"a-token\"] }\n";
    format!("{bottle}{}", agents.concat())
}

struct Setting<'a> {
    programs: PathBuf,
    bundle: &'a str,
    agent: &'a str,
    work: &'a Path,
}

impl Setting<'_> {
    fn measure(&self, agent: &Agent) -> Result<()> {
        let mut reference = Samples::new("docker run, the bundle before it");
        let mut ours = Samples::new("bottle run");
        let mut steps = Steps::default();
        for turn in 0..=agent.turns {
            let (reference_took, _) = to_first_byte(self.reference(agent))?;
            let (ours_took, timings) = to_first_byte(self.ours(agent))?;
            // The first one imports the image and warms the caches.
            if turn > 0 {
                reference.add(reference_took);
                ours.add(ours_took);
                start::parse(&timings).into_iter().for_each(|(name, took)| steps.add(name, took));
            }
        }
        let command = agent.command.join(" ");
        let title =
            format!("(i) An agent behind a bundle, to the first byte of `{command}`; aim: at most 1.3");
        table::print_turns(&title, &[reference, ours]);
        table::print(&format!("(i) Of it, `bottle run` … {command}"), &steps.rows(), 1);
        Ok(())
    }

    fn ours(&self, agent: &Agent) -> Command {
        let mut bottle = Command::new(self.programs.join("bottle"));
        bottle.args(["--quiet", "run", "--yes", "--timings", "--bundle-image", self.bundle, agent.name]);
        bottle.env("BOTTLE_CONFIG_DIR", self.work).current_dir(self.work);
        bottle.env("BOTTLE_STATE_DIR", self.work.join("state"));
        bottle.env("BOTTLE_CACHE_DIR", self.work.join("cache"));
        bottle
    }

    fn reference(&self, agent: &Agent) -> Command {
        let mut example = Command::new(self.programs.join("examples/docker_agent"));
        example.args([self.bundle, self.agent]).args(agent.command);
        example
    }
}

/// How long it takes until it writes, and what it says on stderr up to its end, which must be a success.
fn to_first_byte(mut command: Command) -> Result<(Duration, String)> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let since = Instant::now();
    let mut child = command.spawn().doing(format!("start {program}"))?;
    let read = child.stdout.as_mut().map(|stdout| stdout.read(&mut [0]));
    let took = since.elapsed();
    let output = child.wait_with_output().doing(format!("wait for {program}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    match read {
        Some(Ok(1)) if output.status.success() => Ok((took, stderr)),
        _ => Err(Error::Program { program, status: output.status, stderr }),
    }
}

/// How long each step took, in each turn.
#[derive(Default)]
struct Steps(BTreeMap<String, Vec<Duration>>);

impl Steps {
    fn add(&mut self, name: String, took: Duration) {
        self.0.entry(name).or_default().push(took);
    }

    /// The whole; then the steps that others wait for, each with its parts; then those beside them.
    fn rows(mut self) -> Vec<Samples> {
        let mut order = vec![(WHOLE.to_owned(), "all of it".to_owned())];
        for name in PATH {
            order.push((name.to_owned(), format!("  {name}")));
            let parts = PARTS.iter().filter(|_| name == "bundle");
            order.extend(parts.map(|part| (String::from(*part), format!("    of that, {part}"))));
        }
        let beside = self.0.keys().filter(|name| !LATER.contains(&name.as_str()));
        let beside: Vec<_> = beside.map(|name| (name.clone(), format!("  beside: {name}"))).collect();
        let rows = order.into_iter().chain(beside).filter_map(|(name, shown)| {
            let mut samples = Samples::new(shown);
            self.0.remove(&name)?.into_iter().for_each(|took| samples.add(took));
            Some(samples)
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_comes_in_its_order_and_what_runs_beside_it_is_marked() {
        let mut steps = Steps::default();
        for name in ["image", "bundle", "bundle: container", "disk", "bundle: ready", WHOLE, "command"] {
            steps.add(name.to_owned(), Duration::from_secs(1));
        }
        let rows: Vec<String> = steps.rows().into_iter().map(|row| row.name).collect();
        assert_eq!(
            rows,
            [
                "all of it",
                "  bundle",
                "    of that, bundle: container",
                "  disk",
                "  beside: bundle: ready",
                "  beside: image"
            ]
        );
    }

    #[test]
    fn the_manifest_has_each_agent() {
        let manifest = manifest_of(Path::new("/a \"b\".tar"));
        assert!(
            manifest
                .contains("[agent.echo]\nbottle = \"bench\"\nimage = \"docker-archive:/a \\\"b\\\".tar\"\n")
        );
        assert!(manifest.contains("command = [\"claude\", \"--version\"]\n"), "{manifest}");
    }
}
