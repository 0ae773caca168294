//! The world outside of the demo's bottle: an API with TLS, in a container of its own, and the files of somebody who has an account
//! there and lets an agent work.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::listener::Listener;
use crate::{
    command,
    error::{Context, Error, Result},
};

/// The operator's token for the API. The agent is not to see it.
pub(super) const TOKEN: &str = "the-operators-token-4711";

/// Where the API is, by its name.
const API: &str = "api.demo.example";

/// It is Python that starts; on a busy machine that emulates another this takes a while.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// How often it is asked whether it listens.
const ASK_AFTER: Duration = Duration::from_millis(100);

/// See the module. The container ends with this.
pub(super) struct Outside {
    container: String,
}

impl Outside {
    /// Makes all of it in this directory: `config/bottle.toml`, whose agent has this guest image and can try that listener,
    /// `project`, a git repository, and `requests`, which says what the API was asked.
    pub(super) fn start(dir: &Path, guest: &Path, upstream: &str, listener: &Listener) -> Result<Self> {
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).file("write", &path)
        };
        for name in ["config", "project", "outside"] {
            let path = dir.join(name);
            fs::create_dir(&path).file("make", &path)?;
        }
        certificates(&dir.join("outside"))?;
        let address = host_address()?;
        write("outside/api.py", include_str!("api.py"))?;
        write("requests", "")?;
        let manifest = include_str!("bottle.toml").replace("@ADDRESS@", &address.to_string());
        let manifest = manifest.replace("@PORT@", &listener.port.to_string());
        write("config/bottle.toml", &manifest.replace("@IMAGE@", &guest.display().to_string()))?;
        fs::copy(dir.join("outside/ca.pem"), dir.join("config/ca.pem"))
            .file("copy", dir.join("outside/ca.pem"))?;
        write("project/visit.sh", include_str!("visit.sh"))?;
        for words in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &["add", "visit.sh"],
            &[
                "-c",
                "user.name=You",
                "-c",
                "user.email=you@example.com",
                "commit",
                "--quiet",
                "--message=A visit",
            ],
        ] {
            command::output(Command::new("git").arg("-C").arg(dir.join("project")).args(words))?;
        }
        let outside = Self::container(dir, address, upstream)?;
        outside.wait_until_it_listens(address)?;
        Ok(outside)
    }

    /// On the host's own network: docker lets nothing pass from one of its networks to another.
    fn container(dir: &Path, address: Ipv4Addr, upstream: &str) -> Result<Self> {
        let at = |name: &str| dir.join(name).display().to_string();
        let mut run = Command::new("docker");
        run.args(["run", "--detach", "--pull=never", "--network=host"]);
        run.arg(format!("--volume={0}:{0}", dir.display())).arg(upstream);
        run.args([
            "python3",
            &at("outside/api.py"),
            &address.to_string(),
            &at("outside/server.pem"),
            TOKEN,
            &at("requests"),
        ]);
        Ok(Self { container: command::text(&mut run)?.trim().to_owned() })
    }

    fn wait_until_it_listens(&self, address: Ipv4Addr) -> Result<()> {
        let end = Instant::now() + READY_LIMIT;
        while TcpStream::connect(SocketAddr::from((address, 443))).is_err() {
            if Instant::now() > end {
                let said = Command::new("docker").args(["logs", &self.container]).output();
                let said = said
                    .map(|output| String::from_utf8_lossy(&output.stderr).into_owned())
                    .unwrap_or_default();
                return Err(Error::other(format!("the demo's API does not listen on {address}:443: {said}")));
            }
            thread::sleep(ASK_AFTER);
        }
        Ok(())
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // The daemon goes with the demo, and this with it in any case.
        command::succeeds(Command::new("docker").args(["rm", "--force", &self.container]));
    }
}

/// This machine's address in docker's own network, which the containers of all networks reach: the first of its range.
fn host_address() -> Result<Ipv4Addr> {
    let mut inspect = Command::new("docker");
    inspect.args(["network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", "bridge"]);
    let subnet = command::text(&mut inspect)?;
    let base = subnet.split('/').next().and_then(|base| base.trim().parse::<Ipv4Addr>().ok());
    let base =
        base.ok_or_else(|| Error::other(format!("docker's own network has no IPv4 range: {subnet}")))?;
    Ok(Ipv4Addr::from_bits(base.to_bits() + 1))
}

/// A CA, `ca.pem`, and the API's certificate and key by it, `server.pem`.
fn certificates(dir: &Path) -> Result<()> {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let openssl = |verb: &str, words: &[&str]| {
        let mut openssl = Command::new("openssl");
        command::output(openssl.current_dir(dir).arg(verb).args(words)).map(drop)
    };
    let (ca, server) = ("/CN=the CA of the demo", format!("/CN={API}"));
    openssl(
        "req",
        &[&key[..], &["-x509", "-days", "2", "-subj", ca, "-keyout", "ca.key", "-out", "ca.pem"]].concat(),
    )?;
    openssl("req", &[&key[..], &["-subj", &server, "-keyout", "server.key", "-out", "server.csr"]].concat())?;
    let extensions = dir.join("extensions");
    fs::write(&extensions, format!("subjectAltName=DNS:{API}\n")).file("write", &extensions)?;
    let signed =
        ["-days", "2", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions"];
    openssl("x509", &[&["-req", "-in", "server.csr", "-out", "server.crt"][..], &signed].concat())?;
    let read = |name: &str| fs::read_to_string(dir.join(name)).file("read", dir.join(name));
    let chain = dir.join("server.pem");
    fs::write(&chain, read("server.crt")? + &read("server.key")?).file("write", &chain)
}
