//! `cargo xtask test`: every test. Those that need docker or KVM are the ignored ones of some integration tests; their
//! programs are built here and run where there is what they need. So are those that take long, for `--long`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use crate::{
    command,
    error::{Context, Error, FAILED, Result},
    images, kvm, paths, setup, shares,
};

/// All of the end-to-end tests take some minutes in the emulated host, and several times that on a busy machine.
const LIMIT_SECONDS: &str = "3600";

/// Of bottles that are killed; half a minute or so each in the emulated host.
const ROUNDS: &str = "3";
const LONG_ROUNDS: &str = "30";

/// Of launches in a row, behind a bundle, whose guest is looked at.
const LAUNCHES: &str = "1";
const LONG_LAUNCHES: &str = "20";

/// A `bottle` with something left out, for a test that wants to see what then happens.
struct Variant {
    /// The feature that leaves it out.
    feature: &'static str,
    /// What the program is called, beside `bottle` itself.
    program: &'static str,
    /// Where the test finds the program's name.
    variable: &'static str,
}

const VARIANTS: [Variant; 2] = [
    Variant { feature: "holes", program: "bottle-with-holes", variable: "BOTTLE_BIN_HOLES" },
    Variant {
        feature: "no-first-wall",
        program: "bottle-no-first-wall",
        variable: "BOTTLE_BIN_NO_FIRST_WALL",
    },
];

/// An integration test with ignored tests: they need more than cargo gives them.
struct Target {
    name: &'static str,
    /// It needs docker, and no KVM.
    here: bool,
    wants: Wants,
}

/// The images that docker is to have.
#[derive(Clone, Copy)]
struct Wants {
    /// Those of the tests.
    tests: bool,
    /// The bundle's, for the tests with this in their names.
    sidecars: Option<&'static str>,
    /// That of agents' guests, for the tests with this in their names.
    agent: Option<&'static str>,
}

const NOTHING: Wants = Wants { tests: false, sidecars: None, agent: None };

/// Part of the name of each test that only pipelock itself can pass, and no stand-in: it is in a module that begins so.
const OF_PIPELOCK: &str = "pipelock";

/// Those that need a docker daemon or an sshd, those that need a kernel which lets root do all that root may, and those that
/// need all of it and KVM.
const TARGETS: [Target; 7] = [
    Target { name: "bundle", here: true, wants: NOTHING },
    Target { name: "own_images", here: true, wants: NOTHING },
    Target { name: "sidecars", here: true, wants: Wants { sidecars: Some(""), ..NOTHING } },
    Target { name: "git_gate", here: true, wants: NOTHING },
    Target { name: "image_fidelity", here: true, wants: NOTHING },
    Target { name: "growth", here: false, wants: NOTHING },
    Target {
        name: "e2e",
        here: false,
        wants: Wants { tests: true, sidecars: Some("sidecars::"), agent: Some("::agents::") },
    },
];

/// Those whose ignored tests need nothing but time.
const LONG: [(&str, &str); 2] = [("bottle", "image_torture"), ("bottle-ext4", "directories")];

/// Unit tests that need a kernel with all of the second wall, which the emulated host's has: a module of the library's, and
/// what tells them that nothing may be missing.
const WALL_TESTS: &str = "vm::sys::linux::wall_tests::";
const WHOLE_WALL: &str = "BOTTLE_TEST_WHOLE_WALL=1";

/// The devices of the patched libkrun, which `cargo build --workspace` leaves in the target directory; no member of the workspace.
const DEVICES: &str = "fuzz/libkrun/Cargo.toml";

type Image = (&'static images::Recipe, PathBuf);

/// Runs all tests, the long ones only if they are wanted; returns the exit code of the first that failed.
pub(crate) fn run(long: bool, filters: &[String]) -> Result<u8> {
    setup::run(setup::Voice::Changes)?;
    let images = images::ensure(&[])?;
    let cargo = || {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(paths::workspace());
        cargo
    };
    // Always of the whole workspace: what is built of a part of it has dependencies with other features, and is built twice.
    let bottle = ["build", "--release", "--workspace", "--bin", "bottle"];
    // All lie beside this program.
    let xtask = paths::this_program()?;
    for variant in &VARIANTS {
        command::run(cargo().args(bottle).args(["--features", &format!("bottle/{}", variant.feature)]))?;
        let (from, to) = (xtask.with_file_name("bottle"), xtask.with_file_name(variant.program));
        std::fs::copy(&from, &to).doing(format!("copy {}", from.display()))?;
    }
    command::run(cargo().args(["build", "--release", "--workspace"]))?;
    let mut plain = vec![vec!["test", "--release", "--workspace", "--"]];
    plain.push(vec!["test", "--release", "--manifest-path", DEVICES, "--"]);
    let targets = LONG.iter().filter(|_| long);
    plain.extend(targets.map(|(package, name)| {
        vec!["test", "--release", "--package", package, "--test", name, "--", "--ignored"]
    }));
    for words in plain {
        let status = cargo().args(words).args(filters).status();
        let status = status.map_err(|source| Error::Start { program: "cargo".into(), source })?;
        if !status.success() {
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
    }
    let build = ["test", "--release", "--workspace", "--no-run", "--message-format=json"];
    let messages = command::text(cargo().args(build))?;
    let built = |name, kind| {
        executable(&messages, name, kind)
            .ok_or_else(|| Error::other(format!("cargo built no tests of {name} ({kind})")))
    };
    let mut failed = if filters.is_empty() { run_wall_tests(&built("bottle", "lib")?)? } else { 0 };
    for target in &TARGETS {
        let program = built(target.name, "test")?;
        let code = run_ignored(target, &program, &images, long, filters)?;
        failed = if failed == 0 { code } else { failed };
    }
    Ok(failed)
}

/// Runs those unit tests again that this machine's kernel may be too old for.
fn run_wall_tests(program: &Path) -> Result<u8> {
    println!("\n     Running the tests of the second wall in the emulated host");
    let mut kvm = Command::new(paths::this_program()?);
    kvm.args(["kvm", "--emulate", "--", "env", WHOLE_WALL]).arg(program).arg(WALL_TESTS);
    let status = kvm.status().doing("run xtask kvm")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED))
}

/// Runs a target's ignored tests in a place that has what they need.
fn run_ignored(
    target: &Target,
    program: &Path,
    images: &[Image],
    long: bool,
    filters: &[String],
) -> Result<u8> {
    let (rounds, launches) = if long { (LONG_ROUNDS, LONG_LAUNCHES) } else { (ROUNDS, LAUNCHES) };
    println!("\n     Running the ignored tests of {}", target.name);
    let release = program.ancestors().nth(2).unwrap_or(program);
    // Its own process: it changes its network and takes signals.
    let mut kvm = Command::new(paths::this_program()?);
    kvm.args(["kvm", "--docker", "--timeout", LIMIT_SECONDS]).args(target.here.then_some("--here"));
    for (_, archive) in images.iter().filter(|(recipe, _)| target.wants.tests && recipe.in_docker) {
        kvm.arg("--image").arg(archive);
    }
    let mut skip = Vec::new();
    let mut variables = Vec::new();
    if let Some(part) = target.wants.sidecars {
        match images::sidecars::ensure() {
            Ok(image) => {
                kvm.arg("--image").arg(&image.archive);
                variables.push(format!("BOTTLE_TEST_SIDECARS={}", image.reference).into());
                if let Some(why) = image.stand_in {
                    let count = count_ignored(program, OF_PIPELOCK, filters)?;
                    println!(
                        "SKIPPED: {count} tests of the real pipelock: its module cannot be had here: {why}"
                    );
                    skip.extend(["--skip", OF_PIPELOCK]);
                }
            }
            // A registry that does not have all of its parts is no fault of the tests'; to run none of them is said.
            Err(error) => {
                let count = count_ignored(program, part, filters)?;
                println!("SKIPPED: {count} tests of the bundle's daemons: no image: {error}");
                skip.extend(["--skip", part]);
            }
        }
    }
    if let Some(part) = target.wants.agent {
        // The image is a gigabyte, and the programs take minutes each in an emulated host.
        let image = if long { images::agent::ensure() } else { Err(Error::other("they are for --long")) };
        match image {
            Ok((_, archive)) => variables.push(assignment("BOTTLE_TEST_IMAGE_AGENT", &archive)),
            Err(error) => {
                let count = count_ignored(program, part, filters)?;
                println!("SKIPPED: {count} tests of agents' programs: {error}");
                skip.extend(["--skip", part]);
            }
        }
    }
    kvm.arg("--").arg("env").args(variables).arg(assignment("BOTTLE_BIN", &release.join("bottle")));
    kvm.arg(format!("BOTTLE_TEST_ROUNDS={rounds}")).arg(format!("BOTTLE_TEST_LAUNCHES={launches}"));
    kvm.arg(assignment("BOTTLE_EXAMPLES", &release.join("examples")));
    for variant in &VARIANTS {
        kvm.arg(assignment(variant.variable, &release.join(variant.program)));
    }
    for (recipe, archive) in images {
        let name = recipe.name.to_uppercase().replace('-', "_");
        kvm.arg(assignment(&format!("BOTTLE_TEST_IMAGE_{name}"), archive));
    }
    // One at a time: an emulated host is slow, and each test wants one guest at least.
    kvm.arg(program).args(["--ignored", "--test-threads=1"]).args(&skip);
    if !target.here && !kvm::runs_here(true)? {
        return shares::run(&kvm, shares::ignored(Command::new(program).args(&skip).args(filters))?);
    }
    let status = kvm.args(filters).status().doing("run xtask kvm")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED))
}

/// How many of a target's ignored tests have `part` in their names, of those that the filters leave.
fn count_ignored(program: &Path, part: &str, filters: &[String]) -> Result<usize> {
    let listed = shares::ignored(Command::new(program).args(filters))?;
    Ok(listed.iter().filter(|name| name.contains(part)).count())
}

fn assignment(name: &str, value: &Path) -> std::ffi::OsString {
    let mut word = std::ffi::OsString::from(format!("{name}="));
    word.push(value);
    word
}

/// A line of what cargo prints with `--message-format=json`, as far as it is needed here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Built>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Built {
    name: String,
    kind: Vec<String>,
}

/// The program that cargo built for the tests of this target: an integration test's, or a library's own.
fn executable(messages: &str, name: &str, kind: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok()).find_map(|message| {
        let target = message.target?;
        let wanted = message.reason == "compiler-artifact" && target.name == name;
        if wanted && target.kind.iter().any(|found| found == kind) { message.executable } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_that_of_the_integration_test() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"e2e","kind":["lib"]},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"bottle","kind":["bin"]},"executable":"/t/bottle"}
{"reason":"compiler-artifact","target":{"name":"e2e","kind":["test"]},"executable":"/t/deps/e2e-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "e2e", "test"), Some(PathBuf::from("/t/deps/e2e-1")));
        assert_eq!(executable(messages, "e2e", "lib"), None);
        assert_eq!(executable(messages, "other", "test"), None);
    }
}
