//! A docker daemon of the test's own, as far as builds and the beginning of a launch need one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// What may take long on a busy machine, and never does otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// What becomes of a build.
#[derive(Clone)]
pub(crate) enum Outcome {
    /// The image is there, after these lines of JSON.
    Built(&'static [&'static str]),
    /// It ends with these.
    Failed(&'static [&'static str]),
    /// It says these, and then nothing, until whoever asked for it goes away.
    Hangs(&'static [&'static str]),
}

/// A build that was asked for.
pub(crate) struct Asked {
    /// What is in the query, decoded.
    pub(crate) query: BTreeMap<String, String>,
    /// The files of the context, with their modes.
    pub(crate) files: BTreeMap<String, (u32, Vec<u8>)>,
}

#[derive(Default)]
struct Seen {
    asked: Vec<Asked>,
    /// Each image that was built, and the labels it got.
    built: BTreeMap<String, String>,
    /// Builds that nobody listens to any more.
    left: usize,
}

/// See the module.
pub(crate) struct Daemon {
    socket: PathBuf,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Daemon {
    pub(crate) fn start(directory: &Path, outcome: Outcome) -> Self {
        let socket = directory.join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let seen: Arc<(Mutex<Seen>, Condvar)> = Arc::default();
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (shared, outcome) = (Arc::clone(&shared), outcome.clone());
                // Who goes away in the middle is none of a daemon's business.
                thread::spawn(move || drop(serve(stream, &shared, &outcome)));
            }
        });
        Self { socket, seen }
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The builds that were asked for since this was asked.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.seen.0.lock().unwrap().asked)
    }

    /// Waits until so many builds were left alone.
    pub(crate) fn wait_left(&self, count: usize) {
        let (seen, changed) = &*self.seen;
        let seen = seen.lock().unwrap();
        let (seen, _) = changed.wait_timeout_while(seen, PATIENCE, |seen| seen.left < count).unwrap();
        assert!(seen.left >= count, "{} of {count} builds were left", seen.left);
    }
}

fn serve(mut stream: UnixStream, seen: &(Mutex<Seen>, Condvar), outcome: &Outcome) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let Some(target) = head.split(' ').nth(1) else { return Ok(()) };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.trim_start_matches('/');
    let path = path.split_once('/').filter(|(api, _)| api.starts_with("v1.")).map_or(path, |(_, path)| path);
    if head.starts_with("POST") && path == "build" {
        let length = head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned))
            .map_or(0, |length| length.trim().parse().unwrap());
        let mut tar = vec![0; length];
        reader.read_exact(&mut tar)?;
        return build(stream, seen, outcome, Asked { query: decoded(query), files: unpacked(&tar) });
    }
    let (status, body) = answer(path, &seen.0.lock().unwrap().built);
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn answer(path: &str, built: &BTreeMap<String, String>) -> (&'static str, String) {
    let image = path.strip_prefix("images/").and_then(|path| path.strip_suffix("/json"));
    match (path, image.and_then(|image| built.get(image))) {
        ("version", _) => ("200 OK", r#"{"ApiVersion":"1.41","MinAPIVersion":"1.12"}"#.to_owned()),
        ("containers/json" | "networks", _) => ("200 OK", "[]".to_owned()),
        (_, Some(labels)) => {
            ("200 OK", format!(r#"{{"Id":"sha256:{}","Config":{{"Labels":{labels}}}}}"#, "0".repeat(64)))
        }
        _ => ("404 Not Found", r#"{"message":"no such thing"}"#.to_owned()),
    }
}

fn build(
    mut stream: UnixStream,
    (seen, changed): &(Mutex<Seen>, Condvar),
    outcome: &Outcome,
    asked: Asked,
) -> std::io::Result<()> {
    let (Outcome::Built(lines) | Outcome::Failed(lines) | Outcome::Hangs(lines)) = outcome;
    {
        let mut seen = seen.lock().unwrap();
        if let Outcome::Built(_) = outcome {
            seen.built.insert(asked.query["t"].clone(), asked.query["labels"].clone());
        }
        seen.asked.push(asked);
    }
    let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
    let written = write!(stream, "{head}\r\n\r\n{text}");
    if let Outcome::Hangs(_) = outcome {
        let end = stream.read(&mut [0]);
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        seen.lock().unwrap().left += 1;
        changed.notify_all();
    }
    written
}

/// `a=%20&b=c`, decoded.
fn decoded(query: &str) -> BTreeMap<String, String> {
    let plain = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                byte => byte,
            });
        }
        String::from_utf8(bytes).unwrap()
    };
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (plain(k), plain(v))).collect()
}

fn unpacked(tar: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut archive = tar::Archive::new(tar);
    let files = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents).unwrap();
        (entry.path().unwrap().display().to_string(), (entry.header().mode().unwrap(), contents))
    });
    files.collect()
}

/// The names of a context's files.
pub(crate) fn names(asked: &Asked) -> BTreeSet<&str> {
    asked.files.keys().map(String::as_str).collect()
}
