//! What docker knows of a user's accounts: `config.json` in `$DOCKER_CONFIG` or `~/.docker`.
//!
//! ```text
//! credHelpers: { HOST: NAME }          ──► docker-credential-NAME
//! credsStore: NAME                     ──► docker-credential-NAME, where it knows the host
//! auths: { HOST: { auth: base64("USER:PASSWORD"), identitytoken } }
//! ```

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::error::RegistryError;
use super::helper;
use super::reference::Reference;

/// The largest `config.json` that is read.
const MAX_CONFIG: u64 = 4 << 20;

/// Docker has always filed docker.io's account under this name, the API of long ago.
const DOCKER_IO_KEY: &str = "https://index.docker.io/v1/";

/// Padding is as good as none.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An account. It has no `Debug`, so that it gets into no message.
#[derive(PartialEq, Eq)]
pub(super) enum Credentials {
    Password {
        user: String,
        password: String,
    },
    /// What a token server gives tokens for.
    IdentityToken(String),
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: Option<BTreeMap<String, Auth>>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// The account for an image's registry, if docker has one.
pub(super) async fn of_registry(image: &Reference) -> Result<Option<Credentials>, RegistryError> {
    let Some(path) = config_path() else { return Ok(None) };
    let config = Config::read(&path)?;
    let host = image.registry();
    let server = if image.is_docker_io() { DOCKER_IO_KEY } else { host };
    let helper = config.cred_helpers.as_ref().and_then(|all| by_host(all, host));
    if let Some(helper) = helper.or(config.creds_store.as_ref()).filter(|name| !name.is_empty())
        && let Some(found) = helper::ask(helper, server).await?
    {
        return Ok(Some(found));
    }
    let auth = config.auths.as_ref().and_then(|all| by_host(all, host));
    auth.map_or(Ok(None), Auth::credentials)
        .map_err(|reason| RegistryError::Config { path, reason: format!("the entry for {host} {reason}") })
}

fn config_path() -> Option<PathBuf> {
    let named = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = named("DOCKER_CONFIG").or_else(|| Some(named("HOME")?.join(".docker")))?;
    Some(dir.join("config.json"))
}

impl Config {
    /// None is an empty one.
    fn read(path: &Path) -> Result<Self, RegistryError> {
        let bad = |reason| RegistryError::Config { path: path.to_owned(), reason };
        let mut bytes = Vec::new();
        match File::open(path).and_then(|file| file.take(MAX_CONFIG + 1).read_to_end(&mut bytes)) {
            Ok(_) if bytes.len() as u64 > MAX_CONFIG => Err(bad(format!("more than {MAX_CONFIG} bytes"))),
            // The parser's own words could repeat a password.
            Ok(_) => serde_json::from_slice(&bytes)
                .map_err(|error| bad(format!("line {}, column {}", error.line(), error.column()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(bad(error.to_string())),
        }
    }
}

impl Auth {
    fn credentials(&self) -> Result<Option<Credentials>, &'static str> {
        let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Credentials::IdentityToken(token)));
        }
        if let Some(auth) = given(&self.auth) {
            let bytes = BASE64.decode(auth.trim()).map_err(|_| "is not base64")?;
            let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
            let (user, password) = text.split_once(':').ok_or("is not USER:PASSWORD in base64")?;
            // Old versions of docker filled up with zeros.
            let password = password.trim_end_matches('\0').to_owned();
            return Ok(Some(Credentials::Password { user: user.to_owned(), password }));
        }
        let both = given(&self.username).zip(given(&self.password));
        Ok(both.map(|(user, password)| Credentials::Password { user, password }))
    }
}

/// A host's entry. Older keys are URLs, and docker.io has several names.
fn by_host<'a, T>(all: &'a BTreeMap<String, T>, host: &str) -> Option<&'a T> {
    let names: &[&str] = match host {
        "docker.io" => &["index.docker.io", "docker.io", "registry-1.docker.io"],
        _ => &[host],
    };
    let host_of = |key: &str| {
        let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        key.split('/').next().unwrap_or_default().to_owned()
    };
    let exact = names.iter().find_map(|name| all.get(*name));
    exact.or_else(|| {
        all.iter().find(|(key, _)| names.contains(&host_of(key).as_str())).map(|(_, value)| value)
    })
}

/// The header that a password is sent in.
pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(json: &str) -> Result<Option<Credentials>, &'static str> {
        serde_json::from_str::<Auth>(json).unwrap().credentials()
    }

    fn password(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Password { user: user.into(), password: password.into() })
    }

    #[test]
    fn each_form_of_an_account_is_read() {
        assert!(auth(r#"{"auth":"dTpwOnE="}"#) == Ok(password("u", "p:q")));
        assert!(auth(r#"{"auth":"dTpwOnE"}"#) == Ok(password("u", "p:q")), "without padding");
        assert!(auth(r#"{"auth":"dTpwAAA="}"#) == Ok(password("u", "p")), "filled with zeros");
        assert!(auth(r#"{"username":"u","password":"p"}"#) == Ok(password("u", "p")));
        let token = auth(r#"{"auth":"dTpw","identitytoken":"t"}"#);
        assert!(token == Ok(Some(Credentials::IdentityToken("t".into()))));
        for none in ["{}", r#"{"auth":""}"#, r#"{"auth":null,"username":"u"}"#] {
            assert!(auth(none) == Ok(None), "{none}");
        }
        for bad in [r#"{"auth":"%"}"#, r#"{"auth":"dQ=="}"#, r#"{"auth":"/w=="}"#] {
            assert!(auth(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_is_found_under_each_of_its_names() {
        let all = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), (*key).to_owned())).collect();
        let find = |keys: &[&str], host: &str| by_host(&all(keys), host).cloned();
        let hub = "https://index.docker.io/v1/";
        assert_eq!(find(&["a", hub], "docker.io").as_deref(), Some(hub));
        assert_eq!(find(&["https://h:5000/v2/"], "h:5000").as_deref(), Some("https://h:5000/v2/"));
        assert_eq!(find(&["http://h", "h"], "h").as_deref(), Some("h"));
        assert_eq!(find(&["h:5000", "xh", "h.evil"], "h"), None);
    }

    #[test]
    fn a_broken_config_is_an_error_that_repeats_nothing_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        assert!(Config::read(&path).is_ok(), "none is all right");
        std::fs::write(&path, br#"{"auths":{"h":{"auth":["c2VjcmV0"]}}}"#).unwrap();
        let error = Config::read(&path).err().unwrap().to_string();
        assert!(error.contains("line 1") && !error.contains("c2VjcmV0"), "{error}");
    }
}
