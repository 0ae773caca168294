//! Tokens, from their source on the host. They are never part of an error or a log.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bottle_protocol::bundle::Secrets;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::error::BundleError;
use super::manifest::TokenSource;

/// A command that prints a token may ask a server for a new one, and the user to touch a key.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// The largest tokens are JWTs of some KiB.
const TOKEN_MAX_BYTES: u64 = 16 * 1024;
/// Files with a program's credentials have some KiB.
const FILE_MAX_BYTES: u64 = 256 * 1024;

/// Reads all of them, side by side.
///
/// # Errors
/// That of the first source that gives none.
pub async fn read_tokens(sources: &BTreeMap<String, TokenSource>) -> Result<Secrets, BundleError> {
    let each =
        sources.iter().map(async |(name, source)| Ok::<_, BundleError>((name.clone(), read(source).await?)));
    Ok(futures_util::future::try_join_all(each).await?.into_iter().collect())
}

async fn read(source: &TokenSource) -> Result<String, BundleError> {
    let failed = |reason: String| BundleError::Token { source_of_it: shown(source), reason };
    let text = match source {
        TokenSource::Env(name) => {
            std::env::var(name).map_err(|_| failed("is not set, or not text".to_owned()))?
        }
        TokenSource::Command(words) => run(words).await.map_err(failed)?,
        TokenSource::Json { file, at } => string_in(file, at).map_err(failed)?,
    };
    let token = text.trim_end_matches(['\n', '\r']);
    if token.is_empty() {
        return Err(failed("gives an empty token".to_owned()));
    }
    // It becomes part of a header.
    if !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(failed("gives a token with blanks or characters beyond ASCII".to_owned()));
    }
    Ok(token.to_owned())
}

/// The string that a file has there.
fn string_in(file: &Path, at: &str) -> Result<String, String> {
    let mut text = String::new();
    // A pipe must not make us wait for who writes it.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(file);
    opened
        .and_then(|file| file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(format!("has more than {FILE_MAX_BYTES} bytes"));
    }
    // serde's own words may quote what is there.
    let value: Value = serde_json::from_str(&text).map_err(|_| "is not JSON".to_owned())?;
    let token = value.pointer(at).and_then(Value::as_str).ok_or_else(|| format!("has no string at {at}"))?;
    if token.len() as u64 > TOKEN_MAX_BYTES {
        return Err(format!("has more than {TOKEN_MAX_BYTES} bytes at {at}"));
    }
    Ok(token.to_owned())
}

async fn run(words: &[String]) -> Result<String, String> {
    let Some((program, arguments)) = words.split_first() else { return Err("has no program".to_owned()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let stdout = child.stdout.take();
    let finish = async {
        let mut text = String::new();
        if let Some(stdout) = stdout {
            let mut limited = stdout.take(TOKEN_MAX_BYTES + 1);
            limited.read_to_string(&mut text).await.map_err(|error| error.to_string())?;
        }
        if text.len() as u64 > TOKEN_MAX_BYTES {
            return Err(format!("prints more than {TOKEN_MAX_BYTES} bytes"));
        }
        let status = child.wait().await.map_err(|error| error.to_string())?;
        if status.success() { Ok(text) } else { Err(format!("failed ({status})")) }
    };
    let limit = COMMAND_LIMIT.as_secs();
    tokio::time::timeout(COMMAND_LIMIT, finish)
        .await
        .unwrap_or_else(|_| Err(format!("printed no token within {limit} s")))
}

/// A source, without a command's arguments: somebody may have put a secret there.
fn shown(source: &TokenSource) -> String {
    match source {
        TokenSource::Env(name) => format!("the environment variable {name}"),
        TokenSource::Command(words) => format!("the command {}", words.first().map_or("", String::as_str)),
        TokenSource::Json { file, .. } => format!("the file {}", file.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> TokenSource {
        TokenSource::Command(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    #[tokio::test]
    async fn a_command_gives_its_output_without_the_line_feed() {
        assert_eq!(read(&sh("echo a-token")).await.unwrap(), "a-token");
    }

    #[tokio::test]
    async fn a_file_gives_the_string_that_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("auth.json");
        let source = |at: &str| TokenSource::Json { file: file.clone(), at: at.to_owned() };
        assert!(read(&source("/a")).await.unwrap_err().to_string().contains("No such file"));
        std::fs::write(&file, r#"{"tokens": {"access": "a-token", "none": null, "odd": "a b"}}"#).unwrap();
        assert_eq!(read(&source("/tokens/access")).await.unwrap(), "a-token");
        for (at, why) in
            [("/tokens/none", "no string at"), ("/access", "no string at"), ("/tokens/odd", "blanks")]
        {
            assert!(read(&source(at)).await.unwrap_err().to_string().contains(why), "{at}");
        }
        for (content, why) in [("secret", "is not JSON"), (&*"[".repeat(300_000), "more than 262144 bytes")] {
            std::fs::write(&file, content).unwrap();
            let error = read(&source("/a")).await.unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_no_token_is_refused_without_being_told() {
        for (script, why) in [
            ("true", "empty token"),
            ("echo secret; exit 3", "exit status: 3"),
            ("echo secret; echo more", "blanks"),
            ("head -c 20000 /dev/zero | tr '\\0' s", "more than 16384 bytes"),
        ] {
            let error = read(&sh(script)).await.unwrap_err().to_string();
            assert!(error.contains(why) && error.starts_with("the command sh"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let unset = TokenSource::Env("BOTTLE_TEST_NO_SUCH_VARIABLE".to_owned());
        assert!(read(&unset).await.unwrap_err().to_string().contains("is not set"));
    }
}
