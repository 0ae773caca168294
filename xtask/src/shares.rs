//! The tests of one program, dealt out to emulated hosts that run side by side: each has one processor, and this machine has more.

use std::{
    fs::File,
    io::{self, Read, Seek},
    num::NonZero,
    process::{Command, Stdio},
    thread,
};

use crate::{
    command,
    error::{Context, FAILED, Result},
};

/// Each takes some GiB of memory.
const HOSTS_MAX: usize = 2;

/// The names of a program's ignored tests that these words of its command line select.
pub(crate) fn ignored(program: &mut Command) -> Result<Vec<String>> {
    let list = command::text(program.args(["--list", "--ignored", "--format=terse"]))?;
    Ok(names(&list))
}

fn names(list: &str) -> Vec<String> {
    list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// Runs the tests, each in one of the hosts; `kvm` is the command line without their names. What the first host prints is seen
/// at once, and that of the others when they are done. Returns the exit code of the first that failed.
pub(crate) fn run(kvm: &Command, tests: Vec<String>) -> Result<u8> {
    let hosts = thread::available_parallelism().map_or(1, NonZero::get).min(HOSTS_MAX);
    let mut running = Vec::new();
    for (index, share) in deal(tests, hosts).into_iter().enumerate() {
        let mut command = Command::new(kvm.get_program());
        command.args(kvm.get_args()).arg("--exact").args(share).stdin(Stdio::null());
        let output =
            if index == 0 { None } else { Some(tempfile::tempfile().doing("make a temporary file")?) };
        if let Some(output) = &output {
            let copy = || output.try_clone().doing("share a temporary file");
            command.stdout(copy()?).stderr(copy()?);
        }
        running.push((command.spawn().doing("start xtask kvm")?, output));
    }
    let mut failed = 0;
    for (mut child, output) in running {
        let status = child.wait().doing("wait for xtask kvm")?;
        if let Some(output) = output {
            show(output).doing("show what the tests printed")?;
        }
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED);
        failed = if failed == 0 { code } else { failed };
    }
    Ok(failed)
}

fn show(mut output: File) -> io::Result<()> {
    output.rewind()?;
    let mut text = Vec::new();
    output.read_to_end(&mut text)?;
    println!("\n     In another emulated host, beside these:");
    // Cargo's own tests print names as they are: what is not UTF-8 is of no test's name.
    print!("{}", String::from_utf8_lossy(&text));
    Ok(())
}

/// Each to a host in turn, so that neighbours, which take alike long, are not all in one.
fn deal(tests: Vec<String>, hosts: usize) -> Vec<Vec<String>> {
    let mut shares = vec![Vec::new(); hosts.min(tests.len())];
    let count = shares.len().max(1);
    for (index, test) in tests.into_iter().enumerate() {
        if let Some(share) = shares.get_mut(index % count) {
            share.push(test);
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_is_in_one_share() {
        let tests = names("a::one: test\nb::two: test\nb::three: test\n\n3 tests, 0 benchmarks\n");
        assert_eq!(tests, ["a::one", "b::two", "b::three"]);
        assert_eq!(deal(tests.clone(), 2), [vec!["a::one", "b::three"], vec!["b::two"]]);
        assert_eq!(deal(tests.clone(), 1), vec![tests.clone()]);
        assert_eq!(deal(tests, 9).len(), 3);
        assert!(deal(Vec::new(), 2).is_empty());
    }
}
