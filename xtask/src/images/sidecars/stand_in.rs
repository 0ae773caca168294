//! Whether pipelock's module can be had, and what stands in for it where it cannot: a program of the tests', "stand-in for
//! pipelock: allowlist only".
//!
//! ```text
//! go mod download ─► had      the Dockerfile builds pipelock
//!                 └► refused  golang:… + a module proxy in a directory ─► the same Dockerfile, told another version, builds
//!                             xtask/images/pipelock-stand-in
//! ```

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{
    error::{Context, Error, Result},
    images::{bases::GOLANG, builder::Builder},
    kvm::hex,
    paths,
};

/// What is said wherever it is used.
pub(super) const WHAT: &str = "a stand-in for pipelock: allowlist only";

const MODULE: &str = "github.com/luckyPipewrench/pipelock";
/// The module as it is written in a module proxy, which knows no capitals (`go help goproxy`).
const ESCAPED: &str = "github.com/lucky!pipewrench/pipelock";

/// Its version. Go would take no v2 of a module whose path does not end in it.
pub(super) const VERSION: &str = "v0.0.0-stand-in";

/// Where the image that builds has the directory that is its module proxy.
const PROXY_DIR: &str = "/srv/go-proxy";

/// The files of the module, below [`source`].
const FILES: [&str; 3] = ["README.md", "cmd/pipelock/main.go", "go.mod"];

/// What `go mod download -json` says of a module.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    error: Option<String>,
}

/// The version of pipelock that a Dockerfile asks for.
pub(super) fn version(dockerfile: &str) -> Result<&str> {
    let line = dockerfile.lines().find_map(|line| line.strip_prefix("ARG PIPELOCK="));
    line.map(str::trim).ok_or_else(|| Error::other("the Dockerfile does not say which pipelock it wants"))
}

/// Why the module can't be had, in Go's words; nothing if it can. It takes a second, where the build takes a minute.
pub(super) fn refusal(version: &str) -> Result<Option<String>> {
    let nowhere = tempfile::tempdir().doing("make a directory")?;
    let mut go = Command::new("go");
    // Outside of any module, and with the Go that is here.
    go.current_dir(nowhere.path()).env("GOTOOLCHAIN", "local").args(["mod", "download", "-json"]);
    let output = go.arg(format!("{MODULE}@{version}")).output();
    let output = output.map_err(|source| Error::Start { program: "go".into(), source })?;
    let said: Option<Downloaded> = serde_json::from_slice(&output.stdout).ok();
    Ok(match said.and_then(|said| said.error) {
        Some(error) => Some(one_line(&error)),
        None if output.status.success() => None,
        None => Some(one_line(&String::from_utf8_lossy(&output.stderr))),
    })
}

fn one_line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A hash of what an image with the stand-in is made of: of what one with pipelock is, and of the stand-in.
pub(super) fn hash(released: &str) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(released);
    for path in FILES.iter().map(|file| source().join(file)) {
        let bytes = fs::read(&path).file("read", &path)?;
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    Ok(hex(&hash.finalize()[..8]))
}

fn source() -> PathBuf {
    paths::workspace().join("xtask/images/pipelock-stand-in")
}

/// Puts the stand-in, under pipelock's name, where the image that builds looks for modules.
pub(super) fn put_into_golang(builder: &Builder) -> Result<()> {
    let context = builder.work().join("golang");
    let versions = context.join("proxy").join(ESCAPED).join("@v");
    paths::make_dir(&versions)?;
    let write = |name: String, bytes: &[u8]| {
        let path = versions.join(name);
        fs::write(&path, bytes).file("write", &path)
    };
    let info = serde_json::json!({ "Version": VERSION, "Time": "2000-01-01T00:00:00Z" });
    write(format!("{VERSION}.info"), info.to_string().as_bytes())?;
    write("list".to_owned(), VERSION.as_bytes())?;
    let module = source().join("go.mod");
    write(format!("{VERSION}.mod"), &fs::read(&module).file("read", &module)?)?;
    write_zip(&versions.join(format!("{VERSION}.zip")))?;
    // Its sum is in no database of sums.
    let dockerfile = format!(
        "FROM {GOLANG}\nCOPY proxy {PROXY_DIR}\nENV GOPROXY=file://{PROXY_DIR} GONOSUMDB={MODULE} GOTOOLCHAIN=local\n"
    );
    let path = context.join("Dockerfile");
    fs::write(&path, dockerfile).file("write", &path)?;
    builder.build(&context, GOLANG)
}

/// A module's archive, as Go wants it: each file's name begins with the module and its version.
fn write_zip(path: &Path) -> Result<()> {
    let mut zip = ZipWriter::new(File::create(path).file("create", path)?);
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for file in FILES {
        let from = source().join(file);
        let bytes = fs::read(&from).file("read", &from)?;
        zip.start_file(format!("{MODULE}@{VERSION}/{file}"), options).file("write", path)?;
        zip.write_all(&bytes).file("write", path)?;
    }
    zip.finish().file("write", path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_in_for_the_module_that_the_dockerfile_builds() {
        let text = include_str!("../../../../images/sidecars/Dockerfile");
        assert!(text.contains(&format!(" {MODULE}/cmd/pipelock@${{PIPELOCK}}")));
        assert_eq!(version(text).unwrap().len(), 40, "a commit");
        assert!(version("FROM scratch\n").is_err());
        let module = fs::read_to_string(source().join("go.mod")).unwrap();
        assert!(module.starts_with(&format!("module {MODULE}\n")));
        let escaped: String = MODULE
            .chars()
            .flat_map(|c| c.is_uppercase().then_some('!').into_iter().chain(c.to_lowercase()))
            .collect();
        assert_eq!(escaped, ESCAPED);
    }

    #[test]
    fn what_go_says_is_one_line() {
        assert_eq!(one_line("a: 403\n\tserver response: no\n"), "a: 403 server response: no");
    }
}
