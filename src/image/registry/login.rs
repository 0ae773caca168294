//! Answers a registry's challenge: with a user's password, or with a token that its token server gives for one.
//!
//! ```text
//! 401, WWW-Authenticate: Basic …                    ──► Authorization: Basic USER:PASSWORD
//! 401, WWW-Authenticate: Bearer realm=URL,service=S
//!       └─► GET URL?service=S&scope=repository:NAME:pull   with the password, or anonymous
//!       └─► POST URL  grant_type=refresh_token …           with an identity token
//!              └─► {"token": …}                     ──► Authorization: Bearer TOKEN
//! ```
//!
//! The scope is ours: one that the registry names could be wider than what it is to have.

use http_auth::parser::ChallengeParser;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, StatusCode, Url};
use serde::Deserialize;

use super::connection::{Connection, may_lead};
use super::credentials::{self, Credentials};
use super::error::RegistryError;

/// The largest answer of a token server. Tokens that name many groups have some 10 KiB.
const MAX_TOKEN: u64 = 1 << 20;

/// What a request is sent with.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    header: HeaderValue,
    has_credentials: bool,
}

impl Login {
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// Whether it is somebody's, and not an anonymous token.
    pub(super) fn has_credentials(&self) -> bool {
        self.has_credentials
    }

    fn new(text: &str, has_credentials: bool) -> Option<Self> {
        let mut header = HeaderValue::from_str(text).ok()?;
        header.set_sensitive(true);
        Some(Self { header, has_credentials })
    }
}

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

/// What a token server gives. Docker's name for it is `token`, OAuth 2's the other.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// Answers a 401, if there is an answer.
pub(super) async fn answer(
    connection: &Connection,
    headers: &HeaderMap,
) -> Result<Option<Login>, RegistryError> {
    let Some(challenge) = challenge(headers) else { return Ok(None) };
    let image = connection.image();
    let credentials = credentials::of_registry(image).await?;
    match challenge {
        Challenge::Basic => {
            let Some(Credentials::Password { user, password }) = credentials else { return Ok(None) };
            Ok(Login::new(&credentials::basic(&user, &password), true))
        }
        Challenge::Bearer { realm, service } => {
            let realm =
                Url::parse(&realm).ok().filter(Url::has_host).ok_or_else(|| RegistryError::NoRegistry {
                    registry: connection.registry(),
                    reason: "its token server's address is none".to_owned(),
                })?;
            if !may_lead(connection.base(), &realm) {
                return Err(connection.insecure_target(Some(&realm)));
            }
            let has_credentials = credentials.is_some();
            let token = token(connection, realm, service, credentials).await?;
            let login = Login::new(&format!("Bearer {token}"), has_credentials);
            login.map(Some).ok_or_else(|| RegistryError::NoRegistry {
                registry: connection.registry(),
                reason: "its token server's token is none".to_owned(),
            })
        }
    }
}

async fn token(
    connection: &Connection,
    realm: Url,
    service: Option<String>,
    credentials: Option<Credentials>,
) -> Result<String, RegistryError> {
    let (registry, image) = (connection.registry(), connection.image().to_string());
    let scope = format!("repository:{}:pull", connection.image().repository());
    let mut fields = vec![("scope", scope.as_str())];
    fields.extend(service.as_deref().map(|service| ("service", service)));
    let has_credentials = credentials.is_some();
    let request: RequestBuilder = match &credentials {
        None => connection.http().get(realm).query(&fields),
        Some(Credentials::Password { user, password }) => {
            connection.http().get(realm).query(&fields).basic_auth(user, Some(password))
        }
        Some(Credentials::IdentityToken(token)) => {
            fields.extend([
                ("grant_type", "refresh_token"),
                ("client_id", "bottle"),
                ("refresh_token", token),
            ]);
            connection.http().post(realm).form(&fields)
        }
    };
    let mut response = connection.send(request).await?;
    let status = response.status();
    let what = "a token";
    match status {
        status if status.is_success() => {}
        // Some answer 400 where a password is wrong.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST if has_credentials => {
            return Err(RegistryError::Denied { registry, image });
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(RegistryError::LoginNeeded { registry, image });
        }
        StatusCode::TOO_MANY_REQUESTS => return Err(RegistryError::RateLimited { registry }),
        _ => {
            return Err(RegistryError::Refused {
                registry,
                what: what.to_owned(),
                status: status.as_u16(),
                message: status.to_string(),
            });
        }
    }
    let body = connection.body(&mut response, what, MAX_TOKEN).await?;
    // The parser's own words could repeat the token.
    let token: Option<Token> = serde_json::from_slice(&body).ok();
    token.and_then(|token| token.token.or(token.access_token)).filter(|token| !token.is_empty()).ok_or_else(
        || RegistryError::NoRegistry { registry, reason: "its token server gives no token".to_owned() },
    )
}

/// The challenge that we can answer: a token rather than a password in each request.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = None;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let Ok(value) = value.to_str() else { continue };
        for challenge in ChallengeParser::new(value).map_while(Result::ok) {
            let parameter = |name: &str| {
                let mut all = challenge.params.iter();
                all.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = parameter("realm")
            {
                return Some(Challenge::Bearer { realm, service: parameter("service") });
            }
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&'static str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(value));
        }
        challenge(&headers)
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let bearer = |service: Option<&str>| {
            Some(Challenge::Bearer { realm: "https://t/x".into(), service: service.map(str::to_owned) })
        };
        assert_eq!(of(&[r#"Bearer realm="https://t/x",service="s \"q\"""#]), bearer(Some("s \"q\"")));
        assert_eq!(of(&["Basic realm=\"r\"", "bearer REALM=\"https://t/x\""]), bearer(None));
        assert_eq!(of(&["Basic realm=\"r\""]), Some(Challenge::Basic));
        assert_eq!(of(&["Negotiate", "Basic realm=\"r\", charset=\"UTF-8\""]), Some(Challenge::Basic));
        for none in ["", "Bearer service=\"s\"", "Digest realm=\"x\"", "\"", "Bearer realm=\"", "=,=,"] {
            let none: &'static str = none;
            assert_eq!(of(&[none]), None, "{none}");
        }
    }

    #[test]
    fn a_token_with_a_line_break_is_none() {
        assert!(Login::new("Bearer a\r\nX: y", false).is_none());
        assert!(Login::new("Bearer a.b-c", false).is_some());
    }
}
