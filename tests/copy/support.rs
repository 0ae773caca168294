//! A guest's agent without a guest, guests that lie, and what to look at afterwards.

use std::fs;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bottle::vm::agent::{Agent, CopyOptions};
use bottle_protocol::{
    Base, ClientFrame, Entry, EntryKind, GuestConfig, GuestFrame, Message, Owner, PutRequest, Request, hello,
};
use tempfile::TempDir;

/// For anything that takes well under a second on an idle machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The guest's agent, and a directory of the "guest" beside one of the "host".
pub(crate) struct Server {
    pub(crate) process: Child,
    directory: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("guest")).unwrap();
        fs::create_dir(at("host")).unwrap();
        let config = GuestConfig {
            default_cwd: at("guest").into_os_string().into_encoded_bytes().into(),
            default_user: b"nobody".to_vec().into(),
            ..GuestConfig::default()
        };
        fs::write(at("config"), config.encode().unwrap()).unwrap();
        let mut command = Command::new(env!("BOTTLE_GUEST_INIT"));
        command.arg("serve").arg(at("agent")).arg(at("config")).stdin(Stdio::null());
        let server = Self { process: command.spawn().unwrap(), directory };
        wait_for("the server's socket", || UnixStream::connect(server.at("agent")).is_ok());
        server
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn agent(&self) -> Agent {
        Agent::new(self.at("agent"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.agent().shutdown(Duration::ZERO));
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn options<'a>() -> CopyOptions<'a> {
    CopyOptions::default()
}

/// Numbers that repeat nowhere near.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..bytes).map(next).collect()
}

/// What is in a directory: names in their order.
pub(crate) fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Everything below but the owners, as find(1) has it.
pub(crate) fn listing(root: &Path) -> String {
    let format = "%P %y %m %n %T@ %s %l\\n";
    let script = format!(
        "find . -mindepth 1 ! -type d -printf '{format}' -o -printf '%P %y %m %T@\\n' | sort; \
                          find . -type f | sort | xargs sha256sum"
    );
    let output = Command::new("sh").arg("-c").arg(script).current_dir(root).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // The size and time of a symbolic link's own are as good as they come.
    String::from_utf8(output.stdout).unwrap()
}

/// Every file there is below, but complete ones.
pub(crate) fn leftovers(path: &Path, complete: u64) -> Vec<String> {
    let output = Command::new("find")
        .arg(path)
        .args(["-type", "f", "!", "-size"])
        .arg(format!("{complete}c"))
        .output();
    String::from_utf8(output.unwrap().stdout).unwrap().lines().map(str::to_owned).collect()
}

pub(crate) fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry { path: path.as_bytes().to_vec().into(), kind, mode: 0o755, uid: 0, gid: 0, mtime: 0, mtime_ns: 0 }
}

/// A guest that says what it likes, once the request came. It may not get to say all of it.
pub(crate) fn hostile(
    answer: impl FnOnce(&mut UnixStream) + Send + 'static,
) -> (TempDir, Agent, JoinHandle<()>) {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
        answer(&mut stream);
        drop(stream.read_to_end(&mut Vec::new()));
    });
    fs::create_dir(directory.path().join("out")).unwrap();
    fs::write(directory.path().join("secret"), "secret").unwrap();
    (directory, Agent::new(socket), thread)
}

pub(crate) fn frames(frames: &[GuestFrame]) -> Vec<u8> {
    let mut bytes = hello().to_vec();
    frames.iter().for_each(|frame| frame.encode(&mut bytes).unwrap());
    bytes
}

/// The beginning of a copy into the guest, to this path of its.
pub(crate) fn put(path: &str) -> ClientFrame {
    ClientFrame::Request(Request::Put(PutRequest {
        base: Base::WorkingDir,
        path: path.as_bytes().to_vec().into(),
        name: None,
        must_exist: false,
        owner: Owner::Default,
        keep: false,
    }))
}
