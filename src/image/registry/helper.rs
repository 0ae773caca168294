//! Docker's credential helpers: `docker-credential-NAME get`, the host on stdin, JSON on stdout.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::credentials::Credentials;
use super::error::RegistryError;

/// How long a helper may take: it may ask its user to unlock a keychain.
const LIMIT: Duration = Duration::from_secs(120);
/// The most that is read of its answer.
const MAX_ANSWER: u64 = 1 << 20;

/// What a helper says when it knows no account, on stdout, and then fails.
const UNKNOWN: &str = "credentials not found";
/// The user's name where the secret is an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks a helper for the account at `server`. Nothing that it writes gets into an error: it could be the secret.
pub(super) async fn ask(name: &str, server: &str) -> Result<Option<Credentials>, RegistryError> {
    if name.contains('/') {
        let reason = "is not the name of a program".to_owned();
        return Err(RegistryError::Helper { helper: name.to_owned(), reason });
    }
    talk_to(&format!("docker-credential-{name}"), server, LIMIT).await
}

async fn talk_to(program: &str, server: &str, limit: Duration) -> Result<Option<Credentials>, RegistryError> {
    let failed = |reason: String| RegistryError::Helper { helper: program.to_owned(), reason };
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => failed("is not in the PATH".to_owned()),
            _ => failed(format!("can't be started: {error}")),
        })?;
    let talk = async {
        if let Some(mut stdin) = child.stdin.take() {
            // One that knows without being asked may have closed it.
            stdin.write_all(format!("{server}\n").as_bytes()).await.unwrap_or_default();
        }
        let mut answer = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        }
        Ok((answer, child.wait().await?))
    };
    let (answer, status) = match tokio::time::timeout(limit, talk).await {
        Ok(ended) => ended.map_err(|error: std::io::Error| failed(format!("can't be talked to: {error}")))?,
        Err(_) => return Err(failed(format!("did not answer within {} s", limit.as_secs_f32()))),
    };
    if !status.success() {
        let unknown = String::from_utf8_lossy(&answer).contains(UNKNOWN);
        return if unknown { Ok(None) } else { Err(failed(format!("failed ({status})"))) };
    }
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|_| failed("answered with something else than an account".to_owned()))?;
    Ok(match answer {
        Answer { secret, .. } if secret.is_empty() => None,
        Answer { username, secret } if username == TOKEN_USER => Some(Credentials::IdentityToken(secret)),
        Answer { username, secret } => Some(Credentials::Password { user: username, password: secret }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn ask_script(script: &str) -> Result<Option<Credentials>, RegistryError> {
        let dir = tempfile::tempdir().unwrap();
        let (text, path) = (dir.path().join("text"), dir.path().join("helper"));
        fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
        // A file that is open for writing, be it in a child that another test is just starting, can't be run.
        let copied = std::process::Command::new("install").args(["-m", "755"]).args([&text, &path]).status();
        assert!(copied.unwrap().success());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(talk_to(path.to_str().unwrap(), "h", Duration::from_millis(500)))
    }

    #[test]
    fn a_helper_that_does_not_end_is_ended() {
        for script in ["exec sleep 1000", "echo '{}'; exec sleep 1000", "exec <&- >&-; exec sleep 1000"] {
            let error = ask_script(script).err().unwrap().to_string();
            assert!(error.contains("did not answer within 0.5 s"), "{script}: {error}");
        }
        assert!(ask_script("exec yes").is_err(), "an answer without end");
    }

    #[test]
    fn an_answer_is_an_account_or_a_token() {
        let token = ask_script(r#"echo '{"Username":"<token>","Secret":"s"}'"#).ok().unwrap();
        assert!(token == Some(Credentials::IdentityToken("s".into())));
        assert!(ask_script(r#"echo '{"Username":"","Secret":""}'"#).ok().unwrap().is_none());
        assert!(ask_script("echo '[]'").is_err());
    }
}
