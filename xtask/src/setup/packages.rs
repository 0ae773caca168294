//! The Debian packages.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{Voice, backports};
use crate::{
    command,
    error::{Error, Result},
};

/// A package that is needed.
struct Package {
    name: &'static str,
    /// The lowest version that will do, and the suite that has it.
    newer: Option<&'static str>,
    /// A command whose success shows that its work can be done without the package.
    instead: Option<&'static [&'static str]>,
}

const fn plain(name: &'static str) -> Package {
    Package { name, newer: None, instead: None }
}

const fn from_backports(name: &'static str, lowest: &'static str) -> Package {
    Package { name, newer: Some(lowest), instead: None }
}

const fn unless(name: &'static str, instead: &'static [&'static str]) -> Package {
    Package { name, newer: None, instead: Some(instead) }
}

/// All of them, by what they are for.
const PACKAGES: &[Package] = &[
    // The build: a C compiler and linker, and libclang for bindgen.
    unless("gcc", &["cc", "--version"]),
    unless("libc6-dev", &["test", "-e", "/usr/include/stdio.h"]),
    plain("libclang-14-dev"),
    plain("patch"),
    // The emulated host. QEMU 7.2 is not stable enough at emulating AMD-V with several processors.
    from_backports("qemu-system-x86", "1:10"),
    from_backports("seabios", "1.16.3"),
    plain("busybox-static"),
    plain("kmod"),
    plain("xz-utils"),
    plain("e2fsprogs"),
    // Looks at the disks of bottles that were killed.
    plain("qemu-utils"),
    plain("iproute2"),
    // Containers, and the images of tests and demo.
    plain("docker.io"),
    plain("iptables"),
    // dockerd runs no container without its parser where AppArmor is on.
    unless("apparmor", &["sh", "-c", "! grep -q Y /sys/module/apparmor/parameters/enabled"]),
    plain("debootstrap"),
    // Whether pipelock's module can be had; what stands in for it is built with this Go, where no registry has an image with one.
    Package { instead: Some(&["go", "version"]), ..from_backports("golang-go", "2:1.23") },
    plain("umoci"),
    // A registry for the tests of pulling.
    plain("docker-registry"),
    plain("skopeo"),
    unless("openssl", &["openssl", "version"]),
    // A git server for the tests of git-gate, and what they look at processes with.
    unless("git", &["git", "--version"]),
    unless("openssh-client", &["test", "-x", "/usr/bin/ssh-agent"]),
    // Not where it would begin to serve: a developer's machine is not to listen on a port for the sake of a test.
    unless("openssh-server", &["sh", "-c", "test -x /usr/sbin/sshd || test -d /run/systemd/system"]),
    unless("procps", &["ps"]),
    // A terminal for the tests of terminals.
    plain("tmux"),
    // Programs with another libc, for the tests of names.
    plain("musl-tools"),
    // What imports are measured against.
    plain("gzip"),
    plain("pigz"),
    plain("libdeflate-tools"),
    plain("isal"),
    // libkrunfw comes out of a Python wheel.
    unless("python3", &["python3", "--version"]),
    unless("python3-pip", &["python3", "-m", "pip", "--version"]),
    unless("ca-certificates", &["test", "-e", "/etc/ssl/certs/ca-certificates.crt"]),
];

/// How long another apt or dpkg may keep us waiting: an unattended upgrade takes minutes.
const LOCK_SECONDS: u64 = 600;

/// The names of those that are not installed, or too old.
pub(super) fn missing() -> Result<Vec<&'static str>> {
    Ok(lacking()?.into_iter().map(|package| package.name).collect())
}

fn lacking() -> Result<Vec<&'static Package>> {
    let installed = installed()?;
    let mut lacking = Vec::new();
    for package in PACKAGES {
        let there = match (installed.get(package.name), package.newer) {
            (Some(version), Some(lowest)) => at_least(version, lowest),
            (Some(_), None) => true,
            (None, _) => package.instead.is_some_and(|words| command::succeeds(&mut line(words))),
        };
        if !there {
            lacking.push(package);
        }
    }
    Ok(lacking)
}

/// Installs what is missing.
pub(super) fn ensure(voice: Voice) -> Result<()> {
    let lacking = lacking()?;
    if lacking.is_empty() {
        voice.there(&format!("{} Debian packages are there", PACKAGES.len()));
        return Ok(());
    }
    backports::enable(voice)?;
    let names: Vec<&str> = lacking.iter().map(|package| package.name).collect();
    voice.doing(&format!("installing {}", names.join(" ")));
    // Lists that are there may be too old to name files that still exist: then they are fetched anew.
    if !lists_are_there() || install(&lacking).is_err() {
        update(voice)?;
        install(&lacking)?;
    }
    let still = missing()?;
    if still.is_empty() {
        Ok(())
    } else {
        Err(Error::other(format!("still not installed: {}", still.join(" "))))
    }
}

/// Fetches the package lists.
pub(super) fn update(voice: Voice) -> Result<()> {
    voice.doing("fetching the package lists");
    // apt-get waits for dpkg's lock if it is told to, but not for that of the lists.
    let deadline = Instant::now() + Duration::from_secs(LOCK_SECONDS);
    loop {
        match command::output(&mut apt(&["update"])) {
            Err(Error::Program { stderr, .. })
                if stderr.contains("Could not get lock") && Instant::now() < deadline =>
            {
                thread::sleep(Duration::from_secs(1));
            }
            result => return result.map(drop),
        }
    }
}

/// `apt-get` with these words, as root.
pub(super) fn apt(words: &[&str]) -> Command {
    let mut apt = as_root("apt-get");
    apt.args(["-q", "-y", "-o", &format!("DPkg::Lock::Timeout={LOCK_SECONDS}")]).args(words);
    apt
}

/// A program that needs root's rights.
pub(super) fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        let mut command = Command::new(program);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["DEBIAN_FRONTEND=noninteractive", program]);
        sudo
    }
}

/// Whether there are lists for the archive's packages.
pub(super) fn lists_are_there() -> bool {
    fs::read_dir(Path::new("/var/lib/apt/lists")).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
    })
}

fn install(packages: &[&Package]) -> Result<()> {
    let names = |backported: bool| -> Vec<&str> {
        packages.iter().filter(|package| package.newer.is_some() == backported).map(|it| it.name).collect()
    };
    // docker.io's service would start a daemon that nobody asked for; ours are private ones.
    let policy = Policy::forbid_services()?;
    let result = install_from(None, &names(false)).and_then(|()| {
        // Not `NAME/SUITE`: that takes what NAME depends on from the release, which can be too old for it.
        install_from(Some(&backports::suite()?), &names(true))
    });
    drop(policy);
    result
}

fn install_from(suite: Option<&str>, names: &[&str]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut words = vec!["install", "--no-install-recommends"];
    words.extend(suite.into_iter().flat_map(|suite| ["--target-release", suite]));
    words.extend(names);
    command::output(&mut apt(&words)).map(drop)
}

/// While it lives, packages that are installed do not start their services (policy-rc.d, as in Debian's
/// invoke-rc.d(8)). One that exists already is left alone.
struct Policy(bool);

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl Policy {
    fn forbid_services() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self(false));
        }
        let script = format!("printf '#!/bin/sh\\nexit 101\\n' >{POLICY} && chmod 755 {POLICY}");
        command::output(as_root("sh").args(["-c", &script]))?;
        Ok(Self(true))
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.0
            && let Err(error) = command::output(as_root("rm").arg(POLICY))
        {
            eprintln!("setup: {error}");
        }
    }
}

fn installed() -> Result<HashMap<String, String>> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${db:Status-Abbrev} ${Package} ${Version}\\n"]);
    Ok(parse_installed(&command::text(&mut query)?))
}

fn parse_installed(listing: &str) -> HashMap<String, String> {
    let mut installed = HashMap::new();
    for line in listing.lines() {
        let mut words = line.split_whitespace();
        if let (Some("ii" | "hi"), Some(name), Some(version)) = (words.next(), words.next(), words.next()) {
            installed.insert(name.to_owned(), version.to_owned());
        }
    }
    installed
}

fn at_least(version: &str, lowest: &str) -> bool {
    command::succeeds(Command::new("dpkg").args(["--compare-versions", version, "ge", lowest]))
}

fn line(words: &[&str]) -> Command {
    let mut command = Command::new(words.first().copied().unwrap_or("false"));
    command.args(words.iter().skip(1));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_counts() {
        let installed =
            parse_installed("ii  kmod 30\nrc  umoci 0.4\nun  patch \nhi  qemu-system-x86 1:10.0\n");
        assert_eq!(installed.len(), 2);
        assert_eq!(installed["kmod"], "30");
        assert_eq!(installed["qemu-system-x86"], "1:10.0");
    }
}
