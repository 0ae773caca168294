//! What `xtask kvm` and its other half inside the emulated host say to each other, over four virtio-serial ports.
//!
//! ```text
//! port      direction        content
//! control   host → inside    a line of JSON each: one Job, then Signals
//!           inside → host    a line of JSON each: Up, Beat (one a second), Started, then Exited or Failed
//! stdin     host → inside    frames
//! stdout    inside → host    frames
//! stderr    inside → host    frames
//! ```
//!
//! A frame is its length in bytes, a little-endian u32, and that many bytes; an empty frame is the end of the stream.
//! The end has to be said because a virtio-serial port has none of its own that keeps its place behind the data.

use std::{
    io::{self, BufRead, Read, Write},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The ports' names, as QEMU gives them and as sysfs shows them inside.
pub(crate) const CONTROL: &str = "bottle.control";
/// See [`CONTROL`].
pub(crate) const STDIN: &str = "bottle.stdin";
/// See [`CONTROL`].
pub(crate) const STDOUT: &str = "bottle.stdout";
/// See [`CONTROL`].
pub(crate) const STDERR: &str = "bottle.stderr";

/// How often the emulated host says that it lives.
pub(crate) const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// The longest frame that is written, and accepted.
pub(crate) const MAX_FRAME_BYTES: usize = 256 * 1024;

/// The longest control line that is accepted: an environment and an argument list have at most 2 MiB by default, and
/// JSON writes a byte as up to four characters.
const MAX_LINE_BYTES: u64 = 16 * 1024 * 1024;

/// What is to be run. Strings are bytes: neither paths nor environments need be UTF-8.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The program and its arguments.
    pub(crate) command: Vec<Vec<u8>>,
    /// Its whole environment.
    pub(crate) environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// Its working directory.
    pub(crate) directory: Vec<u8>,
    /// Where the writable share is mounted.
    pub(crate) out: Vec<u8>,
    /// Whose it is.
    pub(crate) user: u32,
    /// Its group.
    pub(crate) group: u32,
    /// The supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// Whether a docker daemon is wanted.
    pub(crate) docker: bool,
    /// The archives to load into it.
    pub(crate) images: Vec<Vec<u8>>,
    /// The unpacked kernel package, for its modules.
    pub(crate) kernel: Vec<u8>,
}

/// What the host says.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// What to run; the first line.
    Job(Job),
    /// A signal for the command.
    Signal(i32),
}

/// What the emulated host says.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// It has booted, and waits for its job.
    Up,
    /// It lives.
    Beat,
    /// The command is being executed.
    Started,
    /// The command has ended with this exit code (128 + N for a signal); all its output has been sent.
    Exited(u8),
    /// The command could not be run. `code` is what to exit with.
    Failed {
        /// 125, 126 or 127, as docker has them.
        code: u8,
        /// Why, in a line.
        message: String,
    },
}

/// Writes one control line.
pub(crate) fn write_line(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// Reads one control line; `None` at the end of the stream.
pub(crate) fn read_line<T: DeserializeOwned>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    from.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a control line was cut off"));
    }
    serde_json::from_slice(&line).map(Some).map_err(io::Error::from)
}

/// Writes one frame; an empty one ends the stream.
pub(crate) fn write_frame(to: &mut impl Write, data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len()).map_err(|_| io::Error::other("a frame of over 4 GiB"))?;
    // In one write: two would be two trips through the emulated device.
    let mut frame = Vec::with_capacity(4 + data.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(data);
    to.write_all(&frame)
}

/// Reads one frame into `data`; `false` at the end of the stream.
pub(crate) fn read_frame(from: &mut impl Read, data: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
    if length > MAX_FRAME_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    data.resize(length, 0);
    from.read_exact(data)?;
    Ok(length > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_plain_lines() {
        let mut line = Vec::new();
        write_line(&mut line, &Report::Exited(7)).unwrap();
        assert_eq!(line, b"{\"exited\":7}\n");
        let failed = Report::Failed { code: 127, message: "nosuch\nprogram".into() };
        write_line(&mut line, &failed).unwrap();
        let mut from = &line[..];
        assert_eq!(read_line::<Report>(&mut from).unwrap(), Some(Report::Exited(7)));
        assert_eq!(read_line::<Report>(&mut from).unwrap(), Some(failed));
        assert_eq!(read_line::<Report>(&mut from).unwrap(), None);
    }

    #[test]
    fn a_cut_or_foreign_report_is_an_error() {
        assert!(read_line::<Report>(&mut &b"{\"exited\":7}"[..]).is_err());
        assert!(read_line::<Report>(&mut &b"{\"exited\":256}\n"[..]).is_err());
        assert!(read_line::<Report>(&mut &b"[    0.1] Linux\n"[..]).is_err());
    }

    #[test]
    fn frames_keep_every_byte_and_say_their_end() {
        let mut sent = Vec::new();
        write_frame(&mut sent, b"\x00\xff\n").unwrap();
        write_frame(&mut sent, b"").unwrap();
        let (mut from, mut data) = (&sent[..], Vec::new());
        assert!(read_frame(&mut from, &mut data).unwrap());
        assert_eq!(data, b"\x00\xff\n");
        assert!(!read_frame(&mut from, &mut data).unwrap());
        assert!(read_frame(&mut from, &mut data).is_err());
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused() {
        assert!(read_frame(&mut &b"\xff\xff\xff\xff"[..], &mut Vec::new()).is_err());
    }
}
