//! The end of a container's log, fit to be quoted in an error.

use std::time::Duration;

use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt as _;

use super::client::Docker;

/// Lines quoted. A start-up failure says why in its last few.
const LINES: &str = "20";

/// Bytes quoted: a line may be of any length.
const BYTES_MAX: usize = 4096;

/// The log is only there to explain an error; docker reads 20 lines from a file in milliseconds, and an error that is
/// late for want of them would be worse than one without.
const DEADLINE: Duration = Duration::from_secs(5);

/// The last lines of the container's output, or a note why they are not to be had; never an error, for it explains one.
pub(super) async fn tail(docker: &Docker, container: &str) -> String {
    let options =
        LogsOptions { stdout: true, stderr: true, tail: LINES.to_owned(), ..LogsOptions::default() };
    let mut raw = Vec::new();
    let collect = async {
        let mut stream = std::pin::pin!(docker.api().logs(container, Some(options)));
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => raw.extend_from_slice(piece.as_ref()),
                Err(error) => {
                    log::debug!("the log of {container} ends early: {error}");
                    break;
                }
            }
        }
    };
    if tokio::time::timeout(DEADLINE, collect).await.is_err() {
        log::debug!("docker did not finish the log of {container} in time");
    }
    printable(&raw)
}

/// The end of `raw`, without the control characters by which a daemon could write to the user's terminal.
fn printable(raw: &[u8]) -> String {
    let end = &raw[raw.len().saturating_sub(BYTES_MAX)..];
    let text: String = String::from_utf8_lossy(end)
        .chars()
        .filter_map(|c| match c {
            '\n' => Some('\n'),
            '\t' => Some(' '),
            '\r' => None,
            c if c.is_control() => Some('\u{fffd}'),
            c => Some(c),
        })
        .collect();
    text.trim_end().lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_cannot_write_to_the_terminal() {
        assert_eq!(printable(b"one\r\n\x1b[2Jtwo\x07\xff\n\n"), "  one\n  \u{fffd}[2Jtwo\u{fffd}\u{fffd}");
        assert_eq!(printable(b""), "");
    }

    #[test]
    fn a_long_log_keeps_its_end() {
        let long = [vec![b'a'; 10 * BYTES_MAX], b"end".to_vec()].concat();
        let kept = printable(&long);
        assert!(kept.len() <= BYTES_MAX + 2 && kept.ends_with("aend"), "{} bytes", kept.len());
    }
}
