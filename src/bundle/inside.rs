//! Programs that docker runs in a container for us.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

use super::client::Docker;
use super::error::{BundleError, words};

/// Of what a program may print: a status has some KiB.
const OUTPUT_MAX_BYTES: usize = 256 * 1024;

/// What a program printed, and how it ended.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) code: i64,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

/// Runs a program in the container, as this user, and waits for its end. Its stdin is a stream that docker keeps nothing of; its
/// arguments are seen by all who may ask docker.
pub(super) async fn run(
    docker: &Docker,
    container: &str,
    user: &str,
    argv: &[&str],
    stdin: Option<&[u8]>,
    limit: Duration,
) -> Result<Outcome, BundleError> {
    let doing = || format!("run {} in {container}", argv.join(" "));
    let all = async {
        let config = ExecConfig {
            attach_stdin: Some(stdin.is_some()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            user: Some(user.to_owned()),
            cmd: Some(argv.iter().map(|word| (*word).to_owned()).collect()),
            ..ExecConfig::default()
        };
        let made = docker.api().create_exec(container, config).await?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let started = docker.api().start_exec(&made.id, Some(StartExecOptions::default())).await?;
        if let StartExecResults::Attached { mut output, mut input } = started {
            if let Some(bytes) = stdin {
                input.write_all(bytes).await?;
                input.shutdown().await?;
            }
            while let Some(piece) = output.next().await {
                let (to, bytes) = match piece? {
                    LogOutput::StdErr { message } => (&mut stderr, message),
                    LogOutput::StdOut { message } | LogOutput::Console { message } => (&mut stdout, message),
                    LogOutput::StdIn { .. } => continue,
                };
                let room = OUTPUT_MAX_BYTES.saturating_sub(to.len());
                to.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        }
        let code = docker.api().inspect_exec(&made.id).await?.exit_code.unwrap_or(-1);
        let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
        Ok::<_, bollard::errors::Error>(Outcome { code, stdout, stderr })
    };
    match tokio::time::timeout(limit, all).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(error)) => Err(BundleError::Docker { doing: doing(), words: words(&error) }),
        Err(_) => {
            let words = format!("it did not end within {} ms", limit.as_millis());
            Err(BundleError::Docker { doing: doing(), words })
        }
    }
}
