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
pub(super) const LIMIT: Duration = Duration::from_secs(120);
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
pub(super) async fn ask(
    name: &str,
    server: &str,
    limit: Duration,
) -> Result<Option<Credentials>, RegistryError> {
    let program = format!("docker-credential-{name}");
    let failed = |reason: String| RegistryError::Helper { helper: program.clone(), reason };
    if name.contains('/') {
        return Err(failed("is not the name of a program".to_owned()));
    }
    let mut child = Command::new(&program)
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
