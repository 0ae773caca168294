//! The reference: `ffi/examples/plain.rs`, which does nothing but boot, two inits for it that do next to
//! nothing, and one that connects to the host.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::net;
use crate::{
    command,
    error::{Context, Result},
    paths,
};

/// Restarts, which is how libkrun's machines end: the cheapest end there is.
const TRUE: &str =
    "unsafe extern \"C\" { fn reboot(how: i32) -> i32; } fn main() { unsafe { reboot(0x0123_4567) }; }";

/// Idles.
const IDLE: &str = "fn main() { loop { std::thread::park(); } }";

/// Does what the host says, a byte each time, in a connection that is there from the beginning: sends a file's worth in a connection
/// of its own, makes connections that the host answers with a byte, or reports how long as many took that are refused. The numbers are
/// filled in.
const NET: &str = r#"
use std::{io::{Read, Write}, net::{TcpStream, UdpSocket}, os::fd::AsRawFd, time::Instant};
#[repr(C)]
struct Request { name: [u8; 16], flags: i16, rest: [u8; 22] }
unsafe extern "C" {
    fn ioctl(fd: i32, what: u64, ...) -> i32;
    fn reboot(how: i32) -> i32;
}
// A guest asks its own loopback first, and the host only when that refuses: it has to be up (SIOCSIFFLAGS, IFF_UP).
fn loopback_up() {
    let mut request = Request { name: [0; 16], flags: 1, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    assert_eq!(unsafe { ioctl(socket.as_raw_fd(), 0x8914, &mut request) }, 0);
}
fn connect() -> TcpStream { TcpStream::connect("@TO@").unwrap() }
fn send() {
    let mut one = connect();
    for _ in 0..@MIB@ { one.write_all(&[7; 1 << 20]).unwrap(); }
}
fn be_refused() -> u64 {
    let start = Instant::now();
    for _ in 0..@CONNECTIONS@ { assert!(TcpStream::connect("127.0.0.1:9").is_err()); }
    start.elapsed().as_nanos() as u64
}
fn main() {
    loopback_up();
    let mut host = connect();
    let mut word = [0];
    while host.read(&mut word).unwrap() == 1 {
        match word[0] {
            b's' => send(),
            b'c' => for _ in 0..@CONNECTIONS@ { connect().read_exact(&mut [0]).unwrap(); },
            _ => host.write_all(&be_refused().to_le_bytes()).unwrap(),
        }
    }
    unsafe { reboot(0x0123_4567) };
}
"#;

/// The inits, built.
pub(super) struct Inits {
    pub(super) directory: PathBuf,
}

impl Inits {
    pub(super) fn build(directory: &Path) -> Result<Self> {
        let net = net::filled_in(NET);
        for (name, source) in [("true", TRUE), ("idle", IDLE), ("net", &net)] {
            let path = directory.join(format!("{name}.rs"));
            fs::write(&path, source).file("write", &path)?;
            let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
            rustc.args(["--edition=2024", "-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols"]);
            rustc.args(["-Ctarget-feature=+crt-static", "-o"]).arg(directory.join(name)).arg(&path);
            command::output(&mut rustc)?;
        }
        Ok(Self { directory: directory.to_path_buf() })
    }
}

/// Which libkrun it is linked with.
#[derive(Clone, Copy)]
pub(super) enum Build {
    /// The one that `bottle` has.
    Ours,
    /// As it is published.
    Stock,
}

impl Build {
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Ours => "plain",
            Self::Stock => "plain-stock",
        }
    }
}

/// How it is started.
pub(super) struct Plain {
    examples: PathBuf,
    libraries: OsString,
    inits: PathBuf,
    /// The same kind of disk as bottle's: an overlay over the image.
    pub(super) disk: PathBuf,
}

impl Plain {
    pub(super) fn new(programs: &Path, inits: &Path, work: &Path) -> Result<Self> {
        Ok(Self {
            examples: programs.join("examples"),
            libraries: paths::library_dir()?.into(),
            inits: inits.to_path_buf(),
            disk: work.join("plain.qcow2"),
        })
    }

    pub(super) fn command(&self, init: &str) -> Command {
        self.with_disk(Build::Ours, self.disk.as_os_str(), init)
    }

    /// Without a disk, and with TSI, behind these rules if there are any.
    pub(super) fn with_network(&self, build: Build, init: &str, rules: &[String]) -> Command {
        let mut plain = self.with_disk(build, "-".as_ref(), init);
        plain.arg("tsi").args(rules);
        plain
    }

    fn with_disk(&self, build: Build, disk: &OsStr, init: &str) -> Command {
        let mut plain = Command::new(self.examples.join(build.program()));
        plain.arg(disk).args([super::MEMORY_MIB, super::CPUS]).arg(self.inits.join(init));
        plain.env("LD_LIBRARY_PATH", &self.libraries);
        plain
    }
}
