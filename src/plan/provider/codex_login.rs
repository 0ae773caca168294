//! The login of Codex on this machine: what of it is no secret. `codex login` has left it, and `codex` keeps it fresh.
//!
//! ```text
//! $CODEX_HOME/auth.json (~/.codex/auth.json)
//!   {"tokens": {"access_token": JWT, "id_token": JWT, "refresh_token": …, "account_id": "…"}, "last_refresh": "…"}
//! ```

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

/// It has some KiB.
const MOST_BYTES: u64 = 256 * 1024;

/// Of what is passed on as it is: a name, a time.
const MOST_WORD_BYTES: usize = 128;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodexLogin {
    /// Where the tokens are.
    pub(super) file: PathBuf,
    /// The workspace, which requests name beside their token.
    pub(super) account: String,
    /// What is paid for.
    pub(super) plan: Option<String>,
    /// Until when the access token is good, in seconds since 1970.
    pub(super) access_expires: u64,
    /// The same of the id token.
    pub(super) id_expires: u64,
    /// When the tokens were made.
    pub(super) last_refresh: Option<String>,
}

/// Why there is no login to forward.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodexLoginError {
    /// There is nowhere to look.
    #[error("neither CODEX_HOME nor HOME names a directory, so there is no login of Codex")]
    Nowhere,
    /// The file can't be read.
    #[error("cannot read the login of Codex, {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It has no login, or not in a form that we know.
    #[error("{} has no login of Codex to forward: {what}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What is missing or odd.
        what: &'static str,
    },
    /// It had one.
    #[error("the login of Codex in {} has expired", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
    },
}

impl CodexLoginError {
    /// What the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Expired { .. } => "run `codex` once on this machine, which renews it".to_owned(),
            _ => "`codex login` on this machine, with ChatGPT, makes one".to_owned(),
        }
    }
}

#[derive(Deserialize)]
struct Auth {
    tokens: Option<Tokens>,
    last_refresh: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    access_token: String,
    id_token: String,
    account_id: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    exp: u64,
    #[serde(rename = "https://api.openai.com/auth", default)]
    about: About,
}

#[derive(Default, Deserialize)]
struct About {
    chatgpt_account_id: Option<String>,
    chatgpt_plan_type: Option<String>,
}

impl CodexLogin {
    /// Reads that of the user who runs this.
    ///
    /// # Errors
    /// When there is none, or one that has expired.
    pub fn of_this_machine() -> Result<Self, CodexLoginError> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
        let home = absolute("CODEX_HOME").or_else(|| absolute("HOME").map(|home| home.join(".codex")));
        let path = home.ok_or(CodexLoginError::Nowhere)?.join("auth.json");
        let bytes =
            read(&path).map_err(|source| CodexLoginError::Unreadable { path: path.clone(), source })?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::parse(path, &bytes, now.as_secs())
    }

    /// What these bytes say, at this time.
    pub(super) fn parse(path: PathBuf, bytes: &[u8], now: u64) -> Result<Self, CodexLoginError> {
        let unknown = |what| CodexLoginError::Unknown { path: path.clone(), what };
        if bytes.len() as u64 > MOST_BYTES {
            return Err(unknown("it is too large"));
        }
        // serde's own words may quote a token.
        let auth: Auth =
            serde_json::from_slice(bytes).map_err(|_| unknown("it is not in the form of one"))?;
        let tokens = auth.tokens.ok_or_else(|| unknown("it is a login with a key, not with ChatGPT"))?;
        let access = claims(&tokens.access_token).ok_or_else(|| unknown("the access token is no JWT"))?;
        let id = claims(&tokens.id_token).ok_or_else(|| unknown("the id token is no JWT"))?;
        if access.exp <= now {
            return Err(CodexLoginError::Expired { path });
        }
        let account = tokens.account_id.or(access.about.chatgpt_account_id).or(id.about.chatgpt_account_id);
        let account = account.filter(|word| is_plain(word)).ok_or_else(|| unknown("no account is named"))?;
        Ok(Self {
            account,
            plan: id.about.chatgpt_plan_type.filter(|word| is_plain(word)),
            access_expires: access.exp,
            id_expires: id.exp,
            last_refresh: auth.last_refresh.filter(|word| is_plain(word)),
            file: path,
        })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A pipe must not make us wait for who writes it.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a JWT claims. Nobody asks whether it is true.
fn claims(jwt: &str) -> Option<Claims> {
    let part = jwt.split('.').nth(1)?;
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn is_plain(word: &str) -> bool {
    (1..=MOST_WORD_BYTES).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2lnbmVk", BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    fn auth(access: &str, id: &str, account: &str) -> String {
        let (access, id) = (jwt(access), jwt(id));
        format!(
            r#"{{"tokens": {{"access_token": "{access}", "id_token": "{id}", "account_id": {account}, "refresh_token": "r"}},
                "last_refresh": "2026-11-20T00:00:00.123Z"}}"#
        )
    }

    fn parse(text: &str) -> Result<CodexLogin, CodexLoginError> {
        CodexLogin::parse("/auth.json".into(), text.as_bytes(), 100)
    }

    const ID: &str = r#"{"exp": 150, "https://api.openai.com/auth": {"chatgpt_account_id": "of-id", "chatgpt_plan_type": "team"}}"#;

    #[test]
    fn what_a_login_says_is_found() {
        let login = parse(&auth(r#"{"exp": 200}"#, ID, "\"a-1\"")).unwrap();
        assert_eq!((&*login.account, login.plan.as_deref()), ("a-1", Some("team")));
        assert_eq!((login.access_expires, login.id_expires), (200, 150));
        assert_eq!(parse(&auth(r#"{"exp": 200}"#, ID, "null")).unwrap().account, "of-id");
    }

    #[test]
    fn what_is_none_is_refused_in_words_that_tell_nothing() {
        let good = auth(r#"{"exp": 200}"#, ID, "null");
        for (text, why) in [
            (String::new(), "not in the form"),
            (r#"{"OPENAI_API_KEY": "sk-secret", "tokens": null}"#.to_owned(), "a login with a key"),
            (good.replace("e30.", "secret"), "access token is no JWT"),
            (auth(r#"{"exp": "soon"}"#, ID, "null"), "access token is no JWT"),
            (auth(r#"{"exp": 100}"#, ID, "null"), "has expired"),
            (auth(r#"{"exp": 200}"#, ID, r#""a\r\nb""#), "no account is named"),
            (auth(r#"{"exp": 200}"#, r#"{"exp": 1}"#, "null"), "no account is named"),
            (" ".repeat(300_000), "too large"),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("secret"), "{error}");
        }
    }
}
