//! Does something listen behind a published port?
//!
//! A connect to the alias does not tell: docker's proxy accepts first and looks for the container's listener
//! afterwards. Where docker's bridge is this host's own, the container is asked directly, which tells the truth at
//! once. Where it is not (macOS, Docker Desktop, rootless docker), the connect goes through the alias, and counts when
//! the proxy does not close it within [`PROXY_VERDICT`].
//!
//! Meanwhile docker is asked to say when the container ends, so that a daemon that died is reported at once, with its
//! log, and not as one that did not answer.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use bollard::query_parameters::WaitContainerOptions;
use futures_util::StreamExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::alias::is_local;
use super::client::Docker;
use super::container;
use super::error::{BundleError, status};
use super::logs;

/// Between two connects: a refused one costs some microseconds, so begin at once, and go up to what nobody notices.
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_millis(200);

/// How long docker's proxy gets to find out that nobody listens. It is one refused connect within one machine, a
/// millisecond or two even with a virtual machine in between; a hundred times that.
const PROXY_VERDICT: Duration = Duration::from_millis(250);

/// One port to wait for.
#[derive(Debug)]
pub(super) struct Awaited<'a> {
    /// The container's name.
    pub(super) container: &'a str,
    /// The port inside it.
    pub(super) port: u16,
    /// Where it is published.
    pub(super) endpoint: SocketAddrV4,
    /// The container's address on the bridge, and the host's.
    pub(super) bridge_ip: Ipv4Addr,
    pub(super) gateway: Ipv4Addr,
}

/// Waits until something listens on the port.
pub(super) async fn wait(
    docker: &Docker,
    awaited: &Awaited<'_>,
    timeout: Duration,
) -> Result<(), BundleError> {
    let since = Instant::now();
    let mut reason = "nothing tried yet".to_owned();
    let listening = async {
        let mut pause = RETRY_FIRST;
        loop {
            match probe(awaited).await {
                Ok(()) => return,
                Err(error) => reason = error,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    };
    let outcome = tokio::select! {
        () = listening => return Ok(()),
        ended = ended(docker, awaited.container) => Some(ended),
        () = tokio::time::sleep(timeout) => None,
    };
    match outcome {
        Some(error) => Err(error),
        None => Err(BundleError::NotReady {
            container: awaited.container.to_owned(),
            port: awaited.port,
            endpoint: awaited.endpoint,
            waited_ms: since.elapsed().as_millis(),
            reason,
            log: logs::tail(docker, awaited.container).await,
        }),
    }
}

async fn probe(awaited: &Awaited<'_>) -> Result<(), String> {
    if is_local(awaited.gateway) {
        let behind = (awaited.bridge_ip, awaited.port);
        drop(
            TcpStream::connect(behind)
                .await
                .map_err(|error| format!("{}:{}: {error}", behind.0, behind.1))?,
        );
    }
    let mut stream = TcpStream::connect(awaited.endpoint)
        .await
        .map_err(|error| format!("{}: {error}", awaited.endpoint))?;
    if is_local(awaited.gateway) {
        return Ok(());
    }
    let mut first = [0_u8; 1];
    match tokio::time::timeout(PROXY_VERDICT, stream.read(&mut first)).await {
        Err(_still_open) => Ok(()),
        Ok(Ok(1..)) => Ok(()),
        Ok(Ok(0)) => Err("docker's proxy closed the connection: nothing listens in the container".to_owned()),
        Ok(Err(error)) => Err(format!("{}: {error}", awaited.endpoint)),
    }
}

/// Waits until the container ends, and says how.
pub(super) async fn ended(docker: &Docker, container: &str) -> BundleError {
    let options = WaitContainerOptions { condition: "not-running".to_owned() };
    let mut answers = std::pin::pin!(docker.api().wait_container(container, Some(options)));
    let answer = answers.next().await;
    // The answer to the wait has an exit code and nothing else, and a code other than 0 comes as an error: ask for all of
    // it.
    match docker.api().inspect_container(container, None).await {
        Ok(found) => match container::exited(docker, container, &found).await {
            Some(error) => error,
            None => BundleError::Docker {
                doing: format!("watch container {container}"),
                words: match answer {
                    Some(Err(error)) => super::error::words(&error),
                    _ => "it stopped answering, and the container still runs".to_owned(),
                },
            },
        },
        Err(error) if status(&error) == Some(404) => BundleError::Gone { container: container.to_owned() },
        Err(error) => BundleError::docker(format!("find container {container}, which was running"), &error),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// A port of a bundle whose bridge is in another machine: TEST-NET-3 is nobody's.
    fn behind_a_proxy(endpoint: SocketAddrV4) -> Awaited<'static> {
        let elsewhere = Ipv4Addr::new(203, 0, 113, 2);
        Awaited { container: "c", port: 80, endpoint, bridge_ip: elsewhere, gateway: elsewhere }
    }

    async fn listener() -> (TcpListener, SocketAddrV4) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
    }

    #[tokio::test]
    async fn a_proxy_that_accepts_and_hangs_up_is_not_ready() {
        let (listener, endpoint) = listener().await;
        let awaited = behind_a_proxy(endpoint);
        let hang_up = async { drop(listener.accept().await.unwrap()) };
        let (answer, ()) = tokio::join!(probe(&awaited), hang_up);
        assert!(answer.unwrap_err().contains("nothing listens"));
    }

    #[tokio::test]
    async fn a_server_that_waits_for_its_client_is_ready() {
        let (listener, endpoint) = listener().await;
        let awaited = behind_a_proxy(endpoint);
        let (answer, _held) = tokio::join!(probe(&awaited), listener.accept());
        assert_eq!(answer, Ok(()));
    }

    #[tokio::test]
    async fn a_server_that_speaks_first_is_ready_even_if_it_hangs_up_then() {
        let (listener, endpoint) = listener().await;
        let awaited = behind_a_proxy(endpoint);
        let greet = async { listener.accept().await.unwrap().0.write_all(b"220 hello").await.unwrap() };
        let (answer, ()) = tokio::join!(probe(&awaited), greet);
        assert_eq!(answer, Ok(()));
    }

    #[tokio::test]
    async fn on_a_bridge_of_this_host_the_proxy_is_not_believed() {
        let (_accepts, endpoint) = listener().await;
        // A port that nobody else gets while we have it, and that nobody listens on.
        let silent = TcpSocket::new_v4().unwrap();
        silent.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let port = silent.local_addr().unwrap().port();
        let here = Ipv4Addr::LOCALHOST;
        let awaited = Awaited { container: "c", port, endpoint, bridge_ip: here, gateway: here };
        assert!(probe(&awaited).await.unwrap_err().contains("refused"));
    }
}
