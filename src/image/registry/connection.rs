//! One registry, spoken to about one image: requests, answers, and what an answer's status means.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, LOCATION};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::error::RegistryError;
use super::login::{self, Login};
use super::reference::{Reference, is_loopback};
use super::tls;

/// How many redirects are followed: a registry sends us to its storage by one or two.
const MAX_REDIRECTS: usize = 10;
/// The most that is read of an error's body.
const MAX_ERROR: u64 = 64 << 10;
/// The most characters of it that are told.
const MAX_MESSAGE: usize = 200;

/// How long to wait for a registry, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until a connection is made, TLS included.
    pub(super) connect: Duration,
    /// Until an answer begins, and then until a manifest or token is there. A mirror may have to fetch it from elsewhere
    /// first.
    pub(super) answer: Duration,
    /// Until 64 KiB more of a blob are there: long enough for a mobile network that is between two cells, and far slower
    /// than any that an image could be had by.
    pub(super) stall: Duration,
    /// Before the second attempt; doubled before each further one.
    pub(super) pause: Duration,
    /// Attempts in a row that may bring no progress.
    pub(super) attempts: u32,
}

impl Patience {
    pub(super) const USUAL: Self = Self {
        connect: Duration::from_secs(30),
        answer: Duration::from_secs(60),
        stall: Duration::from_secs(60),
        pause: Duration::from_millis(500),
        attempts: 5,
    };
}

/// See the module.
pub(super) struct Connection {
    /// Nothing moves on it but within a call of ours: a registry waits for who reads slowly.
    runtime: Runtime,
    http: Client,
    image: Reference,
    /// `https://HOST/v2/`, or on loopback perhaps `http://HOST/v2/`.
    base: Url,
    patience: Patience,
    login: Mutex<Option<Login>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("image", &self.image).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects to an image's registry, and logs in if that asks for it.
    pub(super) fn open(image: &Reference, patience: Patience) -> Result<Arc<Self>, RegistryError> {
        let unreachable =
            |reason| RegistryError::Unreachable { registry: image.registry().to_owned(), reason };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let mut connection = Self {
            runtime: runtime.map_err(|error| unreachable(error.to_string()))?,
            http: client(image, patience).map_err(unreachable)?,
            image: image.clone(),
            base: base("https", image).map_err(unreachable)?,
            patience,
            login: Mutex::default(),
        };
        let mut greeted = connection.block_on(connection.greet());
        let no_https =
            matches!(greeted, Err(RegistryError::Unreachable { .. } | RegistryError::NoTls { .. }));
        if no_https && image.is_loopback() {
            connection.base = base("http", image).map_err(unreachable)?;
            greeted = connection.block_on(connection.greet());
        }
        greeted.map(|()| Arc::new(connection))
    }

    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub(super) fn image(&self) -> &Reference {
        &self.image
    }

    pub(super) fn http(&self) -> &Client {
        &self.http
    }

    /// Where it answers, and how it is spoken to.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// The registry's name, for messages.
    pub(super) fn registry(&self) -> String {
        self.image.registry().to_owned()
    }

    /// Whether this is a registry, and what it wants from who comes.
    async fn greet(&self) -> Result<(), RegistryError> {
        let response = self.send(self.http.get(self.base.clone())).await?;
        match response.status() {
            // May there be a login for other parts of it, what is asked for next will tell.
            status if status.is_success() || status == StatusCode::FORBIDDEN => Ok(()),
            StatusCode::UNAUTHORIZED => {
                self.set_login(login::answer(self, response.headers()).await?);
                Ok(())
            }
            status
                if status == StatusCode::TOO_MANY_REQUESTS
                    || status.is_server_error()
                    || status.is_redirection() =>
            {
                self.checked(response, "its version").await.map(drop)
            }
            status => Err(RegistryError::NoRegistry {
                registry: self.registry(),
                reason: format!("it answers {status} to {}", self.base.path()),
            }),
        }
    }

    /// Asks for `path` below the image's repository. What comes back is a success.
    pub(super) async fn get(
        &self,
        path: &str,
        what: &str,
        headers: HeaderMap,
    ) -> Result<Response, RegistryError> {
        let path = format!("{}/{path}", self.image.repository());
        let url = self.base.join(&path).map_err(|error| self.unreachable(error.to_string()))?;
        let mut is_second = false;
        loop {
            let login = self.login();
            let mut request = self.http.get(url.clone()).headers(headers.clone());
            if let Some(login) = &login {
                request = request.header(AUTHORIZATION, login.header());
            }
            let response = self.send(request).await?;
            // Not logged in yet, or too long ago.
            if response.status() == StatusCode::UNAUTHORIZED && !is_second && self.is_from_registry(&response)
            {
                let new = login::answer(self, response.headers()).await?;
                if new.is_some() && new != login {
                    self.set_login(new);
                    is_second = true;
                    continue;
                }
            }
            return self.checked(response, what).await;
        }
    }

    /// Sends a request, and waits for the answer to begin.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, RegistryError> {
        let limit = self.patience.answer;
        match tokio::time::timeout(limit, request.header(ACCEPT_ENCODING, "identity").send()).await {
            Ok(answer) => answer.map_err(|error| self.failure(&error)),
            Err(_) => Err(self.unreachable(format!("no answer within {} s", limit.as_secs_f32()))),
        }
    }

    /// All of an answer, if it has no more than `limit` bytes.
    pub(super) async fn body(
        &self,
        response: &mut Response,
        what: &str,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let all = async {
            let mut body = Vec::new();
            while let Some(chunk) =
                response.chunk().await.map_err(|error| self.unreachable(deepest(&error)))?
            {
                if (body.len() + chunk.len()) as u64 > limit {
                    let (registry, what) = (self.registry(), what.to_owned());
                    return Err(RegistryError::TooLarge { registry, what, limit });
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        };
        let patience = self.patience.answer;
        tokio::time::timeout(patience, all).await.unwrap_or_else(|_| {
            Err(self.unreachable(format!("{what} was not there within {} s", patience.as_secs_f32())))
        })
    }

    /// The answer, if it is a success.
    async fn checked(&self, mut response: Response, what: &str) -> Result<Response, RegistryError> {
        let status = response.status();
        let (registry, image) = (self.registry(), self.image.to_string());
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            return Err(self.insecure(&response));
        }
        let ours = self.is_from_registry(&response);
        Err(match status {
            // Not what it says: it may repeat what it was sent.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if ours => {
                match self.login().is_some_and(|login| login.has_credentials()) {
                    true => RegistryError::Denied { registry, image },
                    false => RegistryError::LoginNeeded { registry, image },
                }
            }
            StatusCode::TOO_MANY_REQUESTS => RegistryError::RateLimited { registry },
            StatusCode::NOT_FOUND if ours => {
                RegistryError::NotFound { registry, image, reason: self.message(&mut response).await }
            }
            _ => RegistryError::Refused {
                registry,
                what: what.to_owned(),
                status: status.as_u16(),
                message: self.message(&mut response).await,
            },
        })
    }

    /// What an error's body says, short enough and fit for a terminal.
    async fn message(&self, response: &mut Response) -> String {
        let body = self.body(response, "an error", MAX_ERROR).await.unwrap_or_default();
        let said = serde_json::from_slice::<Errors>(&body).unwrap_or_default().errors.into_iter().next();
        let words = said.map(|error| if error.message.is_empty() { error.code } else { error.message });
        let words = words.unwrap_or_else(|| response.status().to_string());
        words.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect()
    }

    /// Whether the registry itself has answered, and not one to whom it sent us.
    fn is_from_registry(&self, response: &Response) -> bool {
        response.url().origin() == self.base.origin()
    }

    fn insecure(&self, response: &Response) -> RegistryError {
        let target = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
        self.insecure_target(response.url().join(target).ok().as_ref())
    }

    pub(super) fn insecure_target(&self, url: Option<&Url>) -> RegistryError {
        // Its path and query may hold a signature that opens the storage.
        let target = url.map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        RegistryError::Insecure { registry: self.registry(), target }
    }

    pub(super) fn unreachable(&self, reason: String) -> RegistryError {
        RegistryError::Unreachable { registry: self.registry(), reason }
    }

    fn failure(&self, error: &reqwest::Error) -> RegistryError {
        let registry = self.registry();
        match tls::reason(error) {
            Some(error @ rustls::Error::InvalidCertificate(_)) => {
                RegistryError::Untrusted { registry, reason: error.to_string() }
            }
            Some(error) => RegistryError::NoTls { registry, reason: error.to_string() },
            None => self.unreachable(deepest(error)),
        }
    }

    fn login(&self) -> Option<Login> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_login(&self, login: Option<Login>) {
        *self.login.lock().unwrap_or_else(PoisonError::into_inner) = login;
    }
}

/// The body of an error, as OCI's distribution specification has it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Errors {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ErrorEntry {
    code: String,
    message: String,
}

fn base(scheme: &str, image: &Reference) -> Result<Url, String> {
    Url::parse(&format!("{scheme}://{}/v2/", image.api_host())).map_err(|error| error.to_string())
}

fn client(image: &Reference, patience: Patience) -> Result<Client, String> {
    let builder = Client::builder()
        .user_agent(concat!("bottle/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(patience.connect)
        .referer(false)
        .redirect(Policy::custom(redirect))
        .tls_backend_preconfigured(tls::config().map_err(|error| error.to_string())?);
    // As docker and everybody else: the loopback is reached through no proxy.
    let builder = if image.is_loopback() { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| deepest(&error))
}

/// Follows redirects. One that leads to plain HTTP is not followed, and becomes the answer.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error("more than 10 redirects")
    } else if attempt.previous().iter().all(|from| may_lead(from, attempt.url())) {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// Whether a registry at `from` may send us to `to`: by HTTPS, or within the loopback by plain HTTP if that is how it is
/// spoken to.
pub(super) fn may_lead(from: &Url, to: &Url) -> bool {
    let is_local_http = |url: &Url| url.scheme() == "http" && url.host_str().is_some_and(is_loopback);
    to.scheme() == "https" || (is_local_http(from) && is_local_http(to))
}

/// The last cause of an error: those before it say little, and name the whole URL.
pub(super) fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_from_https_to_plain_http() {
        let may = |from: &str, to: &str| may_lead(&from.parse().unwrap(), &to.parse().unwrap());
        assert!(may("https://a/", "https://b/"));
        assert!(may("http://127.0.0.1:5000/", "https://b/"));
        assert!(may("http://localhost:5000/", "http://[::1]:6000/"));
        assert!(!may("https://a/", "http://a/"));
        assert!(!may("https://a/", "http://127.0.0.1/"));
        assert!(!may("http://127.0.0.1/", "http://10.0.0.1/"));
        assert!(!may("https://a/", "file:///etc/passwd"));
    }
}
