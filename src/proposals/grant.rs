//! What a grant changes in the configurations of a running bundle.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bottle_gates::file;
use bottle_gates::grant::{Grant, Host, Push, Route};
use sha2::{Digest, Sha256};

use super::ProposalError;
use crate::bundle::plan::PIPELOCK_CONFIG;
use crate::bundle::{self, BundleManifest, BundlePlan, MANIFEST};

/// A manifest with some hundred hosts has some KiB.
const MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// pipelock reads its configuration within some tens of milliseconds; an emulated machine that is busy takes some tens of these.
const RELOAD_LIMIT: Duration = Duration::from_secs(15);

/// Between two looks at its log. Nobody notices so much.
const RELOAD_LOOK: Duration = Duration::from_millis(20);

/// Of pipelock's log: more than it writes between two looks.
const LOG_BYTES: u64 = 256 * 1024;

/// The bundle as it is with a grant.
pub(super) struct Granted {
    pipelock: Option<String>,
    log: PathBuf,
}

/// Adds a grant to the manifest that is in force, and writes the configurations that follow from it. What is granted already
/// changes nothing.
pub(super) fn apply(dir: &Path, slug: &str, grant: &Grant) -> Result<Granted, ProposalError> {
    let not_grantable =
        |why: String| ProposalError::NotGrantable { slug: slug.to_owned(), grant: grant.to_string(), why };
    let path = dir.join(MANIFEST);
    let manifest: BundleManifest = match file::read(&path, MANIFEST_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(not_grantable("its bundle runs an image of its own".to_owned()));
        }
        manifest => manifest.map_err(ProposalError::io("read", &path))?,
    };
    let mut changed = manifest.clone();
    add(&mut changed, grant).map_err(&not_grantable)?;
    let plan = |manifest| BundlePlan::new(manifest).map_err(|error| not_grantable(error.to_string()));
    let (before, after) = (plan(&manifest)?, plan(&changed)?);
    if (&before.init, &before.ports, &before.tokens) != (&after.init, &after.ports, &after.tokens) {
        return Err(not_grantable("that takes another container".to_owned()));
    }
    let config = dir.join(bundle::CONFIG);
    for (name, bytes) in after.files.iter().filter(|(name, bytes)| before.files.get(*name) != Some(bytes)) {
        let path = config.join(name);
        file::write_bytes(&path, bytes).map_err(ProposalError::io("write", &path))?;
    }
    file::write(&path, &changed).map_err(ProposalError::io("write", &path))?;
    Ok(Granted {
        pipelock: after.files.get(PIPELOCK_CONFIG).map(|bytes| hash(bytes)),
        log: dir.join(bundle::PIPELOCK_LOG),
    })
}

fn add(manifest: &mut BundleManifest, grant: &Grant) -> Result<(), String> {
    match grant {
        Grant::Host(Host { host }) => {
            let pattern = host.parse().map_err(|error: bundle::ManifestError| error.to_string())?;
            if !manifest.hosts.contains(&pattern) && !manifest.granted.contains(&pattern) {
                manifest.granted.push(pattern);
            }
        }
        Grant::Route(Route { host, path_prefix, methods }) => {
            let known = manifest.routes.iter().find(|route| route.host.eq_ignore_ascii_case(host));
            let known =
                known.ok_or_else(|| format!("no route of its manifest has a credential for {host}"))?;
            let route =
                bundle::Route { path: Some(path_prefix.clone()), methods: methods.clone(), ..known.clone() };
            if !manifest.routes.contains(&route) {
                manifest.routes.push(route);
            }
        }
        Grant::Push(Push { upstream, rule }) => {
            let known = manifest.git.iter_mut().find(|known| known.name == *upstream);
            let known = known.ok_or_else(|| "its git gate has no such upstream".to_owned())?;
            if !known.push.contains(rule) {
                known.push.push(rule.clone());
            }
        }
    }
    Ok(())
}

impl Granted {
    /// Waits until pipelock has said in its log that it has the new configuration, by the configuration's hash.
    pub(super) async fn in_force(&self, slug: &str) -> Result<(), ProposalError> {
        let Some(hash) = &self.pipelock else { return Ok(()) };
        let since = Instant::now();
        while last_hash(&self.log).as_ref() != Some(hash) {
            if since.elapsed() > RELOAD_LIMIT {
                return Err(ProposalError::NotInForce {
                    slug: slug.to_owned(),
                    waited_s: RELOAD_LIMIT.as_secs(),
                });
            }
            tokio::time::sleep(RELOAD_LOOK).await;
        }
        Ok(())
    }
}

/// The hash of the configuration that pipelock has, as far as its log says so.
fn last_hash(log: &Path) -> Option<String> {
    // A log that was just begun says nothing yet, the one before it does.
    let old = log.with_extension("log.old");
    [log, &old].into_iter().find_map(|log| {
        let end = end_of(log).ok()?;
        let lines = end.lines().rev();
        lines.filter(|line| line.contains("config_hash")).find_map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(entry["config_hash"].as_str()?.to_owned())
        })
    })
}

fn end_of(log: &Path) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use bottle_gates::push::PushRule;

    use super::*;

    fn manifest() -> BundleManifest {
        let text = r#"{ "hosts": ["a.example"], "supervise": true,
            "routes": [{ "host": "api.example.com", "path": "/v1/", "token": { "env": "TOKEN" } }],
            "git": [{ "name": "project", "url": "git@h.example:p", "identity": "/id", "push": [{ "branch": "main" }],
                "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl" }] }"#;
        serde_json::from_str(text).unwrap()
    }

    /// A bundle's directory as it is when it runs.
    fn running() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        file::write(&dir.path().join(MANIFEST), &manifest()).unwrap();
        for (name, bytes) in BundlePlan::new(&manifest()).unwrap().files {
            let path = dir.path().join(bundle::CONFIG).join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
        dir
    }

    fn grant(text: &str) -> Grant {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_grant_is_in_the_configurations_and_once_in_the_manifest() {
        let dir = running();
        let grants = [
            grant(r#"{"host":{"host":"docs.example.com"}}"#),
            grant(r#"{"route":{"host":"api.example.com","path_prefix":"/v2/","methods":["GET"]}}"#),
            grant(r#"{"push":{"upstream":"project","rule":{"branch":"agent/*"}}}"#),
        ];
        for grant in grants.iter().chain(&grants) {
            apply(dir.path(), "one", grant).unwrap();
        }
        let now: BundleManifest = file::read(&dir.path().join(MANIFEST), MANIFEST_BYTES).unwrap();
        let granted: Vec<&str> = now.granted.iter().map(bundle::HostPattern::as_str).collect();
        assert_eq!(granted, ["docs.example.com"]);
        assert_eq!(now.routes.len(), 2);
        assert_eq!(now.routes[1].token, now.routes[0].token);
        assert_eq!(now.git[0].push, [PushRule::branch("main"), PushRule::branch("agent/*")]);
        for (name, bytes) in BundlePlan::new(&now).unwrap().files {
            let path = dir.path().join(bundle::CONFIG).join(&name);
            assert_eq!(std::fs::read(path).unwrap(), bytes, "{name}");
        }
    }

    #[test]
    fn what_the_bundle_has_no_place_for_is_not_granted() {
        let dir = running();
        for (text, why) in [
            (
                r#"{"route":{"host":"other.example","path_prefix":"/"}}"#,
                "no route of its manifest has a credential",
            ),
            (r#"{"push":{"upstream":"other","rule":{"branch":"a"}}}"#, "has no such upstream"),
        ] {
            let Err(error) = apply(dir.path(), "one", &grant(text)) else { panic!("{text}") };
            assert!(error.to_string().contains(why), "{error}");
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(apply(empty.path(), "one", &grant(r#"{"host":{"host":"docs.example.com"}}"#)).is_err());
    }

    #[test]
    fn the_last_hash_in_the_log_is_the_one_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("pipelock.log");
        assert_eq!(last_hash(&log), None);
        let line = |hash: &str| format!("{{\"event\":\"config_reload\",\"config_hash\":\"{hash}\"}}\n");
        std::fs::write(
            &log,
            format!("{}not json config_hash\n{}{{\"event\":\"allowed\"}}\n", line("a"), line("b")),
        )
        .unwrap();
        assert_eq!(last_hash(&log).as_deref(), Some("b"));
        std::fs::rename(&log, dir.path().join("pipelock.log.old")).unwrap();
        std::fs::write(&log, "{}\n").unwrap();
        assert_eq!(last_hash(&log).as_deref(), Some("b"));
    }
}
