//! Debian's `docker-registry`, on a port of its own choice, for as long as a test holds it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::image::{self, Image};

/// `agent` with the password `correct-horse`, as `htpasswd -nbB -C 4` writes it.
const HTPASSWD: &str = "agent:$2y$04$lQyXOQb4jlIWmG9GMcTydO4WDd5NHVd/g5xfa/4.ItjSNwf3I7TBy\n";
pub(crate) const USER: &str = "agent";
pub(crate) const PASSWORD: &str = "correct-horse";

pub(crate) struct Registry {
    dir: TempDir,
    process: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    has_accounts: bool,
}

impl Registry {
    /// Anybody may do anything.
    pub(crate) fn start() -> Self {
        Self::with("", "", false)
    }

    /// Only who has the password.
    pub(crate) fn with_accounts() -> Self {
        Self::with("auth: {htpasswd: {realm: test, path: DIR/htpasswd}}", "", true)
    }

    /// By HTTPS, with a certificate of a CA that nobody knows. It can't be pushed to here.
    pub(crate) fn with_tls() -> Self {
        Self::with("", ", tls: {certificate: DIR/cert.pem, key: DIR/key.pem}", false)
    }

    fn with(more: &str, more_http: &str, has_accounts: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("htpasswd"), HTPASSWD).unwrap();
        if !more_http.is_empty() {
            certificate(&dir);
        }
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: DIR/data}}}}\n\
             http: {{addr: '127.0.0.1:0'{more_http}}}\n{more}\n"
        );
        let config_path = dir.path().join("config.yml");
        fs::write(&config_path, config.replace("DIR", dir.path().to_str().unwrap())).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config_path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Debian: docker-registry");
        let mut lines = BufReader::new(process.stderr.take().unwrap());
        let mut log = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "docker-registry ended: {log}");
            log.push_str(&line);
            if let Some((_, address)) = line.split_once("listening on ") {
                break address.split(['"', ',', ' ']).next().unwrap().to_owned();
            }
        };
        // It would wait for who reads its log.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Self { dir, process, address, has_accounts }
    }

    pub(crate) fn reference(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.address)
    }

    /// The certificate of its CA.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// Pushes an image, or an index of several.
    pub(crate) fn push(&self, name: &str, images: &[&Image]) {
        let layout = image::write_layout(&self.dir.path().join(name.replace([':', '/'], "-")), images);
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--all", "--dest-tls-verify=false"]);
        if self.has_accounts {
            skopeo.arg(format!("--dest-creds={USER}:{PASSWORD}"));
        }
        skopeo.arg(format!("oci:{}", layout.display())).arg(self.reference(name));
        let output = skopeo.output().expect("Debian: skopeo");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn certificate(dir: &TempDir) {
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test \
         -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
         -keyout key.pem -out cert.pem";
    let mut openssl = Command::new("openssl");
    let output = openssl.args(request.split_whitespace()).current_dir(dir).output().expect("Debian: openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
