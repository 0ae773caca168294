//! The agent that is not in a microVM: the same bundle, and beside it, on the bundle's network, the agent's image by `docker run`. What
//! `cargo xtask bench run` holds `bottle run` against.
//!
//! ```text
//! cargo run --release --example docker_agent -- BUNDLE IMAGE COMMAND...
//! ```
//!
//! What COMMAND prints goes to stdout. It has the proxy in its environment and the proxy's CA in a file, and trusts it where
//! `NODE_EXTRA_CA_CERTS` counts, as no program has to be run for that.

use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use bottle::bundle::plan::EGRESS_PORT;
use bottle::bundle::{
    AuthScheme, Bundle, BundleManifest, BundlePlan, Docker, Route, Sidecars, SidecarsSpec, TokenSource,
};

const SLUG: &str = "docker-agent";
const READY_LIMIT: Duration = Duration::from_secs(120);

/// Where the container has the CA.
const CA: &str = "/usr/local/share/ca-certificates/bottle.crt";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, image, command @ ..] = words.as_slice() else {
        return Err("usage: docker_agent BUNDLE IMAGE COMMAND...".into());
    };
    let state = tempfile::tempdir()?;
    let docker = Docker::connect().await?;
    let spec = SidecarsSpec {
        slug: SLUG.to_owned(),
        state_dir: state.path().to_owned(),
        dir: state.path().join(SLUG),
        image: bundle.clone(),
        plan: BundlePlan::new(&manifest())?,
        ready_limit: READY_LIMIT,
    };
    let dir = spec.dir.clone();
    let sidecars = Sidecars::start(&docker, spec, &|| false).await?;
    let ended = run(&sidecars, &dir.join("ca.pem"), image, command);
    Bundle::remove(&docker, state.path(), SLUG).await?;
    let code = ended?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// As the manifest of `cargo xtask bench run` has it.
fn manifest() -> BundleManifest {
    let route = Route {
        host: "api.test.example".to_owned(),
        path: None,
        methods: Vec::new(),
        scheme: AuthScheme::Bearer,
        token: TokenSource::Command(["echo", "a-token"].map(str::to_owned).to_vec()),
    };
    BundleManifest { routes: vec![route], supervise: true, ..BundleManifest::default() }
}

fn run(
    sidecars: &Sidecars,
    ca: &Path,
    image: &str,
    command: &[String],
) -> std::io::Result<std::process::ExitStatus> {
    let bundle = sidecars.bundle();
    let proxy = format!("http://{}:{EGRESS_PORT}", bundle.bridge_ip());
    let mut docker = Command::new("docker");
    docker.args(["run", "--rm", "--network", bundle.network()]);
    for name in ["HTTPS_PROXY", "HTTP_PROXY"] {
        docker.args(["--env", &format!("{name}={proxy}")]);
    }
    docker.args(["--env", &format!("NODE_EXTRA_CA_CERTS={CA}")]);
    docker.args(["--volume", &format!("{}:{CA}:ro", ca.display())]);
    docker.arg(image).args(command).status()
}
